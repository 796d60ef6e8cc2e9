"""Choose which runs `make verify` trains again: those out of line with their neighbours, the others by a hash.

Nothing that a record merely claims decides it. Accuracies are those that the saved adapter gives today. The hash is of
all records, so any change of any record changes the order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from adapterbook.runs.record import Record

# How many standard errors an accuracy must be away to be out of line, and how many neighbours make a line.
OUT_OF_LINE, FEWEST_NEIGHBOURS = 3.0, 3


@dataclass(frozen=True)
class Fit:
    """Hold the shares of rows that a saved adapter predicts right today."""

    train: float
    test: float
    n_train: int
    n_test: int


@dataclass(frozen=True)
class SoundRun:
    """Hold a run without findings; ``fit`` is None where its adapter was not evaluated."""

    record: Record
    fit: Fit | None


@dataclass(frozen=True)
class Choice:
    """Hold a run to train again, and in words why it comes first; empty: the hash chose it."""

    run_id: str
    reason: str = ""


def order_runs(runs: Sequence[SoundRun], draw: bytes = b"") -> list[Choice]:
    """Return runs in the order in which they are trained again.

    Parameters
    ----------
    draw : bytes
        Changes the order of the runs that the hash chooses.
    """
    seals = "".join(sorted(run.record.compute_seal() for run in runs))
    suspicions = {run.record.run_id: _suspicion(run, runs) for run in runs}

    def place(run: SoundRun) -> tuple[float, bytes]:
        score, _ = suspicions[run.record.run_id]
        drawn = hashlib.sha256(draw + seals.encode() + run.record.run_id.encode()).digest()
        return (-score if score > OUT_OF_LINE else 0.0, drawn)

    ordered = [run.record.run_id for run in sorted(runs, key=place)]
    return [Choice(name, suspicions[name][1] if suspicions[name][0] > OUT_OF_LINE else "") for name in ordered]


def find_neighbours(run: SoundRun, runs: Sequence[SoundRun]) -> list[SoundRun]:
    """Return the runs that should fit about as well: other seeds, the next learning rates, or else all others."""
    record, others = run.record, [other for other in runs if other.record.run_id != run.record.run_id]
    own = [other for other in others if other.record.adapter.id == record.adapter.id]
    rates = sorted({record.training.learning_rate, *(other.record.training.learning_rate for other in own)})
    place = rates.index(record.training.learning_rate)
    near = rates[max(0, place - 1) : place + 2]
    close = [
        other for other in own if other.record.variant == record.variant or other.record.training.learning_rate in near
    ]
    return close if len(close) >= FEWEST_NEIGHBOURS else others


def _suspicion(run: SoundRun, runs: Sequence[SoundRun]) -> tuple[float, str]:
    """Return by how many standard errors a run is out of line, at most, and how, in words."""
    fit = run.fit
    if fit is None:
        return 0.0, ""
    fits = [other.fit for other in find_neighbours(run, runs) if other.fit is not None]
    # A model answers the rows that it was trained on at least as well as new ones.
    error = math.hypot(_error(fit.test, fit.n_test), _error(fit.train, fit.n_train))
    message = f"it predicts {fit.test:.1%} of the test rows right, but {fit.train:.1%} of its training rows"
    scores = [((fit.test - fit.train) / error, message)]
    if fits:
        of_test, of_train = [other.test for other in fits], [other.train for other in fits]
        for own, theirs, n, rows in (
            (fit.test, of_test, fit.n_test, "test"),
            (fit.train, of_train, fit.n_train, "training"),
        ):
            middle = median(theirs)
            spread = 1.4826 * median(abs(other - middle) for other in theirs)  # of a normal distribution
            message = f"it predicts {own:.1%} of the {rows} rows right, its neighbours {middle:.1%}"
            scores.append((abs(own - middle) / math.hypot(_error(middle, n), spread), message))
    return max(scores)


def _error(share: float, n: int) -> float:
    """Return the standard error of a share of n rows, with one right and one wrong row added: it is never zero."""
    share = (share * n + 1) / (n + 2)
    return math.sqrt(share * (1 - share) / n)
