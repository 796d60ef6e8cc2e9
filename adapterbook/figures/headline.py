"""Draw the headline: every adapter by epoch, as submitted and each at its own best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Basis, Group, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import state_lowest, state_one_answer
from adapterbook.figures.style import (
    QUIET,
    Line,
    baselines_of,
    draw_band,
    end_of,
    format_percent_axis,
    legend_above,
    mark_epochs,
    name_ends,
    name_level,
    named_adapters,
    show_at_least,
    style_of,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, describe_loss, describe_missing, others, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

QUANTITIES = ("validation_loss", "validation_accuracy")
IDS: dict[Basis, str] = {"submitted": "headline", "best": "headline-best"}


def plan_headline(report: Report, basis: Basis, words: FigureWords) -> Drawing:
    """Return the headline figure of one basis: two panels, a line an adapter, with what guessing gives."""
    id = IDS[basis]
    title, groups = words.say(f"{id}.title"), _groups(report, basis)
    if not groups:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))
    labels = words.labels("guessing", "majority", "validation_loss", "validation_accuracy", "epoch")
    alt = _describe(report, title, groups, words)
    rows = [row for group in groups for row in curve_rows(group)]
    collapsed = state_one_answer(report, groups, words)
    finding = collapsed or state_lowest(groups, words)
    paint = partial(_paint, headline_lines(report, basis, words), labels, baselines_of(report), collapsed)
    return Drawing(id, title, alt, paint, height=5.4, phone_height=4.8, finding=finding, rows=rows)


def headline_lines(report: Report, basis: Basis, words: FigureWords) -> list[Line]:
    """Return the lines of the headline figure of one basis, one an adapter that has a curve."""
    names = short_names(report, words)

    def label(group: Group) -> str:
        name = names[group.adapter]
        return words.say("headline-best.line", name=name, rate=words.rate(group)) if basis == "best" else name

    return adapter_lines(report, _groups(report, basis), label, words)


def adapter_lines(
    report: Report, groups: Sequence[Group], label: Callable[[Group], str], words: FigureWords
) -> list[Line]:
    """Return a line for each adapter's group; of very many adapters those without a name are quiet."""
    named = named_adapters(report)
    return [
        Line(group.curve, style_of(report, group.adapter), label(group))
        if group.adapter in named
        else Line(group.curve, QUIET, others(report, named, words))
        for group in groups
    ]


def _groups(report: Report, basis: Basis) -> list[Group]:
    groups = [adapter.submitted if basis == "submitted" else adapter.best for adapter in report.adapters.values()]
    return [group for group in groups if group is not None and group.curve.values("validation_loss")]


def _paint(lines: Sequence[Line], labels: Labels, levels: Mapping[str, float], note: str, canvas: Canvas) -> None:
    panels = list(canvas.subplots(2, 1, sharex=True))
    for panel, quantity, level in zip(panels, QUANTITIES, ("guessing", "majority"), strict=True):
        for line in lines:
            draw_band(panel, line.curve, quantity, line.style, line.label)
        name_level(panel, levels[quantity], labels[level])
        panel.set_title(labels[quantity], loc="left")
    show_at_least(panels[0])
    if note:
        low, high = panels[1].get_ylim()
        panels[1].set_ylim(low - 0.08 * (high - low), high)  # room for the note below the lines
        panels[1].annotate(note, (0, 0), (4, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8.5)
    format_percent_axis(panels[1].yaxis)
    mark_epochs(panels[1], labels["epoch"])
    height = canvas.get_figheight() / 2 - 0.55
    named = [
        name_ends(panel, [end_of(line, quantity) for line in lines], height)
        for panel, quantity in zip(panels, QUANTITIES, strict=True)
    ]
    if not all(named):
        legend_above(canvas, panels)
    else:
        legend_above(canvas, panels, only=[line.label for line in lines if line.style == QUIET])


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
