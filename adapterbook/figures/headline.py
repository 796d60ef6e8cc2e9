"""Draw the headline: every adapter by epoch, as submitted and each at its own best learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Basis, Group, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import (
    GREY,
    Line,
    baselines_of,
    draw_band,
    format_percent_axis,
    legend_above,
    mark_epochs,
    style_of,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, describe_loss, describe_missing, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

IDS: dict[Basis, str] = {"submitted": "headline", "best": "headline-best"}


def plan_headline(report: Report, basis: Basis, words: FigureWords) -> Drawing:
    """Return the headline figure of one basis: two panels, a line an adapter, with what guessing gives."""
    id = IDS[basis]
    title, groups = words.say(f"{id}.title"), _groups(report, basis)
    if not groups:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))
    labels = words.labels("baselines", "validation_loss", "validation_accuracy", "epoch")
    alt = _describe(report, title, groups, words)
    rows = [row for group in groups for row in curve_rows(group)]
    paint = partial(_paint, headline_lines(report, basis, words), labels, baselines_of(report))
    return Drawing(id, title, alt, paint, height=5.4, rows=rows)


def headline_lines(report: Report, basis: Basis, words: FigureWords) -> list[Line]:
    """Return the lines of the headline figure of one basis, one an adapter that has a curve."""
    names = short_names(report, words)

    def label(group: Group) -> str:
        name = names[group.adapter]
        return words.say("headline-best.line", name=name, rate=words.rate(group)) if basis == "best" else name

    return [Line(group.curve, style_of(report, group.adapter), label(group)) for group in _groups(report, basis)]


def _groups(report: Report, basis: Basis) -> list[Group]:
    groups = [adapter.submitted if basis == "submitted" else adapter.best for adapter in report.adapters.values()]
    return [group for group in groups if group is not None and group.curve.values("validation_loss")]


def _paint(lines: Sequence[Line], labels: Labels, levels: Mapping[str, float], canvas: Canvas) -> None:
    loss, accuracy = canvas.subplots(2, 1, sharex=True)
    for line in lines:
        draw_band(loss, line.curve, "validation_loss", line.style, line.label)
        draw_band(accuracy, line.curve, "validation_accuracy", line.style, line.label)
    loss.axhline(levels["validation_loss"], color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=labels["baselines"])
    accuracy.axhline(levels["validation_accuracy"], color=GREY, linewidth=1, linestyle=(0, (1, 3)))
    loss.set_title(labels["validation_loss"], loc="left")
    accuracy.set_title(labels["validation_accuracy"], loc="left")
    format_percent_axis(accuracy.yaxis)
    mark_epochs(accuracy, labels["epoch"])
    legend_above(canvas, loss)


def curve_rows(group: Group) -> list[dict[str, object]]:
    """Return the numbers of a curve, one row an epoch: means over the seeds."""
    return [
        {
            "adapter": group.adapter,
            "learning_rate": group.training.learning_rate,
            "epoch": point.epoch,
            "train_loss": None if point.train_loss is None else point.train_loss.mean,
            "validation_loss": None if point.validation_loss is None else point.validation_loss.mean,
            "validation_accuracy": None if point.validation_accuracy is None else point.validation_accuracy.mean,
        }
        for point in group.curve.points
    ]


def _describe(report: Report, title: str, groups: Sequence[Group], words: FigureWords) -> str:
    names = short_names(report, words)
    curves = words.joined(describe_loss(group, names[group.adapter], words) for group in groups)
    ends = {group.adapter: points[-1][1] for group in groups if (points := group.curve.values("validation_accuracy"))}
    accuracies = [
        words.say("headline.accuracy", name=names[adapter], accuracy=words.number(end.mean, "percent"))
        for adapter, end in ends.items()
    ]
    return words.sentences(
        words.say("headline.alt", title=title, curves=curves),
        words.say(
            "headline.accuracies",
            accuracies=words.joined(accuracies, "comma"),
            baseline=words.number(baselines_of(report)["validation_accuracy"], "percent"),
        )
        if accuracies
        else "",
        describe_missing(report, [group.adapter for group in groups], words),
    )
