"""Compute the cost of accuracy by device, with Pareto fronts, and the baselines that an adapter has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

from adapterbook.analysis.shapes import (
    AdapterReport,
    Baseline,
    BaselineKind,
    CostRow,
    CostTable,
    Group,
    ProbeReport,
    RunReport,
)
from adapterbook.common.stats import wilson_interval
from adapterbook.runs.record import Record

Cost = Literal["params", "time", "size"]
COSTS: tuple[Cost, ...] = ("params", "time", "size")


def compute_costs(groups: Sequence[Group]) -> tuple[CostTable, ...]:
    """Return one table a device; a group whose seeds ran on two devices has a row in both tables."""
    by_device: dict[tuple[str, str], list[tuple[Group, list[Record]]]] = {}
    for group in groups:
        records: dict[tuple[str, str], list[Record]] = {}
        for run in group.runs:
            if run.completed and run.record is not None:
                environment = run.record.environment
                records.setdefault((environment.device_name, environment.device), []).append(run.record)
        for device, found in records.items():
            by_device.setdefault(device, []).append((group, found))
    return tuple(CostTable(name, device, _rows(members)) for (name, device), members in sorted(by_device.items()))


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[bool, ...]:
    """Return which points of (cost, gain) no other dominates.

    One point dominates another with at most its cost and at least its gain, unless both are equal.

    Examples
    --------
    >>> pareto_front([(1, 0.5), (2, 0.7), (3, 0.6), (2, 0.7)])
    (True, True, False, True)
    """
    return tuple(
        not any(
            other_cost <= cost and other_gain >= gain and (other_cost, other_gain) != (cost, gain)
            for other_cost, other_gain in points
        )
        for cost, gain in points
    )


def compute_baselines(
    runs: Sequence[RunReport], adapters: Mapping[str, AdapterReport], probe: ProbeReport
) -> tuple[Baseline, ...]:
    """Return chance, the majority class of the test rows, the linear probe, and the others, each once a variant."""
    chance = Baseline("chance", 0.5, None, None)
    trained = (*_trained(adapters, "head_only"), *_trained(adapters, "full_fine_tuning"))
    return chance, _majority(runs), _linear_probe(probe), *trained


def _majority(runs: Sequence[RunReport]) -> Baseline:
    rows = next((run.predictions for run in runs if run.predictions is not None), None)
    if rows is None:
        return Baseline("majority", None, None, None, reason="no_predictions")
    n, n_positive = rows.n, rows.n_positive
    n_majority = max(n_positive, n - n_positive)
    reason: Literal["one_class"] | None = "one_class" if n_majority == n else None
    label = 1 if n_positive > n - n_positive else 0
    return Baseline("majority", n_majority / n, wilson_interval(n_majority, n), n, label=label, reason=reason)


def _linear_probe(probe: ProbeReport) -> Baseline:
    if probe.record is None:
        return Baseline("linear_probe", None, None, None, reason=probe.reason)
    test = probe.record.test
    return Baseline("linear_probe", test.accuracy, wilson_interval(round(test.accuracy * test.n), test.n), test.n)


def _trained(adapters: Mapping[str, AdapterReport], kind: BaselineKind) -> tuple[Baseline, ...]:
    """Return the first baseline of a kind in each of its variants; at least one, with its reason."""
    adapter = next((adapter for adapter in adapters.values() if adapter.baseline == kind), None)
    if adapter is None or not adapter.groups:
        name = None if adapter is None else adapter.id
        return (Baseline(kind, None, None, None, adapter=name, reason="no_runs"),)
    return tuple(_trained_in(group, kind) for group in adapter.groups.values())


def _trained_in(group: Group, kind: BaselineKind) -> Baseline:
    run = group.representative
    if group.test_accuracy is None or run is None or run.record is None or run.record.test is None:
        return Baseline(kind, None, None, None, adapter=group.adapter, variant=group.variant, reason=group.reason)
    return Baseline(kind, group.test_accuracy.mean, group.test_interval, run.record.test.n,
                    adapter=group.adapter, variant=group.variant)  # fmt: skip


def _rows(members: Sequence[tuple[Group, list[Record]]]) -> tuple[CostRow, ...]:
    values = [_means(records) for _, records in members]
    fronts = {cost: pareto_front([(value[cost], value["accuracy"]) for value in values]) for cost in COSTS}
    return tuple(
        CostRow(
            adapter=group.adapter,
            variant=group.variant,
            accuracy=value["accuracy"],
            n_seeds=len(records),
            n_trainable_params=round(value["params"]),
            n_adapter_params=round(value["adapter_params"]),
            train_time_s=value["time"],
            train_samples_per_s=value["speed"],
            peak_memory_bytes=round(value["memory"]),
            adapter_file_bytes=round(value["size"]),
            pareto=tuple(cost for cost in COSTS if fronts[cost][i]),
        )
        for i, ((group, records), value) in enumerate(zip(members, values, strict=True))
    )


def _means(records: Sequence[Record]) -> dict[str, float]:
    """Return the means over seeds; a completed record has all of them, by its schema."""
    fields = {
        "params": "n_trainable_params",
        "adapter_params": "n_adapter_params",
        "time": "train_time_s",
        "speed": "train_samples_per_s",
        "memory": "peak_memory_bytes",
        "size": "adapter_file_bytes",
    }
    means = {name: fmean(getattr(record, field) for record in records) for name, field in fields.items()}
    return means | {"accuracy": fmean(record.test.accuracy for record in records if record.test is not None)}
