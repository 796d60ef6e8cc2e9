"""What the terminal shows: plain lines and, while runs are trained, run, epoch, loss and time left.

A terminal gets bars that move; a file or a CI log gets one line when a run ends.
"""

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
    """Print a line as it is: what looks like markup in it is text, and the terminal breaks it, not we."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
