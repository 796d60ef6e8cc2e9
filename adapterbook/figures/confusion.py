"""Draw confusion matrices on the test rows, one panel a learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import AdapterReport, Report, RunReport
from adapterbook.common.stats import Confusion
from adapterbook.figures.figure import Drawing
from adapterbook.figures.words import FigureWords, Labels, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS = 3


@dataclass(frozen=True)
class _Matrix:
    """Hold a matrix as it is drawn: rows the labels, columns the predictions, negative first."""

    title: str
    shares: Sequence[Sequence[float]]  # of the row's label
    texts: Sequence[Sequence[str]]


def plan_confusion(report: Report, adapter: AdapterReport, id: str, words: FigureWords) -> Drawing:
    """Return one adapter's confusion matrices: rows the labels, columns the predictions, counts of test rows."""
    title = words.say("confusion.title", name=short_names(report, words)[adapter.id])
    names = report.ablations["learning_rate"].variants or (report.study.submitted,)
    groups = [adapter.groups[name] for name in names if name in adapter.groups]
    found = [(run, run.confusion) for group in groups if (run := group.representative) is not None and run.confusion]
    if not found:
        reason = next((run.reason for group in groups for run in group.runs if run.reason), adapter.reason)
        return Drawing(id, title, title, None, adapter=adapter.id, reason=reason or "no_runs")

    rows = [
        {"learning_rate": run.run.training.learning_rate, "seed": run.run.seed, "true_negative": confusion.tn,
         "false_positive": confusion.fp, "false_negative": confusion.fn, "true_positive": confusion.tp}
        for run, confusion in found
    ]  # fmt: skip
    matrices = words.begin(words.joined(_describe(run, confusion, words) for run, confusion in found))
    alt = words.say("confusion.alt", title=title, matrices=matrices)
    labels = words.labels("confusion.label", "confusion.prediction", "confusion.negative", "confusion.positive")
    paint = partial(_paint, [_matrix_of(run, confusion, words) for run, confusion in found], labels)
    height = 2.9 + 2.5 * (math.ceil(len(found) / COLUMNS) - 1)
    return Drawing(id, title, alt, paint, height=height, rows=rows, adapter=adapter.id)


def _matrix_of(run: RunReport, confusion: Confusion, words: FigureWords) -> _Matrix:
    counts = ((confusion.tn, confusion.fp), (confusion.fn, confusion.tp))
    shares = [[n / max(sum(row), 1) for n in row] for row in counts]
    texts = [
        [f"{n}\n{words.number(share, 'percent')}" for n, share in zip(*rows, strict=True)]
        for rows in zip(counts, shares, strict=True)
    ]
    return _Matrix(words.rate_label(run.run.training.learning_rate), shares, texts)


def _paint(matrices: Sequence[_Matrix], labels: Labels, canvas: Canvas) -> None:
    n_rows = math.ceil(len(matrices) / COLUMNS)
    panels = list(canvas.subplots(n_rows, min(len(matrices), COLUMNS), sharey=True, squeeze=False).flat)
    for unused in panels[len(matrices) :]:
        unused.remove()
    for panel, matrix in zip(panels, matrices, strict=False):
        _paint_matrix(panel, matrix, labels)
    panels[0].set_ylabel(labels["label"])
    canvas.supxlabel(labels["prediction"], fontsize=11)


def _paint_matrix(panel: Axes, matrix: _Matrix, labels: Labels) -> None:
    panel.imshow(matrix.shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row in range(2):
        for column in range(2):
            color = "white" if matrix.shares[row][column] > 0.7 else "black"
            panel.text(column, row, matrix.texts[row][column], ha="center", va="center", color=color, fontsize=10)
    classes = [labels["negative"], labels["positive"]]
    panel.set_xticks([0, 1], classes)
    panel.set_yticks([0, 1], classes, rotation=90, va="center")
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.set_title(matrix.title)


def _describe(run: RunReport, confusion: Confusion, words: FigureWords) -> str:
    return words.say(
        "confusion.matrix",
        rate=words.number(run.run.training.learning_rate, "rate"),
        n_negative=words.number(confusion.tn + confusion.fp),
        negative=words.number(confusion.tn),
        n_positive=words.number(confusion.fn + confusion.tp),
        positive=words.number(confusion.tp),
    )
