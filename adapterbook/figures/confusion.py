"""Confusion matrices on the test rows, one panel a learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import AdapterReport, Report, RunReport
from adapterbook.common.formatting import format_number
from adapterbook.common.stats import Confusion
from adapterbook.figures.figure import Language
from adapterbook.figures.headline import titled
from adapterbook.figures.style import Drawing, both, capitalised, word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS = 3


def plan_confusion(report: Report, adapter: AdapterReport, id: str) -> Drawing:
    """Return one adapter's confusion matrices: rows the labels, columns the predictions, counts of test rows."""
    title = titled(report, adapter, "測試集的混淆矩陣", "confusion matrices, test rows")
    names = report.ablations["learning_rate"].variants or (report.study.submitted,)
    groups = [adapter.groups[name] for name in names if name in adapter.groups]
    found = [(run, run.confusion) for group in groups if (run := group.representative) is not None and run.confusion]
    if not found:
        reason = next((run.reason for group in groups for run in group.runs if run.reason), adapter.reason)
        return Drawing(id, title, title, None, adapter=adapter.id, reason=reason or "no_runs")

    zh = "；".join(_describe(run, confusion, "zh") for run, confusion in found)
    en = "; ".join(_describe(run, confusion, "en") for run, confusion in found)
    rows = [
        {"learning_rate": run.run.training.learning_rate, "seed": run.run.seed, "true_negative": confusion.tn,
         "false_positive": confusion.fp, "false_negative": confusion.fn, "true_positive": confusion.tp}
        for run, confusion in found
    ]  # fmt: skip
    alt = both(f"{title.zh}。{zh}。", f"{title.en}. {capitalised(en)}.")
    height = 2.9 + 2.5 * (math.ceil(len(found) / COLUMNS) - 1)
    paint = partial(_paint, [(run.run.training.learning_rate, confusion) for run, confusion in found])
    return Drawing(id, title, alt, paint, height=height, rows=rows, adapter=adapter.id)


def _paint(matrices: Sequence[tuple[float, Confusion]], canvas: Canvas, language: Language) -> None:
    """Draw a matrix a learning rate."""
    n_rows = math.ceil(len(matrices) / COLUMNS)
    panels = list(canvas.subplots(n_rows, min(len(matrices), COLUMNS), sharey=True, squeeze=False).flat)
    for unused in panels[len(matrices) :]:
        unused.remove()
    for panel, (learning_rate, confusion) in zip(panels, matrices, strict=False):
        _paint_matrix(panel, learning_rate, confusion, language)
    panels[0].set_ylabel(word("label", language))
    canvas.supxlabel(word("prediction", language), fontsize=11)


def _paint_matrix(panel: Axes, learning_rate: float, confusion: Confusion, language: Language) -> None:
    import numpy as np

    counts = np.array([[confusion.tn, confusion.fp], [confusion.fn, confusion.tp]])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row in range(2):
        for column in range(2):
            color = "white" if shares[row, column] > 0.7 else "black"
            text = f"{counts[row, column]}\n{format_number(shares[row, column], 'percent', language)}"
            panel.text(column, row, text, ha="center", va="center", color=color, fontsize=10)
    classes = [word("negative", language), word("positive", language)]
    panel.set_xticks([0, 1], classes)
    panel.set_yticks([0, 1], classes, rotation=90, va="center")
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    rate = format_number(learning_rate, "rate", language)
    panel.set_title(f"{word('learning_rate', language)} {rate}")


def _describe(run: RunReport, confusion: Confusion, language: Language) -> str:
    rate = format_number(run.run.training.learning_rate, "rate", language)
    negative, positive = confusion.tn + confusion.fp, confusion.fn + confusion.tp
    if language == "zh":
        return (f"學習率 {rate}：{negative} 句負面中答對 {confusion.tn} 句，"
                f"{positive} 句正面中答對 {confusion.tp} 句")  # fmt: skip
    return (f"learning rate {rate}: {confusion.tn} of {negative} negative rows right, "
            f"{confusion.tp} of {positive} positive rows right")  # fmt: skip
