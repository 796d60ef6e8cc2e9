"""Define a figure: before it is drawn in one language, and as a page shows it, in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterbook.analysis.shapes import Reason
from adapterbook.common.formatting import Language
from adapterbook.config.study import BilingualText

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Drawing:
    """Hold a figure in one language, before it is drawn.

    Attributes
    ----------
    finding : str
        What the figure shows, in a sentence without a full stop; empty where the report computes none.
    height, phone_height : float
        Inches, at ``style.WIDTH`` and at ``style.PHONE_WIDTH``; a ``phone_height`` of 0 means that there is no separate
        drawing for phones.
    paint : functools.partial
        ``paint(canvas)`` draws into an empty canvas: a function of a module with all that it draws as arguments, which
        are plain data (dataclasses, texts, numbers, sequences, mappings), so that the picture follows from them. None,
        with ``reason``, where there is nothing to draw.
    """

    id: str
    title: str
    alt: str
    paint: partial[None] | None
    height: float = 0.0
    phone_height: float = 0.0
    finding: str = ""
    rows: Sequence[dict[str, Any]] = ()
    adapter: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class Figure:
    """Hold one figure in both languages.

    Attributes
    ----------
    id : str
        Stable, of ``[a-z0-9-]``, such as ``headline`` or ``curves-lora-1``; pages use it as ``fig-<id>``.
    paths : dict
        By language, ``<folder>/<language>/<id>.svg``; empty where the figure could not be drawn.
    title : BilingualText
        What is shown, for a caption; plain text.
    phone_paths : dict
        By language, the drawing for narrow screens, ``<folder>/<language>/phone/<id>.svg``; empty where there is none.
    finding : BilingualText or None
        What the figure shows, for the beginning of a caption; plain text.
    alt : BilingualText
        What is to be seen and what follows from it, computed; plain text, may hold adapters' titles.
    rows : sequence of mappings
        The numbers drawn, one row a point; names in English, such as ``adapter``, ``epoch``, ``validation_loss``, and
        the same in each row. May be empty.
    adapter : str or None
        The adapter that the figure is about.
    reason : str or None
        Why it was not drawn.
    """

    id: str
    paths: Mapping[Language, Path]
    title: BilingualText
    alt: BilingualText
    rows: Sequence[Mapping[str, Any]]
    adapter: str | None = None
    reason: Reason | None = None
    phone_paths: Mapping[Language, Path] = field(default_factory=dict)
    finding: BilingualText | None = None

    @property
    def drawn(self) -> bool:
        """Tell whether there is a file to show."""
        return bool(self.paths)

    @property
    def table(self) -> pd.DataFrame:
        """Return the numbers drawn as a table; whole numbers stay whole beside missing ones."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), dtype=object)
