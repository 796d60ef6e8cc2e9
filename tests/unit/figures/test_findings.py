"""Check what figures state before their captions, and that a model with one answer is told in the charts it is in."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from adapterbook.analysis.shapes import Report
from adapterbook.common.formatting import NO_BREAK_SPACE
from adapterbook.figures.answer import state_finding
from adapterbook.figures.catalogue import plan_figures
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import state_lowest, state_one_answer
from adapterbook.figures.style import PHONE_WIDTH, WIDTH, ink_on, settings_of
from adapterbook.runs.record import write_record
from tests.support.factory import FIGURE_WORDS, make_record, read_report, write_results

# Figures that describe what is there, and have nothing to compare.
WITHOUT = {"block", "answer"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report of a study in which LoRA 1 answers "positive" to nearly every sentence as submitted."""
    paths = write_results(tmp_path_factory.mktemp("collapsed"), adapters=("lora_1", "ia3"))
    file = paths.results / "embedded/lora_1/submitted/seed-224/predictions.parquet"
    table = pd.read_parquet(file)
    table["prediction"], table["probability"] = 1, 0.95
    table.loc[:9, ["prediction", "probability"]] = [0, 0.3]
    table.to_parquet(file)
    write_record(make_record("lora_1", predictions=table), file.parent)
    return read_report(paths)


@pytest.fixture(scope="module")
def drawings(report: Report) -> Mapping[str, Drawing]:
    return {drawing.id: drawing for drawing in plan_figures(report, FIGURE_WORDS["en"])}


def texts_in(drawing: Drawing, width: float) -> list[Text]:
    """Return every text in a figure."""
    assert drawing.paint is not None
    with mpl.rc_context(settings_of(drawing.id, width)):
        height = drawing.height if width == WIDTH else drawing.phone_height
        canvas = Canvas(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(canvas)
        drawing.paint(canvas)
        return [text for text in canvas.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]


def words_in(drawing: Drawing, width: float) -> str:
    """Return the words in a figure."""
    return "\n".join(text.get_text() for text in texts_in(drawing, width))


def sizes_in(drawing: Drawing) -> list[float]:
    """Return the sizes of the letters in a figure's drawing for phones, in points."""
    return [float(text.get_fontsize()) for text in texts_in(drawing, PHONE_WIDTH)]


@pytest.mark.parametrize("id", ["headline", "travel", "test-accuracy", "confusion-lora-1"])
def test_a_chart_says_where_a_model_has_one_answer(drawings: Mapping[str, Drawing], id: str) -> None:
    """The name of the only answer stands in the chart, on a page and on a phone, once for the one such model."""
    for width in (WIDTH, PHONE_WIDTH):
        assert words_in(drawings[id], width).count("“positive”") == 1
    if id != "confusion-lora-1":
        assert "“positive”" not in words_in(drawings["confusion-ia3"], WIDTH)


def test_the_courses_of_the_adapters_are_stated(report: Report, drawings: Mapping[str, Drawing]) -> None:
    """One of the two models as submitted has one answer; where none has, the epochs of the lowest losses are stated."""
    assert drawings["headline"].finding == "1 of 2 models answer “positive” to nearly every test sentence"
    groups = [adapter.groups["lr-1e-3"] for adapter in report.adapters.values()]
    assert state_one_answer(report, groups, FIGURE_WORDS["en"]) == ""
    curves = [group.curve.values("validation_loss") for group in groups]
    epochs = {f"{min(points, key=lambda point: point[1].mean)[0]:g}" for points in curves}
    assert epochs <= set(state_lowest(groups, FIGURE_WORDS["en"]).split())


def test_each_chart_states_what_it_shows(report: Report, drawings: Mapping[str, Drawing]) -> None:
    """Every drawn figure but the diagram has a finding in both languages, without a full stop."""
    zh = {drawing.id: drawing for drawing in plan_figures(report, FIGURE_WORDS["zh"])}
    drawn = [id for id, drawing in drawings.items() if drawing.paint is not None and id not in WITHOUT]
    assert len(drawn) > 10
    for id in drawn:
        for drawing in (drawings[id], zh[id]):
            assert drawing.finding, id
            assert drawing.finding[-1] not in ".。", id


def test_every_figure_has_a_drawing_for_phones(drawings: Mapping[str, Drawing]) -> None:
    """None is a page's drawing made small, and letters are at least 8.25 points, which is 11 pixels."""
    for drawing in drawings.values():
        if drawing.paint is not None:
            assert drawing.phone_height > 0, drawing.id
            assert min(sizes_in(drawing)) >= 8.25, drawing.id


def test_findings_follow_from_the_numbers(report: Report, drawings: Mapping[str, Drawing]) -> None:
    """The best values that captions state are those of the rows behind the figures."""
    rows = drawings["curves-ia3"].rows
    best = min((row for row in rows if row["validation_loss"] is not None), key=lambda row: row["validation_loss"])
    assert f"{best['validation_loss']:.3f} in epoch {best['epoch']:g}" in drawings["curves-ia3"].finding
    rows = drawings["accuracy-ia3"].rows
    assert f"{100 * max(row['validation_accuracy'] for row in rows):.1f}%" in drawings["accuracy-ia3"].finding
    rows = drawings["test-accuracy"].rows
    assert f"{100 * max(row['test_accuracy'] for row in rows):.1f}%" in drawings["test-accuracy"].finding
    right = max(run.confusion.n_correct for run in report.runs
                if run.run.adapter.id == "lora_1" and run.confusion is not None)  # fmt: skip
    assert f"{right} of 512 rows" in drawings["confusion-lora-1"].finding


def test_a_name_in_a_title_is_not_broken(report: Report) -> None:
    """The number of LoRA 1 stays on the line of its name in the finding, which is a page's title."""
    for language in ("zh", "en"):
        finding = state_finding(report, FIGURE_WORDS[language])
        assert f"LoRA{NO_BREAK_SPACE}1" in finding
        assert "LoRA 1" not in finding


def test_ink_has_contrast() -> None:
    """On any grey of a ramp the chosen ink has at least the 4.5 to 1 of WCAG 2."""
    for grey in np.linspace(0, 1, 21):
        channel = grey / 12.92 if grey <= 0.04045 else ((grey + 0.055) / 1.055) ** 2.4
        ink = {"black": 0.0, "white": 1.0}[ink_on((grey, grey, grey))]
        low, high = sorted((ink, channel))
        assert (high + 0.05) / (low + 0.05) >= 4.5
