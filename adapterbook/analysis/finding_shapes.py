"""What the report finds across runs: verdicts, baselines, costs, ablations. Shapes only: nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adapterbook.analysis.reasons import Basis, EvalStrategy, Factor, Reason, VerdictKind
from adapterbook.analysis.run_shapes import Group
from adapterbook.statistics import Interval, PairedSeedsTest

__all__ = [
    "Ablation",
    "Baseline",
    "Comparison",
    "CostRow",
    "CostTable",
    "EpochsReport",
    "EvalView",
    "PublishedPoint",
    "PublishedReport",
    "PublishedRun",
    "Verdict",
]


@dataclass(frozen=True)
class Verdict:
    """How adapter ``a`` stands against adapter ``b`` on the test rows.

    Attributes
    ----------
    kind : str
        ``better`` or ``worse`` (of ``a``): the Holm-corrected p-value over rows is below 0.05 and, from three seeds
        on, so is the one over seeds (unless all seeds give the same difference, which leaves nothing to test).
        ``not_distinguishable`` otherwise; ``not_comparable`` with a ``reason``.
    accuracy_a, accuracy_b, difference : float or None
        Test accuracies, and ``a`` minus ``b``; means over the seeds that both have.
    interval : Interval or None
        Of the difference: paired bootstrap over rows, 95 %.
    p, p_holm : float or None
        Exact McNemar; over several seeds the same test on each row's mean (``statistics.sign_flip_test``).
        Corrected over all pairs of the same comparison.
    n_only_a, n_only_b : int or None
        Rows that only ``a``, only ``b`` predicted right: with one seed, else None.
    seeds_test : PairedSeedsTest or None
        Paired t-test over seeds, from three common seeds on; ``p_seeds_holm`` its corrected p-value.
    n_rows, n_seeds : int
        Test rows, and seeds that both adapters have results of.
    smallest_detectable : float or None
        The smallest accuracy difference that this many paired rows detect with power 0.8 at alpha 0.05.
    """

    kind: VerdictKind
    a: str | None
    b: str | None
    variant_a: str | None
    variant_b: str | None
    reason: Reason | None = None
    accuracy_a: float | None = None
    accuracy_b: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    n_only_a: int | None = None
    n_only_b: int | None = None
    seeds_test: PairedSeedsTest | None = None
    p_seeds_holm: float | None = None
    n_rows: int = 0
    n_seeds: int = 0
    smallest_detectable: float | None = None

    @property
    def spread_known(self) -> bool:
        """Whether the spread between seeds entered the verdict: from three common seeds on."""
        return self.seeds_test is not None


@dataclass(frozen=True)
class Comparison:
    """Every pair of adapters, each in one variant: as submitted, or each at its own best learning rate.

    Attributes
    ----------
    variants : dict
        By adapter's id, the variant it is compared in; None where it has no results.
    pairs : tuple of Verdict
        ``a`` before ``b`` in the order of adapters; Holm-corrected together.
    ranking : tuple of str
        Ids of the adapters that have results, by mean test accuracy, highest first (ties: order of adapters). Not to
        be shown without ``pairs`` or ``smallest_detectable``.
    smallest_detectable : float or None
        The largest of the pairs' smallest detectable differences.
    all_alike : bool
        Whether no pair is distinguishable.
    """

    basis: Basis
    variants: Mapping[str, str | None]
    pairs: tuple[Verdict, ...]
    ranking: tuple[str, ...]
    smallest_detectable: float | None
    all_alike: bool
    reason: Reason | None

    def pair(self, a: str, b: str) -> Verdict | None:
        """Return the verdict of two adapters, in the order in which it was computed."""
        return next((pair for pair in self.pairs if {pair.a, pair.b} == {a, b}), None)


@dataclass(frozen=True)
class Baseline:
    """What an adapter has to beat.

    Attributes
    ----------
    kind : str
        ``chance`` (0.5, no interval), ``majority`` (always the more frequent label of the test rows) or
        ``head_only`` (the frozen base model with only its head trained: ``adapter`` names it).
    label : int or None
        The majority label.
    """

    kind: Literal["chance", "majority", "head_only"]
    accuracy: float | None
    interval: Interval | None
    n: int | None
    label: int | None = None
    adapter: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class CostRow:
    """What one group cost and what it gave; means over seeds.

    ``pareto`` names the costs (``params``, ``time``, ``size``) for which no other row of the table is at least as
    accurate and at least as cheap, and better in one of the two.
    """

    adapter: str
    variant: str
    accuracy: float
    n_seeds: int
    n_trainable_params: int
    n_adapter_params: int
    train_time_s: float
    train_samples_per_s: float
    peak_memory_bytes: int
    adapter_file_bytes: int
    pareto: tuple[Literal["params", "time", "size"], ...]


@dataclass(frozen=True)
class CostTable:
    """The rows of one device: times of different devices are never in one table.

    Its variants are those that differ in the learning rate alone; what the other ablations cost is their groups'.
    """

    device_name: str
    device: str
    rows: tuple[CostRow, ...]


@dataclass(frozen=True)
class PublishedPoint:
    """One epoch, published and rerun; the differences are rerun minus published."""

    epoch: int
    published_loss: float
    rerun_loss: float | None
    loss_difference: float | None
    published_accuracy: float
    rerun_accuracy: float | None
    accuracy_difference: float | None


@dataclass(frozen=True)
class PublishedRun:
    """One adapter's published curve beside this study's.

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
    """The published results beside this study's, or the reason why they may not be compared."""

    comparable: bool
    reason: Reason | None
    runs: Mapping[str, PublishedRun]


@dataclass(frozen=True)
class EvalView:
    """What one evaluation strategy would have seen of one existing curve.

    Attributes
    ----------
    strategy : str
        ``steps``, ``epoch`` or ``no``. ``steps`` may be there twice: as fine as the curve was evaluated, and sparse.
    every : float
        Epochs between two evaluations; 0 for ``no``.
    seen : tuple of (epoch, validation loss)
    best_epoch, best_validation_loss : float or None
        The checkpoint that ``load_best_model_at_end`` would have kept; for ``no`` the last one, whose loss is known
        here only because the curve was evaluated.
    regret : float
        Validation loss kept minus the lowest on the whole curve, nat; at least 0.
    """

    strategy: EvalStrategy
    every: float
    seen: tuple[tuple[float, float], ...]
    n_evaluations: int
    best_epoch: float
    best_validation_loss: float
    regret: float


@dataclass(frozen=True)
class EpochsReport:
    """Best epoch and onset of overfitting over all groups that were evaluated.

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
class Ablation:
    """Variants that differ in one factor alone.

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
    eval_views : tuple of EvalView
        ``eval_strategy`` only: every strategy on the most finely evaluated curve there is, ``eval_curve`` names it.
    epochs : EpochsReport or None
        ``epochs`` only, read from the curves of all groups; its ``variants`` may be empty all the same.
    """

    factor: Factor
    variants: tuple[str, ...]
    values: Mapping[str, Any]
    adapters: tuple[str, ...]
    groups: Mapping[tuple[str, str], Group]
    reason: Reason | None
    eval_curve: tuple[str, str] | None = None
    eval_views: tuple[EvalView, ...] = ()
    epochs: EpochsReport | None = None
