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
from typing import Any, cast

from adapterbook.analysis.groups import SEEDS_FOR_SPREAD
from adapterbook.analysis.shapes import (
    AdapterReport,
    BaselineKind,
    Basis,
    Comparison,
    Group,
    Planning,
    PredictedRows,
    ProbeReport,
    Reason,
    RunReport,
    Verdict,
    VerdictKind,
)
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.stats import (
    Interval,
    PairedSeedsTest,
    bootstrap_interval,
    holm_correction,
    paired_seeds_test,
    sign_flip_test,
    smallest_detectable_difference,
)
from adapterbook.config.study import PROBE

ALPHA = 0.05
# With more adapters not every pair is tested: time, table and correction grow with the square of their number.
MAX_ADAPTERS_IN_PAIRS = 24
# These methods are named first; the others follow in the study's order.
METHODS_FIRST: Mapping[str, int] = {"LORA": -2, "IA3": -1}


def compare_adapters(adapters: Mapping[str, AdapterReport], basis: Basis, cache: Cache = NO_CACHE) -> Comparison:
    """Return the verdict on every pair of adapters, Holm-corrected together.

    With more than ``MAX_ADAPTERS_IN_PAIRS`` adapters, each is compared only with a few, chosen without the test rows:
    the reference, the baseline, and the two of the headline. The correction covers the pairs that are tested.

    Parameters
    ----------
    basis : str
        ``submitted``: each as the protocol says; ``best``: each at its own best learning rate, chosen on validation.
    cache : Cache, optional
        Holds the tests of pairs that were compared before.
    """
    groups = {name: adapter.submitted if basis == "submitted" else adapter.best for name, adapter in adapters.items()}
    with_results = {name: group for name, group in groups.items() if group is not None and group.n_completed}
    against = () if len(adapters) <= MAX_ADAPTERS_IN_PAIRS else _choose_opponents(adapters)
    pairs = _correct(
        [_compare(adapters[a], adapters[b], groups[a], groups[b], cache) for a, b in _choose_pairs(adapters, against)]
    )
    detectable = [pair.smallest_detectable for pair in pairs if pair.smallest_detectable is not None]
    return Comparison(
        basis=basis,
        variants={name: with_results[name].variant if name in with_results else None for name in groups},
        pairs=tuple(pairs),
        ranking=tuple(
            sorted(with_results, key=lambda name: -_mean_accuracy(with_results[name]))  # sorted is stable
        ),
        smallest_detectable=max(detectable, default=None),
        all_alike=not any(pair.kind in ("better", "worse") for pair in pairs),
        reason="no_counterpart" if len(with_results) < 2 else None,
        baseline=_find_baseline(adapters, "head_only"),
        full_fine_tuning=_find_baseline(adapters, "full_fine_tuning"),
        against=against,
    )


def compare_with_probe(
    adapters: Mapping[str, AdapterReport], basis: Basis, probe: ProbeReport, cache: Cache = NO_CACHE
) -> tuple[Verdict, ...]:
    """Return the verdict on each adapter against the linear probe, Holm-corrected together; none without a probe.

    The probe has no seed: the same rows stand against those of each of the adapter's seeds.
    """
    if probe.record is None:
        return ()
    groups = {name: adapter.submitted if basis == "submitted" else adapter.best for name, adapter in adapters.items()
              if adapter.baseline is None}  # fmt: skip
    return tuple(_correct([_compare_rows(adapters[name], group, probe, cache) for name, group in groups.items()]))


def _compare_rows(adapter: AdapterReport, group: Group | None, probe: ProbeReport, cache: Cache) -> Verdict:
    verdict = Verdict("not_comparable", adapter.id, PROBE, None if group is None else group.variant, None)
    runs = [run for run in group.runs if run.predictions is not None] if group is not None else []
    if not runs or probe.rows is None:
        return replace(verdict, reason=probe.reason or adapter.reason or "not_evaluated")
    rows = [_rows_of(run) for run in runs]
    if {one.identity for one in rows} != {probe.rows.identity}:
        return replace(verdict, reason="different_rows")
    if probe.rows.n_positive in (0, probe.rows.n):
        return replace(verdict, reason="one_class")
    tests = _test_pair([one.correct for one in rows], [probe.rows.correct] * len(rows), cache)
    return replace(verdict, kind="not_distinguishable", **tests)


def compute_planning(comparison: Comparison, cache: Cache = NO_CACHE) -> Planning | None:
    """Return the smallest difference that can be found between two models that disagree as often as the median pair."""
    compared = [(pair.n_rows, pair.discordant_share) for pair in comparison.pairs if pair.discordant_share is not None]
    if not compared:
        return None
    n_rows, share = compared[0][0], median(share for _, share in compared)

    def make() -> bytes:
        return json.dumps(smallest_detectable_difference(n_rows, share)).encode()

    smallest = json.loads(cache.get("planning", [repr((n_rows, share))], make))
    return None if smallest is None else Planning(n_rows, share, smallest)


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

    The adapter with the lowest validation loss represents its method, and the two best methods are compared: LoRA
    before IA³, others in the study's order. A study of one method compares its two best adapters, a study of one
    adapter that adapter and the baseline. The choice uses validation only, never the test rows.
    """
    two = _choose_two(adapters)
    if len(two) < 2:
        missing = Verdict("not_comparable", next(iter(two), None), None, None, None, "no_counterpart")
        return missing, missing
    return _facing(best, *two), _facing(submitted, *two)


def compare_groups(a: Group, b: Group, cache: Cache = NO_CACHE) -> Verdict:
    """Return the verdict on two groups, before any correction.

    Only seeds with results in both groups count, and only the same test rows of the same source.
    """
    verdict = Verdict("not_comparable", a.adapter, b.adapter, a.variant, b.variant)
    runs = _common_seeds(a, b)
    if not runs:
        return replace(verdict, reason=_why_no_predictions(a, b))
    if len({_source_of(run) for pair in runs for run in pair}) > 1:
        return replace(verdict, reason="different_sources")
    rows = [(_rows_of(run_a), _rows_of(run_b)) for run_a, run_b in runs]
    if len({one.identity for pair in rows for one in pair}) > 1:
        return replace(verdict, reason="different_rows")
    tests = _test_pair([one.correct for one, _ in rows], [other.correct for _, other in rows], cache)
    verdict = replace(verdict, **tests)
    if rows[0][0].n_positive in (0, rows[0][0].n):
        return replace(verdict, reason="one_class")
    return replace(verdict, kind="not_distinguishable")


def _test_pair(correct_a: Sequence[bytes], correct_b: Sequence[bytes], cache: Cache) -> dict[str, Any]:
    """Return the fields of a verdict that are computed from the rows, one entry of both sequences a seed."""

    def make() -> bytes:
        return json.dumps(_compute_tests(correct_a, correct_b)).encode()

    fields: dict[str, Any] = json.loads(cache.get("pair", [*correct_a, *correct_b], make))
    seeds = fields["seeds_test"]
    return fields | {
        "interval": Interval(**fields["interval"]),
        "seeds_test": seeds and PairedSeedsTest(**seeds | {"interval": Interval(**seeds["interval"])}),
    }


def _compute_tests(correct_a: Sequence[bytes], correct_b: Sequence[bytes]) -> dict[str, Any]:
    import numpy as np

    right_a = np.array([list(row) for row in correct_a])  # (n_seeds, n_rows)
    right_b = np.array([list(row) for row in correct_b])
    n_seeds, n_rows = right_a.shape
    discordant_share = float((right_a != right_b).mean())
    wins = (right_a - right_b).sum(axis=0)  # (n_rows,): seeds that only a got right minus those only b did
    by_seed = (right_a - right_b).mean(axis=1)
    return {
        "accuracy_a": float(right_a.mean()),
        "accuracy_b": float(right_b.mean()),
        "difference": float(right_a.mean() - right_b.mean()),
        "interval": asdict(bootstrap_interval(wins / n_seeds)),
        "p": sign_flip_test(wins),
        "n_only_a": int((wins > 0).sum()) if n_seeds == 1 else None,
        "n_only_b": int((wins < 0).sum()) if n_seeds == 1 else None,
        "seeds_test": asdict(paired_seeds_test(by_seed.tolist())) if n_seeds >= SEEDS_FOR_SPREAD else None,
        "n_rows": n_rows,
        "n_seeds": n_seeds,
        "discordant_share": discordant_share,
        "smallest_detectable": smallest_detectable_difference(n_rows, discordant_share),
    }


def _compare(
    adapter_a: AdapterReport, adapter_b: AdapterReport, a: Group | None, b: Group | None, cache: Cache
) -> Verdict:
    if a is not None and b is not None:
        return compare_groups(a, b, cache)
    variants = (None if a is None else a.variant, None if b is None else b.variant)
    lacking = adapter_a if a is None else adapter_b
    # With results but without a group: no learning rate could be chosen, or the submitted one is not among its runs.
    reason: Reason = lacking.reason or ("no_runs" if lacking.submitted is None else "not_evaluated")
    return Verdict("not_comparable", adapter_a.id, adapter_b.id, *variants, reason)


def _correct(pairs: Sequence[Verdict]) -> list[Verdict]:
    """Add the Holm-corrected p-values of all pairs, and decide each pair's verdict."""
    by_rows = _corrected({i: pair.p for i, pair in enumerate(pairs) if pair.kind != "not_comparable"})
    by_seeds = _corrected({i: pair.seeds_test.p for i, pair in enumerate(pairs) if i in by_rows and pair.seeds_test})
    decided = []
    for i, pair in enumerate(pairs):
        if i not in by_rows:
            decided.append(pair)
            continue
        pair = replace(pair, p_holm=by_rows[i], p_seeds_holm=by_seeds.get(i))
        decided.append(replace(pair, kind=_kind(pair)))
    return decided


def _kind(pair: Verdict) -> VerdictKind:
    if pair.p_holm is None or pair.difference is None or pair.p_holm >= ALPHA:
        return "not_distinguishable"
    if pair.p_seeds_holm is not None and pair.p_seeds_holm >= ALPHA:
        return "not_distinguishable"
    return "better" if pair.difference > 0 else "worse"


def _corrected(p_values: Mapping[int, float | None]) -> dict[int, float]:
    known = {key: p for key, p in p_values.items() if p is not None}
    return dict(zip(known, holm_correction(list(known.values())), strict=True))


def _choose_two(adapters: Mapping[str, AdapterReport]) -> list[str]:
    """Return the adapters of the headline: two, or as many as there are."""
    trained = [name for name, adapter in adapters.items() if adapter.baseline is None]
    by_method: dict[str, list[str]] = {}
    for name in sorted(trained, key=lambda name: METHODS_FIRST.get(adapters[name].config.peft_type, 0)):  # stable
        by_method.setdefault(adapters[name].config.peft_type, []).append(name)
    candidates = trained
    if len(by_method) > 1:
        candidates = [min(names, key=lambda name: _lowest_loss(adapters[name])) for names in by_method.values()]
    if len(trained) < 2:
        candidates = trained + [name for name, adapter in adapters.items() if adapter.head_only]
        return candidates[:2]
    two = sorted(candidates, key=lambda name: _lowest_loss(adapters[name]))[:2]
    return [name for name in candidates if name in two]


def _lowest_loss(adapter: AdapterReport) -> float:
    """Return an adapter's lowest validation loss, infinity where none was evaluated."""
    best = adapter.best
    return math.inf if best is None or best.best_validation_loss is None else best.best_validation_loss.mean


def _facing(comparison: Comparison, a: str, b: str) -> Verdict:
    """Return the verdict of two adapters with ``a`` first."""
    pair = next(pair for pair in comparison.pairs if {pair.a, pair.b} == {a, b})
    return pair if pair.a == a else _flip(pair)


def _flip(pair: Verdict) -> Verdict:
    opposite: dict[VerdictKind, VerdictKind] = {"better": "worse", "worse": "better"}
    seeds = pair.seeds_test
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
        n_only_a=pair.n_only_b,
        n_only_b=pair.n_only_a,
        seeds_test=None if seeds is None else replace(seeds, mean=-seeds.mean, interval=_negate(seeds.interval)),
    )


def _negate(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low)


def _common_seeds(a: Group, b: Group) -> list[tuple[RunReport, RunReport]]:
    of_b = {run.run.seed: run for run in b.runs if run.predictions is not None}
    return [(run, of_b[run.run.seed]) for run in a.runs if run.predictions is not None and run.run.seed in of_b]


def _why_no_predictions(a: Group, b: Group) -> Reason:
    """Return why two groups share no seed: the first reason of a run that has no predictions."""
    reasons = [run.reason for group in (a, b) for run in group.runs if run.predictions is None]
    return next((reason for reason in reasons if reason is not None), "no_counterpart")


def _source_of(run: RunReport) -> tuple[str, str] | None:
    return None if run.record is None else (run.record.source.base_model_sha256, run.record.source.dataset_sha256)


def _rows_of(run: RunReport) -> PredictedRows:
    """Return the predicted rows of a run that has some, as ``_common_seeds`` picks them."""
    return cast(PredictedRows, run.predictions)


def _mean_accuracy(group: Group) -> float:
    return group.test_accuracy.mean if group.test_accuracy is not None else 0.0
