"""Draw reliability diagrams: how often an adapter is right, by how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Calibration, CalibrationBin, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import state_calibration
from adapterbook.figures.style import (
    GREY,
    LineStyle,
    format_percent_axis,
    heights_of,
    legend_above,
    mark_size,
    panels_of,
    style_of,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, cut_name, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class _Panel:
    """Hold one adapter's bins, in order of confidence."""

    name: str
    style: LineStyle
    bins: Sequence[CalibrationBin]


def plan_calibration(report: Report, words: FigureWords) -> Drawing:
    """Return share right against confidence, one panel an adapter at its own best learning rate."""
    id, title = "calibration", words.say("calibration.title")
    found = list(report.calibration.adapters.values())
    if not found:
        return Drawing(id, title, title, None, reason=why_nothing(report, "no_predictions"))
    names = short_names(report, words)
    panels = [_Panel(cut_name(names[item.adapter]), style_of(report, item.adapter), item.bins) for item in found]
    adapters = words.joined(_describe(item, names[item.adapter], words) for item in found)
    labels = words.labels("calibration.calibrated", "calibration.confidence", "calibration.right")
    rows = [
        {"adapter": item.adapter, "learning_rate": report.study.training_of(item.variant).learning_rate,
         "confidence": part.confidence, "share_right": part.accuracy, "interval_low": part.interval.low,
         "interval_high": part.interval.high, "n_answers": part.n_answers}
        for item in found for part in item.bins
    ]  # fmt: skip
    height, phone_height = heights_of(len(panels), 1.2, 2.1)
    alt = words.say("calibration.alt", title=title, adapters=adapters)
    paint = partial(_paint, panels, 1 / report.source.n_labels, labels)
    return Drawing(id, title, alt, paint, height=height, phone_height=phone_height,
                   finding=state_calibration(found, words), rows=rows)  # fmt: skip


def _paint(panels: Sequence[_Panel], lowest: float, labels: Labels, canvas: Canvas) -> None:
    all_axes = panels_of(canvas, len(panels), sharey=True)
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.plot([lowest, 1.0], [lowest, 1.0], color=GREY, linewidth=1, linestyle="--", label=labels["calibrated"])
        for part in panel.bins:
            ends = [part.interval.low, part.interval.high]
            axes.plot([part.confidence] * 2, ends, color=panel.style.color, linewidth=1.2, alpha=0.7)
        points = [(part.confidence, part.accuracy) for part in panel.bins]
        axes.plot(*zip(*points, strict=True), panel.style.marker, color=panel.style.color)
        axes.set_title(panel.name, loc="left")
        axes.set_ylim(0.2 if lowest == 0.5 else 0, 1.02)
        format_percent_axis(axes.xaxis)
        format_percent_axis(axes.yaxis)
    canvas.supxlabel(labels["confidence"], fontsize=mark_size(canvas))
    canvas.supylabel(labels["right"], fontsize=mark_size(canvas))
    legend_above(canvas, all_axes[: len(panels)])


def _describe(item: Calibration, name: str, words: FigureWords) -> str:
    first, last = item.bins[0], item.bins[-1]
    shares = {
        "first": first.confidence,
        "first_right": first.accuracy,
        "last": last.confidence,
        "last_right": last.accuracy,
    }
    values = {key: words.number(value, "percent") for key, value in shares.items()}
    return words.say("calibration.adapter", name=name, **values)
