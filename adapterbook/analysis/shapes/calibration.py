"""Define what the report says about calibration: how often a model is right when it is as sure as it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from adapterbook.common.stats import Interval

Tendency = Literal["too_sure", "too_unsure", "undecided"]


@dataclass(frozen=True)
class Sureness:
    """Count how sure one group's models were of their answers, and what that did to their loss.

    Attributes
    ----------
    n_answers, n_right : int
        Test rows, counted once a seed, and those predicted right.
    loss : float
        Mean cross-entropy, nat.
    n_sure, n_sure_right, n_sure_wrong : int
        Answers with a confidence of at least ``sure_from``. The confidence is the probability of the predicted class.
    sure_wrong_loss_share : float
        Share of the whole loss that the sure and wrong answers make.
    """

    adapter: str
    variant: str
    n_answers: int
    n_right: int
    loss: float
    sure_from: float
    n_sure: int
    n_sure_right: int
    n_sure_wrong: int
    sure_wrong_loss_share: float

    @property
    def accuracy(self) -> float:
        """Return the share of right answers."""
        return self.n_right / self.n_answers


@dataclass(frozen=True)
class CalibrationBin:
    """Hold answers of similar confidence: their mean confidence, and how many of them are right, with its interval."""

    n_answers: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Calibration:
    """Compare an adapter's confidence with how often it is right, at its best variant, over all seeds.

    Attributes
    ----------
    n_rows, n_seeds : int
        Test rows, and seeds whose answers are pooled.
    confidence : float
        Mean confidence.
    overconfidence : float
        Mean confidence minus accuracy: above zero the model is too sure of its answers.
    calibration_error : float
        Root of the mean squared difference between confidence and accuracy over ``bins``, without what chance adds.
    overconfidence_interval, error_interval : Interval
        95 %, over test rows; a row's answers of all seeds stay together.
    bins : tuple of CalibrationBin
        In order of confidence, with equally many answers.
    """

    adapter: str
    variant: str
    n_rows: int
    n_seeds: int
    sureness: Sureness
    confidence: float
    overconfidence: float
    overconfidence_interval: Interval
    calibration_error: float
    error_interval: Interval
    bins: tuple[CalibrationBin, ...]

    @property
    def tendency(self) -> Tendency:
        """Tell whether its confidence is above or below its accuracy, beyond what the choice of rows explains."""
        if self.overconfidence_interval.low > 0:
            return "too_sure"
        return "too_unsure" if self.overconfidence_interval.high < 0 else "undecided"


@dataclass(frozen=True)
class CalibrationReport:
    """Hold the calibration of every adapter that has predictions.

    Attributes
    ----------
    adapters : mapping
        By adapter's id.
    disagreement : (Sureness, Sureness) or None
        Two settings of one adapter, of which the first has more right answers and the higher loss; the pair whose
        losses differ most. None where loss and accuracy agree about every pair.
    """

    adapters: Mapping[str, Calibration]
    disagreement: tuple[Sureness, Sureness] | None

    def adapters_with(self, tendency: Tendency) -> tuple[str, ...]:
        """Return the ids of the adapters with a tendency."""
        return tuple(name for name, found in self.adapters.items() if found.tendency == tendency)
