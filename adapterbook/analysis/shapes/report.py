"""Define the report, from which the pages and the figures are made, as frozen dataclasses.

The report holds numbers and codes; the sentences are in the templates. A missing value is ``None``, and a ``reason``
beside it says why.

Report
├── source: SourceReport         which source, what is mixed, what may be compared
├── adapters: {id: AdapterReport}    ├── groups: {variant: Group}  ── runs: (RunReport, …), learned: Learned
├── variants: (VariantReport, …)     ├── differences from the reference adapter
│                                    └── formula: ParameterFormula
├── headline: Verdict            one method against another
├── comparisons: {"submitted" | "best": Comparison}   every pair of adapters, the baseline among them
├── baselines, probe, live, planning, costs, calibration, published, sentences
├── travel: TravelReport         how far training had moved the weights at each checkpoint
└── ablations: {"learning_rate" | "batch_size" | "eval_strategy" | "epochs": Ablation}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapterbook.analysis.shapes.calibration import CalibrationReport
from adapterbook.analysis.shapes.comparisons import Baseline, BaselineKind, Comparison, LiveReport, ProbeReport, Verdict
from adapterbook.analysis.shapes.findings import Ablation, AboveMajority, BestRates, CostTable, PublishedReport
from adapterbook.analysis.shapes.runs import AdapterReport, Basis, Factor, Group, Reason, RunReport
from adapterbook.analysis.shapes.travel import TravelReport
from adapterbook.config.source import Wording
from adapterbook.config.study import BilingualText, StudyConfig, TrainingConfig
from adapterbook.runs.record import TokenInfo


@dataclass(frozen=True)
class SentenceRow:
    """Hold one test sentence.

    Attributes
    ----------
    predictions : tuple of int
        In the order of the table's runs.
    probabilities : tuple of float
        As ``Example.probability``, in the same order.
    confidences : tuple of float
        As ``Example.confidence``, in the same order.
    spread : float
        The highest probability minus the lowest.
    """

    row_id: int
    text: str
    label: int
    predictions: tuple[int, ...]
    probabilities: tuple[float, ...]
    confidences: tuple[float, ...]
    spread: float

    @property
    def n_wrong(self) -> int:
        """Return how many runs predicted another label."""
        return sum(prediction != self.label for prediction in self.predictions)

    @property
    def divided(self) -> bool:
        """Tell whether some runs predicted one label and some another."""
        return len(set(self.predictions)) > 1


@dataclass(frozen=True)
class SentenceTable:
    """Hold the test sentences, or as many at even distances as a page has room for, the same for every adapter.

    Attributes
    ----------
    runs : tuple of RunReport
        One an adapter, in the report's order: at its best learning rate, else as submitted.
    rows : tuple of SentenceRow
        Those that divide the adapters first, in falling order of ``spread``; of more than two labels, label by label.
    left_out : mapping
        By adapter's id, why it is not among ``runs``.
    n_test : int or None
        Test rows that the sentences were taken from; None where there are no ``runs``.
    """

    runs: tuple[RunReport, ...]
    rows: tuple[SentenceRow, ...]
    left_out: Mapping[str, Reason]
    n_test: int | None

    @property
    def whole(self) -> bool:
        """Tell whether the rows are all test rows."""
        return len(self.rows) == self.n_test

    @property
    def n_divided(self) -> int:
        """Return the number of sentences about which the adapters disagree."""
        return sum(row.divided for row in self.rows)

    @property
    def n_wrong_by_all(self) -> int:
        """Return the number of sentences that every adapter gets wrong."""
        return sum(row.n_wrong == len(self.runs) for row in self.rows)


@dataclass(frozen=True)
class VariantReport:
    """Describe one variant of the study: its settings, and which of them differ from the submitted ones."""

    name: str
    title: BilingualText
    training: TrainingConfig
    changed: tuple[str, ...]
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class SourceReport:
    """Describe the sources that the records name.

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
    wording : Wording or None
        What the task and the labels are called, from the source's file today, or else from a record; None without one.
    base_model_licence, dataset_licence : BilingualText or None
        As the source's file gives them.
    """

    names: tuple[str, ...]
    base_models: tuple[str, ...]
    datasets: tuple[str, ...]
    device_names: tuple[str, ...]
    reason_taken: str | None
    mixed: bool
    published: str | None
    wording: Wording | None
    base_model_licence: BilingualText | None = None
    dataset_licence: BilingualText | None = None

    @property
    def n_labels(self) -> int:
        """Return the number of labels; two where no record says it."""
        return 2 if self.wording is None else len(self.wording.labels)


@dataclass(frozen=True)
class Report:
    """Hold everything that pages and figures show.

    Attributes
    ----------
    runs : tuple of RunReport
        Every planned run, in the study's order; ``n_by_state`` counts them.
    adapters : dict
        By id in the study's order, but the baselines come last.
    reference : str or None
        The adapter that the others are described against: ``lora_1`` if there is one, else the first.
    headline : Verdict
        The adapters with the lowest validation losses of two methods, or of the only one, each at its own best
        learning rate; ``headline_submitted`` the same two as submitted.
    above_majority : dict
        By basis; None where the majority class is not known or is always right.
    size_ratios : dict
        By adapter, its own parameters over those of the smallest adapter.
    baselines : tuple of Baseline
        Chance, the majority class, the linear probe, and the trained baselines, each once a variant.
    probe : ProbeReport
    live : LiveReport
        The adapters that readers can try.
    sentences : SentenceTable
        The same test sentences for every adapter.
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
    above_majority: Mapping[Basis, AboveMajority | None]
    size_ratios: Mapping[str, float]
    best_rates: BestRates
    baselines: tuple[Baseline, ...]
    probe: ProbeReport
    live: LiveReport
    costs: tuple[CostTable, ...]
    calibration: CalibrationReport
    published: PublishedReport
    ablations: Mapping[Factor, Ablation]
    travel: TravelReport
    sentences: SentenceTable
    n_test_rows: int | None
    n_seeds: int
    spread_known: bool

    @property
    def validation_majority(self) -> float | None:
        """Return the share of the more frequent label among the validation rows, from the first completed run."""
        splits = (run.record.splits for run in self.runs if run.completed and run.record is not None)
        rows = next((split.validation for split in splits if split is not None), None)
        return None if rows is None else rows.n_most_frequent / rows.n

    @property
    def tokens(self) -> TokenInfo | None:
        """Return how texts became tokens, from the first completed run that says so."""
        found = (run.record.tokens for run in self.runs if run.completed and run.record is not None)
        return next((tokens for tokens in found if tokens is not None), None)

    @property
    def needs_warning(self) -> bool:
        """Tell whether the records are of several sources, or of one that nothing was published for."""
        return self.source.mixed or (bool(self.source.names) and self.published.reason == "no_published")

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

    def baseline(self, kind: BaselineKind, variant: str | None = None) -> Baseline:
        """Return the baseline of a kind; one that was trained in a variant, or else at its own best learning rate."""
        found = [baseline for baseline in self.baselines if baseline.kind == kind]
        if variant is None:
            adapter = self.adapters.get(found[0].adapter or "")
            best = None if adapter is None else adapter.best_variant
            return next((baseline for baseline in found if baseline.variant == best), found[0])
        missing = Baseline(kind, None, None, None, variant=variant, reason="no_runs")
        return next((baseline for baseline in found if baseline.variant == variant), missing)
