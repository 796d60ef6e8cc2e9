"""Count test rows by label and prediction, and compute what follows from the counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


MAX_CLASSES = 12  # that a matrix shows; beyond, the rarer ones are drawn as one


@dataclass(frozen=True)
class Confusion:
    """Count test rows: ``counts[label][prediction]``."""

    counts: tuple[tuple[int, ...], ...]

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return sum(map(sum, self.counts))

    @property
    def n_correct(self) -> int:
        """Return the number of rows whose label was predicted."""
        return sum(row[label] for label, row in enumerate(self.counts))

    @property
    def n_with(self) -> tuple[int, ...]:
        """Return the number of rows with each label."""
        return tuple(map(sum, self.counts))

    @property
    def n_predicted(self) -> tuple[int, ...]:
        """Return the number of rows for which each label was predicted."""
        return tuple(map(sum, zip(*self.counts, strict=True)))

    @property
    def accuracy(self) -> float:
        """Return the share of rows predicted right."""
        return self.n_correct / self.n

    @property
    def f1(self) -> float:
        """Return F1: of label 1 if there are two, else the mean over all labels that a row has or was predicted.

        It is 0 where no row has or was predicted the label.
        """
        sums = list(zip(self.n_with, self.n_predicted, strict=True))
        found = [2 * self.counts[label][label] / sum(both) for label, both in enumerate(sums) if sum(both)]
        if len(sums) > 2:
            return math.fsum(found) / len(found)
        return found[-1] if sum(sums[1]) else 0.0

    @property
    def mistakes(self) -> tuple[int | None, ...]:
        """Return for each label the other one that was most often predicted in its place, None if it never was."""
        wrong = [[n * (i != label) for i, n in enumerate(row)] for label, row in enumerate(self.counts)]
        return tuple(row.index(max(row)) if any(row) else None for row in wrong)

    def grouped(self, n: int) -> tuple[tuple[int, ...], Confusion]:
        """Return the most frequent labels, in their order, and the counts of these with all others as one last label.

        With `n` labels or fewer nothing is grouped.
        """
        labels = range(len(self.counts))
        if len(labels) <= n:
            return tuple(labels), self
        kept = tuple(sorted(sorted(labels, key=lambda label: -self.n_with[label])[: n - 1]))
        places = [kept.index(label) if label in kept else n - 1 for label in labels]
        counts = [[0] * n for _ in range(n)]
        for label, row in enumerate(self.counts):
            for prediction, count in enumerate(row):
                counts[places[label]][places[prediction]] += count
        return kept, Confusion(tuple(map(tuple, counts)))

    def always(self, label: int) -> Confusion:
        """Return the counts of a model that predicts one label for each of these rows."""
        n_labels = len(self.counts)
        return Confusion(tuple(tuple(n * (label == i) for i in range(n_labels)) for n in self.n_with))


def compute_confusion(labels: ArrayLike, predictions: ArrayLike, n_labels: int = 2) -> Confusion:
    """Count rows by label and prediction.

    Parameters
    ----------
    labels, predictions : array of int, shape (n,), n >= 1
        From 0 to ``n_labels - 1``.

    Raises
    ------
    ValueError
        If the shapes differ, there is no row, or a value is not a label.

    Examples
    --------
    >>> compute_confusion([0, 0, 1, 1], [0, 1, 1, 1])
    Confusion(counts=((1, 1), (0, 2)))
    """
    import numpy as np

    truth, guess = np.asarray(labels), np.asarray(predictions)
    if truth.shape != guess.shape or truth.ndim != 1 or truth.size == 0:
        raise ValueError(f"labels {truth.shape} and predictions {guess.shape}: expected the same shape (n,), n >= 1")
    if not (np.isin(truth, range(n_labels)).all() and np.isin(guess, range(n_labels)).all()):
        raise ValueError(f"labels and predictions: expected 0 to {n_labels - 1} only")
    cells = np.bincount(truth.astype(int) * n_labels + guess.astype(int), minlength=n_labels**2)
    return Confusion(tuple(map(tuple, cells.reshape(n_labels, n_labels).tolist())))
