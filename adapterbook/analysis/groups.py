"""Group runs over seeds and by adapter: mean curves, differences from the reference, the best learning rate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from adapterbook.analysis.modules import compute_formula, compute_learned
from adapterbook.analysis.shapes import (
    AdapterReport,
    Curve,
    CurvePoint,
    Difference,
    Group,
    Overfitting,
    Reason,
    RunReport,
    Spread,
)
from adapterbook.analysis.single_run import compute_overfitting
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.stats import Interval, accuracy_interval, wilson_interval
from adapterbook.config.study import AdapterConfig
from adapterbook.runs.record import EpochResult, Record

# A standard deviation of two seeds has one degree of freedom, which is too little to rely on.
SEEDS_FOR_SPREAD = 3


def compute_spread(values: Sequence[float]) -> Spread | None:
    """Return mean, extremes and, from three values on, the standard deviation; None without values."""
    if not values:
        return None
    known = len(values) >= SEEDS_FOR_SPREAD
    return Spread(len(values), fmean(values), min(values), max(values), stdev(values) if known else None, known)


def group_runs(runs: Sequence[RunReport], cache: Cache = NO_CACHE) -> dict[tuple[str, str], Group]:
    """Return the groups by (adapter, variant), in the order of the runs; the cache holds intervals over seeds."""
    members: dict[tuple[str, str], list[RunReport]] = {}
    for run in runs:
        members.setdefault((run.run.adapter.id, run.run.variant), []).append(run)
    return {key: _make_group(*key, group, cache) for key, group in members.items()}


def describe_adapter(
    config: AdapterConfig,
    reference: AdapterConfig | None,
    groups: Mapping[str, Group],
    submitted: str,
    learning_rate_variants: Sequence[str],
) -> AdapterReport:
    """Return one adapter over its variants.

    Parameters
    ----------
    reference : AdapterConfig or None
        What ``differences`` are from; None for the reference itself.
    groups : mapping
        This adapter's groups by variant, in the study's order.
    learning_rate_variants : sequence of str
        The variants that its best learning rate is chosen among.
    """
    record = next((run.record for group in groups.values() for run in group.runs if run.completed), None)
    reasons: list[Reason] = [group.reason for group in groups.values() if group.reason is not None]
    # A file may name another method since: then the record's formula is not this adapter's.
    same_method = record is not None and record.adapter.peft_type == config.peft_type
    return AdapterReport(
        config=config,
        groups=groups,
        submitted=groups.get(submitted),
        best_variant=_choose_variant([groups[name] for name in learning_rate_variants if name in groups]),
        reference=None if reference is None else reference.id,
        differences=() if reference is None else compare_settings(reference, config),
        n_trainable_params=None if record is None else record.n_trainable_params,
        n_adapter_params=None if record is None else record.n_adapter_params,
        n_head_params=None if record is None else record.n_head_params,
        n_total_params=None if record is None else record.n_total_params,
        formula=compute_formula(record) if record is not None and same_method and config.train_adapter else None,
        reason=None if record is not None else (reasons or ["no_runs"])[0],
    )


def _choose_variant(groups: Sequence[Group]) -> str | None:
    """Return the variant with the best learning rate, None where no group was evaluated."""
    scores = {group.variant: group.score for group in groups if group.score is not None}
    return max(scores, key=scores.__getitem__, default=None)


def compare_settings(reference: AdapterConfig, config: AdapterConfig) -> tuple[Difference, ...]:
    """Return the settings in which an adapter differs from the reference, the method first, then key by key.

    Examples
    --------
    >>> a = AdapterConfig(id="a", peft_type="LORA", title="A", settings={"r": 8, "target_modules": ["q", "v"]})
    >>> b = AdapterConfig(id="b", peft_type="LORA", title="B", settings={"r": 4, "target_modules": ["v", "q"]})
    >>> [(item.key, item.reference, item.value) for item in compare_settings(a, b)]
    [('r', 8, 4)]
    """
    old: dict[str, Any] = {"peft_type": reference.peft_type, **reference.settings}
    new: dict[str, Any] = {"peft_type": config.peft_type, **config.settings}
    differences = []
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in new:
            differences.append(Difference(key, "removed", old[key], None))
        elif key not in old:
            differences.append(Difference(key, "added", None, new[key]))
        elif isinstance(old[key], list) and isinstance(new[key], list):
            added = tuple(str(item) for item in new[key] if item not in old[key])
            removed = tuple(str(item) for item in old[key] if item not in new[key])
            if added or removed:
                differences.append(Difference(key, "changed", old[key], new[key], added, removed))
        elif old[key] != new[key]:
            differences.append(Difference(key, "changed", old[key], new[key]))
    return tuple(differences)


def _make_group(adapter: str, variant: str, runs: Sequence[RunReport], cache: Cache) -> Group:
    completed = [run for run in runs if run.completed]
    records = [run.record for run in completed if run.record is not None]
    tests = [record.test for record in records if record.test is not None]
    best_losses = [run.overfitting.best_validation_loss for run in completed if run.overfitting is not None]
    curve = _average_curve(records)
    noise = [run.overfitting.noise for run in completed if run.overfitting is not None and run.overfitting.noise]
    reason: Reason | None = None
    if not completed:
        reason = runs[0].reason
    elif None in best_losses:
        reason = "not_evaluated"
    return Group(
        adapter=adapter,
        variant=variant,
        training=runs[0].run.training,
        runs=tuple(runs),
        n_completed=len(completed),
        spread_known=len(completed) >= SEEDS_FOR_SPREAD,
        curve=curve,
        overfitting=_overfitting_of(curve, fmean(noise) if noise else 0.0),
        test_accuracy=compute_spread([test.accuracy for test in tests]),
        test_f1=compute_spread([test.f1 for test in tests]),
        test_loss=compute_spread([test.loss for test in tests]),
        best_validation_loss=compute_spread([loss for loss in best_losses if loss is not None]),
        train_time_s=compute_spread([record.train_time_s for record in records if record.train_time_s is not None]),
        test_interval=_interval_of_mean(completed, cache),
        learned=compute_learned(adapter, variant, records) if runs[0].run.adapter.train_adapter else None,
        reason=reason,
    )


def _average_curve(records: Sequence[Record]) -> Curve:
    """Return the mean curve of several seeds, at every moment that any of them has."""
    moments = sorted({point.epoch for record in records for point in record.curve})
    at = [{point.epoch: point for point in record.curve} for record in records]

    def spread(epoch: float, quantity: str) -> Spread | None:
        values = [getattr(points[epoch], quantity) for points in at if epoch in points]
        return compute_spread([value for value in values if value is not None])

    return Curve(
        tuple(
            CurvePoint(
                epoch,
                spread(epoch, "train_loss"),
                spread(epoch, "validation_loss"),
                spread(epoch, "validation_accuracy"),
            )
            for epoch in moments
        )
    )


def _overfitting_of(curve: Curve, noise: float) -> Overfitting | None:
    """Return best epoch and onset of the mean curve; for one seed those of its run.

    All seeds are evaluated on the same rows, so their mean loss is about as uncertain as one seed's.
    """
    if not curve.points:
        return None
    points = [
        EpochResult(
            epoch=point.epoch,
            train_loss=None if point.train_loss is None else point.train_loss.mean,
            validation_loss=None if point.validation_loss is None else point.validation_loss.mean,
            validation_accuracy=None,
            learning_rate=None,
        )
        for point in curve.points
    ]
    return compute_overfitting(points, noise)


def _interval_of_mean(completed: Sequence[RunReport], cache: Cache) -> Interval | None:
    """Return the interval of the mean test accuracy over seeds.

    Where a seed's predictions cannot be read it covers the rows alone; the page names such a run.
    """
    tests = [run.record.test for run in completed if run.record is not None and run.record.test is not None]
    if not tests:
        return None
    rows = [run.predictions for run in completed if run.predictions is not None]
    if len(tests) == 1 or len(rows) < len(tests) or len({one.identity for one in rows}) > 1:
        return wilson_interval(round(fmean(test.accuracy for test in tests) * tests[0].n), tests[0].n)
    correct = [one.correct for one in rows]

    def make() -> bytes:
        return json.dumps(asdict(accuracy_interval([list(row) for row in correct]))).encode()

    return Interval(**json.loads(cache.get("interval", correct, make)))
