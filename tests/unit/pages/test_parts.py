"""Small parts of the pages, by hand: figures' tables, origins of numbers, the outline, the last line."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from adapterbook.common.errors import RenderError
from adapterbook.config.phrases import load_phrases
from adapterbook.config.study import BilingualText
from adapterbook.figures import Figure
from adapterbook.pages import write_pages
from adapterbook.pages.numbers.number import derived_span, look_up, number_span
from adapterbook.pages.numbers.provenance import format_date, provenance_of
from adapterbook.pages.outline import make_outline
from adapterbook.pages.tables.figure_table import make_figure_table
from adapterbook.pages.writing.environment import make_environment, render_template
from tests.support.factory import PROJECT, WORDING, make_record, read_report, write_results
from tests.support.report_pages import MadePages, analyse_project, make_study_pages, plan_without_drawing

PHRASES = load_phrases(PROJECT.templates)
ONE_VARIANT = {"submitted": {"title": "as submitted"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """Two adapters whose names differ in a dot only, and one whose method has no page of its own."""
    root = tmp_path_factory.mktemp("made")
    return make_study_pages(root, adapters=("lora_1", "a-b", "a.b"), variants=ONE_VARIANT)


def test_adapters_with_like_names_have_pages_of_their_own(made: MadePages) -> None:
    """``a-b`` and ``a.b`` would share identifiers in the combined document: one is numbered."""
    stems = [page.stem for page in make_outline(made.report, PHRASES) if page.stem.startswith("adapters/")]
    assert sorted(stems) == ["adapters/a-b", "adapters/a.b-2", "adapters/lora_1"]
    assert "fig-adapters-a-b-2-curves-a-b-2" in made.page("en/adapters/a.b-2").text
    assert "fig-adapters-a-b-curves-a-b{" not in made.page("en/adapters/a.b-2").text


def test_a_method_that_nobody_wrote_about_has_a_general_page(tmp_path: Path) -> None:
    """Any PEFT method is reported: one without a text of its own has a page that says what its runs tell."""
    paths = write_results(tmp_path, adapters=("lora_1", "lokr"), variants=ONE_VARIANT)
    file = paths.experiments / "adapters" / "lokr.yaml"
    file.write_text(file.read_text("utf-8").replace("peft_type: LORA", "peft_type: LOKR"), "utf-8")
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copy(PROJECT.book, paths.book)
    report = analyse_project(paths)
    outline = {page.stem: page for page in make_outline(report, PHRASES)}
    assert {"mechanism-lora", "mechanism-lokr", "adapters/lokr"} <= set(outline)
    assert BilingualText(zh="LOKR 方法", en="The method LOKR") == outline["mechanism-lokr"].title
    figures = plan_without_drawing(report, paths)
    pages = MadePages(report, figures, paths, write_pages(report, figures, paths))
    for language, words in (("zh", "在 PEFT 裡叫做 LOKR"), ("en", "In PEFT, this method is called LOKR")):
        page = pages.page(f"{language}/mechanism-lokr")
        assert words in page.text_of(page.tree["blocks"])
        assert "LoRA 1" not in page.text_of([node for node in page.elements("Table") if "params" in str(node["c"][0])])


def test_lora_is_explained_before_ia3(tmp_path: Path) -> None:
    """The page on IA³ sets it against LoRA, so it comes second, whatever the order of the files."""
    report = analyse_project(write_results(tmp_path, adapters=("ia3", "lora_1"), variants=ONE_VARIANT))
    stems = [page.stem for page in make_outline(report, PHRASES) if page.stem.startswith("mechanism")]
    assert stems == ["mechanism-lora", "mechanism-ia3"]


def test_leftovers_of_a_killed_run_are_cleared(made: MadePages) -> None:
    """What a killed run left behind is removed by the next, and nothing is left by that one."""
    leftover = made.paths.report / ".pages-killed"
    leftover.mkdir()
    write_pages(made.report, made.figures, made.paths)
    assert not list(made.paths.report.glob(".pages-*"))


def test_a_missing_figure_is_named(made: MadePages) -> None:
    """An adapter without one of its figures is an error that says which."""
    figures = {id: figure for id, figure in made.figures.items() if id != "curves-lora-1"}
    with pytest.raises(
        RenderError, match=r"adapter\.qmd\.j2, line \d+: there is no figure 'curves' of the adapter lora_1"
    ):
        write_pages(made.report, figures, made.paths)


def test_every_column_behind_a_figure_has_a_heading(made: MadePages) -> None:
    """No heading of a figure's table is a name of the code: it is in phrases.yaml, an adapter, or names a label."""
    labels = {f"predicted_{label}" for label in range(len(WORDING["labels"]))}
    for figure in plan_without_drawing(made.report, made.paths).values():
        assert {str(name) for name in figure.table.columns} <= {*PHRASES.headings, *made.report.adapters, *labels}, (
            figure.id
        )


def test_cells_behind_a_figure_are_formatted_by_their_column() -> None:
    """Losses, shares, flags, missing values and names are each shown as what they are."""
    columns = {
        "adapter": ["lora_1", "x|y"],
        "validation_loss": [0.69314, float("nan")],
        "test_accuracy": [0.5, 0.25],
        "lora_1": [True, False],
        "pareto": ["params, time", ""],
        "learning_rate": [2e-5, None],
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    text = BilingualText(zh="圖", en="figure")
    figure = Figure("x", {}, text, text, rows)

    def lead(row: Mapping[str, Any], shown: Markup) -> Markup:
        return Markup(f"[{shown}](#{row['learning_rate']})") if row["adapter"] == "lora_1" else shown

    shown = make_figure_table(figure, "zh", PHRASES, {"lora_1": "LoRA 1"}, lead)
    assert shown is not None
    lines = [line for line in shown.split("\n") if line.startswith("| ")]
    assert lines[0] == "| 轉接器 | 驗證損失 | 測試準確率 | LoRA 1 | Pareto 前緣 | 學習率 |"
    assert lines[1] == "| [LoRA 1](#2e-05) | 0.6931 | 50.0% | 是 | 參數、時間 | 2e-5 |"
    assert lines[2] == "| x&#124;y | – | 25.0% | 否 | – | – |"
    assert make_figure_table(replace(figure, rows=[]), "zh", PHRASES, {}, lead) is None


def test_a_number_says_what_is_wrong_with_it(made: MadePages) -> None:
    """A field that is not there, or that holds no number, is named with its run."""
    run = made.report.run("lora_1/submitted/seed-224")
    with pytest.raises(LookupError, match=r"test\.nothing: there is no 'nothing' in TestResult"):
        number_span(run, "test.nothing", "percent", "en")
    with pytest.raises(TypeError, match="lora_1/submitted/seed-224: error: a number was expected"):
        number_span(run, "error", "percent", "en")
    with pytest.raises(ValueError, match=r"RunReport\.test_interval\.low: there is no format"):
        derived_span(run, "test_interval.low", "percents", "en")
    assert look_up({"a.b": [1, 2]}, ["a.b", 1]) == 2
    assert 'data-of="lora_1/submitted/seed-224"' in derived_span(run, "test_interval.low", "percent", "en")


def test_the_last_line_tells_commits_and_days(made: MadePages) -> None:
    """Commits are listed once, dirty and missing ones said, and days are counted in UTC."""
    run = made.report.run("lora_1/submitted/seed-224")
    evening = datetime(2026, 3, 1, 23, 0, tzinfo=timezone(timedelta(hours=-5)))
    late = make_record(started_at=evening, finished_at=evening, git__dirty=True)
    outside = make_record(git=None, finished_at=datetime(2026, 2, 1, tzinfo=UTC))
    origin = provenance_of([run, replace(run, record=late), replace(run, record=outside), replace(run, record=None)])
    assert origin is not None
    assert len(origin.commits) == 1
    assert (origin.dirty, origin.outside_git) == (True, True)
    assert [format_date(day, "en") for day in (origin.first, origin.last)] == ["1 February 2026", "2 March 2026"]
    assert provenance_of([replace(run, record=None)]) is None


def test_an_error_outside_a_template_is_laid_at_its_door(tmp_path: Path) -> None:
    """A template that cannot be found is named; a joined list reads as the language's lists do."""
    environment = make_environment([tmp_path], "en", {})
    with pytest.raises(RenderError, match=r"templates/pages/none\.j2: "):
        render_template(environment, "pages/none.j2")
    (tmp_path / "a.j2").write_text("{{ ['a', 'b*', 'c'] | joined }}", "utf-8")
    assert render_template(environment, "a.j2") == "a, b&#42; and c"
    assert render_template(make_environment([tmp_path], "zh", {}), "a.j2") == "a、b&#42; 與 c"
    assert isinstance(environment, jinja2.Environment)


def test_what_was_learned_and_what_evaluation_cost_are_the_records(tmp_path: Path) -> None:
    """Layers' updates stand on the adapter's page, IA³'s with its vectors, and the cost of evaluating in the method."""
    layers = [
        {
            "module": f"layer.{i}.q_lin",
            "in_features": 384,
            "out_features": 384,
            "update_norm": 0.5 + i,
            "weight_norm": 20.25 + i,
            "scale_deviation": scale,
        }
        for i, scale in ((0, 0.0123), (1, None))
    ]
    plain = [layer | {"scale_deviation": None} for layer in layers]
    changes = {
        "lora_1/submitted/seed-224": {"learned": plain, "evaluation_time_s": 3.25},
        "ia3/submitted/seed-224": {"learned": layers},
    }
    pages = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT, changes=changes)
    for language, heading in (("zh", "向量與 1 的平均差距"), ("en", "Mean distance of the vector from 1")):
        ia3, lora = (pages.page(f"{language}/adapters/{adapter}") for adapter in ("ia3", "lora_1"))
        assert heading in ia3.text
        assert heading not in lora.text
        fields = {number.attributes.get("data-field"): number.text for number in ia3.numbers}
        assert fields["learned.0.scale_deviation"] == "0.0123"
        assert fields["learned.1.update_norm"] == "1.5"
        assert "learned.1.scale_deviation" not in fields
    method = {number.attributes.get("data-field"): number.text for number in pages.page("en/method").numbers}
    assert method["evaluation_time_s"] == "3.2\u00a0s"
    for language, sentence in (
        ("zh", "平均是原權重的 4.8%，最大的是第 1 層的 q_lin（7.1%），最小的是第 0 層的 q_lin（2.5%）。"),
        (
            "en",
            "on average, the norm of an update is 4.8% of its weight’s. It is largest in q_lin of layer 1 (7.1%) "
            "and smallest in q_lin of layer 0 (2.5%).",
        ),
    ):
        page = pages.page(f"{language}/mechanism-ia3")
        assert sentence in page.text_of(page.tree["blocks"])


def test_a_baseline_without_a_trained_adapter_is_called_one(tmp_path: Path) -> None:
    """The head alone: its code freezes the adapter, and the page on its method does not list it."""
    pages = make_study_pages(tmp_path, adapters=("lora_1", "ia3", "head_only"), variants=ONE_VARIANT)
    page = pages.page("en/adapters/head_only")
    assert "freeze_adapter(model)\n```" in page.text
    assert "freeze_adapter" not in pages.page("en/adapters/ia3").text
    assert "head-only" not in pages.page("en/mechanism-ia3").text
    assert "head_only.qmd" not in pages.page("en/mechanism-ia3").text
    for language, word in (("zh", "只訓練分類頭"), ("en", "Head only")):
        overview = pages.page(f"{language}/index")
        row = next(
            line for line in overview.text.splitlines() if f"[{word}]" in line and "](adapters/head_only" in line
        )
        assert "| – |" in row, "the baseline has no method"
        comparison = pages.page(f"{language}/comparison")
        said = {"zh": "不是轉接器，而是基準", "en": "is not an adapter but a baseline"}[language]
        for shown in (overview, comparison, pages.page(f"{language}/adapters/head_only")):
            assert said in shown.text_of(shown.tree["blocks"])


def test_the_strong_baselines_are_on_the_pages(tmp_path: Path) -> None:
    """Full fine-tuning and the linear probe: overview, table of gains, the probe's own section, in both languages."""
    adapters = ("lora_1", "ia3", "head_only", "full")
    pages = make_study_pages(tmp_path, adapters=adapters, variants=ONE_VARIANT, probe=0.75)
    for language, probe, full in (("zh", "線性探測", "全參數微調"), ("en", "Linear probe", "Full fine-tuning")):
        overview, comparison = pages.page(f"{language}/index"), pages.page(f"{language}/comparison")
        text = overview.text_of(overview.tree["blocks"])
        assert "75.0% (71.1–78.6%)" in text and full in text
        rows = overview.text.splitlines()
        assert any(row.startswith(f"| {probe} |") and "75.0%" in row for row in rows)
        heading = next(row for row in comparison.text.splitlines() if f"| {probe} |" in row)
        assert full in heading.replace("&#45;", "-")
        section = pages.page(f"{language}/reproduction")
        assert "23 / 32" in section.text_of(section.tree["blocks"])
        own = pages.page(f"{language}/adapters/full")
        assert "LNTuningConfig" in own.text and "LN" in own.text_of(own.tree["blocks"])
    assert not [path for path in pages.files if "ln-tuning" in path.name or "linear_probe" in path.name]


def test_a_template_writes_a_number_by_its_name(tmp_path: Path) -> None:
    """A name gives the number in its format, with its origin; a template can name another format, and compare."""
    report = read_report(write_results(tmp_path, adapters=("lora_1",)))
    names: dict[str, Any] = {
        "report": report,
        "group": report.group("lora_1", "submitted"),
        "derived": lambda of, path, kind: Markup(f"{type(of).__name__}.{'.'.join(map(str, path))}/{kind}"),
        "number": lambda run, path, kind: Markup(f"{run.id}:{'.'.join(map(str, path))}/{kind}"),
    }
    for written, expected in (
        ("{{ group.training.learning_rate }}", "Group.training.learning_rate/rate"),
        ("{{ group.test_interval.low }}", "Group.test_interval.low/percent"),
        ("{{ group.test_interval.low | as('percent_bare') }}", "Group.test_interval.low/percent_bare"),
        ("{{ group.curve.points[1].epoch }}", "Group.curve.points.1.epoch/plain"),
        ("{{ group.runs[0].record.test.accuracy }}", "lora_1/submitted/seed-224:test.accuracy/percent"),
        ("{{ report.ablations['learning_rate'].values['submitted'] }}", "Ablation.values.submitted/rate"),
        ("{% for point in group.curve.points if point.epoch == 2 %}{{ point.epoch }}{% endfor %}",
         "Group.curve.points.1.epoch/plain"),
        ("{% if group.n_completed == 1 and report.n_seeds < 2 %}one{% endif %}", "one"),
    ):  # fmt: skip
        (tmp_path / "a.j2").write_text(written, "utf-8")
        assert render_template(make_environment([tmp_path], "en", {}), "a.j2", **names) == expected
