"""Show where numbers come from: the record of a run in full, its commit, and the days of the runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import RunReport
from adapterbook.common.formatting import Language
from adapterbook.common.privacy import rename_folders
from adapterbook.pages.writing.escape import escape_attribute, html_entities
from adapterbook.runs.record import Record

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
COMMIT_LETTERS = 8  # of a commit's hash, as a reader sees it


@dataclass(frozen=True)
class Provenance:
    """Hold the facts in the last line of a page.

    Attributes
    ----------
    commits : tuple of str
        Every commit that a run was made from, sorted.
    dirty : bool
        Whether a run was made while tracked files differed from its commit.
    outside_git : bool
        Whether a run was made outside a git checkout.
    first, last : date
        Days, in UTC, on which the earliest and the latest of the runs ended.
    """

    commits: tuple[str, ...]
    dirty: bool
    outside_git: bool
    first: date
    last: date


def provenance_of(runs: Iterable[RunReport]) -> Provenance | None:
    """Return where the numbers of these runs come from, ``None`` if none of them has a record."""
    records = [run.record for run in runs if run.record is not None]
    if not records:
        return None
    states = [record.git for record in records]
    days = sorted(_day(record.finished_at) for record in records)
    return Provenance(
        commits=tuple(sorted({state.commit for state in states if state is not None})),
        dirty=any(state is not None and state.dirty for state in states),
        outside_git=any(state is None for state in states),
        first=days[0],
        last=days[-1],
    )


def format_date(day: date, language: Language) -> str:
    """Return a day as the language writes it.

    Examples
    --------
    >>> format_date(date(2026, 3, 1), "zh"), format_date(date(2026, 3, 1), "en")
    ('2026 年 3 月 1 日', '1 March 2026')
    """
    if language == "zh":
        return f"{day.year} 年 {day.month} 月 {day.day} 日"
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def format_days(first: date, last: date, language: Language) -> str:
    """Return a range of days, with a shared month and year written once.

    Examples
    --------
    >>> format_days(date(2026, 3, 1), date(2026, 3, 4), "zh"), format_days(date(2026, 3, 1), date(2026, 3, 4), "en")
    ('2026 年 3 月 1 日至 4 日', '1–4 March 2026')
    >>> format_days(date(2026, 3, 31), date(2026, 4, 1), "en")
    '31 March 2026 – 1 April 2026'
    """
    end = format_date(last, language)
    if first == last:
        return end
    if (first.year, first.month) != (last.year, last.month):
        return f"{format_date(first, language)}{'至' if language == 'zh' else ' – '}{end}"
    return f"{format_date(first, language)}至 {last.day} 日" if language == "zh" else f"{first.day}–{end}"


def format_moment(moment: datetime, language: Language) -> str:
    """Return a day and a time, in UTC, as the language writes them.

    Examples
    --------
    >>> format_moment(datetime(2026, 3, 1, 9, 5, tzinfo=UTC), "en")
    '1 March 2026, 09:05 UTC'
    """
    utc = moment.astimezone(UTC)
    day, time = format_date(utc.date(), language), f"{utc:%H:%M}"
    return f"{day} {time}（UTC）" if language == "zh" else f"{day}, {time} UTC"


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


# The anchor of the section with the record. It is short, because every number on the site links to it or a line of it.
RECORD_ANCHOR: Final = "r"
# Keys that an anchor is made from. They have no hyphen, so two paths never give the same anchor.
PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_]+")
MAX_TEXT: Final = 2_000  # characters
ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


def anchor_of(parts: Sequence[str | int]) -> str:
    """Return the anchor of a field, or of the whole record if a key of its path is not plain.

    Examples
    --------
    >>> anchor_of(["epochs", 0, "train_loss"])
    'r-epochs-0-train_loss'
    >>> anchor_of(["environment", "packages", "scikit-learn"])
    'r'
    """
    anchor: str | None = RECORD_ANCHOR
    for part in parts:
        anchor = _below(anchor, str(part))
    return anchor or RECORD_ANCHOR


def record_block(record: Record, name: str, hidden: Mapping[str, str]) -> Markup:
    """Return a raw HTML block with the whole record.

    Parameters
    ----------
    name : str
        The block's name for screen readers.
    hidden : mapping of str to str
        Folders of this machine, and what a reader sees in their place.
    """
    shown = _shown(record.model_dump_json(), tuple(hidden.items()))
    opening = f'<pre class="record" tabindex="0" role="region" aria-label="{escape_attribute(name)}">'
    return Markup(f"```{{=html}}\n{opening}<code>{shown}</code></pre>\n```")


@lru_cache(maxsize=200)  # both languages show the same
def _shown(record: str, hidden: tuple[tuple[str, str], ...]) -> str:
    return _json(json.loads(record), RECORD_ANCHOR, "", dict(hidden))


def _json(value: Any, anchor: str | None, indent: str, hidden: Mapping[str, str], *, in_list: bool = False) -> str:
    """Return a value as HTML: a list of numbers or names, and a row of a list, on one line."""
    deeper = f"{indent}  "
    if isinstance(value, dict) and value:
        items = []
        for key, item in value.items():
            below = _below(anchor, key)
            shown = f"{_text(key, hidden)}: {_json(item, below, deeper, hidden)}"
            items.append(_marked(shown, below) if _is_leaf(item) else shown)
        row = in_list and all(map(_is_leaf, value.values()))
        return f"{{{', '.join(items)}}}" if row else _lines("{", items, "}", indent)
    if isinstance(value, list) and value:
        parts = [_below(anchor, str(index)) for index in range(len(value))]
        items = [
            _marked(_json(item, part, deeper, hidden, in_list=True), part)
            for item, part in zip(value, parts, strict=True)
        ]
        return f"[{', '.join(items)}]" if all(map(_is_leaf, value)) else _lines("[", items, "]", indent)
    return _text(value, hidden)


def _lines(opening: str, items: Sequence[str], closing: str, indent: str) -> str:
    inside = ",\n".join(f"{indent}  {item}" for item in items)
    return f"{opening}\n{inside}\n{indent}{closing}"


def _is_leaf(value: Any) -> bool:
    return not (isinstance(value, dict | list) and value)


def _marked(shown: str, anchor: str | None) -> str:
    return shown if anchor is None else f'<span id="{anchor}">{shown}</span>'


def _below(anchor: str | None, key: str) -> str | None:
    """Return the anchor of what a key leads to, None if a key on the way is not plain."""
    return f"{anchor}-{key}" if anchor is not None and PLAIN_KEY.fullmatch(key) else None


def _text(value: Any, hidden: Mapping[str, str]) -> str:
    """Return a number, a flag, a text or nothing as JSON, with no character that could act or cannot be seen."""
    if isinstance(value, str):
        value = rename_folders(value, hidden)
        value = value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]} …"
    written = ENCODER.encode(value)
    if not written.isprintable():
        written = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in written)
    return html_entities(written)
