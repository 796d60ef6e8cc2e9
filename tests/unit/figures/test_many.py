"""Test the figures of a study with very many adapters."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure as Canvas

from adapterbook.figures.catalogue import plan_figures
from adapterbook.figures.headline import headline_lines
from adapterbook.figures.style import MAX_NAMED, QUIET, WIDTH, named_adapters, settings_of
from adapterbook.figures.words import cut_name
from tests.support.factory import FIGURE_WORDS, read_report, write_results

MANY = ("lora_1", "ia3", *(f"mine_{number:02d}" for number in range(42)))


@pytest.mark.slow  # draws 44 adapters
def test_no_legend_lies_over_a_plot(tmp_path: Path) -> None:
    """With 44 adapters every figure keeps its panels high enough, with the legend outside, and nothing warns."""
    report = read_report(write_results(tmp_path, adapters=MANY))
    drawn = [drawing for drawing in plan_figures(report, FIGURE_WORDS["en"]) if drawing.paint and not drawing.adapter]
    for drawing in drawn:
        assert drawing.paint is not None
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("error")
            mpl.rcParams.update(settings_of(drawing.id))
            canvas = Canvas(figsize=(WIDTH, drawing.height), layout="constrained")
            drawing.paint(canvas)
            canvas.draw_without_rendering()
        panels = [axes.get_window_extent() for axes in canvas.axes]
        assert min(panel.height for panel in panels) > 0.6 * canvas.dpi, drawing.id
        boxes = [legend.get_window_extent() for legend in canvas.legends]
        assert not [box for box in boxes for panel in panels if box.overlaps(panel)], drawing.id
        names = [text.get_text() for legend in canvas.legends for text in legend.get_texts()]
        assert len(names) <= MAX_NAMED + 2, drawing.id
    assert len(drawn) >= 10


def test_a_long_name_loses_its_middle() -> None:
    """A name that is wider than a panel is cut, differently from another that begins and ends alike."""
    long = ("新的 a_name_that_is_as_long_as_it_may_be_01", "新的 a_name_that_is_as_long_as_it_may_be_02")
    assert [cut_name(name) for name in ("LoRA 1", *long)] == [
        "LoRA 1",
        "新的 a_name_tha…ay_be_01",
        "新的 a_name_tha…ay_be_02",
    ]


def test_the_best_and_the_baselines_are_named(tmp_path: Path) -> None:
    """Of twelve adapters ten are named: the baseline, and those of the highest test accuracy; the others are grey."""
    adapters = (*(f"mine_{number:02d}" for number in range(11)), "head_only")
    accuracy = {f"mine_{number:02d}/submitted": 0.6 + number / 100 for number in range(11)}
    one = {"submitted": {"title": "as submitted"}}
    report = read_report(write_results(tmp_path, adapters=adapters, variants=one, accuracy=accuracy))
    assert named_adapters(report) == {"head_only", *(f"mine_{number:02d}" for number in range(2, 11))}
    quiet = [line.label for line in headline_lines(report, "submitted", FIGURE_WORDS["en"]) if line.style == QUIET]
    assert quiet == ["2 others"] * 2
