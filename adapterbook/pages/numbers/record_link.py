"""Decide where the link of a number leads: to its record, to the list of the runs behind it, or to the protocol.

A number of one run links to that run's record, a number computed from several runs to the list of these runs, and a
setting of the study to the protocol. Other numbers have no link: published results, the accuracy of chance, and
settings that only tell one adapter or variant from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapterbook.analysis.shapes import (
    Ablation,
    AdapterReport,
    Baseline,
    Calibration,
    Comparison,
    CostRow,
    EpochsReport,
    EvalView,
    Group,
    Learned,
    Lever,
    LiveReport,
    ParameterFormula,
    PublishedPoint,
    PublishedRun,
    Report,
    RuleCost,
    RunReport,
    SentenceTable,
    SharedCurve,
    StrategyFinding,
    Sureness,
    TravelFinding,
    TravelReport,
    Verdict,
)
from adapterbook.figures import Figure
from adapterbook.pages.numbers.number import FieldPath, parts_of_path
from adapterbook.pages.numbers.provenance import RECORD_ANCHOR, anchor_of

Runs = Sequence[RunReport]


@dataclass(frozen=True)
class RecordLink:
    """Identify the section of a page that a number links to.

    Attributes
    ----------
    of : RunReport, AdapterReport or str
        The run or adapter whose page it is, or the page's stem.
    section : str
        The section's name; on a run's page, the whole anchor.
    """

    of: RunReport | AdapterReport | str
    section: str


def link_of_number(run: RunReport, field: FieldPath) -> RecordLink:
    """Return a link to the line of the run's record that holds the field."""
    return RecordLink(run, anchor_of(parts_of_path(field)))


def link_of_derived(thing: object, field: FieldPath, report: Report) -> RecordLink | None:
    """Return the link of a number of the analysis, ``None`` if it has no link."""
    parts = parts_of_path(field)
    first = parts[0]
    match thing:
        case Report() if first in ("study", "n_seeds"):
            return RecordLink("reproduction", "protocol")
        case Ablation() if first == "values":
            return RecordLink("reproduction", "protocol")
        case AdapterReport() | Group() if first in ("config", "training"):
            return None
        case Baseline() if thing.kind == "linear_probe":
            return RecordLink("reproduction", "linear-probe")
        case LiveReport():
            return RecordLink("live", "agreement")
        case SentenceTable() if "probabilities" in parts:
            return RecordLink(thing.runs[int(parts[-1])], RECORD_ANCHOR)
        case _:
            link = _link_of_runs(_runs_behind(thing, first, report), report)
    if link is not None and isinstance(link.of, RunReport) and isinstance(_recorded(link.of, first), int | float):
        return RecordLink(link.of, anchor_of([first]))  # the same field of the one run's record
    return link


def link_of_row(figure: Figure, row: Mapping[str, Any], report: Report) -> RecordLink | None:
    """Return the link of a row of the table behind a figure; a row about an epoch links to it in the record."""
    if "device_name" in row:  # what an adapter costs
        return _link_of_runs(_runs_of_adapter(report.adapters[row["adapter"]]), report)
    if figure.id == "eval-strategy":
        run = report.ablations["eval_strategy"].eval_run
        link = None if run is None else RecordLink(run, RECORD_ANCHOR)
    elif figure.id == "travel":
        link = RecordLink(report.run(f"{row['adapter']}/{row['variant']}/seed-{row['seed']}"), RECORD_ANCHOR)
    else:
        group = _group_of_row(figure, row, report)
        link = None if group is None else _link_of_runs(_completed(group), report)
    if link is None or not isinstance(link.of, RunReport) or link.of.record is None:
        return link
    record = link.of.record
    for index, point in enumerate(record.curve):
        if point.epoch == row.get("epoch"):
            return RecordLink(link.of, anchor_of(["evaluations" if record.evaluations else "epochs", index]))
    return link


def _recorded(run: RunReport, field: str) -> object:
    return getattr(run.record, field, None)


def _link_of_runs(runs: Runs, report: Report) -> RecordLink | None:
    adapters = {run.run.adapter.id for run in runs}
    if len(runs) == 1:
        return RecordLink(runs[0], RECORD_ANCHOR)
    if len(adapters) == 1:
        return RecordLink(report.adapters[adapters.pop()], "runs")
    return RecordLink("reproduction", "runs") if runs else None


def _runs_behind(thing: object, field: str, report: Report) -> Runs:
    """Return the runs that a field of a part of the report was computed from."""
    match thing:
        case RunReport():
            return [thing]
        case Group():
            return _completed(thing)
        case AdapterReport():
            return _counted(thing)
        case ParameterFormula():
            owners = [adapter for adapter in report.adapters.values() if adapter.formula is thing]
            return _counted(owners[0]) if owners else []
        case CostRow() if field not in ("accuracy", "test_interval"):
            return _runs_of_adapter(report.adapters[thing.adapter])
        case CostRow() | Learned() | Calibration() | Sureness():
            return _completed(report.group(thing.adapter, thing.variant))
        case Verdict():
            runs_a, runs_b = _of(report, thing.a, thing.variant_a), _of(report, thing.b, thing.variant_b)
            of_one = {"a": runs_a, "b": runs_b} if field.startswith(("accuracy_", "n_right_", "n_seeds_")) else {}
            return of_one.get(field[-1], [*runs_a, *runs_b])
        case Baseline() if thing.adapter is not None:
            return _of(report, thing.adapter, thing.variant)
        case Baseline() if thing.kind == "chance":
            return []
        case PublishedRun():
            return [] if field.startswith("published_") else _of(report, thing.adapter, thing.variant)
        case PublishedPoint():
            owners_of = [run for run in report.published.runs.values() if any(point is thing for point in run.points)]
            own = field == "epoch" or field.startswith("published_") or not owners_of
            return [] if own else _of(report, owners_of[0].adapter, owners_of[0].variant)
        case Ablation():
            return [run for group in thing.groups.values() for run in _completed(group)]
        case EvalView() | StrategyFinding():
            run = report.ablations["eval_strategy"].eval_run
            return [] if run is None else [run]
        case Lever() | RuleCost() | TravelFinding():
            return _of_adapters(report, thing.adapter)
        case SharedCurve():
            return _of_adapters(report, thing.a, thing.b)
        case SentenceTable():
            return thing.runs
        case Baseline() | Comparison() | EpochsReport() | Report() | TravelReport():
            return [run for run in report.runs if run.completed]
        case _:
            return []


def _group_of_row(figure: Figure, row: Mapping[str, Any], report: Report) -> Group | None:
    """Return the group that a row is about; ``None`` if the row does not say, or if several groups fit."""
    adapter = row.get("adapter", figure.adapter)
    if adapter is None:
        return None
    if "learning_rate" not in row:
        published = report.published.runs.get(adapter)
        return None if published is None else report.group(adapter, published.variant or "")
    if "batch_size" in row:
        ablation = report.ablations["batch_size"]
        variants = [variant for variant in ablation.variants if ablation.values[variant] == row["batch_size"]]
    else:
        variants = list(report.ablations["learning_rate"].variants or (report.study.submitted,))
    groups = [group for variant in variants if (group := report.group(adapter, variant)) is not None]
    fitting = [group for group in groups if group.training.learning_rate == row["learning_rate"]]
    return fitting[0] if len(fitting) == 1 else None


def _counted(adapter: AdapterReport) -> Runs:
    """Return the first completed run of an adapter: its record holds the adapter's parameter counts."""
    return _runs_of_adapter(adapter)[:1]


def _runs_of_adapter(adapter: AdapterReport) -> Runs:
    return [run for group in adapter.groups.values() for run in group.runs if run.completed]


def _of(report: Report, adapter: str | None, variant: str | None) -> Runs:
    return _completed(None if adapter is None or variant is None else report.group(adapter, variant))


def _of_adapters(report: Report, *adapters: str) -> Runs:
    """Return every completed run of some adapters."""
    return [run for run in report.runs if run.completed and run.run.adapter.id in adapters]


def _completed(group: Group | None) -> Runs:
    return [] if group is None else [run for run in group.runs if run.completed]
