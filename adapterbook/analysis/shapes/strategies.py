"""Define what the report says about evaluation strategies, all of them read from one training."""

from __future__ import annotations

from dataclasses import dataclass

from adapterbook.analysis.shapes.runs import EvalStrategy, Spread
from adapterbook.common.stats import Interval


@dataclass(frozen=True)
class EvalView:
    """Describe what one evaluation strategy would have seen of one training, and kept.

    Attributes
    ----------
    strategy : str
        ``steps``, ``epoch`` or ``no``.
    metric : str or None
        What it chooses by, such as ``validation_loss``; None for ``no``.
    every : float
        Epochs between two evaluations; 0 for ``no``.
    seen : tuple of (epoch, validation loss)
    best_epoch : float
        The checkpoint that ``load_best_model_at_end`` would have kept; for ``no`` the last one.
    best_validation_loss : float or None
        Its validation loss; None where the training was not evaluated at that moment.
    regret : float or None
        That loss minus the lowest on the whole curve, nat; at least 0.
    test_accuracy, test_loss, n_correct, n_rows, test_interval : optional
        Its result on the test rows, with Wilson's 95 % interval; None where the record does not hold it.
    accuracy_regret : float or None
        The highest test accuracy of all these strategies minus its own; at least 0.
    """

    strategy: EvalStrategy
    metric: str | None
    every: float
    seen: tuple[tuple[float, float], ...]
    n_evaluations: int
    best_epoch: float
    best_validation_loss: float | None
    regret: float | None
    test_accuracy: float | None = None
    test_loss: float | None = None
    n_correct: int | None = None
    n_rows: int | None = None
    test_interval: Interval | None = None
    accuracy_regret: float | None = None


@dataclass(frozen=True)
class StrategyFinding:
    """Compare the checkpoints that the strategies kept of one training.

    Attributes
    ----------
    most_accurate, least_loss : EvalView
        Those with the highest test accuracy and with the lowest test loss; of equals the first.
    accuracy_range : float
        Highest minus lowest test accuracy.
    """

    most_accurate: EvalView
    least_loss: EvalView
    accuracy_range: float

    @property
    def loss_chose_another(self) -> bool:
        """Tell whether the most accurate checkpoint is not the one with the lowest test loss."""
        return self.most_accurate.best_epoch != self.least_loss.best_epoch

    @property
    def last_won(self) -> bool:
        """Tell whether the last checkpoint, which nothing chose, is the most accurate and not chosen otherwise."""
        return self.most_accurate.strategy == "no"


@dataclass(frozen=True)
class RuleCost:
    """Compare the epoch with the lowest loss on the validation rows with the last one, over one adapter's runs.

    Attributes
    ----------
    n_runs : int
        Runs whose records hold both results.
    last, by_loss : Spread
        Test accuracy of the last epoch, and of the one with the lowest loss.
    by_loss_difference : Spread
        The latter minus the former, run by run.
    """

    adapter: str
    n_runs: int
    last: Spread
    by_loss: Spread
    by_loss_difference: Spread
