"""Define what the report says about travel: how far training had moved the weights at each checkpoint.

The travel of a checkpoint is the sum of the learning rate over the optimiser's steps up to it. One Adam step moves a
weight by about the learning rate, so the travel is about the longest way that a weight can have gone. Travels of
different methods are not comparable: a step of 0.01 is small for an entry of an IA³ vector and large for a LoRA matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapterbook.analysis.shapes.runs import Factor
from adapterbook.common.stats import Interval


@dataclass(frozen=True)
class TravelPoint:
    """Hold one checkpoint of one run, with its travel and its test result.

    Attributes
    ----------
    run, adapter, variant : str
        Ids.
    kept, last : bool
        Whether the run kept it, and whether it is that of the last step; a checkpoint may be both, or neither.
    epoch : float
        Epochs of training up to it.
    step : int
        The optimiser's steps up to it.
    travel : float
        Sum of the learning rate over these steps; of a head with a learning rate of its own, the adapter's.
    head_learning_rate : float or None
        That of the head when training began; None for the baseline, whose head is what travels.
    relative_update : float or None
        Mean over the modules of the norm of the update over that of the weight; known only of the kept checkpoint.
    accuracy : float
        On the test rows, ``n_correct`` of ``n_rows``.
    interval : Interval
        Wilson, 95 %.
    """

    run: str
    adapter: str
    variant: str
    seed: int
    kept: bool
    last: bool
    epoch: float
    step: int
    travel: float
    head_learning_rate: float | None
    relative_update: float | None
    accuracy: float
    n_correct: int
    n_rows: int
    interval: Interval


@dataclass(frozen=True)
class TravelEnd:
    """Hold the shortest or the longest travel, and the mean accuracy of the checkpoints that have it."""

    travel: float
    accuracy: float


@dataclass(frozen=True)
class TravelFinding:
    """Say how one adapter's test accuracy goes with its travel.

    Attributes
    ----------
    n_points, n_runs : int
        Checkpoints, and the runs that they are of.
    correlation : float or None
        Spearman's rank correlation of travel and accuracy; None with fewer than five points, or if one of the two is
        the same everywhere.
    same_head_rate, same_head_correlation, n_same_head : float, float, int, or None
        The same over the points whose head had one learning rate, the most frequent; None where all points have it, or
        where they have no correlation.
    stops : float or None
        The travel from which accuracy no longer rises; None unless the points say so: see
        ``analysis.travel.find_plateau``.
    least, most : TravelEnd
    best : TravelPoint
        The point with the highest accuracy.
    """

    adapter: str
    n_points: int
    n_runs: int
    correlation: float | None
    same_head_rate: float | None
    same_head_correlation: float | None
    n_same_head: int | None
    stops: float | None
    least: TravelEnd
    most: TravelEnd
    best: TravelPoint


@dataclass(frozen=True)
class Gap:
    """Hold the difference between two adapters' accuracies at the same place on the x axis.

    ``difference`` is b minus a, ``interval`` its 95 % confidence interval, both from ``analysis.travel.compute_gap``.
    """

    difference: float
    interval: Interval
    n_points: int

    @property
    def apart(self) -> bool:
        """Tell whether the interval leaves zero out: the two lie on two curves."""
        return 0.0 not in self.interval


@dataclass(frozen=True)
class SharedCurve:
    """Say whether two adapters that change the same modules by the same method lie on one curve.

    Attributes
    ----------
    a, b : str
        Adapters; only kept checkpoints are compared, because only of these the update is known, and of these those
        whose head had the same learning rate, where they suffice.
    by_travel, by_update : Gap or None
        With travel, and with the relative update, as the x axis; None where too few points lie side by side.
    """

    a: str
    b: str
    by_travel: Gap | None
    by_update: Gap | None


@dataclass(frozen=True)
class LeverStep:
    """Hold one setting of a training argument: means over its runs' kept checkpoints.

    ``strategy`` is set where the lever is the evaluation strategy or the epochs, whose settings are checkpoints of the
    same runs; ``epoch`` is then the mean over runs.
    """

    learning_rate: float
    batch_size: int
    strategy: str | None
    epoch: float
    travel: float
    accuracy: float
    n_runs: int


@dataclass(frozen=True)
class Lever:
    """Hold the settings of one training argument that differ in nothing else, in order of travel; at least two."""

    factor: Factor
    adapter: str
    steps: tuple[LeverStep, ...]

    @property
    def rising(self) -> bool:
        """Tell whether each setting that travels farther is more accurate."""
        accuracies = [step.accuracy for step in self.steps]
        return accuracies == sorted(set(accuracies))

    @property
    def level(self) -> bool:
        """Tell whether all settings are equally accurate."""
        return len({step.accuracy for step in self.steps}) == 1

    @property
    def farthest_is_best(self) -> bool:
        """Tell whether none is more accurate than the setting that travels farthest."""
        return self.steps[-1].accuracy == max(step.accuracy for step in self.steps)

    @property
    def best(self) -> LeverStep:
        """Return the most accurate setting, of equals the one that travels least."""
        return max(self.steps, key=lambda step: step.accuracy)


@dataclass(frozen=True)
class TravelReport:
    """Hold every checkpoint whose travel and test result are known.

    Attributes
    ----------
    points : tuple of TravelPoint
        In the order of runs, by travel within a run.
    findings : dict
        By adapter's id, in the report's order; only those that have points.
    curves : tuple of SharedCurve
        Pairs of adapters with the same method and modules.
    levers : dict
        By factor, of one adapter; only those that the study has.
    n_runs : int
        Runs that the points are of.
    n_without : int
        Completed runs whose records do not say what each step's learning rate was.
    """

    points: tuple[TravelPoint, ...]
    findings: Mapping[str, TravelFinding]
    curves: tuple[SharedCurve, ...]
    levers: Mapping[Factor, Lever]
    n_runs: int
    n_without: int

    @property
    def kept_travel(self) -> Mapping[str, float]:
        """Return the travel of the checkpoint that each run kept, by the run's id."""
        return {point.run: point.travel for point in self.points if point.kept}

    @property
    def reference(self) -> TravelFinding | None:
        """Return the finding of the adapter that the levers are shown with, or else of the first."""
        lever = next(iter(self.levers.values()), None)
        return self.findings[lever.adapter] if lever else next(iter(self.findings.values()), None)
