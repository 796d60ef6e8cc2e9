"""Define what the report keeps of a run's predictions of the test rows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Example:
    """Hold one test row.

    Attributes
    ----------
    probability : float
        In [0, 1]: of two labels, that of label 1; of more, that of the row's label.
    confidence : float
        The probability of the label that was predicted.
    """

    row_id: int
    text: str
    label: int
    prediction: int
    probability: float
    confidence: float

    @property
    def correct(self) -> bool:
        """Tell whether the label was predicted."""
        return self.label == self.prediction


@dataclass(frozen=True)
class Examples:
    """Hold a few test rows of a run: the most confident right, the most confident wrong, the least confident."""

    right: tuple[Example, ...]
    wrong: tuple[Example, ...]
    uncertain: tuple[Example, ...]


@dataclass(frozen=True)
class PredictedRows:
    """Hold what a comparison needs of a run's test rows, in order of their ids.

    Attributes
    ----------
    n : int
        Rows.
    n_by_label : tuple of int
        Rows with each label.
    identity : str
        SHA-256 of ids and labels: two runs with the same one were tested on the same rows.
    correct : bytes
        One byte a row: 1 where the label was predicted, else 0.
    """

    n: int
    n_by_label: tuple[int, ...]
    identity: str
    correct: bytes = field(repr=False)

    @property
    def one_class(self) -> bool:
        """Tell whether all rows have the same label."""
        return max(self.n_by_label) == self.n
