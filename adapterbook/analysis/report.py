"""What the pages and the figures know: the report, as frozen dataclasses.

Owns the shape of the analysis and the reason codes. Holds numbers and codes only: a sentence, in either language, is
the pages' business. A value that is not there is ``None``, and a ``reason`` beside it says why.

Report
├── source: SourceReport         which source, what is mixed, what may be compared
├── adapters: {id: AdapterReport}    ├── groups: {variant: Group}  ── runs: (RunReport, …)
├── variants: (VariantReport, …)     └── differences from the reference adapter
├── headline: Verdict            which LoRA against IA³
├── comparisons: {"submitted" | "best": Comparison}   every pair of adapters
├── baselines, costs, published
└── ablations: {"learning_rate" | "batch_size" | "eval_strategy" | "epochs": Ablation}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from adapterbook.config import AdapterConfig, BilingualText, StudyConfig, TrainingConfig
from adapterbook.records import Record
from adapterbook.runs import Run
from adapterbook.statistics import Confusion, Interval, PairedSeedsTest

__all__ = [
    "Ablation",
    "AdapterReport",
    "Baseline",
    "Basis",
    "Comparison",
    "CostRow",
    "CostTable",
    "Curve",
    "CurvePoint",
    "Difference",
    "EpochsReport",
    "EvalStrategy",
    "EvalView",
    "Example",
    "Examples",
    "Factor",
    "Group",
    "Overfitting",
    "PublishedPoint",
    "PublishedReport",
    "PublishedRun",
    "Reason",
    "Report",
    "RunReport",
    "SourceReport",
    "Spread",
    "VariantReport",
    "Verdict",
    "VerdictKind",
]

Basis = Literal["submitted", "best"]
Factor = Literal["learning_rate", "batch_size", "eval_strategy", "epochs"]

EvalStrategy = Literal["steps", "epoch", "no"]
VerdictKind = Literal["better", "worse", "not_distinguishable", "not_comparable"]

Reason = Literal[
    "no_runs",  # the study plans no such run
    "missing",  # never run
    "failed",  # the run failed
    "broken",  # its record cannot be read
    "no_predictions",  # the record is there, its predictions are not, or cannot be read
    "predictions_disagree",  # the predictions are not those that the record's test result was computed from
    "not_evaluated",  # no evaluation on validation took place (eval_strategy: no)
    "no_lora",  # no adapter of the study is a LoRA
    "no_ia3",  # no adapter of the study is an IA³
    "no_counterpart",  # fewer than two adapters can be compared
    "different_rows",  # the two adapters predicted different test rows
    "different_sources",  # the two adapters were run on different base models or data
    "one_class",  # all test rows have the same label
    "no_variants",  # the study has no variants that differ in this alone
    "no_published",  # the source names no published results: another base model or data set
    "published_mixed",  # records of several sources: which to compare is not clear
    "published_unknown",  # the source names published results that were not given
    "other_layout",  # no adapter names a module of DistilBERT's Transformer block
    "published_other_protocol",  # no completed run has the published learning rate, epochs and batch size
]


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes
    ----------
    n : int
        Seeds, at least 1.
    mean, low, high : float
        Mean, lowest and highest; all the same for one seed.
    sd : float or None
        Sample standard deviation (n - 1); None unless ``known``.
    known : bool
        Whether the spread between seeds is known: from three seeds on.
    """

    n: int
    mean: float
    low: float
    high: float
    sd: float | None
    known: bool


@dataclass(frozen=True)
class CurvePoint:
    """One moment of training; each value over the seeds that have it, None where none has.

    ``epoch`` counts epochs, losses are cross-entropies in nat, ``validation_accuracy`` is a share in [0, 1].
    """

    epoch: float
    train_loss: Spread | None
    validation_loss: Spread | None
    validation_accuracy: Spread | None


@dataclass(frozen=True)
class Curve:
    """The course of training of one group: its points in order of epoch."""

    points: tuple[CurvePoint, ...]

    def values(self, quantity: str) -> list[tuple[float, Spread]]:
        """Return ``(epoch, spread)`` where the quantity (``validation_loss``, …) was measured."""
        pairs = [(point.epoch, getattr(point, quantity)) for point in self.points]
        return [(epoch, spread) for epoch, spread in pairs if spread is not None]


@dataclass(frozen=True)
class Overfitting:
    """Where one curve was best and where overfitting began.

    Attributes
    ----------
    n_epochs : float
        Epochs trained.
    best_epoch, best_validation_loss : float or None
        The first evaluation with the lowest validation loss; None with ``reason`` where nothing was evaluated.
    final_validation_loss : float or None
        At the last evaluation.
    onset_epoch : float or None
        Overfitting begins at the first evaluation after the best one from which on, to the end, the validation loss
        stays at least 1 % above its lowest value, while the train loss is below what it was at the best epoch.
        None where that never happens.
    saved_share : float or None
        Share of the training, in [0, 1), that stopping at the best epoch would have saved, known with hindsight.
    """

    n_epochs: float
    best_epoch: float | None
    best_validation_loss: float | None
    final_validation_loss: float | None
    onset_epoch: float | None
    saved_share: float | None
    reason: Reason | None = None


@dataclass(frozen=True)
class Example:
    """One test row; ``confidence`` in [0.5, 1] is the probability of the class that was predicted."""

    row_id: int
    text: str
    label: int
    prediction: int
    probability: float
    confidence: float

    @property
    def correct(self) -> bool:
        """Whether the label was predicted."""
        return self.label == self.prediction


@dataclass(frozen=True)
class Examples:
    """A few test rows of a run: the most confident right, the most confident wrong, those closest to 0.5."""

    right: tuple[Example, ...]
    wrong: tuple[Example, ...]
    uncertain: tuple[Example, ...]


@dataclass(frozen=True)
class RunReport:
    """One run, whatever became of it.

    Attributes
    ----------
    id : str
        ``<adapter>/<variant>/seed-<seed>``; ``run`` holds the parts.
    state, stale, problem
        As in ``runs.RunStatus``.
    record : Record or None
        Also there for a failed run; the results inside are then None.
    predictions : DataFrame or None
        As ``records.load_predictions`` gives them, checked against the record's test result.
    test_interval, validation_interval : Interval or None
        Wilson, 95 %; of the test accuracy, and of the validation accuracy at the checkpoint that was kept.
    validation_accuracy : float or None
        At the checkpoint that was kept.
    reason : str or None
        Why the run has no results, or no predictions.
    """

    id: str
    run: Run
    state: Literal["completed", "failed", "missing", "broken"]
    stale: tuple[str, ...]
    problem: str | None
    record: Record | None
    predictions: pd.DataFrame | None = field(repr=False, compare=False)
    confusion: Confusion | None
    examples: Examples | None
    overfitting: Overfitting | None
    test_interval: Interval | None
    validation_accuracy: float | None
    validation_interval: Interval | None
    reason: Reason | None

    @property
    def completed(self) -> bool:
        """Whether the run has results, stale or not."""
        return self.state == "completed"


@dataclass(frozen=True)
class Group:
    """The runs of one adapter in one variant: one a seed.

    Attributes
    ----------
    runs : tuple of RunReport
        Every planned seed, in the study's order.
    n_completed : int
        Seeds that have results.
    spread_known : bool
        Whether at least three seeds have results.
    test_accuracy, test_f1, test_loss, best_validation_loss, train_time_s : Spread or None
        Over the seeds that have results; None, with ``reason``, where none has (or nothing was evaluated).
    test_interval : Interval or None
        Wilson, 95 %, of the test accuracy where one seed has results; with more, of their rows' mean accuracy.
    """

    adapter: str
    variant: str
    training: TrainingConfig
    runs: tuple[RunReport, ...]
    n_completed: int
    spread_known: bool
    curve: Curve
    overfitting: Overfitting | None
    test_accuracy: Spread | None
    test_f1: Spread | None
    test_loss: Spread | None
    best_validation_loss: Spread | None
    train_time_s: Spread | None
    test_interval: Interval | None
    reason: Reason | None

    @property
    def representative(self) -> RunReport | None:
        """The first run with results: whose examples, confusion matrix and settings a page shows."""
        return next((run for run in self.runs if run.completed), None)


@dataclass(frozen=True)
class Difference:
    """One setting in which an adapter differs from the reference.

    ``values`` of list settings are compared as sets: ``added`` and ``removed`` are then filled too.
    """

    key: str
    kind: Literal["added", "removed", "changed"]
    reference: Any
    value: Any
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdapterReport:
    """One adapter over all its variants.

    Attributes
    ----------
    groups : dict
        By variant's name, in the study's order; only variants that this adapter runs in.
    best_variant : str or None
        The variant with the lowest validation loss (mean over seeds of each run's lowest) among those that differ
        from the submitted one in the learning rate alone. Chosen on validation; ``best.test_accuracy`` reports test.
    n_trainable_params, n_adapter_params, n_head_params, n_total_params : int or None
        From the first completed record.
    reference : str or None
        The adapter that ``differences`` are from; None for the reference itself.
    """

    config: AdapterConfig
    groups: Mapping[str, Group]
    submitted: Group | None
    best_variant: str | None
    reference: str | None
    differences: tuple[Difference, ...]
    n_trainable_params: int | None
    n_adapter_params: int | None
    n_head_params: int | None
    n_total_params: int | None
    reason: Reason | None

    @property
    def id(self) -> str:
        """The adapter's id."""
        return self.config.id

    @property
    def best(self) -> Group | None:
        """The group of the best variant."""
        return None if self.best_variant is None else self.groups[self.best_variant]

    @property
    def head_only(self) -> bool:
        """Whether it trains the head and nothing else: the baseline of the frozen base model."""
        return self.n_adapter_params == 0


@dataclass(frozen=True)
class VariantReport:
    """One variant of the study: its settings, and which of them differ from the submitted ones."""

    name: str
    title: BilingualText
    training: TrainingConfig
    changed: tuple[str, ...]
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class SourceReport:
    """What the records say about where they come from.

    Attributes
    ----------
    names, base_models, datasets, device_names : tuple of str
        All that occur, sorted; more than one of the first three means mixed sources.
    reason_taken : str or None
        Why the source was taken, as the first record says.
    mixed : bool
        Whether records of different base models or data are among the results.
    published : str or None
        The file of ``published/`` that every record may be compared with.
    """

    names: tuple[str, ...]
    base_models: tuple[str, ...]
    datasets: tuple[str, ...]
    device_names: tuple[str, ...]
    reason_taken: str | None
    mixed: bool
    published: str | None


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


@dataclass(frozen=True)
class Report:
    """Everything that pages and figures show.

    Attributes
    ----------
    runs : tuple of RunReport
        Every planned run, in the study's order; ``n_by_state`` counts them.
    reference : str or None
        The adapter that the others are described against: ``lora_1`` if there is one, else the first.
    headline : Verdict
        The LoRA adapter with the lowest validation loss against the IA³ adapter with the lowest, each at its own best
        learning rate; ``headline_submitted`` the same two as submitted.
    n_test_rows : int or None
        Test rows of the first run with predictions.
    n_seeds : int
        Seeds planned.
    spread_known : bool
        Whether every group with results has at least three seeds.
    """

    study: StudyConfig
    source: SourceReport
    runs: tuple[RunReport, ...]
    n_by_state: Mapping[str, int]
    n_stale: int
    adapters: Mapping[str, AdapterReport]
    variants: tuple[VariantReport, ...]
    reference: str | None
    headline: Verdict
    headline_submitted: Verdict
    comparisons: Mapping[Basis, Comparison]
    baselines: tuple[Baseline, ...]
    costs: tuple[CostTable, ...]
    published: PublishedReport
    ablations: Mapping[Factor, Ablation]
    n_test_rows: int | None
    n_seeds: int
    spread_known: bool

    def run(self, run_id: str) -> RunReport:
        """Return a run by its id; KeyError if the study plans none."""
        for run in self.runs:
            if run.id == run_id:
                return run
        raise KeyError(run_id)

    def group(self, adapter: str, variant: str) -> Group | None:
        """Return the runs of one adapter in one variant, None where none are planned."""
        report = self.adapters.get(adapter)
        return None if report is None else report.groups.get(variant)

    def baseline(self, kind: Literal["chance", "majority", "head_only"]) -> Baseline:
        """Return the baseline of a kind."""
        return next(baseline for baseline in self.baselines if baseline.kind == kind)
