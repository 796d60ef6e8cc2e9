"""Print lines and durations on the terminal."""

from __future__ import annotations

from rich.console import Console


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
