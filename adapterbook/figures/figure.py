"""What a figure is to a page: two files, an alternative text in both languages, and the numbers drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adapterbook.analysis.shapes import Reason
from adapterbook.config.study import BilingualText

if TYPE_CHECKING:
    import pandas as pd

Language = Literal["zh", "en"]


@dataclass(frozen=True)
class Figure:
    """One figure in both languages.

    Attributes
    ----------
    id : str
        Stable, of ``[a-z0-9-]``, such as ``headline`` or ``curves-lora-1``; pages use it as ``fig-<id>``.
    paths : dict
        By language, ``<folder>/<language>/<id>.svg``; empty where the figure could not be drawn.
    title : BilingualText
        What is shown, for a caption; plain text.
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

    @property
    def drawn(self) -> bool:
        """Whether there is a file to show."""
        return bool(self.paths)

    @property
    def table(self) -> pd.DataFrame:
        """The numbers drawn as a table; whole numbers stay whole beside missing ones."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), dtype=object)
