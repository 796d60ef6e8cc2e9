"""The published curve beside this study's, one figure an adapter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import AdapterReport, PublishedRun, Report
from adapterbook.common.formatting import format_number
from adapterbook.figures.figure import Language
from adapterbook.figures.headline import titled
from adapterbook.figures.style import (
    GREY,
    Drawing,
    LineStyle,
    both,
    format_percent_axis,
    legend_above,
    mark_epochs,
    style_of,
    word,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def plan_published(report: Report, adapter: AdapterReport, id: str) -> Drawing:
    """Return validation loss and accuracy by epoch, published and rerun."""
    title = titled(report, adapter, "原作業公布的曲線與本次重跑", "the published curve and this study's")
    run = report.published.runs.get(adapter.id)
    if run is None or run.variant is None:
        reason = report.published.reason or (run.reason if run else "not_published")
        return Drawing(id, title, title, None, adapter=adapter.id, reason=reason)
    alt = both(f"{title.zh}。{_describe(run, 'zh')}", f"{title.en}. {_describe(run, 'en')}")
    rows = [
        {"epoch": point.epoch, "published_loss": point.published_loss, "rerun_loss": point.rerun_loss,
         "loss_difference": point.loss_difference, "published_accuracy": point.published_accuracy,
         "rerun_accuracy": point.rerun_accuracy, "accuracy_difference": point.accuracy_difference}
        for point in run.points
    ]  # fmt: skip
    paint = partial(_paint, run, style_of(report, adapter.id))
    return Drawing(id, title, alt, paint, height=4.8, rows=rows, adapter=adapter.id)


def _paint(run: PublishedRun, style: LineStyle, canvas: Canvas, language: Language) -> None:
    panels = list(canvas.subplots(2, 1, sharex=True))
    for panel, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for origin, look in (("published", {"color": GREY, "linestyle": "--", "marker": "s"}),
                             ("rerun", {"color": style.color, "marker": style.marker})):  # fmt: skip
            values = [(point.epoch, getattr(point, f"{origin}_{quantity}")) for point in run.points]
            known = [(epoch, value) for epoch, value in values if value is not None]
            panel.plot(
                [epoch for epoch, _ in known], [value for _, value in known], label=word(origin, language), **look
            )
        panel.set_title(word(f"validation_{quantity}", language), loc="left")
    format_percent_axis(panels[1].yaxis)
    mark_epochs(panels[1], language)
    legend_above(canvas, panels)


def _describe(run: PublishedRun, language: Language) -> str:
    if run.max_loss_difference is None or run.max_accuracy_difference is None:
        return "重跑的曲線沒有可比的輪數。" if language == "zh" else "The rerun shares no evaluated epoch."
    loss = format_number(run.max_loss_difference, "loss", language)
    points = format_number(run.max_accuracy_difference, "points_unsigned", language)
    if language == "zh":
        return f"兩條驗證損失最多相差 {loss}，驗證準確率最多相差 {points} 個百分點。"
    return f"The validation losses differ by at most {loss}, the validation accuracies by at most {points} points."
