"""Define verdicts, comparisons and baselines: shapes only, nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from adapterbook.analysis.shapes.predicted import PredictedRows
from adapterbook.analysis.shapes.runs import Basis, Reason, VerdictKind
from adapterbook.common.stats import Interval
from adapterbook.runs.live.record import LiveRecord, Refusal
from adapterbook.runs.probe import ProbeRecord

BaselineKind = Literal["chance", "majority", "head_only", "linear_probe", "full_fine_tuning"]
ALPHA = 0.05  # of either family of tests, after Holm's correction


@dataclass(frozen=True)
class Verdict:
    """Compare adapter ``a`` with adapter ``b`` on the test rows.

    Attributes
    ----------
    kind : str
        ``same``: the difference is shown to be smaller than the study's margin (``p_same_holm`` below ``ALPHA``),
        whether or not it is zero: the study has declared such a difference to be too small to matter.
        ``better`` or ``worse`` (of ``a``): otherwise, if ``p_holm`` is below ``ALPHA``. ``not_distinguishable``:
        neither is shown. ``not_comparable``: with a ``reason``.
    accuracy_a, accuracy_b, difference : float or None
        Test accuracies, and ``a`` minus ``b``; means over each adapter's seeds.
    n_right_a, n_right_b : int or None
        Test rows predicted right, where both have one seed.
    interval : Interval or None
        Of the difference, 95 %, for this pair alone: ``common.stats.estimate_difference``.
    p, p_holm : float or None
        That the difference is zero, and corrected over all pairs of the same comparison.
    p_same, p_same_holm : float or None
        That it is at least as large as the margin, by two one-sided tests; corrected likewise.
    n_rows, n_seeds_a, n_seeds_b : int
        Test rows, and the seeds of either adapter that have results. They make no pairs.
    discordant_share : float or None
        Share of rows that exactly one of two models predicted right; mean over the pairs of seeds.
    smallest_detectable : float or None
        The difference that this test, at the comparison's ``level``, finds with its ``power``; None where no
        difference is large enough.
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
    n_right_a: int | None = None
    n_right_b: int | None = None
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    p_same: float | None = None
    p_same_holm: float | None = None
    n_rows: int = 0
    n_seeds_a: int = 0
    n_seeds_b: int = 0
    discordant_share: float | None = None
    smallest_detectable: float | None = None

    @property
    def covers_seeds(self) -> bool:
        """Tell whether the verdict is about the adapters, over seeds, or only about these trained models."""
        return min(self.n_seeds_a, self.n_seeds_b) > 1

    @property
    def same_but_different(self) -> bool:
        """Tell whether a difference within the margin is significantly different from zero."""
        return self.kind == "same" and self.p_holm is not None and self.p_holm < ALPHA

    @property
    def few_disagreements(self) -> bool:
        """Tell whether the two are the same because they hardly disagree, and not because the test is sensitive.

        They disagree on fewer rows than a difference between them would need to be found.
        """
        if self.kind != "same" or self.discordant_share is None or self.smallest_detectable is None:
            return False
        return self.discordant_share <= self.smallest_detectable

    @property
    def only_uncorrected(self) -> bool:
        """Tell whether the verdict is undecided although the interval, which no correction widens, leaves zero out."""
        if self.kind != "not_distinguishable" or self.interval is None:
            return False
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class Comparison:
    """Hold every pair of adapters, each in one variant: as submitted, or each at its own best learning rate.

    Attributes
    ----------
    variants : dict
        By adapter's id, the variant it is compared in; None where it has no results.
    pairs : tuple of Verdict
        ``a`` before ``b`` in the order of adapters; Holm-corrected together.
    ranking : tuple of str
        Ids of the adapters that have results, by mean test accuracy, highest first (ties: order of adapters). Not to
        be shown without ``pairs``.
    n_tested : int
        Pairs that were tested, over which the p-values are corrected.
    level : float or None
        ``ALPHA / n_tested``, at which Holm's correction takes its first step; None where no pair was tested.
    power : float
        Of ``smallest_detectable``.
    smallest_detectable : float or None
        The median of the tested pairs' smallest detectable differences; None where that is none.
    baseline : str or None
        Id of the baseline that trains the head alone, if the study has one; it is ``b`` in each of its pairs.
    full_fine_tuning : str or None
        Id of the baseline that trains all weights, likewise.
    against : tuple of str
        Empty where every pair is tested. With very many adapters the few that each other one is compared with.
    probe : tuple of Verdict
        Each adapter against the linear probe, which is ``b``; Holm-corrected together.
    """

    basis: Basis
    variants: Mapping[str, str | None]
    pairs: tuple[Verdict, ...]
    ranking: tuple[str, ...]
    n_tested: int
    level: float | None
    power: float
    smallest_detectable: float | None
    reason: Reason | None
    baseline: str | None = None
    full_fine_tuning: str | None = None
    against: tuple[str, ...] = ()
    probe: tuple[Verdict, ...] = ()

    @property
    def between(self) -> tuple[Verdict, ...]:
        """Return the pairs of two adapters, without the baselines."""
        return tuple(pair for pair in self.pairs if pair.b not in (self.baseline, self.full_fine_tuning))

    @property
    def added(self) -> tuple[Verdict, ...]:
        """Return each adapter against the baseline: the gain over training the head alone."""
        return tuple(pair for pair in self.pairs if pair.b == self.baseline)

    def against_baseline(self, kind: BaselineKind, verdict: VerdictKind | None = None) -> tuple[Verdict, ...]:
        """Return each adapter against a baseline, or only those with one kind of verdict."""
        names = {"head_only": self.baseline, "full_fine_tuning": self.full_fine_tuning}
        pairs = self.probe if kind == "linear_probe" else [pair for pair in self.pairs if pair.b == names.get(kind, "")]
        return tuple(pair for pair in pairs if verdict in (None, pair.kind))

    def added_with(self, kind: VerdictKind) -> tuple[Verdict, ...]:
        """Return the pairs of ``added`` with one kind of verdict."""
        return tuple(pair for pair in self.added if pair.kind == kind)

    @property
    def gained(self) -> tuple[Verdict, ...]:
        """Return the pairs of ``added`` in which the adapter is better, the smallest difference first."""
        return tuple(sorted(self.added_with("better"), key=lambda pair: pair.difference or 0))

    @property
    def between_apart(self) -> tuple[Verdict, ...]:
        """Return the pairs of two adapters that differ after correction."""
        return tuple(pair for pair in self.between if pair.kind in ("better", "worse"))

    @property
    def told_apart(self) -> tuple[Verdict, ...]:
        """Return the pairs that differ after correction."""
        return tuple(pair for pair in self.pairs if pair.kind in ("better", "worse"))

    @property
    def same(self) -> tuple[Verdict, ...]:
        """Return the pairs that are the same within the study's margin."""
        return tuple(pair for pair in self.pairs if pair.kind == "same")

    @property
    def undecided(self) -> tuple[Verdict, ...]:
        """Return the pairs that are neither shown to differ nor to be the same."""
        return tuple(pair for pair in self.pairs if pair.kind == "not_distinguishable")

    @property
    def covers_seeds(self) -> bool:
        """Tell whether every tested pair is about adapters over seeds, and none only about trained models."""
        return all(pair.covers_seeds for pair in self.pairs if pair.kind != "not_comparable")

    @property
    def agreeing(self) -> tuple[Verdict, ...]:
        """Return the pairs that disagree on very few rows, the one that disagrees most first."""
        few = [pair for pair in self.pairs if pair.few_disagreements]
        return tuple(sorted(few, key=lambda pair: -(pair.discordant_share or 0)))  # sorted is stable

    def pair(self, a: str, b: str) -> Verdict | None:
        """Return the verdict of two adapters, in the order in which it was computed."""
        return next((pair for pair in self.pairs if {pair.a, pair.b} == {a, b}), None)


@dataclass(frozen=True)
class Baseline:
    """Hold a result that an adapter has to beat.

    Attributes
    ----------
    kind : str
        ``chance`` (one of the labels, no interval), ``majority`` (always the most frequent label of the test rows),
        ``linear_probe`` (logistic regression on the frozen base model), or one that ``adapter`` names: ``head_only``
        (the frozen base model with only its head trained) or ``full_fine_tuning`` (all weights trained).
    label : int or None
        The majority label.
    variant : str or None
        With ``adapter``: the variant it was trained in; there is one baseline a variant.
    """

    kind: BaselineKind
    accuracy: float | None
    interval: Interval | None
    n: int | None
    label: int | None = None
    adapter: str | None = None
    variant: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class ProbeReport:
    """Hold the linear probe of the report's source.

    Attributes
    ----------
    record : ProbeRecord or None
        None, with ``reason``, where there is none that can be read.
    stale : tuple of str
        Names of the stamps that differ from today's.
    rows : PredictedRows or None
        From its predictions, checked against its record; None with ``reason``.
    problem : str or None
        The reason in detail, as a message.
    """

    record: ProbeRecord | None
    stale: tuple[str, ...] = ()
    rows: PredictedRows | None = None
    problem: str | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class LiveReport:
    """Hold what was prepared for the page on which readers try the adapters.

    Attributes
    ----------
    record : LiveRecord or None
        None, with ``reason``, where there is none that can be read.
    stale : tuple of str
        Names of the stamps that differ from today's.
    reason : str or None
        Why readers cannot try the adapters: ``off`` (as book.yaml says, or the base model is large), ``missing``,
        ``broken``, or the record's refusal.
    problem : str or None
        The reason in detail, as a message.
    """

    record: LiveRecord | None = None
    stale: tuple[str, ...] = ()
    reason: Literal["off", "missing", "broken"] | Refusal | None = None
    problem: str | None = None
