"""Return pictures as SVG texts: from the cache, or drawn now, in several processes where many are missing.

A picture's painter gets plain data and nothing else, words included: the data, our code, the font and Matplotlib's
version are all that the picture depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from adapterbook.common.cache import NO_CACHE, Cache, open_cache
from adapterbook.common.errors import RenderError
from adapterbook.common.fonts import PLOT, find_font
from adapterbook.common.machine import count_cores
from adapterbook.common.progress import watch
from adapterbook.figures.style import WIDTH
from adapterbook.figures.svg import draw_svg

# A process that draws takes a second to load Matplotlib, in which this one draws about so many pictures itself.
PICTURES_PER_PROCESS = 8
MAX_PROCESSES = 8
ENDS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Picture:
    """Describe the picture of one figure in one language; ``height`` and ``width`` in inches."""

    id: str
    height: float
    paint: partial[None]
    width: float = WIDTH

    def identity(self) -> str:
        """Return all that the picture depends on, as JSON.

        Raises
        ------
        TypeError
            If the painter was given something else than plain data.
        """
        painter = f"{self.paint.func.__module__}.{self.paint.func.__qualname__}"
        return json.dumps([self.id, self.height, self.width, painter, self.paint.args], default=_fields_of)


def open_figures_cache(root: Path) -> Cache:
    """Return the cache of pictures drawn with the font that is installed today."""
    font = find_font(PLOT)
    return open_cache(root, "figures", ["no font" if font is None else hashlib.sha256(font.read_bytes()).hexdigest()])


def render_pictures(pictures: Sequence[Picture], cache: Cache = NO_CACHE) -> list[str]:
    """Return the SVG of each picture, the same bytes whether it was kept, drawn here or drawn beside others.

    Raises
    ------
    RenderError
        If a process that draws was killed.
    """
    identities = [picture.identity() for picture in pictures]
    found = [cache.find("svg", [identity]) for identity in identities]
    missing = [index for index, svg in enumerate(found) if svg is None]
    drawn = watch(_draw_all([pictures[index] for index in missing]), "figures", len(missing))
    for index, svg in zip(missing, drawn, strict=True):
        found[index] = svg.encode()
        cache.store("svg", [identities[index]], svg.encode())
    return [svg.decode() for svg in found if svg is not None]


def _draw_all(pictures: Sequence[Picture]) -> Iterator[str]:
    n_processes = min(count_cores(), len(pictures) // PICTURES_PER_PROCESS, MAX_PROCESSES)
    if n_processes < 2:
        yield from map(_draw, pictures)
        return
    # Not forked: a lock that another thread holds would stay locked for ever in the copy.
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _end_with_parent) as pool:
        try:
            with _deaf_processes():
                drawn = pool.map(_draw, pictures, chunksize=2)
            yield from drawn
        except BrokenProcessPool as error:
            raise RenderError(
                "A process that draws figures was killed, probably out of memory. Close other programs, or give this "
                "one fewer cores (`taskset -c 0 make pages` draws one figure after another)."
            ) from error


@contextmanager
def _deaf_processes() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which reaches all processes of a terminal: this process ends them.

    A Ctrl-C that comes while they start takes effect here afterwards: one that is half started would complain.
    """
    heard: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in ENDS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # which they inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, however it ends: it hears no Ctrl-C and no SIGTERM."""
    parent = parent_process()
    assert parent is not None  # as in every process of a pool

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _draw(picture: Picture) -> str:
    return draw_svg(picture.id, picture.height, picture.paint, picture.width)


def _fields_of(value: object) -> dict[str, Any]:
    """Return a dataclass for JSON; the fields of what it holds follow in turn."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__qualname__} | {item.name: getattr(value, item.name) for item in fields(value)}
    raise TypeError(f"a painter gets plain data, not {type(value).__name__}: give it what it draws of that")
