"""Define the table of test sentences that every adapter predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapterbook.analysis.shapes.reasons import Reason
from adapterbook.analysis.shapes.runs import RunReport


@dataclass(frozen=True)
class SentenceRow:
    """One test sentence.

    Attributes
    ----------
    predictions : tuple of int
        0 or 1, in the order of the table's runs.
    probabilities : tuple of float
        Of the positive class, in [0, 1], in the same order.
    spread : float
        The highest probability minus the lowest.
    """

    row_id: int
    text: str
    label: int
    predictions: tuple[int, ...]
    probabilities: tuple[float, ...]
    spread: float

    @property
    def n_wrong(self) -> int:
        """How many runs predicted the other label."""
        return sum(prediction != self.label for prediction in self.predictions)

    @property
    def divided(self) -> bool:
        """Whether some runs predicted one label and some the other."""
        return len(set(self.predictions)) > 1


@dataclass(frozen=True)
class SentenceTable:
    """Test sentences at even distances, the same for every adapter.

    Attributes
    ----------
    runs : tuple of RunReport
        One an adapter, in the report's order: at its best learning rate, else as submitted.
    rows : tuple of SentenceRow
        In falling order of ``spread``.
    left_out : mapping
        By adapter's id, why it is not among ``runs``.
    n_test : int or None
        Test rows that the sentences were taken from; None where there are no ``runs``.
    """

    runs: tuple[RunReport, ...]
    rows: tuple[SentenceRow, ...]
    left_out: Mapping[str, Reason]
    n_test: int | None

    @property
    def n_divided(self) -> int:
        """Sentences about which the adapters disagree."""
        return sum(row.divided for row in self.rows)

    @property
    def n_wrong_by_all(self) -> int:
        """Sentences that every adapter gets wrong."""
        return sum(row.n_wrong == len(self.runs) for row in self.rows)
