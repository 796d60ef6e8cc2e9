"""Check what the figures of travel and of batch sizes draw, say and tabulate, with made-up records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from adapterbook.analysis.shapes import Report
from adapterbook.analysis.travel import compute_travel
from adapterbook.figures.catalogue import LANGUAGES
from adapterbook.figures.curves import plan_batch_size
from adapterbook.figures.style import settings_of, style_of
from adapterbook.figures.travel import plan_travel
from tests.support.factory import (
    ADAPTERS,
    BATCH_SIZE_VARIANTS,
    EVAL_STRATEGY_VARIANTS,
    FIGURE_WORDS,
    read_report,
    write_results,
)
from tests.unit.figures.test_figures import paint, texts_of

ABLATIONS = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report of a study with three seeds, the baseline and every ablation."""
    paths = write_results(tmp_path_factory.mktemp("project"), adapters=(*ADAPTERS, "head_only"), seeds=(1, 2, 3),
                          extra_variants=ABLATIONS)  # fmt: skip
    return read_report(paths)


def numbers(values: Any) -> list[float]:
    """Return the numbers of a line, which Matplotlib types loosely."""
    return [float(value) for value in values]


def dots_of(panel: Any) -> list[Line2D]:
    """Return the markers of single points in a panel."""
    return [line for line in panel.get_lines() if line.get_marker() != "None" and len(numbers(line.get_xdata())) == 1]


def test_each_method_has_a_panel_and_each_adapter_its_hue(report: Report) -> None:
    """Above stands the reference alone; below, LoRA, IA³ and the head each have one panel, all points in their hues."""
    with mpl.rc_context(settings_of("travel")):
        canvas = paint(plan_travel(report, FIGURE_WORDS["en"]))
    _, *below = canvas.axes
    hues = [{to_hex(dot.get_color()) for dot in dots_of(panel)} for panel in canvas.axes]
    assert hues[0] == {style_of(report, "lora_1").color}
    assert sorted(map(len, hues[1:])) == [1, 1, 3]
    assert set().union(*hues) == {style_of(report, name).color for name in report.adapters}
    assert sum(len(dots_of(panel)) for panel in below) == len(report.travel.points)
    assert all(panel.get_xscale() == "log" for panel in canvas.axes)
    assert len({panel.get_ylim() for panel in canvas.axes}) == 1  # accuracy has one scale


def test_kept_checkpoints_are_filled_and_named(report: Report) -> None:
    """Each point of the reference is drawn, filled if it was kept, and each variant's title stands beside one."""
    for language in LANGUAGES:
        with mpl.rc_context(settings_of("travel")):
            canvas = paint(plan_travel(report, FIGURE_WORDS[language]))
        drawn = {(*numbers(dot.get_xdata()), *numbers(dot.get_ydata()), dot.get_markerfacecolor() != "none")
                 for dot in dots_of(canvas.axes[0])}  # fmt: skip
        assert drawn == {(point.travel, point.accuracy, point.kept) for point in report.travel.points
                         if point.adapter == "lora_1"}  # fmt: skip
        texts = texts_of(canvas)
        for variant in report.study.variants.values():
            assert variant.title.in_language(language) in texts
        for baseline in ("test-accuracy.majority", "axes.head_only"):
            assert FIGURE_WORDS[language].say(baseline) in texts


def test_labels_cover_neither_each_other_nor_the_names_of_lines(report: Report) -> None:
    """With eight variants and three seeds, no two labels of the upper panel overlap, and none leaves the picture."""
    for language in LANGUAGES:
        with mpl.rc_context(settings_of("travel")):
            canvas = paint(plan_travel(report, FIGURE_WORDS[language]))
            boxes = [text.get_window_extent() for text in canvas.axes[0].texts if text.get_text()]
            width, height = canvas.canvas.get_width_height()
        overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]
                    if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 3 and b.y0 < a.y1 - 3]  # fmt: skip
        assert not overlaps, language
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)


def test_the_alternative_text_states_the_finding(report: Report) -> None:
    """It gives each adapter's rank correlation and its ends, and a plateau only where one was found."""
    for language in LANGUAGES:
        drawing = plan_travel(report, FIGURE_WORDS[language])
        for found in report.travel.findings.values():
            assert found.correlation is not None and f"{found.correlation:.2f}" in drawing.alt
            assert f"{100 * found.least.accuracy:.1f}%" in drawing.alt
            assert f"{100 * found.best.accuracy:.1f}%" in drawing.alt
        said = drawing.alt.count("起不再上升" if language == "zh" else "no longer rises")
        assert said == sum(found.stops is not None for found in report.travel.findings.values())


def test_the_table_holds_every_point(report: Report) -> None:
    """One row a point, with its travel and its interval."""
    rows = plan_travel(report, FIGURE_WORDS["en"]).rows
    assert len(rows) == len(report.travel.points)
    for row, point in zip(rows, report.travel.points, strict=True):
        assert (row["adapter"], row["variant"], row["seed"]) == (point.adapter, point.variant, point.seed)
        assert (row["travel"], row["test_accuracy"], row["kept"]) == (point.travel, point.accuracy, point.kept)
        assert row["interval_low"] == point.interval.low and row["relative_update"] == point.relative_update


def test_without_steps_the_figure_says_why(tmp_path: Path) -> None:
    """Records that list no steps have no travel: no figure of it, and batch sizes over steps alone."""
    paths = write_results(tmp_path / "a", adapters=("lora_1",), extra_variants=BATCH_SIZE_VARIANTS)
    runs = [run.id for run in read_report(paths).runs]
    changes: dict[str, Any] = {run: {"steps": ()} for run in runs}
    paths = write_results(tmp_path / "b", adapters=("lora_1",), extra_variants=BATCH_SIZE_VARIANTS, changes=changes)
    older = read_report(paths)
    assert plan_travel(older, FIGURE_WORDS["en"]).reason == "no_steps"
    drawing = plan_batch_size(older, FIGURE_WORDS["en"])
    assert all(row["travel"] is None for row in drawing.rows) and len(paint(drawing).axes) == 1
    empty = read_report(paths, "nothing-yet")
    assert plan_travel(empty, FIGURE_WORDS["en"]).reason == "missing"


def test_one_method_has_two_panels(tmp_path: Path) -> None:
    """A study of one adapter shows it alone twice, and draws without a baseline of the head."""
    drawing = plan_travel(read_report(write_results(tmp_path, adapters=("ia3",))), FIGURE_WORDS["en"])
    canvas = paint(drawing)
    assert len(canvas.axes) == 2 and "Head only" not in texts_of(canvas)


def test_batch_sizes_are_drawn_over_steps_and_over_travel(report: Report) -> None:
    """The same losses stand in both panels, at the steps and at the travels that the records say."""
    drawing = plan_batch_size(report, FIGURE_WORDS["en"])
    with mpl.rc_context(settings_of("batch-size")):
        steps, travel = paint(drawing).axes
    group = report.group("lora_1", "batch-64")
    assert group is not None and group.representative is not None and group.representative.record is not None
    record = group.representative.record
    losses = [value.mean for _, value in group.curve.values("validation_loss")]
    moments = [epoch for epoch, _ in group.curve.values("validation_loss")]
    for panel, xs in (
        (steps, [2 * epoch for epoch in moments]), (travel, [compute_travel(record, epoch) for epoch in moments]),
    ):  # fmt: skip
        lines = [line for line in panel.get_lines() if numbers(line.get_ydata()) == losses]
        assert len(lines) == 1 and numbers(lines[0].get_xdata()) == xs
    assert {row["batch_size"] for row in drawing.rows} == {4, 16, 64}
