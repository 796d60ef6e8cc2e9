"""Test the figures of a study of one epoch, whose curves are single points."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from adapterbook.figures.catalogue import plan_figures
from adapterbook.figures.style import WIDTH, settings_of
from tests.support.factory import FIGURE_WORDS, read_report, write_results

WITH_EPOCHS = {"headline", "learning-rate", "curves-lora-1", "accuracy-lora-1"}


def test_the_axis_of_one_epoch_has_one_mark(tmp_path: Path) -> None:
    """The only mark is 1, not 0.96, 0.98, 1.00, …."""
    once = {"num_train_epochs": 1}
    variants = {name: {"title": name, "training": once | more}
                for name, more in (("submitted", {}), ("lr-1e-3", {"learning_rate": 1e-3}))}  # fmt: skip
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), variants=variants))
    drawings = {drawing.id: drawing for drawing in plan_figures(report, FIGURE_WORDS["en"])}
    for id in WITH_EPOCHS:
        drawing = drawings[id]
        assert drawing.paint is not None, id
        with mpl.rc_context(settings_of(id)):
            canvas = Canvas(figsize=(WIDTH, drawing.height), layout="constrained")
            drawing.paint(canvas)
            canvas.draw_without_rendering()
            marks = [text.get_text() for axes in canvas.axes for text in axes.get_xticklabels() if text.get_text()]
        assert marks and set(marks) <= {"1", "1.0"}, (id, marks)
