"""Draw curves by epoch: by learning rate, by batch size, and each adapter's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from adapterbook.analysis.shapes import AdapterReport, Group, Report
from adapterbook.analysis.travel import compute_travel
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import state_batch_size, state_best_rate, state_overfitting
from adapterbook.figures.headline import adapter_lines, curve_rows
from adapterbook.figures.style import (
    GREY,
    Line,
    LineStyle,
    baselines_of,
    columns_of,
    draw_band,
    end_of,
    format_percent_axis,
    heights_of,
    legend_above,
    mark_epochs,
    mark_log_axis,
    mark_size,
    name_ends,
    name_level,
    panels_of,
    show_at_least,
    style_of,
    variant_style,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, describe_loss, describe_missing, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LOSSES = ("train_loss", "validation_loss")


@dataclass(frozen=True)
class _Course:
    """Hold one batch size's numbers: rows with ``step``, ``travel`` and ``validation_loss``."""

    label: str
    style: LineStyle
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Panel:
    """Hold the curves that share a pair of panels."""

    title: str
    lines: Sequence[Line]


def plan_learning_rate(report: Report, words: FigureWords) -> Drawing:
    """Return training loss above validation loss by epoch, a column a learning rate, all adapters."""
    id, title = "learning-rate", words.say("learning-rate.title")
    ablation = report.ablations["learning_rate"]
    drawn = {key: group for key, group in ablation.groups.items() if group.curve.values("validation_loss")}
    groups = {
        variant: [drawn[adapter, variant] for adapter in report.adapters if (adapter, variant) in drawn]
        for variant in ablation.variants
    }
    groups = {variant: found for variant, found in groups.items() if found}
    if not groups:
        return Drawing(id, title, title, None, reason=ablation.reason or why_nothing(report, "not_evaluated"))
    names = short_names(report, words)
    panels = [
        _Panel(
            words.rate_label(ablation.values[variant]),
            adapter_lines(report, found, lambda group: names[group.adapter], words),
        )
        for variant, found in groups.items()
    ]
    alt = words.sentences(
        words.say("learning-rate.alt", title=title),
        *(_describe_rate(found, names, ablation.values[variant], words) for variant, found in groups.items()),
        describe_missing(report, [adapter for adapter, _ in drawn], words),
    )
    rows = [row for found in groups.values() for group in found for row in curve_rows(group)]
    height, phone_height = heights_of(len(panels), 1.0, 3.6)
    paint = partial(_paint_learning_rate, panels, list(names.values()), _guess(report), words.labels(*LOSSES, "epoch"))
    return Drawing(id, title, alt, paint, height=height, phone_height=phone_height,
                   finding=state_overfitting(report, words), rows=rows)  # fmt: skip


def _paint_learning_rate(
    panels: Sequence[_Panel], names: Sequence[str], guess: float, labels: Labels, canvas: Canvas
) -> None:
    grid = _paired_grid(canvas, len(panels), labels)
    for (train, validation), panel in zip(grid, panels, strict=True):
        for line in panel.lines:
            draw_band(train, line.curve, "train_loss", line.style, None, markersize=3.5, markevery=3)
            draw_band(validation, line.curve, "validation_loss", line.style, line.label, markersize=3.5, markevery=3)
        for axes in (train, validation):
            _draw_guess(axes, guess)
            show_at_least(axes)
        train.set_title(panel.title, loc="left")
    legend_above(canvas, [axes for pair in grid for axes in pair], first=names)


def plan_curves(report: Report, adapter: AdapterReport, id: str, words: FigureWords) -> Drawing:
    """Return one adapter's train and validation loss, one panel a learning rate, one scale."""
    title = words.say("curves.title", name=short_names(report, words)[adapter.id])
    groups = _own_groups(report, adapter)
    if not groups:
        return Drawing(id, title, title, None, adapter=adapter.id, reason=adapter.reason or "no_runs")
    style = style_of(report, adapter.id)
    lines = [Line(group.curve, style, words.rate_label(group.training.learning_rate)) for group in groups]
    curves = words.joined(
        describe_loss(group, words.say("curves.curve", rate=words.rate(group)), words)
        for group in groups
        if group.curve.values("validation_loss")
    )
    alt = words.say("curves.alt", title=title, curves=words.begin(curves or words.say("curves.not_evaluated")))
    rows = [row for group in groups for row in curve_rows(group)]
    height, phone_height = heights_of(len(groups), 0.7, 2.2)
    paint = partial(_paint_curves, lines, _guess(report), words.labels(*LOSSES, "epoch"))
    finding = state_best_rate(groups, "validation_loss", words)
    return Drawing(id, title, alt, paint, height=height, phone_height=phone_height, finding=finding, rows=rows,
                   adapter=adapter.id)  # fmt: skip


def _paint_curves(lines: Sequence[Line], guess: float, labels: Labels, canvas: Canvas) -> None:
    """Draw a panel a line, under the line's label."""
    panels = _grid(canvas, len(lines), labels)
    for panel, line in zip(panels, lines, strict=True):
        draw_band(panel, line.curve, "train_loss", LineStyle(GREY, "--", ""), labels["train_loss"])
        draw_band(panel, line.curve, "validation_loss", line.style, labels["validation_loss"],
                  linestyle="-", markersize=3.5)  # fmt: skip
        _draw_guess(panel, guess)
        show_at_least(panel)
        panel.set_title(line.label, loc="left")
    legend_above(canvas, panels)


def plan_accuracy(report: Report, adapter: AdapterReport, id: str, words: FigureWords) -> Drawing:
    """Return one adapter's validation accuracy by epoch, one line a learning rate."""
    title = words.say("accuracy.title", name=short_names(report, words)[adapter.id])
    groups = [group for group in _own_groups(report, adapter) if group.curve.values("validation_accuracy")]
    if not groups:
        return Drawing(id, title, title, None, adapter=adapter.id, reason=adapter.reason or "not_evaluated")

    lines = [Line(group.curve, variant_style(i, len(groups)), words.rate(group)) for i, group in enumerate(groups)]
    curves = words.begin(words.joined(_describe_accuracy(group, words) for group in groups))
    rows = [
        {key: row[key] for key in ("learning_rate", "epoch", "validation_accuracy")}
        for group in groups
        for row in curve_rows(group)
        if row["validation_accuracy"] is not None
    ]
    alt = words.say("accuracy.alt", title=title, curves=curves)
    labels = words.labels("majority", "validation_accuracy", "epoch")
    paint = partial(_paint_accuracy, lines, labels, baselines_of(report)["validation_accuracy"])
    finding = state_best_rate(groups, "validation_accuracy", words)
    return Drawing(id, title, alt, paint, height=3.1, phone_height=3.1, finding=finding, rows=rows, adapter=adapter.id)


def _paint_accuracy(lines: Sequence[Line], labels: Labels, level: float, canvas: Canvas) -> None:
    axes = canvas.subplots()
    for line in lines:
        draw_band(axes, line.curve, "validation_accuracy", line.style, line.label)
    name_level(axes, level, labels["majority"])
    axes.set_ylabel(labels["validation_accuracy"])
    format_percent_axis(axes.yaxis)
    mark_epochs(axes, labels["epoch"])
    if not name_ends(axes, [end_of(line, "validation_accuracy") for line in lines], canvas.get_figheight() - 0.7):
        legend_above(canvas, axes)


def plan_batch_size(report: Report, words: FigureWords) -> Drawing:
    """Return one adapter's validation loss by batch size: over the optimiser's steps, and over travel."""
    id, title = "batch-size", words.say("batch-size.title")
    ablation = report.ablations["batch_size"]
    if not ablation.adapters:
        return Drawing(id, title, title, None, reason=ablation.reason or "no_runs")
    adapter = ablation.adapters[0]
    groups = [ablation.groups[adapter, name] for name in ablation.variants if (adapter, name) in ablation.groups]

    def name(phrase: str, group: Group) -> str:
        size = group.training.per_device_train_batch_size
        steps = math.ceil(report.study.data.n_train / size)
        return words.say(f"batch-size.{phrase}", size=words.number(size), steps=words.number(steps))

    rows = [row for group in groups for row in _batch_size_rows(group, report.study.data.n_train)]
    lines = [
        _Course(name("line", group), variant_style(i, len(groups)), [row for row in rows if row["batch_size"] == size])
        for i, group in enumerate(groups)
        if (size := group.training.per_device_train_batch_size)
    ]
    curves = words.joined(
        describe_loss(group, name("curve", group), words) for group in groups if group.curve.values("validation_loss")
    )
    adapter_name = short_names(report, words)[adapter]
    axes = [axis for axis in ("step", "travel") if any(row[axis] is not None for row in rows)]
    alt = words.say("batch-size.alt", title=title, name=adapter_name, curves=words.begin(curves))
    paint = partial(_paint_batch_size, lines, axes, _guess(report),
                    words.labels("batch-size.step", "travel.travel", "validation_loss"))  # fmt: skip
    return Drawing(id, title, alt, paint, height=1.0 + 2.3 * len(axes), phone_height=1.2 + 2.3 * len(axes),
                   finding=state_batch_size(report, adapter, words), rows=rows)  # fmt: skip


def _batch_size_rows(group: Group, n_train: int) -> list[dict[str, object]]:
    """Return the numbers of a curve with the steps and the travel up to each; every seed has the same schedule."""
    run = group.representative
    record = None if run is None else run.record
    n_steps = math.ceil(n_train / group.training.per_device_train_batch_size)
    return [
        {"batch_size": group.training.per_device_train_batch_size} | row
        | {"step": round(n_steps * point.epoch),
           "travel": None if record is None else compute_travel(record, point.epoch)}
        for point, row in zip(group.curve.points, curve_rows(group), strict=True)
    ]  # fmt: skip


def _paint_batch_size(
    lines: Sequence[_Course], axes: Sequence[str], guess: float, labels: Labels, canvas: Canvas
) -> None:
    panels = list(canvas.subplots(len(axes), 1, sharey=True, squeeze=False).flat)
    for panel, axis in zip(panels, axes, strict=True):
        for line in lines:
            points = [(row[axis], row["validation_loss"]) for row in line.rows if row["validation_loss"] is not None]
            panel.plot([x for x, _ in points], [loss for _, loss in points], color=line.style.color,
                       linestyle=line.style.linestyle, marker=line.style.marker, label=line.label)  # fmt: skip
        _draw_guess(panel, guess)
        panel.set_xscale("log")
        mark_log_axis(panel.xaxis)
        panel.set_xlabel(labels[axis])
    canvas.supylabel(labels["validation_loss"], fontsize=mark_size(canvas))
    legend_above(canvas, panels)


def _describe_accuracy(group: Group, words: FigureWords) -> str:
    points = group.curve.values("validation_accuracy")
    epoch, best = max(points, key=lambda point: point[1].mean)
    return words.say(
        "accuracy.curve",
        rate=words.rate(group),
        highest=words.number(best.mean, "percent"),
        epoch=words.number(epoch),
        last=words.number(points[-1][1].mean, "percent"),
    )


def _describe_rate(groups: Sequence[Group], names: Mapping[str, str], learning_rate: float, words: FigureWords) -> str:
    rate = words.number(learning_rate, "rate")
    curves = words.joined(describe_loss(group, names[group.adapter], words) for group in groups)
    training = _describe_train_losses(groups, names, words)
    if not training:
        return words.say("learning-rate.rate_without_training", rate=rate, curves=curves)
    return words.say("learning-rate.rate", rate=rate, training=training, curves=curves)


def _describe_train_losses(groups: Sequence[Group], names: Mapping[str, str], words: FigureWords) -> str:
    """Return the range of the first and last training losses, with the adapters of the lowest and the highest end."""
    curves = {names[group.adapter]: group.curve.values("train_loss") for group in groups}
    ends = {name: (points[0][1].mean, points[-1][1].mean) for name, points in curves.items() if points}
    if not ends:
        return ""
    low, high = min(ends, key=lambda name: ends[name][1]), max(ends, key=lambda name: ends[name][1])
    return words.say(
        "learning-rate.training",
        first=words.number(max(first for first, _ in ends.values()), "loss_short"),
        lowest=words.number(ends[low][1], "loss_short"),
        lowest_name=low,
        highest=words.number(ends[high][1], "loss_short"),
        highest_name=high,
    )


def _own_groups(report: Report, adapter: AdapterReport) -> list[Group]:
    """Return an adapter's groups with results, by learning rate; without other rates the submitted one's."""
    names = report.ablations["learning_rate"].variants or (report.study.submitted,)
    found = [adapter.groups[name] for name in names if name in adapter.groups]
    return [group for group in found if group.n_completed]


def _paired_grid(canvas: Canvas, n: int, labels: Labels) -> list[tuple[Axes, Axes]]:
    """Return n pairs of panels, training loss above validation loss, each panel with a scale that its lines fill."""
    columns = columns_of(canvas, n)
    grid = canvas.subplots(2 * math.ceil(n / columns), columns, sharex=True, squeeze=False)
    pairs: list[tuple[Axes, Axes]] = []
    for number in range(grid.size // 2):
        row, column = divmod(number, columns)
        pair = grid[2 * row][column], grid[2 * row + 1][column]
        if number >= n:
            for unused in pair:
                unused.remove()
            continue
        pairs.append(pair)
        for panel, quantity in zip(pair, LOSSES, strict=True):
            mark_epochs(panel)
            panel.tick_params(labelbottom=panel is pair[1] and number + columns >= n)
            if column == 0:
                panel.set_ylabel(labels[quantity])
    canvas.supxlabel(labels["epoch"], fontsize=mark_size(canvas))
    return pairs


def _grid(canvas: Canvas, n: int, labels: Labels) -> list[Axes]:
    """Return n panels, a few beside each other, the lowest of each column with the axis of epochs."""
    panels = panels_of(canvas, n)
    for panel in panels:
        mark_epochs(panel)
    canvas.supxlabel(labels["epoch"], fontsize=mark_size(canvas))
    return panels


def _guess(report: Report) -> float:
    return baselines_of(report)["validation_loss"]


def _draw_guess(panel: Axes, guess: float) -> None:
    panel.axhline(guess, color=GREY, linewidth=0.9, linestyle=(0, (1, 3)))
