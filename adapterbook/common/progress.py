"""Show a bar while a command works through many items, if its output is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
# Where bars are shown. Another thread does not see it, so there is never more than one bar at a time.
_console: ContextVar[Console | None] = ContextVar("console", default=None)


@contextmanager
def show_progress(console: Console) -> Iterator[None]:
    """Show the bars of what runs inside, on a terminal."""
    token = _console.set(console if console.is_terminal else None)
    try:
        yield
    finally:
        _console.reset(token)


def watch(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items, and show how many of a total are done and how long the rest will take.

    Inside another bar, or outside :func:`show_progress`, nothing is shown.
    """
    console = _console.get()
    if console is None or total < 2:
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    token = _console.set(None)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            yield from progress.track(items, total=total, description=what)
    finally:
        _console.reset(token)
