"""Define what the report says about runs, their groups over seeds, and adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adapterbook.analysis.shapes.modules import Learned, ParameterFormula
from adapterbook.analysis.shapes.predicted import Examples, PredictedRows
from adapterbook.common.confusion import Confusion
from adapterbook.common.stats import Interval
from adapterbook.config.study import AdapterConfig, TrainingConfig
from adapterbook.runs.plan import Run
from adapterbook.runs.record import Record
from adapterbook.runs.search import score

Basis = Literal["submitted", "best"]
Factor = Literal["learning_rate", "batch_size", "eval_strategy", "epochs"]

EvalStrategy = Literal["steps", "epoch", "no"]
VerdictKind = Literal["better", "worse", "same", "not_distinguishable", "not_comparable"]

Reason = Literal[
    "no_runs",  # the study plans no such run
    "missing",  # never run
    "failed",  # the run failed
    "broken",  # its record cannot be read
    "no_predictions",  # the record is there, its predictions are not, or cannot be read
    "predictions_disagree",  # the predictions are not those that the record's test result was computed from
    "not_evaluated",  # no evaluation on validation took place (eval_strategy: no)
    "no_counterpart",  # fewer than two adapters can be compared
    "different_rows",  # the two adapters predicted different test rows
    "different_sources",  # the two adapters were run on different base models or data
    "one_class",  # all test rows have the same label
    "no_variants",  # the study has no variants that differ in this alone
    "nothing_published",  # published/ is empty: the study does not repeat another
    "no_published",  # the source names no published results: another base model or data set
    "not_published",  # published results there are, but none of this adapter
    "published_mixed",  # records of several sources: which to compare is not clear
    "published_unknown",  # the source names published results that were not given
    "no_steps",  # no record says what the learning rate of each step was
    "not_measured",  # the record does not say what each layer learned
    "no_adapter",  # the baseline trains no adapter
    "other_layout",  # no adapter names a module of a Transformer block of DistilBERT or BERT
    "published_other_protocol",  # no completed run has the published learning rate, epochs and batch size
]


# A model that predicts one label for at least this share of the test rows is said to give one answer.
ONE_ANSWER = 0.95


@dataclass(frozen=True)
class Spread:
    """Summarise a number over seeds.

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
    """Hold one moment of training: each value over the seeds that have it, None where no seed has it.

    ``epoch`` counts epochs, losses are cross-entropies in nat, ``validation_accuracy`` is a share in [0, 1].
    """

    epoch: float
    train_loss: Spread | None
    validation_loss: Spread | None
    validation_accuracy: Spread | None


@dataclass(frozen=True)
class Curve:
    """Hold the training curve of one group: its points in order of epoch."""

    points: tuple[CurvePoint, ...]

    def values(self, quantity: str) -> list[tuple[float, Spread]]:
        """Return ``(epoch, spread)`` where the quantity (``validation_loss``, …) was measured."""
        pairs = [(point.epoch, getattr(point, quantity)) for point in self.points]
        return [(epoch, spread) for epoch, spread in pairs if spread is not None]


Course = Literal["overfit", "improving", "level", "not_evaluated"]


@dataclass(frozen=True)
class Overfitting:
    """Say where one curve was best and where overfitting began.

    Attributes
    ----------
    n_epochs : float
        Epochs trained.
    best_epoch, best_validation_loss : float or None
        The first evaluation with the lowest validation loss; None with ``reason`` where nothing was evaluated.
    final_validation_loss : float or None
        At the last evaluation.
    noise : float or None
        Two standard errors of the lowest validation loss, nat: a smaller rise may be chance.
    onset_epoch : float or None
        Overfitting begins at the first evaluation after the best one from which on, to the end, the validation loss
        stays more than ``noise`` above its lowest value, while the train loss is below what it was at the best epoch.
        None where that never happens.
    """

    n_epochs: float
    best_epoch: float | None
    best_validation_loss: float | None
    final_validation_loss: float | None
    onset_epoch: float | None
    noise: float | None
    reason: Reason | None = None

    @property
    def course(self) -> Course:
        """Say how the validation loss went: it rose, it was lowest at the end, or it stayed level within its noise."""
        if self.best_epoch is None:
            return "not_evaluated"
        if self.onset_epoch is not None:
            return "overfit"
        return "improving" if self.best_epoch == self.n_epochs else "level"


@dataclass(frozen=True)
class RunReport:
    """Describe one run in any state: completed, failed, missing or broken.

    Attributes
    ----------
    id : str
        ``<adapter>/<variant>/seed-<seed>``; ``run`` holds the parts.
    state, stale, problem
        As in ``runs.RunStatus``.
    record : Record or None
        Also there for a failed run; the results inside are then None.
    predictions : PredictedRows or None
        From ``predictions.parquet``, checked against the record's test result.
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
    predictions: PredictedRows | None
    confusion: Confusion | None
    examples: Examples | None
    overfitting: Overfitting | None
    test_interval: Interval | None
    validation_accuracy: float | None
    validation_interval: Interval | None
    reason: Reason | None

    @property
    def one_answer(self) -> int | None:
        """Return the label that was predicted for nearly every test row, None if there is none."""
        if self.confusion is None:
            return None
        predicted, n = self.confusion.n_predicted, self.confusion.n
        return next((label for label, count in enumerate(predicted) if count >= ONE_ANSWER * n), None)

    @property
    def n_one_answer(self) -> int:
        """Return the number of test rows for which `one_answer` was predicted."""
        return max(self.confusion.n_predicted) if self.confusion is not None and self.one_answer is not None else 0

    @property
    def always(self) -> Confusion | None:
        """Return the counts of a model that gives `one_answer` for every test row."""
        if self.confusion is None or self.one_answer is None:
            return None
        return self.confusion.always(self.one_answer)

    @property
    def completed(self) -> bool:
        """Tell whether the run has results, stale or not."""
        return self.state == "completed"

    @property
    def faulty(self) -> bool:
        """Tell whether the run has no results, no usable predictions, or is stale."""
        return self.reason is not None or bool(self.stale)


@dataclass(frozen=True)
class Group:
    """Hold the runs of one adapter in one variant, one for each seed.

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
        Of the test accuracy, 95 %: over other test rows and, where several seeds have results, over other seeds
        (``common.stats.accuracy_interval``). With one seed this is Wilson's interval.
    learned : Learned or None
        None where no record says it, and for the baseline.
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
    learned: Learned | None
    reason: Reason | None

    @property
    def course(self) -> Course:
        """Say how the validation loss went."""
        return "not_evaluated" if self.overfitting is None else self.overfitting.course

    @property
    def searched(self) -> RunReport:
        """Return the run with the lowest seed, which the search for a learning rate looks at."""
        return min(self.runs, key=lambda run: run.run.seed)

    @property
    def score(self) -> tuple[float, float] | None:
        """Return how well it did on the rows that choices are made on, higher is better; None if it was not evaluated.

        That is the score of `runs.search` with the lowest seed; without selection rows, the lowest validation loss, as
        a mean over seeds.
        """
        record = self.searched.record
        if record is not None and record.selection is not None:
            return score(record.selection)
        return None if self.best_validation_loss is None else (-self.best_validation_loss.mean, 0.0)

    @property
    def one_answer(self) -> int | None:
        """Return the label that every seed with results predicted for nearly every test row, None if there is none."""
        answers = {run.one_answer for run in self.runs if run.completed}
        return answers.pop() if len(answers) == 1 else None

    @property
    def representative(self) -> RunReport | None:
        """Return the first run with results; a page shows its examples, confusion matrix and settings."""
        return next((run for run in self.runs if run.completed), None)


@dataclass(frozen=True)
class Difference:
    """Hold one setting in which an adapter differs from the reference.

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
    """Describe one adapter over all its variants.

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
    formula : ParameterFormula or None
        From the first completed record; None for a method without one, and for the baseline.
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
    formula: ParameterFormula | None
    reason: Reason | None

    @property
    def id(self) -> str:
        """Return the adapter's id."""
        return self.config.id

    @property
    def best(self) -> Group | None:
        """Return the group of the best variant."""
        return None if self.best_variant is None else self.groups[self.best_variant]

    @property
    def baseline(self) -> Literal["head_only", "full_fine_tuning"] | None:
        """Return which baseline it is, or None for an adapter."""
        return self.config.baseline

    @property
    def groups_best_first(self) -> tuple[Group, ...]:
        """Return the groups, the one at the best learning rate first."""
        return tuple(sorted(self.groups.values(), key=lambda group: group.variant != self.best_variant))

    @property
    def n_printed_params(self) -> int | None:
        """Return the total that PEFT prints: it keeps an untrained copy of the head, and counts it too."""
        if self.n_total_params is None or self.n_head_params is None:
            return None
        return self.n_total_params + self.n_head_params

    @property
    def head_only(self) -> bool:
        """Tell whether it only trains the head: the baseline of the frozen base model."""
        return self.baseline == "head_only"

    @property
    def learned(self) -> Learned | None:
        """Return what it learned at its own best learning rate, or as submitted if none could be chosen."""
        group = self.best or self.submitted
        return None if group is None else group.learned

    @property
    def learned_reason(self) -> Reason | None:
        """Say why ``learned`` is None."""
        if self.learned is not None:
            return None
        return "no_adapter" if self.head_only else self.reason or "not_measured"
