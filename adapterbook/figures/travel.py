"""Draw test accuracy over travel: one adapter with its training arguments named, then every adapter by method."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Report, TravelFinding, TravelPoint
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import one_answer_of
from adapterbook.figures.style import (
    GREY,
    LineStyle,
    columns_of,
    format_percent_axis,
    heights_of,
    legend_above,
    mark_log_axis,
    mark_size,
    named_adapters,
    style_of,
    text_length,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SMALL, LARGE = 5, 7  # markers of one of several seeds, and of the only one
# Places for a label around a point, in points: the first that is free is taken.
PLACES = tuple((dx, dy) for far in (8, 20, 34) for dy in (-4, -far - 4, far, -far - 16, far + 12) for dx in (far, -far))


MAX_IN_PANEL = 6  # adapters, whose names stand one below the other


@dataclass(frozen=True)
class _Cloud:
    """Hold one adapter's points; ``runs`` are its checkpoints, run by run."""

    name: str
    style: LineStyle
    runs: Sequence[Sequence[TravelPoint]]


@dataclass(frozen=True)
class _Mark:
    """Hold a label and the point that it stands beside."""

    text: str
    travel: float
    accuracy: float


def plan_travel(report: Report, words: FigureWords) -> Drawing:
    """Return test accuracy over travel: an adapter with its settings named, and a panel for each method."""
    id, title, travel = "travel", words.say("travel.title"), report.travel
    reference = travel.reference
    if reference is None:
        return Drawing(id, title, title, None, reason=why_nothing(report, "no_steps"))
    names = short_names(report, words)
    named = named_adapters(report)
    clouds = {name: _cloud(report, name, names) for name in travel.findings}
    methods: dict[str, list[_Cloud]] = {}
    for name, cloud in clouds.items():
        if name not in named:
            continue  # the table behind the figure has its points
        adapter = report.adapters[name]
        method = words.say("axes.head_only") if adapter.head_only else adapter.config.peft_type
        methods.setdefault(method, []).append(cloud)
    panels = [clouds_of[first : first + MAX_IN_PANEL] for clouds_of in methods.values()
              for first in range(0, len(clouds_of), MAX_IN_PANEL)]  # fmt: skip
    marks = _marks(report, reference.adapter, words)
    baselines = _baselines(report, words)
    labels = words.labels("travel.kept", "travel.last", "travel.same_run", "travel.travel", "test_accuracy")
    paint = partial(_paint, clouds[reference.adapter], marks, panels, baselines, labels)
    rows = [_row(point) for point in travel.points]
    height, phone_height = heights_of(len(panels), 4.4, 2.2)
    finding = ""
    if reference.correlation is not None:
        correlation = words.number(reference.correlation, "correlation")
        finding = words.say("travel.finding", name=names[reference.adapter], correlation=correlation)
    return Drawing(id, title, _describe(report, title, names, words), paint, height=height, phone_height=phone_height,
                   finding=finding, rows=rows)  # fmt: skip


def _cloud(report: Report, adapter: str, names: Mapping[str, str]) -> _Cloud:
    runs: dict[str, list[TravelPoint]] = {}
    for point in report.travel.points:
        if point.adapter == adapter:
            runs.setdefault(point.run, []).append(point)
    return _Cloud(names[adapter], style_of(report, adapter), tuple(runs.values()))


def _marks(report: Report, adapter: str, words: FigureWords) -> list[_Mark]:
    """Return the title of each variant at the kept checkpoint in the middle of its seeds."""
    by_variant: dict[str, list[TravelPoint]] = {}
    for point in report.travel.points:
        if point.adapter == adapter and point.kept:
            by_variant.setdefault(point.variant, []).append(point)
    marks = []
    for variant, points in by_variant.items():
        middle = sorted(points, key=lambda point: point.accuracy)[len(points) // 2]
        title = report.study.variants[variant].title.in_language(words.language)
        answer = one_answer_of(report, report.adapters[adapter].groups[variant], words)
        if answer:
            title = words.say("travel.one_answer", title=title, answer=answer)
        marks.append(_Mark(title, middle.travel, middle.accuracy))
    return marks


def _baselines(report: Report, words: FigureWords) -> dict[str, float]:
    """Return the accuracies that every panel shows as a line, by their labels."""
    found = {"test-accuracy.majority": report.baseline("majority")}
    if any(adapter.head_only for adapter in report.adapters.values()):
        found["axes.head_only"] = report.baseline("head_only")
    return {words.say(key): baseline.accuracy for key, baseline in found.items() if baseline.accuracy is not None}


def _paint(
    reference: _Cloud,
    marks: Sequence[_Mark],
    methods: Sequence[Sequence[_Cloud]],
    baselines: Mapping[str, float],
    labels: Labels,
    canvas: Canvas,
) -> None:
    n_columns = columns_of(canvas, len(methods))
    n_rows = math.ceil(len(methods) / n_columns)
    grid = canvas.add_gridspec(1 + n_rows, n_columns, height_ratios=[1.75, *[1.0] * n_rows])
    above = canvas.add_subplot(grid[0, :])
    below = [canvas.add_subplot(grid[1 + i // n_columns, i % n_columns], sharey=above) for i in range(len(methods))]
    _paint_panel(above, [reference], baselines, labels)
    for panel, clouds in zip(below, methods, strict=True):
        _paint_panel(panel, clouds, baselines, {})
    for place, panel in enumerate(below):
        panel.tick_params(labelleft=place % n_columns == 0)
    above.set_xlim(*_stretched(above.get_xlim()))
    low, high = above.get_ylim()
    above.set_ylim(low - 0.02, high + 0.02)
    format_percent_axis(above.yaxis)
    for panel in (above, *below):
        mark_log_axis(panel.xaxis)
    _name_points(above, marks, reference, baselines, canvas.get_figwidth())
    _name_lines(above, baselines)
    canvas.supxlabel(labels["travel"], fontsize=mark_size(canvas))
    canvas.supylabel(labels["test_accuracy"], fontsize=mark_size(canvas))
    legend_above(canvas, above)


def _paint_panel(axes: Axes, clouds: Sequence[_Cloud], baselines: Mapping[str, float], labels: Labels) -> None:
    """Draw the checkpoints of some adapters: filled where they were kept, and a line from one to the next of a run."""
    for style, accuracy in zip(("--", (0, (1, 2))), baselines.values(), strict=False):
        axes.axhline(accuracy, color=GREY, linewidth=1, linestyle=style)
    for cloud in clouds:
        color, marker = cloud.style.color, cloud.style.marker
        n_seeds = len({point.seed for run in cloud.runs for point in run})
        for run in cloud.runs:
            axes.plot([point.travel for point in run], [point.accuracy for point in run], color=color, linewidth=0.8,
                      alpha=0.5, zorder=1.5)  # fmt: skip
            for point in run:
                axes.plot(point.travel, point.accuracy, marker, color=color, markeredgewidth=1.2,
                          markersize=SMALL if n_seeds > 1 else LARGE,
                          markerfacecolor=color if point.kept else "none")  # fmt: skip
    axes.set_xscale("log")
    for place, cloud in enumerate(clouds):
        axes.annotate(cloud.name, (0, 1), (5, -4 - 13 * place), xycoords="axes fraction", textcoords="offset points",
                      color=cloud.style.color, va="top", fontsize=10)  # fmt: skip
    if labels:
        color, marker = clouds[0].style.color, clouds[0].style.marker
        axes.plot([], [], marker, color=color, markersize=SMALL, label=labels["kept"])
        axes.plot([], [], marker, color=color, markersize=SMALL, markerfacecolor="none", label=labels["last"])
        axes.plot([], [], color=color, linewidth=0.8, alpha=0.5, label=labels["same_run"])


def _stretched(limits: tuple[float, float]) -> tuple[float, float]:
    """Return wider limits of a logarithmic axis, so that labels fit beside the outermost points."""
    low, high = limits
    room = (high / low) ** 0.12
    return low / room, high * room


def _name_points(
    axes: Axes, marks: Sequence[_Mark], reference: _Cloud, baselines: Mapping[str, float], inches: float
) -> None:
    """Write each label beside its point, where it covers no other label and the fewest points."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    width, height = 0.86 * inches * 72, 2.4 * 72  # about the panel's size, in points
    marks = [replace(mark, text=_in_lines(mark.text, 0.45 * width)) for mark in marks]

    def place(travel: float, accuracy: float) -> tuple[float, float]:
        return width * math.log(travel / left) / math.log(right / left), height * (accuracy - low) / (high - low)

    def box(mark: _Mark, dx: float, dy: float) -> tuple[float, float, float, float]:
        x, y = place(mark.travel, mark.accuracy)
        lines = mark.text.splitlines()
        length = max(map(text_length, lines))
        top = y + dy - 2 + 11 * len(lines)
        return x + dx - (length if dx < 0 else 0), y + dy - 2, x + dx + (length if dx > 0 else 0), top

    taken = [(x - 4, y - 4, x + 4, y + 4)
             for x, y in (place(point.travel, point.accuracy) for run in reference.runs for point in run)]  # fmt: skip
    for name, accuracy in baselines.items():
        y = place(left, accuracy)[1]
        taken += [(0, y - 1, width, y + 1), (width - text_length(name), y, width, y + 11)]

    def cost(mark: _Mark, offset: tuple[int, int]) -> tuple[bool, int]:
        x0, y0, x1, y1 = box(mark, *offset)
        covered = sum(x0 < c and x1 > a and y0 < d and y1 > b for a, b, c, d in taken)
        return x0 < 0 or x1 > width or y0 < 0 or y1 > height, covered

    for mark in sorted(marks, key=lambda mark: mark.travel):
        dx, dy = min(PLACES, key=partial(cost, mark))
        taken += [box(mark, dx, dy)] * 3  # a label may rather cover points than another label
        color = reference.style.color
        arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.6}
        label = axes.annotate(mark.text, (mark.travel, mark.accuracy), (dx, dy - 2), textcoords="offset points",
                              color=color, fontsize=9, ha="left" if dx > 0 else "right", va="bottom",
                              arrowprops=arrow)  # fmt: skip
        label.set_in_layout(False)  # a long label must not take the panels' room


def _in_lines(text: str, most: float) -> str:
    """Return a label in as many lines as it needs to be at most so many points wide."""
    return "\n".join(textwrap.wrap(text, max(int(len(text) * most / text_length(text)), 1)))


def _name_lines(axes: Axes, baselines: Mapping[str, float]) -> None:
    """Write what each line of comparison is at its right end."""
    for name, accuracy in baselines.items():
        axes.annotate(name, (1, accuracy), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      color=GREY, fontsize=9, ha="right", va="bottom")  # fmt: skip


def _row(point: TravelPoint) -> dict[str, object]:
    """Return a row of the table behind the figure."""
    return {
        "adapter": point.adapter,
        "variant": point.variant,
        "seed": point.seed,
        "kept": point.kept,
        "epoch": point.epoch,
        "travel": point.travel,
        "relative_update": point.relative_update,
        "test_accuracy": point.accuracy,
        "interval_low": point.interval.low,
        "interval_high": point.interval.high,
    }


def _describe(report: Report, title: str, names: Mapping[str, str], words: FigureWords) -> str:
    travel = report.travel
    findings = words.joined(_describe_adapter(found, names, words) for found in travel.findings.values())
    return words.sentences(
        words.say(
            "travel.alt", title=title, points=words.number(len(travel.points)), runs=words.number(travel.n_runs),
            findings=findings,
        ),
        *(
            words.say("travel.stops", name=names[found.adapter], travel=words.number(found.stops, "travel"))
            for found in travel.findings.values()
            if found.stops is not None
        ),
    )  # fmt: skip


def _describe_adapter(found: TravelFinding, names: Mapping[str, str], words: FigureWords) -> str:
    ends = {
        f"{end}_{field}": words.number(value, kind)
        for end in ("least", "most", "best")
        for field, value, kind in (
            ("travel", getattr(found, end).travel, "travel"),
            ("accuracy", getattr(found, end).accuracy, "percent"),
        )
    }
    if found.correlation is None:
        return words.say("travel.few", name=names[found.adapter], **ends)
    correlation = words.number(found.correlation, "correlation")
    return words.say("travel.adapter", name=names[found.adapter], correlation=correlation, **ends)
