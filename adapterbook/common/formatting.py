"""Turn numbers into the text that a reader sees, in each language, and print plain lines.

Each kind of number has its digits, unit and separators. ``None``, NaN and anything that is not a number are refused: a
missing value has a reason, and a page gives the reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from rich.console import Console

Language = Literal["zh", "en"]
MINUS: Final = "−"
NO_BREAK_SPACE: Final = "\u00a0"
BYTE_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def count_columns(text: str) -> int:
    """Return how wide a text is, in Latin letters; a Chinese character counts as two.

    Examples
    --------
    >>> count_columns("準確率 F1")
    9
    """
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def capitalised(text: str) -> str:
    """Return a text of small letters with a capital, for a heading; a name such as iOS stays.

    Examples
    --------
    >>> capitalised("positive"), capitalised("iOS"), capitalised("正面")
    ('Positive', 'iOS', '正面')
    """
    return text[:1].upper() + text[1:] if text.islower() and text.isascii() else text


def keep_end(name: str) -> str:
    """Return a name whose short last part stays on the line of the part before.

    Examples
    --------
    >>> keep_end("LoRA 3") == "LoRA\\u00a03", keep_end("Head only")
    (True, 'Head only')
    """
    return re.sub(r" (?=\S{1,2}$)", NO_BREAK_SPACE, name)


def format_number(value: object, kind: str, language: Language) -> str:
    """Return a number as a page shows it.

    Parameters
    ----------
    value : int or float
        In the unit that the record holds: a proportion in [0, 1], seconds, bytes, nat.
    kind : str
        One of ``FORMATS``.
    language : {"zh", "en"}
        Decides the names of units.

    Raises
    ------
    TypeError
        If the value is not a number; ``bool`` and ``None`` are not.
    ValueError
        If it is not finite, or the kind is unknown.

    Examples
    --------
    >>> format_number(0.9375, "percent", "zh")
    '93.8%'
    >>> format_number(-0.03125, "points", "en")
    '−3.1'
    >>> format_number(1771778, "count", "zh")
    '1,771,778'
    >>> format_number(2e-5, "rate", "en")
    '2e-5'
    """
    if isinstance(value, bool) or not (isinstance(value, int | float) or hasattr(value, "__float__")):
        raise TypeError(f"a number was expected for the format {kind!r}, got {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a finite number was expected for the format {kind!r}, got {number!r}")
    if kind not in FORMATS:
        raise ValueError(f"there is no format {kind!r}; there are {', '.join(FORMATS)}")
    return FORMATS[kind](number, language).replace("-", MINUS) if kind != "rate" else FORMATS[kind](number, language)


def _percent(value: float, _: Language) -> str:
    return f"{100 * value:.1f}%"


def _percent_bare(value: float, _: Language) -> str:
    """Return the first number of a range of percentages; only the second has the sign."""
    return f"{100 * value:.1f}"


def _percent_short(value: float, _: Language) -> str:
    """Return a share that somebody chose, such as a level, with only the digits it has."""
    return f"{100 * value:.3g}%"


def _points_short(value: float, _: Language) -> str:
    """Return a difference that somebody chose, such as a margin, in percentage points, without a sign."""
    return f"{100 * value:.3g}"


def _points(value: float, _: Language) -> str:
    """Return a difference of two proportions in percentage points, always with its sign."""
    shown = f"{100 * value:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown


def _points_fine(value: float, _: Language) -> str:
    """Return a small difference of two proportions in percentage points, without a sign."""
    return f"{100 * value:.2f}"


def _loss(value: float, _: Language) -> str:
    return f"{value:.4f}"


def _loss_short(value: float, _: Language) -> str:
    """Return a loss for a sentence: three decimals, or four where three would make it zero."""
    return f"{value:.4f}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"


def _signed_loss(value: float, _: Language) -> str:
    shown = f"{value:+.4f}"
    return "0.0000" if shown in ("+0.0000", "-0.0000") else shown


def _proportion(value: float, _: Language) -> str:
    return f"{value:.3f}"


def _norm(value: float, _: Language) -> str:
    """Return a norm or a distance, of any size, with three significant digits."""
    if value == 0 or 0.001 <= value < 1000:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _decimal(value: float, _: Language) -> str:
    """Return a mean with one decimal, or none where that is zero."""
    return f"{value:.1f}".removesuffix(".0")


def _travel(value: float, _: Language) -> str:
    """Return a sum of learning rates with two significant digits, written out: ``0.00082``, ``0.04``, ``1.2``."""
    return f"{float(f'{value:.1e}'):.12f}".rstrip("0").rstrip(".")


def _correlation(value: float, _: Language) -> str:
    return f"{value:.2f}"


def _count(value: float, _: Language) -> str:
    if not value.is_integer():
        raise ValueError(f"a count is a whole number, got {value!r}")
    return f"{int(value):,}"


def _plain(value: float, _: Language) -> str:
    """Return a setting, a seed or an epoch as a person would type it."""
    return f"{int(value)}" if value.is_integer() else f"{value:.6g}"


def _p_value(value: float, _: Language) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _rate(value: float, _: Language) -> str:
    """Return a learning rate as code writes it, with a hyphen for the minus so that it can be copied."""
    mantissa, exponent = f"{value:.6e}".split("e")
    if value == 0 or abs(int(exponent)) < 2:
        return f"{value:.6g}"
    return f"{float(mantissa):g}e{int(exponent)}"


def _duration(value: float, language: Language) -> str:
    second, minute, hour = ("秒", "分", "小時") if language == "zh" else ("s", "min", "h")
    if value < 59.95:
        return f"{value:.1f}{NO_BREAK_SPACE}{second}"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}{NO_BREAK_SPACE}{minute}{NO_BREAK_SPACE}{whole % 60}{NO_BREAK_SPACE}{second}"
    minutes = round(value / 60)
    return f"{minutes // 60}{NO_BREAK_SPACE}{hour}{NO_BREAK_SPACE}{minutes % 60}{NO_BREAK_SPACE}{minute}"


def _milliseconds(value: float, language: Language) -> str:
    shown = f"{1000 * value:.1f}" if value < 0.1 else f"{1000 * value:.0f}"
    return f"{shown}{NO_BREAK_SPACE}{'毫秒' if language == 'zh' else 'ms'}"


def _bytes(value: float, language: Language) -> str:
    scale = 0
    while value >= 999.95 and scale + 1 < len(BYTE_UNITS):
        value /= 1000
        scale += 1
    if scale == 0:
        return f"{value:.0f}{NO_BREAK_SPACE}{'位元組' if language == 'zh' else 'bytes'}"
    return f"{value:.1f}{NO_BREAK_SPACE}{BYTE_UNITS[scale]}"


def _times(value: float, _: Language) -> str:
    """Return a ratio with two significant digits, or without decimals from ten on."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def _per_second(value: float, language: Language) -> str:
    return f"{value:.1f}{NO_BREAK_SPACE}{'列/秒' if language == 'zh' else 'rows/s'}"


FORMATS: Final[Mapping[str, Callable[[float, Language], str]]] = {
    "percent": _percent,
    "percent_bare": _percent_bare,
    "points": _points,
    "points_unsigned": _percent_bare,
    "points_fine": _points_fine,
    "percent_short": _percent_short,
    "points_short": _points_short,
    "loss": _loss,
    "loss_short": _loss_short,
    "signed_loss": _signed_loss,
    "proportion": _proportion,
    "norm": _norm,
    "decimal": _decimal,
    "travel": _travel,
    "correlation": _correlation,
    "count": _count,
    "plain": _plain,
    "p": _p_value,
    "rate": _rate,
    "duration": _duration,
    "milliseconds": _milliseconds,
    "bytes": _bytes,
    "per_second": _per_second,
    "times": _times,
}


def format_duration(seconds: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> format_duration(42.4), format_duration(192), format_duration(3725)
    ('42 s', '3 min 12 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def say(console: Console, text: str) -> None:
    """Print a line as it is: without markup or colours, and with line breaks left to the terminal."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
