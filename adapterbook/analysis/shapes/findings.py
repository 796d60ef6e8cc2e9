"""Define the findings across runs: costs, published results, ablations, and the cases of the sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adapterbook.analysis.shapes.modules import Growth, LearnedRatio
from adapterbook.analysis.shapes.runs import Factor, Group, Reason, RunReport
from adapterbook.analysis.shapes.strategies import EvalView, RuleCost, StrategyFinding
from adapterbook.common.stats import Interval


@dataclass(frozen=True)
class Measured:
    """Summarise one measurement over runs by its median, its lowest and its highest value."""

    n: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class CostRow:
    """Hold the costs of one adapter on one device, and its test accuracy.

    Attributes
    ----------
    variant : str
        The adapter's best, or the submitted one; ``accuracy`` and ``test_interval`` are its test result, None without.
    time_s : Measured
        Of training, over the adapter's runs in this table; see ``CostTable.clock``.
    latency_s, merged_latency_s : Measured or None
        Of one prediction, with the adapter beside the weights and merged into them; None where no run measured it.
    n_trainable_params, adapter_file_bytes : int
        The same for every run.
    pareto : tuple of str
        The costs (``params``, ``time``) at which the adapter is, compared with each other row, clearly cheaper or
        clearly more accurate. More accurate: the intervals do not overlap. Less time: its slowest run was faster than
        the other's fastest. Fewer parameters are always clear.
    """

    adapter: str
    variant: str
    accuracy: float | None
    test_interval: Interval | None
    n_trainable_params: int
    time_s: Measured
    latency_s: Measured | None
    merged_latency_s: Measured | None
    adapter_file_bytes: int
    pareto: tuple[Literal["params", "time"], ...] = ()


@dataclass(frozen=True)
class CostTable:
    """Hold the rows of one device, one an adapter: times of different devices are never in one table.

    Attributes
    ----------
    clock : {"cpu", "wall"}
        What ``time_s`` counts: the CPU seconds of all threads, or else, where not every run says them, seconds.
    rows : tuple of CostRow
        Over the runs that differ in the learning rate alone, which does not change what a run costs.
    """

    device_name: str
    device: str
    clock: Literal["cpu", "wall"]
    rows: tuple[CostRow, ...]


@dataclass(frozen=True)
class PublishedPoint:
    """Compare one epoch, published and rerun; the differences are rerun minus published."""

    epoch: int
    published_loss: float
    rerun_loss: float | None
    loss_difference: float | None
    published_accuracy: float
    rerun_accuracy: float | None
    accuracy_difference: float | None


@dataclass(frozen=True)
class PublishedRun:
    """Compare one adapter's published curve with this study's.

    Attributes
    ----------
    variant : str or None
        The variant that follows the published protocol; None, with ``reason``, where there is none with results.
    points : tuple of PublishedPoint
        One an epoch; the rerun's values are None where there is none.
    max_loss_difference, max_accuracy_difference : float or None
        Largest absolute difference over the epochs.
    mean_loss_difference : float or None
        Mean of rerun minus published.
    n_validation_rows : int or None
        Rows behind each accuracy: one row more or less is ``1 / n_validation_rows``.
    published_train_loss, rerun_train_loss : float or None
        Mean over all epochs.
    """

    adapter: str
    variant: str | None
    points: tuple[PublishedPoint, ...]
    max_loss_difference: float | None
    mean_loss_difference: float | None
    max_accuracy_difference: float | None
    n_validation_rows: int | None
    published_train_loss: float
    rerun_train_loss: float | None
    reason: Reason | None


@dataclass(frozen=True)
class PublishedReport:
    """Compare the published results with this study's, or give the reason why they may not be compared."""

    comparable: bool
    reason: Reason | None
    runs: Mapping[str, PublishedRun]


@dataclass(frozen=True)
class EpochsReport:
    """Count the groups that overfit, among all that were evaluated.

    Attributes
    ----------
    n_overfitting, n_still_improving, n_groups : int
        Groups that overfit; groups that were best at their last evaluation; groups evaluated.
    most : (adapter, variant) or None
        The group whose validation loss rose most above its lowest, among those that overfit.
    """

    n_groups: int
    n_overfitting: int
    n_still_improving: int
    most: tuple[str, str] | None


@dataclass(frozen=True)
class OneAnswer:
    """Describe adapters that predict one label for nearly every test row, beside a model that always predicts it.

    Attributes
    ----------
    fewest, most, n : int
        The fewest and the most rows that one of them gives this label, of n test rows.
    accuracy, f1 : float
        What always predicting this label gets.
    """

    label: int
    adapters: tuple[str, ...]
    fewest: int
    most: int
    n: int
    accuracy: float
    f1: float


@dataclass(frozen=True)
class LearningRateFinding:
    """Say how the adapters did at one learning rate, by their ids.

    Attributes
    ----------
    n_steps : int
        Steps of one run.
    reach : float
        How far a weight can move in all of them: half the learning rate times the steps.
    overfit, improving, level : tuple of str
        Adapters by ``Overfitting.course``; each that was evaluated is in one of the three.
    better_than_guessing, guessing : tuple of str
        Whether the interval of the test accuracy lies above the majority class; both empty where that is not known.
    one_answers : tuple of OneAnswer
        Adapters that predict one label for nearly every test row, one entry a label.
    with_head : tuple of str
        Adapters whose validation loss never leaves the head-only baseline's by more than the noise of that loss;
        empty without a baseline.
    largest_gap : float or None
        The largest difference between one of these and the baseline in any epoch, nat.
    """

    variant: str
    n_steps: int
    reach: float
    overfit: tuple[str, ...]
    improving: tuple[str, ...]
    level: tuple[str, ...]
    better_than_guessing: tuple[str, ...]
    guessing: tuple[str, ...]
    one_answers: tuple[OneAnswer, ...]
    with_head: tuple[str, ...]
    largest_gap: float | None


@dataclass(frozen=True)
class BatchSizeFinding:
    """Describe one adapter with several batch sizes.

    Attributes
    ----------
    groups : tuple of Group
        In order of batch size; only those that have results.
    best : Group or None
        The group with the lowest validation loss.
    lowest_of_all : bool
        Whether no adapter has a lower validation loss at any learning rate of the study.
    overfit : tuple of str
        The variants that overfit.
    intervals_overlap : bool or None
        Whether the intervals of the test accuracies all overlap; None where there is none.
    """

    adapter: str
    groups: tuple[Group, ...]
    best: Group | None
    lowest_of_all: bool
    overfit: tuple[str, ...]
    intervals_overlap: bool | None


@dataclass(frozen=True)
class EvaluationCost:
    """Compare the time that evaluating added to one run's training with what the formula expects.

    Attributes
    ----------
    forwards : int
        How many forward passes a training step is worth: 1 where the head alone trains, 2 with an adapter.
    expected, measured : float
        Added time as a share of the training time without it.
    """

    run: RunReport
    forwards: int
    expected: float
    measured: float


Finding = LearningRateFinding | BatchSizeFinding


@dataclass(frozen=True)
class BestRates:
    """Hold the learning rates at which the adapters did best (``Group.score``).

    Attributes
    ----------
    adapters : tuple of str
        Those of which a best learning rate is known.
    shared : Group or None
        The best group of the first adapter where all are best at the same learning rate.
    at_edge : tuple of str
        Adapters that did best at the smallest or the largest of several rates that were tried.
    several_tried : bool
        Whether the study tries several learning rates.
    on_selection : bool
        Whether they were chosen on the selection rows, not by the validation loss.
    extended : tuple of str
        Adapters to whose rates the search added some.
    """

    adapters: tuple[str, ...]
    shared: Group | None
    at_edge: tuple[str, ...]
    several_tried: bool
    on_selection: bool = False
    extended: tuple[str, ...] = ()


@dataclass(frozen=True)
class AboveMajority:
    """List the adapters whose whole test interval lies above the majority class's accuracy, and the others."""

    above: tuple[str, ...]
    not_above: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """Describe variants that differ in one factor alone.

    Attributes
    ----------
    factor : str
        ``learning_rate``, ``batch_size``, ``eval_strategy`` or ``epochs``.
    variants : tuple of str
        In order of the factor's value; empty, with ``reason``, where the study has none.
    values : dict
        The factor's value by variant's name.
    adapters : tuple of str
        Adapters that have results in at least two of the variants (``epochs``: in any).
    groups : dict
        By (adapter, variant), those that have results.
    findings : tuple of Finding
        ``learning_rate``: one a variant; ``batch_size``: one an adapter.
    without_result : tuple of Group
        Planned groups of these variants of which no run has a result.
    learned_ratios : tuple of LearnedRatio
        ``learning_rate`` only: adapters of the reference's method beside the reference, one a learning rate.
    growth : Growth or None
        ``learning_rate`` only: how the reference's update grows with the travel, over all its runs.
    evaluation_costs : tuple of EvaluationCost
        ``eval_strategy`` only: the submitted runs of the reference and of the head-only baseline.
    eval_run : RunReport or None
        ``eval_strategy`` only, which has no ``variants``: all strategies are read from this one run.
    eval_views : tuple of EvalView
        ``eval_strategy`` only: what each strategy would have seen and kept of that run, from the finest to none.
    eval_finding : StrategyFinding or None
        ``eval_strategy`` only; None where the record of ``eval_run`` has no test results of them.
    rule_costs : tuple of RuleCost
        ``eval_strategy`` only: one an adapter whose records hold the results.
    epochs : EpochsReport or None
        ``epochs`` only, read from the curves of all groups; its ``variants`` may be empty all the same.
    """

    factor: Factor
    variants: tuple[str, ...]
    values: Mapping[str, Any]
    adapters: tuple[str, ...]
    groups: Mapping[tuple[str, str], Group]
    reason: Reason | None
    findings: tuple[Finding, ...] = ()
    without_result: tuple[Group, ...] = ()
    learned_ratios: tuple[LearnedRatio, ...] = ()
    growth: Growth | None = None
    evaluation_costs: tuple[EvaluationCost, ...] = ()
    eval_run: RunReport | None = None
    eval_views: tuple[EvalView, ...] = ()
    eval_finding: StrategyFinding | None = None
    rule_costs: tuple[RuleCost, ...] = ()
    epochs: EpochsReport | None = None

    @property
    def eval_curve(self) -> tuple[str, str] | None:
        """Return adapter and variant of ``eval_run``."""
        return None if self.eval_run is None else (self.eval_run.run.adapter.id, self.eval_run.run.variant)
