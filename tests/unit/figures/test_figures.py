"""Check what every figure shows, says and tabulates, and when it is not drawn, with made-up records."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from adapterbook.analysis.shapes import Curve, CurvePoint, Report, Spread
from adapterbook.common.formatting import Language
from adapterbook.config.paths import Paths
from adapterbook.figures import Figure, draw_figures
from adapterbook.figures.block import find_touched
from adapterbook.figures.catalogue import LANGUAGES, plan_figures
from adapterbook.figures.figure import Drawing
from adapterbook.figures.learned import plan_learned
from adapterbook.figures.style import (
    PHONE_WIDTH,
    WIDTH,
    LineStyle,
    adapter_styles,
    draw_band,
    legend_above,
    settings_of,
    style_of,
    variant_style,
)
from adapterbook.figures.svg import draw_svg
from adapterbook.figures.words import describe_loss, short_names
from tests.support.factory import (
    ADAPTERS,
    BATCH_SIZE_VARIANTS,
    EVAL_STRATEGY_VARIANTS,
    FIGURE_WORDS,
    PHRASES,
    read_report,
    write_results,
)
from tests.support.probe import write_probe

ABLATIONS = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS
OF_REPORT = {"answer", "headline", "headline-best", "travel", "learning-rate", "batch-size", "eval-strategy", "epochs",
             "test-accuracy", "costs", "calibration", "block", "learned", "directions"}  # fmt: skip
OF_ADAPTER = {"curves", "accuracy", "confusion", "published"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report of a small study on the homework's own source, with every ablation and one failed run."""
    folder = tmp_path_factory.mktemp("project")
    paths = write_results(folder, adapters=(*ADAPTERS, "head_only"), extra_variants=ABLATIONS, source="hub",
                          failed=["lora_2/submitted/seed-224"])  # fmt: skip
    return read_report(paths, "hub")


@pytest.fixture(scope="module")
def figures(report: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Return that report's figures, drawn in both languages."""
    return draw_figures(report, tmp_path_factory.mktemp("figures"), PHRASES)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return the report of a study with nine adapters, four learning rates, three seeds and a hostile title."""
    adapters = (*ADAPTERS, "dora", "x_4", "x-4", "X.5", "head_only")
    extra = {"lr-5e-3": {"title": "x", "training": {"learning_rate": 5.0e-3}}}
    paths = write_results(tmp_path_factory.mktemp("crowded"), adapters=adapters, seeds=(1, 2, 3), extra_variants=extra)
    rewrite_adapter(paths, "dora", title={"zh": "骨角關啟 $x$ <b>&：長", "en": "$x_1^2$ <b> & \\frac: long"})
    return read_report(paths)


def rewrite_adapter(paths: Paths, adapter: str, **changes: Any) -> None:
    """Change keys of an adapter's YAML file."""
    file = paths.experiments / "adapters" / f"{adapter}.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text("utf-8")) | changes, allow_unicode=True), "utf-8")


def drawings_of(report: Report, language: Language = "en") -> dict[str, Drawing]:
    """Return every figure of a report in one language, by its id, before any is drawn."""
    return {drawing.id: drawing for drawing in plan_figures(report, FIGURE_WORDS[language])}


def paint(drawing: Drawing, *, phone: bool = False) -> Canvas:
    """Return a figure, or its drawing for phones, painted in memory and laid out."""
    assert drawing.paint is not None
    size = (PHONE_WIDTH, drawing.phone_height) if phone else (WIDTH, drawing.height)
    canvas = Canvas(figsize=size, layout="constrained")
    FigureCanvasAgg(canvas)
    drawing.paint(canvas)
    canvas.draw_without_rendering()
    return canvas


def texts_of(canvas: Canvas) -> list[str]:
    """Return every text that is to be seen in a figure."""
    texts = [text for text in canvas.findobj(Text) if isinstance(text, Text) and text.get_visible()]
    return [text.get_text() for text in texts if text.get_text()]


def sheet_of(root: ElementTree.Element) -> dict[str, str]:
    """Return the classes of an SVG's own style sheet."""
    sheet = next(root.iter("{http://www.w3.org/2000/svg}style")).text or ""
    return dict(re.findall(r"\.(\w+)\{([^}]*)\}", sheet))


def painted(report: Report, *, without: Collection[str] = ()) -> Iterator[tuple[str, str, Canvas]]:
    """Yield every figure that can be drawn, in both languages, and for phones in English, but for some."""
    for language in LANGUAGES:
        for drawing in drawings_of(report, language).values():
            # One adapter's own figures are drawn like any other's.
            if drawing.id not in without and drawing.paint and drawing.adapter in (None, "lora_1", "dora"):
                with mpl.rc_context(settings_of(drawing.id)):
                    yield drawing.id, language, paint(drawing)
                if drawing.phone_height and language == "en":  # whose names are the longer ones
                    with mpl.rc_context(settings_of(drawing.id, PHONE_WIDTH)):
                        yield f"{drawing.id} on a phone", language, paint(drawing, phone=True)


def test_every_figure_is_there_in_both_languages(figures: dict[str, Figure]) -> None:
    """The ids are those documented, and each drawn figure has a file a language."""
    slugs = ("lora-1", "lora-2", "lora-3", "ia3", "head-only")
    assert set(figures) == OF_REPORT | {f"{kind}-{slug}" for kind in OF_ADAPTER for slug in slugs}
    for id, figure in figures.items():
        assert figure.id == id
        if id in ("published-lora-2", "published-head-only"):
            assert (figure.drawn, figure.reason) == (False, "failed" if "lora" in id else "not_published")
            continue
        assert figure.drawn and figure.reason is None
        assert [path.parent.name for path in figure.paths.values()] == ["zh", "en"] == list(figure.paths)
        assert all(path.name == f"{id}.svg" and path.is_file() for path in figure.paths.values())
        phone = list(figure.phone_paths.values())
        assert not phone or [path.relative_to(path.parents[2]).as_posix() for path in phone] == [
            f"{language}/phone/{id}.svg" for language in LANGUAGES
        ]
        assert all(path.is_file() for path in phone)


def test_files_are_svg_without_text_date_or_background(figures: dict[str, Figure]) -> None:
    """Text is drawn as paths, so that no font is needed; there is no date, and the background is transparent."""
    for figure in figures.values():
        for path in figure.paths.values():
            content = path.read_text("utf-8")
            root = ElementTree.fromstring(content)
            assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.attrib["viewBox"].startswith("0 0 460.8 ")
            assert not list(root.iter("{http://www.w3.org/2000/svg}text"))
            assert "dc:date" not in content and "Matplotlib v" not in content.split("<g ", 1)[0]
            background = root.find("{http://www.w3.org/2000/svg}path")  # Matplotlib paints it first
            assert background is not None
            style = background.attrib.get("style") or sheet_of(root)[background.attrib["class"]]
            assert "fill:none" in style or "opacity:0" in style


def test_the_same_report_gives_the_same_bytes(report: Report, figures: dict[str, Figure]) -> None:
    """Nothing in a file depends on when, where or how often it was drawn."""
    for drawing in drawings_of(report, "zh").values():
        if drawing.adapter in (None, "ia3") and drawing.paint is not None:
            svg = draw_svg(drawing.id, drawing.height, drawing.paint)
            assert svg == figures[drawing.id].paths["zh"].read_text("utf-8"), drawing.id


def test_nothing_is_cut_off_or_too_small(report: Report, crowded: Report) -> None:
    """All ink is on the page, with nine adapters too; no text is below 8 pt or in the other language."""
    seen: set[str] = set()
    for study in (crowded, report):
        for id, language, canvas in painted(study, without=frozenset(seen)):
            box = canvas.get_tightbbox()
            width, height = canvas.get_size_inches()
            assert box.x0 >= -0.02 and box.y0 >= -0.02, (id, language, box.extents)
            assert box.x1 <= width + 0.02 and box.y1 <= height + 0.02, (id, language, box.extents)
            texts = [text for text in canvas.findobj(Text) if isinstance(text, Text) and text.get_text()]
            smallest = 8.4 if "phone" in id else 8  # at 355 pixels a point is a third more than a pixel
            assert min(float(text.get_fontsize()) for text in texts) >= smallest, (id, language)
            chinese = [text.get_text() for text in texts if re.search("[\u4e00-\u9fff]", text.get_text())]
            assert bool(chinese) == (language == "zh"), (id, language, chinese)
        seen = {drawing.id for drawing in plan_figures(study, FIGURE_WORDS["en"])}


def test_titles_are_text(crowded: Report) -> None:
    """A title with dollars, markup and a backslash is drawn as written, up to its colon."""
    assert short_names(crowded, FIGURE_WORDS["zh"])["dora"] == "骨角關啟 $x$ <b>&"
    with mpl.rc_context(settings_of("headline")):
        canvas = paint(drawings_of(crowded)["headline"])
    assert "$x_1^2$ <b> & \\frac" in texts_of(canvas)
    assert not any(text.get_parse_math() for text in canvas.findobj(Text) if isinstance(text, Text))


def test_adapters_that_share_a_name_are_called_by_their_ids(tmp_path: Path) -> None:
    """Adapters whose titles begin alike, or are empty, are called by their ids."""
    paths = write_results(tmp_path, adapters=("lora_1", "lora_2", "ia3"))
    rewrite_adapter(paths, "lora_2", title="LoRA 1: again")
    rewrite_adapter(paths, "ia3", title=":")
    assert short_names(read_report(paths), FIGURE_WORDS["en"]) == {"lora_1": "lora_1", "lora_2": "lora_2", "ia3": "ia3"}


def test_ids_of_figures_never_collide(crowded: Report) -> None:
    """Ids that differ only in their punctuation get a number; every figure's id is a valid one."""
    drawings = plan_figures(crowded, FIGURE_WORDS["en"])
    curves = {drawing.adapter: drawing.id for drawing in drawings if drawing.id.startswith("curves-")}
    assert {curves["x_4"], curves["x-4"]} == {"curves-x-4", "curves-x-4-2"}
    assert curves["X.5"] == "curves-x-5"
    ids = [drawing.id for drawing in drawings]
    assert len(ids) == len(set(ids)) and all(re.fullmatch("[a-z0-9-]+", id) for id in ids)


def test_adapters_share_a_hue_only_when_all_are_taken() -> None:
    """The homework's four have solid lines in four colours with four markers, whatever else the study has."""
    styles = list(adapter_styles(ADAPTERS).values())
    assert {style.linestyle for style in styles} == {"-"}
    for attribute in ("color", "marker"):
        assert len({getattr(style, attribute) for style in styles}) == 4
    for n_others in (4, 24):
        found = adapter_styles([*ADAPTERS, *(f"adapter-{n}" for n in range(n_others))])
        assert [found[name] for name in ADAPTERS] == styles
        assert len({(style.color, style.linestyle) for style in found.values()}) == min(len(found), 4 + 4 * 4)
    assert len({style.color for style in adapter_styles(["ia3", *(f"adapter-{n}" for n in range(7))]).values()}) == 8
    assert len({variant_style(position, 8) for position in range(8)}) == 8


@pytest.mark.parametrize(("known", "n_bands"), [(True, 1), (False, 0)])
def test_a_band_needs_three_seeds(known: bool, n_bands: int) -> None:
    """With the spread known there is a band from lowest to highest, without it only the line."""
    value = Spread(3, 0.6, 0.5, 0.7, 0.1, known)
    curve = Curve((CurvePoint(1.0, None, value, None), CurvePoint(2.0, None, value, None)))
    axes = Canvas().subplots()
    draw_band(axes, curve, "validation_loss", LineStyle("red", "-", "o"), "x")
    draw_band(axes, curve, "train_loss", LineStyle("red", "-", "o"), "nothing to draw")
    assert len(axes.lines) == 1
    assert sum(isinstance(item, PolyCollection) for item in axes.collections) == n_bands


def test_legends_take_the_columns_that_fit() -> None:
    """Short labels stand in four columns, wide Chinese ones in fewer, endless ones below each other."""
    for labels, n_columns in (
        (["a", "b", "c", "d", "e"], 4),
        ([f"批次大小 {size}（每輪 8 步）" for size in (14, 15, 16)], 2),
        (["x" * 90, "y" * 90], 1),
        (["one"], 1),
    ):
        canvas = Canvas(figsize=(WIDTH, 3), layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.subplots()
        with mpl.rc_context(settings_of("x")):
            for label in labels:
                axes.plot([0, 1], label=label)
            legend_above(canvas, axes)
            canvas.draw_without_rendering()
        places = {round(text.get_window_extent().x0) for text in canvas.legends[0].get_texts()}
        assert len(places) == n_columns, labels


def test_alternative_texts_say_the_numbers(report: Report, figures: dict[str, Figure]) -> None:
    """Both languages name the adapters, the numbers of the records, and who is not shown."""
    group = report.group("lora_1", "submitted")
    assert group is not None and group.overfitting is not None and group.overfitting.best_validation_loss is not None
    headline, lowest = figures["headline"], f"{group.overfitting.best_validation_loss:.3f}"
    for text in (headline.alt.zh, headline.alt.en):
        assert lowest in text and "LoRA 1" in text and "LoRA 2" in text
    assert headline.alt.en.endswith("Not shown (no results yet): LoRA 2.")
    assert "圖中沒有 LoRA 2" in headline.alt.zh
    confusion = report.run("ia3/lr-1e-3/seed-224").confusion
    assert confusion is not None and f"{confusion.counts[1][1]} of" in figures["confusion-ia3"].alt.en
    for figure in figures.values():
        assert figure.alt.zh.startswith(figure.title.zh) and figure.alt.en.startswith(figure.title.en)
        assert "None" not in figure.alt.zh + figure.alt.en and "nan" not in figure.alt.zh + figure.alt.en


def test_tables_hold_the_records_numbers(report: Report, figures: dict[str, Figure]) -> None:
    """The table behind a figure is the record, number by number."""
    record = report.run("lora_1/submitted/seed-224").record
    assert record is not None and record.test is not None
    table = figures["headline"].table
    mine = table[table["adapter"] == "lora_1"]
    assert list(mine["validation_loss"]) == [epoch.validation_loss for epoch in record.epochs]
    assert list(mine["validation_accuracy"]) == [epoch.validation_accuracy for epoch in record.epochs]
    accuracies = figures["test-accuracy"].table
    row = accuracies[(accuracies["adapter"] == "lora_1") & (accuracies["learning_rate"] == 2e-5)].iloc[0]
    assert row["test_accuracy"] == record.test.accuracy and row["interval_low"] < row["test_accuracy"]
    costs = figures["costs"].table
    assert set(costs[costs["adapter"] == "lora_1"]["n_trainable_params"]) == {record.n_trainable_params}
    times = [run.record.train_cpu_s or 0.0 for run in report.runs if run.run.adapter.id == "lora_1" and run.record
             and run.run.variant in ("submitted", "lr-2e-4", "lr-1e-3")]  # fmt: skip
    cost = costs[costs["adapter"] == "lora_1"].iloc[0]
    assert [cost["fastest_time_s"], cost["cpu_time_s"], cost["slowest_time_s"]] == sorted(times)
    block = figures["block"].table.set_index("module")
    assert block.loc["ffn.lin1"].to_dict() == {"ia3": True, "lora_1": False, "lora_2": True, "lora_3": False}
    published = figures["published-lora-1"].table
    assert published["published_loss"].iloc[0] == 0.703758
    epochs = figures["epochs"].table
    assert list(epochs[epochs["adapter"] == "lora_3"]["best_epoch"]) == [3.0]


def test_a_curve_is_told_as_it_went(report: Report) -> None:
    """Falling to the end, rising again, and best at the start are three sentences."""
    groups = [group for adapter in report.adapters.values() for group in adapter.groups.values() if group.n_completed]
    group = groups[0]

    def told(*losses: float) -> tuple[str, str]:
        points = [
            CurvePoint(float(i), None, Spread(1, loss, loss, loss, None, False), None)
            for i, loss in enumerate(losses, 1)
        ]
        changed = type(group)(**{**vars(group), "curve": Curve(tuple(points))})
        return describe_loss(changed, "LoRA", FIGURE_WORDS["en"]), describe_loss(changed, "損失", FIGURE_WORDS["zh"])

    assert told(0.7, 0.6) == ("LoRA falls from 0.700 to 0.600 in epoch 2", "損失從 0.700 降到第 2 輪的 0.600")
    assert told(0.7, 0.6, 0.9)[0] == "LoRA falls from 0.700 to 0.600 in epoch 2 and rises to 0.900 by epoch 3"
    assert told(0.7, 0.6, 0.9)[1] == "損失從 0.700 降到第 2 輪的 0.600，到第 3 輪回升至 0.900"
    assert told(0.6, 0.8) == ("LoRA is lowest in epoch 1 (0.600) and 0.800 in epoch 2",
                              "損失在第 1 輪最低（0.600），到第 2 輪為 0.800")  # fmt: skip


def test_training_loss_stands_above_validation_loss(report: Report) -> None:
    """There are two rows and a column a rate, each panel has a scale that its curves fill."""
    canvas = paint(drawings_of(report)["learning-rate"])
    panels = canvas.axes
    assert len(panels) == 6 and [panel.get_ylabel() for panel in panels if panel.get_ylabel()] == [
        "Training loss", "Validation loss",
    ]  # fmt: skip
    upper = panels[:3]
    for panel in canvas.axes:  # no curve is flattened by another panel's, and no noise is made a trend
        low, high = panel.get_ylim()
        values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in panel.get_lines()])
        assert high - low >= 0.1 and (np.ptp(values) > 0.6 * (high - low) or high - low < 0.11)
    assert upper[2].get_title(loc="left") == "Learning rate 1e-3"
    record = report.run("ia3/lr-1e-3/seed-224").record
    assert record is not None
    losses = [epoch.train_loss for epoch in record.epochs]
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in upper[2].get_lines()]
    assert any(np.array_equal(line, np.asarray(losses, dtype=float)) for line in drawn)


def test_four_rates_stand_in_two_rows_of_pairs(crowded: Report) -> None:
    """More rates than fit beside each other make a second row of pairs."""
    with mpl.rc_context(settings_of("learning-rate")):
        canvas = paint(drawings_of(crowded, "zh")["learning-rate"])
    assert len(canvas.axes) == 8
    rates = [panel.get_title(loc="left") for panel in canvas.axes if panel.get_title(loc="left")]
    assert rates == ["學習率 2e-5", "學習率 2e-4", "學習率 1e-3", "學習率 5e-3"]
    numbered = [panel.xaxis.get_tick_params()["labelbottom"] for panel in canvas.axes]
    assert numbered == [False] * 6 + [True] * 2  # Matplotlib lists panels row by row


def test_five_rates_leave_no_empty_panels(tmp_path: Path) -> None:
    """Three pairs stand beside each other and two below: the column that ends early has its epochs there."""
    rates = ("1.0e-5", "2.0e-5", "1.0e-4", "2.0e-4", "1.0e-3")
    variants = {"submitted": {"title": "x"}} | {
        f"lr-{rate}": {"title": rate, "training": {"learning_rate": float(rate)}} for rate in rates if rate != "2.0e-5"
    }
    report = read_report(write_results(tmp_path, adapters=("lora_1",), variants=variants))
    canvas = paint(drawings_of(report)["learning-rate"])
    assert len(canvas.axes) == 10
    numbered = [panel.xaxis.get_tick_params()["labelbottom"] for panel in canvas.axes]
    assert sum(numbered) == 3
    assert [numbered[canvas.axes.index(panel)] for panel in lowest_of_columns(canvas)] == [True] * 3


def lowest_of_columns(canvas: Canvas) -> list[Any]:
    """Return the lowest panel of each column, from left to right."""
    lowest: dict[float, Any] = {}
    for panel in canvas.axes:
        place = panel.get_position()
        key = round(place.x0, 2)
        if key not in lowest or place.y0 < lowest[key].get_position().y0:
            lowest[key] = panel
    return [lowest[key] for key in sorted(lowest)]


def test_a_reliability_diagram_has_a_panel_an_adapter_with_every_bin(
    report: Report, figures: dict[str, Figure]
) -> None:
    """Each panel holds one adapter's bins with their intervals, and the line on which confidence equals accuracy."""
    table, found = figures["calibration"].table, report.calibration.adapters["ia3"]
    mine = table[table["adapter"] == "ia3"]
    assert list(mine["confidence"]) == [bin.confidence for bin in found.bins]
    assert list(mine["share_right"]) == [bin.accuracy for bin in found.bins]
    canvas = paint(drawings_of(report)["calibration"])
    panels = {axes.get_title(loc="left"): axes for axes in canvas.axes}
    assert set(panels) == {"IA³", "LoRA 1", "LoRA 2", "LoRA 3", "Head only"}
    lines = [list(map(tuple, line.get_xydata())) for line in panels["IA³"].get_lines()]  # type: ignore[arg-type]
    assert [(0.5, 0.5), (1.0, 1.0)] in lines
    assert [(bin.confidence, bin.accuracy) for bin in found.bins] in lines
    first = found.bins[0]
    assert [(first.confidence, first.interval.low), (first.confidence, first.interval.high)] in lines
    assert f"IA³: {100 * first.accuracy:.1f}% right at {100 * first.confidence:.1f}%" in figures["calibration"].alt.en


def test_singular_values_are_drawn_one_by_one(report: Report, figures: dict[str, Figure]) -> None:
    """A line an adapter falls from one over all its singular values; the baseline, which learns none, has no line."""
    learned = report.adapters["lora_3"].learned
    assert learned is not None and learned.directions is not None
    table = figures["directions"].table
    mine = table[table["adapter"] == "lora_3"]
    assert list(mine["direction"]) == list(range(1, 33))
    assert tuple(mine["relative_singular_value"]) == learned.directions.relative_values
    (axes,) = paint(drawings_of(report)["directions"]).axes
    assert axes.get_yscale() == "log"
    assert [line.get_label() for line in axes.get_lines()] == ["LoRA 1", "LoRA 2", "LoRA 3", "IA³"]
    assert "IA³ has a stable rank" in figures["directions"].alt.en
    assert "its 64 largest directions hold less than 99%" in figures["directions"].alt.en


def test_costs_show_ranges_and_fill_those_on_the_front(report: Report) -> None:
    """A point an adapter and panel, filled where the table marks it, with its interval and its range of times."""
    (table,) = report.costs
    canvas = paint(drawings_of(report)["costs"])
    names = short_names(report, FIGURE_WORDS["en"])
    for panel, kind in zip(canvas.axes, ("params", "time"), strict=True):
        points = {line.get_label(): line for line in panel.get_lines()}
        assert {names[row.adapter] for row in table.rows} <= {text.get_text() for text in panel.texts}
        for row in table.rows:
            filled = points[f"_{names[row.adapter]}"].get_markerfacecolor() != "none"
            assert filled is (kind in row.pareto)
    spans = [list(map(float, line.get_xdata())) for line in canvas.axes[1].get_lines()]  # type: ignore[arg-type]
    assert all([row.time_s.low, row.time_s.high] in spans for row in table.rows)


def test_the_baseline_is_grey_and_last(report: Report) -> None:
    """In figures of all adapters the baseline has its own quiet style, under the others, and comes last."""
    assert style_of(report, "head_only") not in [style_of(report, name) for name in ADAPTERS]
    red, green, blue = to_rgb(style_of(report, "head_only").color)
    assert red == green == blue
    drawings, chinese = drawings_of(report), drawings_of(report, "zh")
    for id in ("headline", "headline-best", "learning-rate", "costs", "epochs"):
        canvas = paint(drawings[id])
        if id in ("learning-rate", "epochs"):
            titles = [panel.get_title(loc="left") for panel in canvas.axes]
            named = titles if id == "epochs" else [text.get_text() for text in canvas.legends[0].get_texts()]
            assert named[-1] == "Head only"
        lines = [line for panel in canvas.axes for line in panel.get_lines()]
        grey = [line for line in lines if line.get_color() == style_of(report, "head_only").color]
        assert grey and (id == "costs" or all(line.get_zorder() < 2 for line in grey[:1])), id
    assert "head_only" not in drawings["block"].rows[0]
    assert "只訓練分類頭" in chinese["test-accuracy"].alt and "Head only" in drawings["test-accuracy"].alt


def test_the_linear_probe_is_a_line_among_the_accuracies(tmp_path: Path) -> None:
    """The figure of test accuracies has a line at its accuracy, and the alternative text says it in both languages."""
    paths = write_results(tmp_path, adapters=("lora_1", "full"), variants={"submitted": {"title": "x"}})
    write_probe(paths, accuracy=0.75)
    report = read_report(paths)
    drawing = drawings_of(report)["test-accuracy"]
    (line,) = [line for line in paint(drawing).axes[0].get_lines() if line.get_label() == "Linear probe"]
    assert np.asarray(line.get_xdata()).tolist() == [0.75, 0.75]
    assert "The linear probe reaches 75.0%." in drawing.alt and "Full fine-tuning" in drawing.alt
    assert "線性探測為 75.0%。" in drawings_of(report, "zh")["test-accuracy"].alt


def test_what_was_learnt_is_drawn_by_kind_and_layer(report: Report, figures: dict[str, Figure]) -> None:
    """Each kind of module has a panel, each adapter a line at its best rate; the table has the norms of the records."""
    figure = figures["learned"]
    record = report.run("ia3/lr-1e-3/seed-224").record
    assert record is not None and record.learned is not None
    mine = figure.table[figure.table["adapter"] == "ia3"]
    assert list(mine["relative_update"]) == [update.update_norm / update.weight_norm for update in record.learned]
    assert list(mine["scale_deviation"]) == [update.scale_deviation for update in record.learned]
    assert set(mine["learning_rate"]) == {1e-3} and set(mine["layer"]) == set(range(6))
    assert "head_only" not in set(figure.table["adapter"])
    canvas = paint(drawings_of(report)["learned"])
    assert [panel.get_title(loc="left") for panel in canvas.axes] == list(dict.fromkeys(figure.table["module_kind"]))
    learned = report.adapters["ia3"].learned
    assert learned is not None
    share = f"{100 * learned.largest.relative_update:.3g}%"
    most = f"most in {learned.largest.kind} of layer {learned.largest.layer} ({share})"
    assert most in figure.alt.en and f"第 {learned.largest.layer} 層的 {learned.largest.kind}" in figure.alt.zh


def test_what_was_learnt_where_little_is_known(tmp_path: Path) -> None:
    """Records that do not say it, or learned nothing, are not drawn; of some that do, only these are."""
    variants = ("submitted", "lr-2e-4", "lr-1e-3")
    runs = [f"{name}/{variant}/seed-224" for name in ("lora_1", "ia3") for variant in variants]
    silent: dict[str, Any] = {run: {"learned": None} for run in runs}
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3", "head_only"), changes=silent))
    assert plan_learned(report, FIGURE_WORDS["en"]).reason == "not_measured"
    silent |= {run: {} for run in runs if run.startswith("lora_1")}
    report = read_report(write_results(tmp_path / "b", adapters=("lora_1", "ia3"), changes=silent))
    some = plan_learned(report, FIGURE_WORDS["en"])
    assert {row["adapter"] for row in some.rows} == {"lora_1"} and "scale_deviation" not in some.rows[0]
    report = read_report(write_results(tmp_path / "c", adapters=("head_only",)))
    assert plan_learned(report, FIGURE_WORDS["en"]).reason == "no_runs"


def test_modules_outside_the_layers_are_told_but_not_drawn(tmp_path: Path) -> None:
    """A module without a layer's number, or without any update, has no point; the sentence names it all the same."""
    change = {"learned__0__module": "distilbert.projection", "learned__0__update_norm": 900.0,
              "learned__1__update_norm": 0.0}  # fmt: skip
    changes = {f"ia3/{variant}/seed-224": change for variant in ("submitted", "lr-2e-4", "lr-1e-3")}
    report = read_report(write_results(tmp_path, adapters=("ia3", "lora_1"), changes=changes))
    drawing = plan_learned(report, FIGURE_WORDS["en"])
    assert "most in projection (" in drawing.alt
    assert "最大在 projection（" in plan_learned(report, FIGURE_WORDS["zh"]).alt
    titles = [panel.get_title(loc="left") for panel in paint(drawing).axes]
    assert "projection" in titles  # its panel is there, without a line of it


def test_alternative_texts_have_no_doubled_separator(report: Report, crowded: Report, tmp_path: Path) -> None:
    """No two marks follow each other, also where validation accuracies or train losses are missing."""
    blank = {f"{name}/submitted/seed-224": dict.fromkeys(
        [f"epochs__{i}__{field}" for i in range(10) for field in ("validation_accuracy", "train_loss")]
    ) for name in ("lora_1", "ia3")}  # fmt: skip
    gaps = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), changes=blank))
    for study in (report, crowded, gaps):
        for id, drawing in drawings_of(study, "zh").items():
            assert not re.search("[，。；：、（]{2}|[，。；：、]）", drawing.alt), (id, drawing.alt)
        for id, drawing in drawings_of(study, "en").items():
            assert not re.search(r"[.;:,]\s*[.;:,]|\(\)|\s[.;:,]", drawing.alt), (id, drawing.alt)
    assert "準確率：" not in drawings_of(gaps, "zh")["headline"].alt


def test_a_study_without_results_draws_the_block_alone(tmp_path: Path) -> None:
    """Before any training every figure has its reason; only the block needs no result. Old files go, others stay."""
    paths = write_results(tmp_path / "p")
    (tmp_path / "figures" / "zh").mkdir(parents=True)
    (tmp_path / "figures" / "zh" / "curves-gone.svg").write_text("<svg/>")
    (tmp_path / "figures" / "zh" / "note.txt").write_text("kept")
    figures = draw_figures(read_report(paths, "nothing-yet"), tmp_path / "figures", PHRASES)
    assert [id for id, figure in figures.items() if figure.drawn] == ["block"]
    assert sorted(path.name for path in (tmp_path / "figures" / "zh").iterdir()) == ["block.svg", "note.txt", "phone"]
    reasons = {id: figure.reason for id, figure in figures.items() if not figure.drawn}
    assert None not in reasons.values()
    assert (reasons["costs"], reasons["test-accuracy"], reasons["curves-ia3"]) == ("missing", "missing", "missing")
    assert {reasons[id] for id in ("headline", "headline-best", "epochs", "eval-strategy", "learned")} == {"missing"}
    assert (reasons["batch-size"], reasons["learning-rate"]) == ("no_variants", "missing")
    assert (reasons["confusion-ia3"], reasons["published-ia3"]) == ("missing", "no_published")


@pytest.mark.slow
def test_what_was_never_evaluated_is_still_shown_where_it_can_be(tmp_path: Path) -> None:
    """Without evaluation there is a train loss, a test accuracy and a confusion matrix, but no validation curve."""
    never = {"submitted": {"title": "x", "training": {
        "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}}}  # fmt: skip
    paths = write_results(tmp_path / "p", adapters=("lora_1", "ia3"), variants=never)
    figures = draw_figures(read_report(paths), tmp_path / "figures", PHRASES)
    assert figures["curves-lora-1"].alt.en.endswith("Nothing was evaluated.")
    assert figures["confusion-ia3"].drawn and figures["test-accuracy"].drawn and figures["costs"].drawn
    for id in ("headline", "accuracy-ia3", "eval-strategy", "epochs"):
        assert figures[id].reason == "not_evaluated"
    assert figures["learning-rate"].reason == "no_variants"


def test_runs_without_predictions_have_no_confusion_matrix(tmp_path: Path) -> None:
    """The figure says that the predictions are missing, not the run."""
    paths = write_results(tmp_path / "p", adapters=("lora_1", "ia3"))
    for file in paths.results.glob("embedded/ia3/*/*/predictions.parquet"):
        file.unlink()
    figures = drawings_of(read_report(paths))
    assert figures["confusion-ia3"].reason == "no_predictions" and figures["confusion-lora-1"].paint is not None
    # The majority class is counted from what predictions there are; without any there is no line.
    for file in paths.results.glob("embedded/*/*/*/predictions.parquet"):
        file.unlink()
    drawing = drawings_of(read_report(paths))["test-accuracy"]
    assert "Majority baseline" not in texts_of(paint(drawing))


def test_each_device_has_its_own_costs(tmp_path: Path) -> None:
    """Two devices get two figures, each of which names its device."""
    paths = write_results(tmp_path, changes={"ia3/submitted/seed-224": {"environment__device_name": "Other GPU"}})
    figures = drawings_of(read_report(paths))
    assert "Example CPU" in figures["costs"].alt and "Other GPU" in figures["costs-2"].alt
    assert len(figures["costs-2"].rows) == 1


def test_published_figures_need_a_curve_to_compare(tmp_path: Path) -> None:
    """An adapter that was not published, another protocol, and a rerun without any evaluation are told apart."""
    steps = {"eval_strategy": "steps", "eval_steps": 8, "save_strategy": "steps", "save_steps": 8}
    never = {"submitted": {"title": "x", "training": steps}}
    paths = write_results(tmp_path, adapters=("lora_1", "dora"), variants=never, source="hub")
    figures = drawings_of(read_report(paths, "hub"))
    assert figures["published-dora"].reason == "not_published"
    assert figures["published-lora-1"].reason == "published_other_protocol"
    fields = [f"epochs__{i}__validation_{name}" for i in range(10) for name in ("loss", "accuracy")]
    changes = {"lora_1/submitted/seed-224": dict.fromkeys(fields)}
    paths = write_results(tmp_path / "b", adapters=("lora_1", "ia3"), source="hub", changes=changes)
    report = read_report(paths, "hub")
    assert "no evaluated epoch" in drawings_of(report)["published-lora-1"].alt
    assert "沒有可比的輪次" in drawings_of(report, "zh")["published-lora-1"].alt


def test_one_existing_curve_shows_a_missed_minimum(report: Report, figures: dict[str, Figure]) -> None:
    """The strategies are named as code writes them, with how often each looks."""
    table = figures["eval-strategy"].table
    assert list(table["eval_strategy"]) == ["steps", "epoch", "no"]
    assert list(table["eval_steps"]) == [2, None, None] and list(table["n_evaluations"]) == [40, 10, 0]
    assert 'eval_strategy="steps", eval_steps=2' in figures["eval-strategy"].alt.zh
    for view in report.ablations["eval_strategy"].eval_views:
        assert view.test_accuracy is not None and view.n_correct in set(table["n_correct"])
        assert f"gets {view.n_correct} of 512 test sentences right ({100 * view.test_accuracy:.1f}%)" in (
            figures["eval-strategy"].alt.en
        )


@pytest.mark.parametrize(
    ("target_modules", "touched"),
    [
        (["q_lin", "ffn.lin1"], {"q_lin", "ffn.lin1"}),
        (["lin2"], {"ffn.lin2"}),
        (r".*\.attention\.(q|v)_lin", {"q_lin", "v_lin"}),
        ("all-linear", {"q_lin", "k_lin", "v_lin", "out_lin", "ffn.lin1", "ffn.lin2"}),
        ("[", set()),
        (["lin"], set()),
        (None, set()),
    ],
)
def test_target_modules_are_read_as_peft_reads_them(target_modules: Any, touched: set[str]) -> None:
    """A list holds endings of whole parts of the name, a text is a regular expression for all of it."""
    assert find_touched(target_modules) == touched


def test_the_block_is_the_one_that_the_adapters_are_written_for(tmp_path: Path) -> None:
    """Modules named as in BERT draw BERT's block, others none at all; a method without a rank shows its name."""
    paths = write_results(tmp_path, adapters=("lora_1", "dora"), missing=["dora/submitted/seed-224"])
    rewrite_adapter(paths, "lora_1", target_modules=["query", "value"])
    for adapter in ("lora_1", "dora"):
        for folder in (paths.results / "embedded" / adapter).rglob("record.json"):
            folder.unlink()
    rewrite_adapter(paths, "dora", target_modules=["key", "output.dense"])
    block = drawings_of(read_report(paths))["block"]
    assert [row["module"] for row in block.rows or () if row["dora"]] == [
        "key",
        "attention.output.dense",
        "output.dense",
    ]
    assert [row["module"] for row in block.rows or () if row["lora_1"]] == ["query", "value"]
    assert "intermediate.dense" in texts_of(paint(block))
    for adapter in ("lora_1", "dora"):
        rewrite_adapter(paths, adapter, target_modules=["q_proj", "v_proj"])
    assert drawings_of(read_report(paths))["block"].reason == "other_layout"
    file = paths.experiments / "adapters" / "dora.yaml"
    file.write_text("peft_type: LOHA\ntarget_modules: [q_lin]\n", "utf-8")
    block = drawings_of(read_report(paths))["block"]
    assert "LOHA" in texts_of(paint(block)) and "LoRA 1 acts on none of them" in block.alt
    assert "LoRA 1 不更新其中任何一個" in drawings_of(read_report(paths), "zh")["block"].alt
