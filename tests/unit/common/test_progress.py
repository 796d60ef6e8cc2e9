"""Test the bars that commands show on a terminal."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from adapterbook.common.progress import show_progress, watch


def _console(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=is_terminal, width=80, legacy_windows=False), out


def test_a_terminal_shows_how_many_are_done() -> None:
    """The items come in order, and the bar names what is counted, and the total."""
    console, out = _console(is_terminal=True)
    with show_progress(console):
        assert list(watch(iter("abc"), "figures", 3)) == ["a", "b", "c"]
    assert "figures" in out.getvalue() and "3/3" in out.getvalue()


def test_elsewhere_nothing_is_shown() -> None:
    """A log, a command that shows no progress, another thread, and the inside of another bar get no bar."""
    log, written = _console(is_terminal=False)
    terminal, shown = _console(is_terminal=True)
    assert list(watch([1, 2], "x", 2)) == [1, 2]
    with show_progress(log):
        assert list(watch([1, 2], "x", 2)) == [1, 2]
    with show_progress(terminal):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: list(watch([1, 2], "thread", 2))).result() == [1, 2]
        for _ in watch([1, 2], "outside", 2):
            assert list(watch([3, 4], "inside", 2)) == [3, 4]
    assert written.getvalue() == ""
    assert "outside" in shown.getvalue() and "inside" not in shown.getvalue() and "thread" not in shown.getvalue()
