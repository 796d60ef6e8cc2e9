"""Compute what each adapter costs, by device, and the baselines that an adapter has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Literal

from adapterbook.analysis.shapes import (
    AdapterReport,
    Baseline,
    BaselineKind,
    CostRow,
    CostTable,
    Group,
    Measured,
    ProbeReport,
    RunReport,
)
from adapterbook.common.stats import wilson_interval
from adapterbook.runs.record import Record

Cost = Literal["params", "time"]
COSTS: tuple[Cost, ...] = ("params", "time")


def compute_costs(adapters: Mapping[str, AdapterReport], family: Sequence[str]) -> tuple[CostTable, ...]:
    """Return one table a device; an adapter whose runs were made on two devices has a row in both tables.

    Parameters
    ----------
    family : sequence of str
        The variants that differ in the learning rate alone.
    """
    by_device: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for adapter in adapters.values():
        for run in (run for variant, group in adapter.groups.items() if variant in family for run in group.runs):
            if run.completed and run.record is not None:
                environment = run.record.environment
                device = by_device.setdefault((environment.device_name, environment.device), {})
                device.setdefault(adapter.id, []).append(run.record)
    return tuple(_table(*device, adapters, records) for device, records in sorted(by_device.items()))


def mark_front(rows: Sequence[CostRow], cost: Cost) -> tuple[bool, ...]:
    """Return which rows are, compared with each other row, clearly cheaper or clearly more accurate.

    A row alone is compared with nothing and not marked.
    """
    return tuple(
        len(rows) > 1
        and all(_is_cheaper(row, other, cost) or _is_more_accurate(row, other) for other in rows if other is not row)
        for row in rows
    )


def compute_baselines(
    runs: Sequence[RunReport], adapters: Mapping[str, AdapterReport], probe: ProbeReport, n_labels: int
) -> tuple[Baseline, ...]:
    """Return chance, the majority class of the test rows, the linear probe, and the others, each once a variant."""
    chance = Baseline("chance", 1 / n_labels, None, None)
    trained = (*_trained(adapters, "head_only"), *_trained(adapters, "full_fine_tuning"))
    return chance, _majority(runs), _linear_probe(probe), *trained


def _majority(runs: Sequence[RunReport]) -> Baseline:
    rows = next((run.predictions for run in runs if run.predictions is not None), None)
    if rows is None:
        return Baseline("majority", None, None, None, reason="no_predictions")
    n, n_majority = rows.n, max(rows.n_by_label)
    reason: Literal["one_class"] | None = "one_class" if rows.one_class else None
    label = rows.n_by_label.index(n_majority)  # of several, the first
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


def _table(
    device_name: str, device: str, adapters: Mapping[str, AdapterReport], records: Mapping[str, Sequence[Record]]
) -> CostTable:
    cpu = all(record.train_cpu_s is not None for found in records.values() for record in found)
    rows = [_row(adapters[name], found, "train_cpu_s" if cpu else "train_time_s") for name, found in records.items()]
    fronts = {cost: mark_front(rows, cost) for cost in COSTS}
    marked = [
        replace(row, pareto=tuple(cost for cost in COSTS if fronts[cost][position]))
        for position, row in enumerate(rows)
    ]
    return CostTable(device_name, device, "cpu" if cpu else "wall", tuple(marked))


def _row(adapter: AdapterReport, records: Sequence[Record], time: Literal["train_cpu_s", "train_time_s"]) -> CostRow:
    group = adapter.best or adapter.submitted or next(iter(adapter.groups.values()))
    times = _measured([getattr(record, time) for record in records])
    assert times is not None  # a completed record has its training time
    latencies = [record.latency for record in records if record.latency is not None]
    return CostRow(
        adapter=adapter.id,
        variant=group.variant,
        accuracy=None if group.test_accuracy is None else group.test_accuracy.mean,
        test_interval=group.test_interval,
        n_trainable_params=records[0].n_trainable_params or 0,
        time_s=times,
        latency_s=_measured([latency.median_s for latency in latencies]),
        merged_latency_s=_measured([latency.merged_median_s for latency in latencies]),
        adapter_file_bytes=records[0].adapter_file_bytes or 0,
    )


def _measured(values: Sequence[float | None]) -> Measured | None:
    known = [value for value in values if value is not None]
    return Measured(len(known), median(known), min(known), max(known)) if known else None


def _is_cheaper(row: CostRow, other: CostRow, cost: Cost) -> bool:
    if cost == "params":
        return row.n_trainable_params < other.n_trainable_params
    return row.time_s.high < other.time_s.low


def _is_more_accurate(row: CostRow, other: CostRow) -> bool:
    if row.test_interval is None or other.test_interval is None:
        return False
    return row.test_interval.low > other.test_interval.high
