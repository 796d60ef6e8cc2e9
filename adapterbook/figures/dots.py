"""Draw points: test accuracy with its intervals, and the cost of accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from adapterbook.analysis.shapes import CostRow, CostTable, Measured, Report
from adapterbook.common.stats import Interval
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import one_answer_of
from adapterbook.figures.style import (
    BASELINES,
    GREY,
    QUIET,
    LineStyle,
    format_percent_axis,
    legend_above,
    mark_log_axis,
    mark_size,
    named_adapters,
    style_of,
    variant_style,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, describe_missing, others, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Cost = Literal["params", "time"]
COSTS: Final[tuple[Cost, ...]] = ("params", "time")
TIMES: Final = {"cpu": "cpu_time_s", "wall": "wall_time_s"}  # a column of the table behind the figure


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
    note: str  # that it gives one answer


@dataclass(frozen=True)
class _Point:
    """Hold one adapter: its test accuracy, what it costs, and at which costs it is on the front."""

    name: str
    style: LineStyle
    accuracy: float
    interval: Interval
    costs: Mapping[Cost, Measured]
    pareto: Sequence[Cost]


def plan_test_accuracy(report: Report, words: FigureWords) -> Drawing:
    """Return test accuracy with 95 % intervals, a row an adapter and learning rate."""
    id, title = "test-accuracy", words.say("test-accuracy.title")
    variants = report.ablations["learning_rate"].variants or (report.study.submitted,)
    dots = _dots_of(report, variants, words)
    if not dots:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    names = short_names(report, words)
    names = {adapter: names[adapter] for adapter in dict.fromkeys(dot.adapter for dot in dots)}
    rates = list(dict.fromkeys(dot.label for dot in sorted(dots, key=lambda dot: dot.position)))
    labels = words.labels("test-accuracy.majority", "test-accuracy.linear_probe", "test_accuracy")
    lines = {"majority": report.baseline("majority").accuracy, "linear_probe": report.baseline("linear_probe").accuracy}
    paint = partial(_paint_test_accuracy, dots, names, lines, rates, labels)
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
        words.say("test-accuracy.alt", title=title, adapters=adapters),
        "" if lines["linear_probe"] is None
        else words.say("test-accuracy.probe", accuracy=words.number(lines["linear_probe"], "percent")),
        describe_missing(report, list(names), words),
    )  # fmt: skip
    best = max(dots, key=lambda dot: dot.mean)
    finding = words.say("test-accuracy.most", name=names[best.adapter], accuracy=words.number(best.mean, "percent"),
                        rate=words.number(best.learning_rate, "rate"))  # fmt: skip
    return Drawing(id, title, alt, paint, height=1.5 + 0.62 * len(names), phone_height=2.1 + 0.66 * len(names),
                   finding=finding if dots[1:] else "", rows=rows)  # fmt: skip


def _paint_test_accuracy(
    dots: Sequence[_Dot],
    names: Labels,
    lines: Mapping[str, float | None],
    rates: Sequence[str],
    labels: Labels,
    canvas: Canvas,
) -> None:
    axes = canvas.subplots()
    rows = {adapter: row for row, adapter in enumerate(names)}
    of_row = {adapter: [dot for dot in dots if dot.adapter == adapter] for adapter in names}
    n_rates = 1 + max(dot.position for dot in dots)
    shown: set[str] = set()
    for dot in dots:
        style, others = variant_style(dot.position, n_rates), of_row[dot.adapter]
        height = rows[dot.adapter] + (others.index(dot) - (len(others) - 1) / 2) * min(0.22, 0.8 / len(others))
        axes.plot([dot.interval.low, dot.interval.high], [height, height], color=style.color, linewidth=1.6)
        axes.plot(dot.mean, height, style.marker, color=style.color, markersize=7,
                  label=None if dot.label in shown else dot.label)  # fmt: skip
        axes.annotate(dot.note, (dot.interval.high, height), (5, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=GREY)  # fmt: skip
        shown.add(dot.label)
    for (kind, accuracy), dashes in zip(lines.items(), ((0, (1, 2)), "--"), strict=True):
        if accuracy is not None:
            axes.axvline(accuracy, color=GREY, linewidth=1, linestyle=dashes, label=labels[kind])
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.set_xlabel(labels["test_accuracy"])
    format_percent_axis(axes.xaxis)
    legend_above(canvas, axes, first=rates)


def plan_costs(report: Report, table: CostTable | None, id: str, words: FigureWords) -> Drawing:
    """Return accuracy against trainable parameters and training time, with the adapters on the front of each."""
    title = words.say("costs.title")
    if table is None:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    names, named = short_names(report, words), named_adapters(report)
    points = [
        _Point(names[row.adapter], style_of(report, row.adapter) if row.adapter in named else QUIET,
               row.accuracy, row.test_interval,
               {"params": _exactly(row.n_trainable_params), "time": row.time_s}, row.pareto)
        for row in table.rows if row.accuracy is not None and row.test_interval is not None
    ]  # fmt: skip
    alt = words.sentences(
        words.say("costs.alt", title=title, device=table.device_name),
        *(_describe_front(cost, [point.name for point in points if cost in point.pareto], words) for cost in COSTS),
    )
    axes = {"params": words.say("costs.params"), "time": words.say(f"costs.{table.clock}")}
    labels = {**words.labels("costs.front", "test_accuracy"), "others": others(report, named, words)}
    paint = partial(_paint_costs, points, axes, labels)
    front = [point.name for point in points if "params" in point.pareto]
    finding = words.say("costs.finding", adapters=words.joined(front, "comma")) if front else ""
    return Drawing(id, title, alt, paint, height=5.2, phone_height=5.0, finding=finding,
                   rows=[_cost_row(row, table) for row in table.rows])  # fmt: skip


def _paint_costs(points: Sequence[_Point], axes: Labels, labels: Labels, canvas: Canvas) -> None:
    panels = list(canvas.subplots(2, 1, sharey=True))
    many = any(point.style == QUIET for point in points)  # names beside the points would cover each other
    for panel, cost in zip(panels, COSTS, strict=True):
        ordered = sorted(points, key=lambda point: point.costs[cost].median)
        for place, point in enumerate(ordered):
            color, found = point.style.color, point.costs[cost]
            if point.style == QUIET:
                panel.plot(found.median, point.accuracy, "o", color=color, markersize=5, zorder=1.8,
                           markerfacecolor=color if cost in point.pareto else "none",
                           label=labels["others"])  # fmt: skip
                continue
            cross = {"color": color, "linewidth": 1.2, "alpha": 0.7}
            panel.plot([found.low, found.high], [point.accuracy] * 2, **cross)
            panel.plot([found.median] * 2, [point.interval.low, point.interval.high], **cross)
            panel.plot(found.median, point.accuracy, point.style.marker, color=color, markersize=8,
                       markeredgewidth=1.6, markerfacecolor=color if cost in point.pareto else "none",
                       zorder=3, label=point.name if many else f"_{point.name}")  # fmt: skip
            if many:
                continue
            # Names stand above and below the intervals in turn, and those at the ends stay inside the panel.
            above, side = place % 2 == 1, {0: "left", len(ordered) - 1: "right"}.get(place, "center")
            end = point.interval.high if above else point.interval.low
            panel.annotate(point.name, (found.median, end), ({"left": -4, "right": 4}.get(side, 0), 3 if above else -3),
                           textcoords="offset points", fontsize=9, ha=side, va="bottom" if above else "top",
                           color=GREY if point.style in BASELINES.values() else color)  # fmt: skip
        panel.set_xscale("log")
        panel.margins(y=0.05 if many else 0.15)
        mark_log_axis(panel.xaxis)
        panel.set_xlabel(axes[cost])
        format_percent_axis(panel.yaxis)
    panels[0].plot([], [], "o", color=GREY, markersize=8, label=labels["front"])
    canvas.supylabel(labels["test_accuracy"], fontsize=mark_size(canvas))
    legend_above(canvas, panels)


def _dots_of(report: Report, variants: Sequence[str], words: FigureWords) -> list[_Dot]:
    found = [
        (position, report.group(adapter, name)) for adapter in report.adapters for position, name in enumerate(variants)
    ]
    return [
        _Dot(group.adapter, position, group.training.learning_rate, words.rate_label(group.training.learning_rate),
             group.test_accuracy.mean, group.test_interval, group.n_completed,
             _note(one_answer_of(report, group, words), words))
        for position, group in found
        if group is not None and group.test_accuracy is not None and group.test_interval is not None
    ]  # fmt: skip


def _note(answer: str, words: FigureWords) -> str:
    return words.say("test-accuracy.one_answer", answer=answer) if answer else ""


def _exactly(value: float) -> Measured:
    return Measured(1, value, value, value)


def _cost_row(row: CostRow, table: CostTable) -> dict[str, object]:
    return {
        "adapter": row.adapter,
        "test_accuracy": row.accuracy,
        "n_trainable_params": row.n_trainable_params,
        TIMES[table.clock]: row.time_s.median,
        "fastest_time_s": row.time_s.low,
        "slowest_time_s": row.time_s.high,
        "pareto": ", ".join(row.pareto),
        "device_name": table.device_name,
    }


def _describe_dot(dot: _Dot, words: FigureWords) -> str:
    accuracy, low, high = (words.number(share, "percent") for share in (dot.mean, dot.interval.low, dot.interval.high))
    rate = words.number(dot.learning_rate, "rate")
    return words.say("test-accuracy.value", rate=rate, accuracy=accuracy, low=low, high=high)


def _describe_front(cost: Cost, adapters: Sequence[str], words: FigureWords) -> str:
    if not adapters:
        return words.say(f"costs.{cost}_nobody")
    return words.say(f"costs.{cost}_front", adapters=words.joined(adapters, "comma"))
