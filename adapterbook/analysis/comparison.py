"""Compare pairs of adapters on the same test rows, and choose the pair of the headline.

``Verdict`` has the rule by which one adapter is called better than another. Adapters that were tested on different rows
are not comparable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from statistics import median
from typing import Any

from adapterbook.analysis.shapes import (
    ALPHA,
    AdapterReport,
    BaselineKind,
    Basis,
    Comparison,
    Group,
    PredictedRows,
    ProbeReport,
    Reason,
    RunReport,
    Verdict,
    VerdictKind,
)
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.stats import Interval, estimate_difference, holm_correction
from adapterbook.config.study import PROBE

POWER = 0.8  # of the smallest difference that a test is said to find
RightRows = tuple[list[bytes], list[bytes]]  # of either side, one entry a seed: 1 where a row was predicted right
# With more adapters not every pair is tested: time, table and correction grow with the square of their number.
MAX_ADAPTERS_IN_PAIRS = 24
# These methods are named first; the others follow in the study's order.
METHODS_FIRST: Mapping[str, int] = {"LORA": -2, "IA3": -1}


def compare_adapters(
    adapters: Mapping[str, AdapterReport], basis: Basis, margin: float, cache: Cache = NO_CACHE
) -> Comparison:
    """Return the verdict on every pair of adapters, Holm-corrected together.

    With more than ``MAX_ADAPTERS_IN_PAIRS`` adapters, each is compared only with a few, chosen without the test rows:
    the reference, the baseline, and the two of the headline. The correction covers the pairs that are tested.

    Parameters
    ----------
    basis : str
        ``submitted``: each as the protocol says; ``best``: each at its own best learning rate, chosen on validation.
    margin : float
        A smaller difference of accuracies does not matter: the study's margin, in (0, 1).
    cache : Cache, optional
        Holds the tests of pairs that were compared before.
    """
    groups = {name: adapter.submitted if basis == "submitted" else adapter.best for name, adapter in adapters.items()}
    with_results = {name: group for name, group in groups.items() if group is not None and group.n_completed}
    against = () if len(adapters) <= MAX_ADAPTERS_IN_PAIRS else _choose_opponents(adapters)
    names = _choose_pairs(adapters, against)
    variants = {name: None if group is None else group.variant for name, group in groups.items()}
    rows = {
        Verdict("not_comparable", a, b, variants[a], variants[b]): _common_rows(
            adapters[a], adapters[b], groups[a], groups[b]
        )
        for a, b in names
    }
    pairs = _test_pairs(rows, margin, cache)
    n_tested = sum(pair.p is not None for pair in pairs)
    return Comparison(
        basis=basis,
        variants={name: with_results[name].variant if name in with_results else None for name in groups},
        pairs=tuple(pairs),
        ranking=tuple(
            sorted(with_results, key=lambda name: -_mean_accuracy(with_results[name]))  # sorted is stable
        ),
        n_tested=n_tested,
        level=ALPHA / n_tested if n_tested else None,
        power=POWER,
        smallest_detectable=_median_detectable(pairs),
        reason="no_counterpart" if len(with_results) < 2 else None,
        baseline=_find_baseline(adapters, "head_only"),
        full_fine_tuning=_find_baseline(adapters, "full_fine_tuning"),
        against=against,
    )


def compare_with_probe(
    adapters: Mapping[str, AdapterReport], basis: Basis, probe: ProbeReport, margin: float, cache: Cache = NO_CACHE
) -> tuple[Verdict, ...]:
    """Return the verdict on each adapter against the linear probe, Holm-corrected together; none without a probe.

    The probe has no seed, so the verdict covers the adapter's seeds, where there are several, and no others.
    """
    if probe.record is None:
        return ()
    groups = {name: adapter.submitted if basis == "submitted" else adapter.best for name, adapter in adapters.items()
              if adapter.baseline is None}  # fmt: skip
    rows = {
        Verdict("not_comparable", name, PROBE, None if group is None else group.variant, None): _rows_beside_probe(
            adapters[name], group, probe
        )
        for name, group in groups.items()
    }
    return tuple(_test_pairs(rows, margin, cache, b_has_seeds=False))


def _rows_beside_probe(adapter: AdapterReport, group: Group | None, probe: ProbeReport) -> RightRows | Reason:
    """Return what each seed of a group and what the probe predicted right, or why the two cannot be compared."""
    rows = _rows_of(group.runs) if group is not None else []
    if not rows or probe.rows is None:
        return probe.reason or adapter.reason or "not_evaluated"
    if {one.identity for one in rows} != {probe.rows.identity}:
        return "different_rows"
    if probe.rows.one_class:
        return "one_class"
    return [one.correct for one in rows], [probe.rows.correct]


def _median_detectable(pairs: Sequence[Verdict]) -> float | None:
    """Return the median of the tested pairs' smallest detectable differences, None where that pair has none."""
    found = [pair.smallest_detectable for pair in pairs if pair.p is not None]
    middle = median([math.inf if value is None else value for value in found] or [math.inf])
    return None if math.isinf(middle) else middle


def _choose_opponents(adapters: Mapping[str, AdapterReport]) -> tuple[str, ...]:
    """Return the adapters that every other one is compared with if there are too many pairs, in the study's order."""
    reference = next((adapter.reference for adapter in adapters.values() if adapter.reference is not None), None)
    chosen = {reference, *_choose_two(adapters)}
    return tuple(name for name, adapter in adapters.items() if name in chosen or adapter.baseline)


def _choose_pairs(adapters: Mapping[str, AdapterReport], against: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs to test; two baselines, which follow the adapters, are not compared with each other."""
    return [
        (a, b)
        for a, b in combinations(adapters, 2)
        if adapters[a].baseline is None and (not against or a in against or b in against)
    ]


def _find_baseline(adapters: Mapping[str, AdapterReport], kind: BaselineKind) -> str | None:
    return next((name for name, adapter in adapters.items() if adapter.baseline == kind), None)


def choose_headline(
    adapters: Mapping[str, AdapterReport], best: Comparison, submitted: Comparison
) -> tuple[Verdict, Verdict]:
    """Return one method against another: each at its own best learning rate, and the same two as submitted.

    The adapter with the best score represents its method, and the two best methods are compared: LoRA before IA³,
    others in the study's order. A study of one method compares its two best adapters, a study of one adapter that
    adapter and the baseline. The choice uses selection or validation rows only (``Group.score``), never test rows.
    """
    two = _choose_two(adapters)
    if len(two) < 2:
        missing = Verdict("not_comparable", next(iter(two), None), None, None, None, "no_counterpart")
        return missing, missing
    return _facing(best, *two), _facing(submitted, *two)


def _common_rows(
    adapter_a: AdapterReport, adapter_b: AdapterReport, a: Group | None, b: Group | None
) -> RightRows | Reason:
    """Return what each seed of two groups predicted right, one entry a seed, or why the two cannot be compared."""
    if a is None or b is None:
        lacking = adapter_a if a is None else adapter_b
        # With results but no group: no learning rate could be chosen, or the submitted one is not among its runs.
        return lacking.reason or ("no_runs" if lacking.submitted is None else "not_evaluated")
    of_a, of_b = ([run for run in group.runs if run.predictions is not None] for group in (a, b))
    if not of_a or not of_b:
        return _why_no_predictions(b if of_a else a)
    if len({_source_of(run) for run in (*of_a, *of_b)}) > 1:
        return "different_sources"
    rows_a, rows_b = _rows_of(of_a), _rows_of(of_b)
    if len({one.identity for one in (*rows_a, *rows_b)}) > 1:
        return "different_rows"
    if rows_a[0].one_class:
        return "one_class"
    return [one.correct for one in rows_a], [one.correct for one in rows_b]


def _test_pairs(
    rows: Mapping[Verdict, RightRows | Reason], margin: float, cache: Cache, *, b_has_seeds: bool = True
) -> list[Verdict]:
    """Return the verdicts on pairs, corrected together; a pair without rows keeps the reason."""
    n_tested = sum(not isinstance(found, str) for found in rows.values())
    return _decide(
        [
            replace(pair, reason=found)
            if isinstance(found, str)
            else replace(pair, **_test_pair(*found, margin, ALPHA / n_tested, cache, b_has_seeds))
            for pair, found in rows.items()
        ]
    )


def _test_pair(
    correct_a: Sequence[bytes], correct_b: Sequence[bytes], margin: float, level: float, cache: Cache, b_has_seeds: bool
) -> dict[str, Any]:
    """Return the fields of a verdict that are computed from the rows, one entry of either sequence a seed."""

    def make() -> bytes:
        return json.dumps(_compute_tests(correct_a, correct_b, margin, level, b_has_seeds)).encode()

    key = repr((len(correct_a), margin, level, POWER, b_has_seeds))
    fields: dict[str, Any] = json.loads(cache.get("pair", [key, *correct_a, *correct_b], make))
    return fields | {"interval": Interval(**fields["interval"])}


def _compute_tests(
    correct_a: Sequence[bytes], correct_b: Sequence[bytes], margin: float, level: float, b_has_seeds: bool
) -> dict[str, Any]:
    import numpy as np

    right_a, right_b = (np.array([list(row) for row in correct]) for correct in (correct_a, correct_b))
    share_a, share_b = right_a.mean(axis=0), right_b.mean(axis=0)  # (n_rows,): of the seeds, those that are right
    one_each = len(right_a) == len(right_b) == 1
    estimate = estimate_difference(right_a, right_b, b_has_seeds=b_has_seeds)
    return {
        "accuracy_a": float(right_a.mean()),
        "accuracy_b": float(right_b.mean()),
        "difference": estimate.value,
        "n_right_a": int(right_a.sum()) if one_each else None,
        "n_right_b": int(right_b.sum()) if one_each else None,
        "interval": asdict(estimate.interval()),
        "p": estimate.p_different(),
        "p_same": estimate.p_within(margin),
        "n_rows": right_a.shape[1],
        "n_seeds_a": len(right_a),
        "n_seeds_b": len(right_b),
        "discordant_share": float((share_a * (1 - share_b) + share_b * (1 - share_a)).mean()),
        "smallest_detectable": estimate.smallest_detectable(level, POWER),
    }


def _decide(pairs: Sequence[Verdict]) -> list[Verdict]:
    """Add the Holm-corrected p-values of the tested pairs, and decide their verdicts."""
    different = iter(holm_correction([pair.p for pair in pairs if pair.p is not None]))
    same = iter(holm_correction([pair.p_same for pair in pairs if pair.p_same is not None]))
    return [pair if pair.p is None else _judge(pair, next(different), next(same)) for pair in pairs]


def _judge(pair: Verdict, p_holm: float, p_same_holm: float) -> Verdict:
    kind = choose_kind(pair.difference or 0.0, p_holm, p_same_holm)
    return replace(pair, kind=kind, p_holm=p_holm, p_same_holm=p_same_holm)


def choose_kind(difference: float, p_different: float, p_same: float) -> VerdictKind:
    """Return the verdict that ``Verdict.kind`` describes, from p-values that are corrected if several pairs are tested.

    Examples
    --------
    >>> choose_kind(-0.08, 0.01, 0.9), choose_kind(-0.02, 0.01, 0.001), choose_kind(-0.02, 0.4, 0.2)
    ('worse', 'same', 'not_distinguishable')
    """
    if p_same < ALPHA:
        return "same"
    if p_different < ALPHA:
        return "better" if difference > 0 else "worse"
    return "not_distinguishable"


def _choose_two(adapters: Mapping[str, AdapterReport]) -> list[str]:
    """Return the adapters of the headline: two, or as many as there are."""
    trained = [name for name, adapter in adapters.items() if adapter.baseline is None]
    by_method: dict[str, list[str]] = {}
    for name in sorted(trained, key=lambda name: METHODS_FIRST.get(adapters[name].config.peft_type, 0)):  # stable
        by_method.setdefault(adapters[name].config.peft_type, []).append(name)
    candidates = trained
    if len(by_method) > 1:
        candidates = [max(names, key=lambda name: _score(adapters[name])) for names in by_method.values()]
    if len(trained) < 2:
        candidates = trained + [name for name, adapter in adapters.items() if adapter.head_only]
        return candidates[:2]
    two = sorted(candidates, key=lambda name: _score(adapters[name]), reverse=True)[:2]
    return [name for name in candidates if name in two]


def _score(adapter: AdapterReport) -> tuple[float, float]:
    """Return how well an adapter did at its best rate on the rows that choices are made on, higher is better."""
    best = adapter.best
    return (-math.inf, 0.0) if best is None or best.score is None else best.score


def _facing(comparison: Comparison, a: str, b: str) -> Verdict:
    """Return the verdict of two adapters with ``a`` first."""
    pair = next(pair for pair in comparison.pairs if {pair.a, pair.b} == {a, b})
    return pair if pair.a == a else _flip(pair)


def _flip(pair: Verdict) -> Verdict:
    opposite: dict[VerdictKind, VerdictKind] = {"better": "worse", "worse": "better"}
    return replace(
        pair,
        kind=opposite.get(pair.kind, pair.kind),
        a=pair.b,
        b=pair.a,
        variant_a=pair.variant_b,
        variant_b=pair.variant_a,
        accuracy_a=pair.accuracy_b,
        accuracy_b=pair.accuracy_a,
        difference=None if pair.difference is None else -pair.difference,
        interval=None if pair.interval is None else _negate(pair.interval),
        n_right_a=pair.n_right_b,
        n_right_b=pair.n_right_a,
        n_seeds_a=pair.n_seeds_b,
        n_seeds_b=pair.n_seeds_a,
    )


def _negate(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low)


def _why_no_predictions(group: Group) -> Reason:
    """Return the first reason why a run of a group has no predictions."""
    return next((run.reason for run in group.runs if run.reason is not None), "no_counterpart")


def _source_of(run: RunReport) -> tuple[str, str] | None:
    return None if run.record is None else (run.record.source.base_model_sha256, run.record.source.dataset_sha256)


def _rows_of(runs: Sequence[RunReport]) -> list[PredictedRows]:
    return [run.predictions for run in runs if run.predictions is not None]


def _mean_accuracy(group: Group) -> float:
    return group.test_accuracy.mean if group.test_accuracy is not None else 0.0
