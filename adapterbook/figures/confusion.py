"""Draw confusion matrices on the test rows, one panel a learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import AdapterReport, Report, RunReport
from adapterbook.common.confusion import MAX_CLASSES, Confusion
from adapterbook.common.formatting import capitalised
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import one_answer_of, state_most_right
from adapterbook.figures.style import ink_on, mark_size, on_phone
from adapterbook.figures.words import FigureWords, Labels, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MAX_NAME = 14  # characters of a label's name beside a matrix
RIGHT, WRONG = "Blues", "Oranges"  # on the diagonal dark is good, beside it dark is bad


@dataclass(frozen=True)
class _Matrix:
    """Hold a matrix as it is drawn: rows the labels, columns the predictions."""

    title: str
    shares: Sequence[Sequence[float]]  # of the row's label
    texts: Sequence[Sequence[str]]


def plan_confusion(report: Report, adapter: AdapterReport, id: str, words: FigureWords) -> Drawing:
    """Return one adapter's confusion matrices: rows the labels, columns the predictions, counts of test rows."""
    of_seeds = "_of_first" if report.n_seeds > 1 else ""
    title = words.say(f"confusion.title{of_seeds}", name=short_names(report, words)[adapter.id])
    names = dict.fromkeys((report.study.submitted, *report.ablations["learning_rate"].variants))
    groups = sorted((adapter.groups[name] for name in names if name in adapter.groups),
                    key=lambda group: group.training.learning_rate)  # fmt: skip
    found = [(run, run.confusion) for group in groups if (run := group.representative) is not None and run.confusion]
    if not found or report.source.wording is None:
        reason = next((run.reason for group in groups for run in group.runs if run.reason), adapter.reason)
        return Drawing(id, title, title, None, adapter=adapter.id, reason=reason or "no_runs")

    kept, _ = found[0][1].grouped(MAX_CLASSES)  # every run has the same test rows
    titles = report.source.wording.labels
    classes = [titles[label].in_language(words.language) for label in kept]
    if len(kept) < len(titles):
        classes.append(words.say("confusion.others", n=words.number(len(titles) - len(kept))))
    counts = [
        (run, confusion.grouped(MAX_CLASSES)[1].counts, _count_right(confusion, kept)) for run, confusion in found
    ]
    keys = [*map(str, kept), *(["others"] if len(kept) < len(titles) else [])]
    rows = [
        {"learning_rate": run.run.training.learning_rate, "seed": run.run.seed, "truth": key,
         **{f"predicted_{other}": n for other, n in zip(keys, row, strict=True)}}
        for run, matrix, _ in counts for key, row in zip(keys, matrix, strict=True)
    ]  # fmt: skip
    matrices = words.begin(words.joined(_describe(*item, classes, words) for item in counts))
    alt = words.say("confusion.alt", title=title, matrices=matrices)
    labels = dict(words.labels("confusion.label", "confusion.prediction"))
    if len(kept) < len(titles):
        labels["prediction"] = words.say("confusion.prediction_grouped", prediction=labels["prediction"])
    matrices_of = [_matrix_of(report, *item, words) for item in counts]
    height, phone_height = (_height(len(classes), len(found), phone=phone) for phone in (False, True))
    return Drawing(id, title, alt, partial(_paint, matrices_of, classes, labels), height=height,
                   phone_height=phone_height, finding=state_most_right([run for run, _ in found], of_seeds, words),
                   rows=rows, adapter=adapter.id)  # fmt: skip


def _most_columns(n_classes: int, *, phone: bool) -> int:
    """Return how many matrices fit beside each other."""
    if phone:
        return 2 if n_classes <= 3 else 1
    return 3 if n_classes <= 3 else 2 if n_classes <= 5 else 1


def _height(n_classes: int, n_matrices: int, *, phone: bool) -> float:
    most = _most_columns(n_classes, phone=phone)
    each = {3: 2.5, 2: 2.3 if phone else 3.6, 1: min(1.8 + 0.4 * n_classes, 4.2) if phone else 1.8 + 0.4 * n_classes}
    return each[most] * math.ceil(n_matrices / most) + 0.4


def _count_right(confusion: Confusion, kept: Sequence[int]) -> tuple[int, ...]:
    """Return the right answers of each label that is drawn, and of all others: one of these may stand for another."""
    own = [confusion.counts[label][label] for label in kept]
    return (*own, confusion.n_correct - sum(own))


def _matrix_of(
    report: Report, run: RunReport, counts: Sequence[Sequence[int]], right: Sequence[int], words: FigureWords
) -> _Matrix:
    shares = [
        [(right[i] if i == j else n) / max(sum(row), 1) for j, n in enumerate(row)] for i, row in enumerate(counts)
    ]
    texts = [
        [
            f"{n}\n{words.number(share, 'percent')}" if len(counts) <= 5 else str(n)
            for n, share in zip(*row, strict=True)
        ]
        for row in (tuple(pair) for pair in zip(counts, shares, strict=True))
    ]
    if len(right) == len(counts):  # the others are drawn as one
        texts[-1][-1] = f"{right[-1]}/{counts[-1][-1]}"
    title, answer = words.rate_label(run.run.training.learning_rate), one_answer_of(report, run, words)
    if answer:
        title = f"{title}\n{words.say('confusion.one_answer', answer=answer)}"
    return _Matrix(title, shares, texts)


def _paint(matrices: Sequence[_Matrix], classes: Sequence[str], labels: Labels, canvas: Canvas) -> None:
    n_rows = math.ceil(len(matrices) / _most_columns(len(classes), phone=on_phone(canvas)))
    grid = canvas.subplots(n_rows, math.ceil(len(matrices) / n_rows), sharey=True, squeeze=False)
    panels = list(grid.flat)
    for unused in panels[len(matrices) :]:
        unused.remove()
    for panel, matrix in zip(panels, matrices, strict=False):
        _paint_matrix(panel, matrix, [capitalised(_cut(name)) for name in classes])
    canvas.supylabel(labels["label"], fontsize=mark_size(canvas))
    canvas.supxlabel(labels["prediction"], fontsize=mark_size(canvas))


def _paint_matrix(panel: Axes, matrix: _Matrix, classes: Sequence[str]) -> None:
    from matplotlib import colormaps, rcParams

    cells = [[colormaps[RIGHT if row == column else WRONG](share)[:3] for column, share in enumerate(shares)]
             for row, shares in enumerate(matrix.shares)]  # fmt: skip
    panel.imshow(cells, aspect="equal")
    size = 8.5 if len(classes) > 8 else rcParams["xtick.labelsize"]
    for row, texts in enumerate(matrix.texts):
        for column, text in enumerate(texts):
            panel.text(column, row, text, ha="center", va="center", color=ink_on(cells[row][column]), fontsize=size)
    places, few = range(len(classes)), len(classes) == 2
    panel.set_xticks(places, classes, rotation=0 if few else 45, ha="center" if few else "right",
                     rotation_mode="anchor")  # fmt: skip
    panel.set_yticks(places, classes, rotation=90 if few else 0, va="center")
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)
    panel.set_title(matrix.title)


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _describe(
    run: RunReport, counts: Sequence[Sequence[int]], right: Sequence[int], classes: Sequence[str], words: FigureWords
) -> str:
    said = [
        words.say("confusion.right", label=name, n=words.number(sum(row)), right=words.number(right[label]))
        for label, (name, row) in enumerate(zip(classes, counts, strict=True))
    ]
    rate = words.number(run.run.training.learning_rate, "rate")
    return words.say("confusion.matrix", rate=rate, right=words.joined(said, "comma"))
