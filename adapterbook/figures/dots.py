"""Draw points: test accuracy with its intervals, and the cost of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import CostRow, CostTable, Report
from adapterbook.common.stats import Interval
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import (
    GREY,
    LineStyle,
    format_percent_axis,
    legend_above,
    mark_log_axis,
    style_of,
    variant_style,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, describe_missing, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PANELS = (("params", "n_trainable_params", 1.0), ("time", "train_time_s", 1.0), ("size", "adapter_file_bytes", 1e6))


@dataclass(frozen=True)
class _Dot:
    """Hold one test accuracy with its interval; ``position`` is its learning rate's place among all."""

    adapter: str
    position: int
    learning_rate: float
    label: str
    mean: float
    interval: Interval
    n_seeds: int


@dataclass(frozen=True)
class _Point:
    """Hold one adapter at one learning rate; filled if that is its own best."""

    row: CostRow
    style: LineStyle
    name: str
    filled: bool


def plan_test_accuracy(report: Report, words: FigureWords) -> Drawing:
    """Return test accuracy with 95 % intervals, a row an adapter and learning rate."""
    id, title = "test-accuracy", words.say("test-accuracy.title")
    variants = report.ablations["learning_rate"].variants or (report.study.submitted,)
    dots = _dots_of(report, variants, words)
    if not dots:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    names = short_names(report, words)
    names = {adapter: names[adapter] for adapter in dict.fromkeys(dot.adapter for dot in dots)}
    labels = words.labels("chance", "test-accuracy.majority", "test_accuracy")
    majority = report.baseline("majority").accuracy
    paint = partial(_paint_test_accuracy, dots, names, len(variants), majority, labels)
    rows = [
        {"adapter": dot.adapter, "learning_rate": dot.learning_rate, "test_accuracy": dot.mean,
         "interval_low": dot.interval.low, "interval_high": dot.interval.high, "n_seeds": dot.n_seeds}
        for dot in dots
    ]  # fmt: skip
    adapters = words.joined(
        words.say(
            "test-accuracy.adapter",
            name=name,
            values=words.joined((_describe_dot(dot, words) for dot in dots if dot.adapter == adapter), "comma"),
        )
        for adapter, name in names.items()
    )
    alt = words.sentences(
        words.say("test-accuracy.alt", title=title, adapters=adapters), describe_missing(report, list(names), words)
    )
    return Drawing(id, title, alt, paint, height=1.5 + 0.62 * len(names), rows=rows)


def _paint_test_accuracy(
    dots: Sequence[_Dot], names: Labels, n_positions: int, majority: float | None, labels: Labels, canvas: Canvas
) -> None:
    axes = canvas.subplots()
    rows = {adapter: row for row, adapter in enumerate(names)}
    shown: set[str] = set()
    for dot in dots:
        style = variant_style(dot.position)
        height = rows[dot.adapter] + (dot.position - (n_positions - 1) / 2) * 0.22
        axes.plot([dot.interval.low, dot.interval.high], [height, height], color=style.color, linewidth=1.6)
        axes.plot(dot.mean, height, style.marker, color=style.color, markersize=7,
                  label=None if dot.label in shown else dot.label)  # fmt: skip
        shown.add(dot.label)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=labels["chance"])
    if majority is not None:
        axes.axvline(majority, color=GREY, linewidth=1, linestyle="--", label=labels["majority"])
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.set_xlabel(labels["test_accuracy"])
    format_percent_axis(axes.xaxis)
    legend_above(canvas, axes)


def plan_costs(report: Report, table: CostTable | None, id: str, words: FigureWords) -> Drawing:
    """Return accuracy against trainable parameters, training time and adapter size, with the Pareto front of each."""
    title = words.say("costs.title")
    if table is None:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    names = short_names(report, words)
    best = {adapter.id: adapter.best_variant for adapter in report.adapters.values()}
    points = [
        _Point(row, style_of(report, row.adapter), names[row.adapter], best[row.adapter] == row.variant)
        for row in table.rows
    ]
    fronts = [_describe_front(report, table.rows, cost, words) for cost, _, _ in PANELS]
    alt = words.sentences(words.say("costs.alt", title=title, device=table.device_name), *fronts)
    labels = words.labels("costs.pareto", *(f"costs.{cost}" for cost, _, _ in PANELS), "test_accuracy")
    paint = partial(_paint_costs, points, list(names.values()), labels)
    return Drawing(id, title, alt, paint, height=7.0, rows=[_cost_row(report, row, table) for row in table.rows])


def _paint_costs(points: Sequence[_Point], names: Sequence[str], labels: Labels, canvas: Canvas) -> None:
    panels = list(canvas.subplots(3, 1, sharey=True))
    for panel, (cost, field, unit) in zip(panels, PANELS, strict=True):
        rows = [point.row for point in points]
        front = sorted((getattr(row, field) / unit, row.accuracy) for row in rows if cost in row.pareto)
        panel.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=1, label=labels["pareto"])
        for point in points:
            color = point.style.color
            panel.plot(getattr(point.row, field) / unit, point.row.accuracy, point.style.marker, color=color,
                       markersize=8, markeredgewidth=1.6, markerfacecolor=color if point.filled else "none",
                       label=point.name if point.filled else None)  # fmt: skip
        panel.set_xscale("log")
        mark_log_axis(panel.xaxis)
        panel.set_xlabel(labels[cost])
        format_percent_axis(panel.yaxis)
    canvas.supylabel(labels["test_accuracy"], fontsize=11)
    legend_above(canvas, panels, first=names)


def _dots_of(report: Report, variants: Sequence[str], words: FigureWords) -> list[_Dot]:
    found = [
        (position, report.group(adapter, name)) for adapter in report.adapters for position, name in enumerate(variants)
    ]
    return [
        _Dot(group.adapter, position, group.training.learning_rate, words.rate_label(group.training.learning_rate),
             group.test_accuracy.mean, group.test_interval, group.n_completed)
        for position, group in found
        if group is not None and group.test_accuracy is not None and group.test_interval is not None
    ]  # fmt: skip


def _cost_row(report: Report, row: CostRow, table: CostTable) -> dict[str, object]:
    return {
        "adapter": row.adapter,
        "learning_rate": report.study.training_of(row.variant).learning_rate,
        "test_accuracy": row.accuracy,
        "n_trainable_params": row.n_trainable_params,
        "train_time_s": row.train_time_s,
        "adapter_file_bytes": row.adapter_file_bytes,
        "pareto": ", ".join(row.pareto),
        "device_name": table.device_name,
    }


def _describe_dot(dot: _Dot, words: FigureWords) -> str:
    accuracy, low, high = (words.number(share, "percent") for share in (dot.mean, dot.interval.low, dot.interval.high))
    rate = words.number(dot.learning_rate, "rate")
    return words.say("test-accuracy.value", rate=rate, accuracy=accuracy, low=low, high=high)


def _describe_front(report: Report, rows: Sequence[CostRow], cost: str, words: FigureWords) -> str:
    names = short_names(report, words)
    adapters = [
        words.say(
            "costs.adapter",
            name=names[row.adapter],
            rate=words.number(report.study.training_of(row.variant).learning_rate, "rate"),
        )
        for row in rows
        if cost in row.pareto
    ]
    return words.say(f"costs.{cost}_front", adapters=words.joined(adapters, "comma"))
