"""Define verdicts, comparisons and baselines: shapes only, nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from adapterbook.analysis.shapes.predicted import PredictedRows
from adapterbook.analysis.shapes.runs import Basis, Reason, VerdictKind
from adapterbook.common.stats import Interval, PairedSeedsTest
from adapterbook.runs.probe import ProbeRecord

BaselineKind = Literal["chance", "majority", "head_only", "linear_probe", "full_fine_tuning"]


@dataclass(frozen=True)
class Verdict:
    """Compare adapter ``a`` with adapter ``b`` on the test rows.

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
    discordant_share : float or None
        Share of rows that exactly one of the two predicted right; mean over the seeds.
    smallest_detectable : float or None
        The smallest accuracy difference that this many paired rows detect with power 0.8 at alpha 0.05, *given how
        rarely these two disagree*: for two that agree on nearly every row it is small. It does not apply to two models
        that disagree more often; see ``Report.planning``.
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
    discordant_share: float | None = None
    smallest_detectable: float | None = None

    @property
    def spread_known(self) -> bool:
        """Tell whether the spread between seeds entered the verdict: from three common seeds on."""
        return self.seeds_test is not None

    @property
    def few_disagreements(self) -> bool:
        """Tell whether the two disagree on so few rows that no difference between them could be found reliably.

        ``smallest_detectable`` is then the share of rows that they would have to disagree on, all on one side. A page
        must not show it as a difference that the test could have found.
        """
        if self.discordant_share is None or self.smallest_detectable is None:
            return False
        return self.discordant_share <= self.smallest_detectable

    @property
    def limit_known(self) -> bool:
        """Tell whether an undecided verdict says how small a difference this test would have found."""
        undecided = self.kind == "not_distinguishable"
        return undecided and self.smallest_detectable is not None and self.discordant_share is not None

    @property
    def only_uncorrected(self) -> bool:
        """Tell whether the verdict is undecided although the interval, which no correction widens, leaves zero out."""
        interval = self.interval
        undecided = self.kind == "not_distinguishable" and interval is not None
        return undecided and interval is not None and (interval.low > 0 or interval.high < 0)


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
        be shown without ``pairs`` or ``smallest_detectable``.
    smallest_detectable : float or None
        The largest of the pairs' smallest detectable differences.
    all_alike : bool
        Whether no pair is distinguishable.
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
    smallest_detectable: float | None
    all_alike: bool
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
    def told_apart(self) -> tuple[Verdict, ...]:
        """Return the pairs that differ after correction."""
        return tuple(pair for pair in self.pairs if pair.kind in ("better", "worse"))

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
        ``chance`` (0.5, no interval), ``majority`` (always the more frequent label of the test rows),
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
class Planning:
    """Hold the smallest difference that the test rows can find between two models that disagree as often as the median.

    Attributes
    ----------
    n_rows : int
        Test rows.
    discordant_share : float
        The median over the pairs, each adapter at its own best learning rate.
    smallest_detectable : float
        The smallest accuracy difference found with power 0.8 at alpha 0.05, in (0, 1].
    """

    n_rows: int
    discordant_share: float
    smallest_detectable: float
