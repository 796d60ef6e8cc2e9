"""Draw the published curves beside those of this study."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import AdapterReport, PublishedRun, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import GREY, LineStyle, format_percent_axis, legend_above, mark_epochs, style_of
from adapterbook.figures.words import FigureWords, Labels, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def plan_published(report: Report, adapter: AdapterReport, id: str, words: FigureWords) -> Drawing:
    """Return validation loss and accuracy by epoch, published and rerun."""
    title = words.say("published.title", name=short_names(report, words)[adapter.id])
    run = report.published.runs.get(adapter.id)
    if run is None or run.variant is None:
        reason = report.published.reason or (run.reason if run else "not_published")
        return Drawing(id, title, title, None, adapter=adapter.id, reason=reason)
    rows = [
        {"epoch": point.epoch, "published_loss": point.published_loss, "rerun_loss": point.rerun_loss,
         "loss_difference": point.loss_difference, "published_accuracy": point.published_accuracy,
         "rerun_accuracy": point.rerun_accuracy, "accuracy_difference": point.accuracy_difference}
        for point in run.points
    ]  # fmt: skip
    labels = words.labels("published.published", "published.rerun", "validation_loss", "validation_accuracy", "epoch")
    paint = partial(_paint_published, run, style_of(report, adapter.id), labels)
    alt = _describe_published(run, title, words)
    return Drawing(id, title, alt, paint, height=4.8, phone_height=4.6, rows=rows, adapter=adapter.id)


def _paint_published(run: PublishedRun, style: LineStyle, labels: Labels, canvas: Canvas) -> None:
    panels = list(canvas.subplots(2, 1, sharex=True))
    for panel, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for origin, look in (("published", {"color": GREY, "linestyle": "--", "marker": "s"}),
                             ("rerun", {"color": style.color, "marker": style.marker})):  # fmt: skip
            values = [(point.epoch, getattr(point, f"{origin}_{quantity}")) for point in run.points]
            known = [(epoch, value) for epoch, value in values if value is not None]
            panel.plot([epoch for epoch, _ in known], [value for _, value in known], label=labels[origin], **look)
        panel.set_title(labels[f"validation_{quantity}"], loc="left")
    format_percent_axis(panels[1].yaxis)
    mark_epochs(panels[1], labels["epoch"])
    legend_above(canvas, panels)


def _describe_published(run: PublishedRun, title: str, words: FigureWords) -> str:
    if run.max_loss_difference is None or run.max_accuracy_difference is None:
        return words.say("published.not_comparable", title=title)
    loss = words.number(run.max_loss_difference, "loss_short")
    points = words.number(run.max_accuracy_difference, "points_unsigned")
    return words.say("published.difference", title=title, loss=loss, points=points)
