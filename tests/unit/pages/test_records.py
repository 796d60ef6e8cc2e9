"""From each number on a page to the record it is from: links, their targets, and the record on the run's page."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapterbook.analysis.shapes import Report
from adapterbook.common.formatting import Language, format_number
from adapterbook.figures import Figure
from adapterbook.pages.numbers.provenance import record_block
from adapterbook.pages.numbers.record_link import RecordLink, link_of_derived, link_of_number, link_of_row
from tests.support.browser import open_browser, visit
from tests.support.factory import BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS, HOSTILE_TEXTS, PROJECT, make_record
from tests.support.report_pages import LANGUAGES, MadePages, Qmd, make_study_pages, render_site, write_blank_figures

ONE_VARIANT = {"submitted": {"title": {"zh": "原設定", "en": "As submitted"}}}
SPAN = re.compile(r'<span id="([\w-]+)">')
TAG = re.compile(r"<[^>]*>")
LINKED = re.compile(r"\[\[([^][]*)\]\{\.n ([^}]*)\}\]\(([^()]*)\)")
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


@dataclass(frozen=True)
class LinkedNumber:
    """A number that is a link."""

    text: str
    attributes: dict[str, str]
    target: str


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """One seed, every ablation."""
    root = tmp_path_factory.mktemp("study")
    extra = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS
    return make_study_pages(root, adapters=("lora_1", "ia3", "head_only"), extra_variants=extra)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """Three seeds on the homework's own source, one of them failed."""
    return make_study_pages(
        tmp_path_factory.mktemp("seeds"),
        source="hub",
        seeds=(1, 2, 3),
        adapters=("lora_1", "ia3", "head_only"),
        failed=["ia3/submitted/seed-2"],
    )


def linked_numbers(page: Qmd) -> list[LinkedNumber]:
    return [
        LinkedNumber(html.unescape(text), {k: html.unescape(v) for k, v in ATTRIBUTE.findall(attributes)}, target)
        for text, attributes, target in LINKED.findall(page.text)
    ]


def follow(page: Qmd, target: str) -> tuple[Path, str]:
    """Return the file and the anchor that a link of a page leads to."""
    path, _, anchor = target.partition("#")
    return ((page.path.parent / path).resolve() if path else page.path.resolve()), anchor


def line_of(file: Path, anchor: str) -> str:
    """Return what the record that a run's page shows has at an anchor."""
    text = file.read_text("utf-8")
    start = text.index(f'<span id="{anchor}">')
    depth = 0
    for tag in re.finditer(r"<span[^>]*>|</span>", text[start:]):
        depth += 1 if tag[0].startswith("<span") else -1
        if depth == 0:
            return html.unescape(TAG.sub("", text[start : start + tag.start()]))
    raise AssertionError(f"{file}: {anchor} has no end")


def site_pages(made: MadePages) -> Iterator[tuple[Language, Qmd]]:
    for language in LANGUAGES:
        for page in made.pages:
            if language in page.path.relative_to(made.paths.root).parts:
                yield language, page


@pytest.mark.parametrize("name", ["study", "seeds"])
def test_each_number_of_a_run_leads_to_its_line_in_the_record(name: str, request: pytest.FixtureRequest) -> None:
    """In both languages each number with a run is a link to the run's page, to the line that has this very value."""
    made: MadePages = request.getfixturevalue(name)
    seen: dict[str, int] = dict.fromkeys(LANGUAGES, 0)
    for language, page in site_pages(made):
        linked = [number for number in linked_numbers(page) if "data-run" in number.attributes]
        assert len(linked) == sum("data-run" in number.attributes for number in page.numbers), page.path
        for number in linked:
            run, field = number.attributes["data-run"], number.attributes["data-field"]
            file, anchor = follow(page, number.target)
            assert file == (made.paths.report / language / "notebooks" / f"{run.replace('/', '-')}.qmd").resolve()
            line, last = line_of(file, anchor), field.rpartition(".")[2]
            item_of_a_list = last.isdecimal()
            key, _, value = (f'"{last}"', "", line) if item_of_a_list else line.partition(": ")
            assert json.loads(key) == last
            assert format_number(json.loads(value), number.attributes["data-format"], language) == number.text
            seen[language] += 1
    assert seen["zh"] == seen["en"] > 50


def test_the_cover_s_numbers_are_links_too(study: MadePages) -> None:
    """From the cover the links lead into the language that the number stands in."""
    for part, language in zip(study.page("index").text.split(" .cover lang")[1:], LANGUAGES, strict=True):
        numbers = linked_numbers(Qmd(study.page("index").path, part))
        assert len(numbers) == part.count("]{.n ") > 3
        assert all(number.target.startswith(f"report/{language}/") for number in numbers)


def test_the_combined_document_has_no_link_to_a_record(study: MadePages) -> None:
    """A PDF has no site to lead to: its numbers keep their origin and are no links."""
    for language in LANGUAGES:
        document = study.page(f"pdf/report-{language}")
        assert len(document.numbers) > 100
        assert not linked_numbers(document)


def rows_of(figure: Figure) -> list[dict[str, Any]]:
    """Return the rows of the table behind a figure."""
    return [{str(key): value for key, value in row.items()} for row in figure.table.to_dict("records")]


def place(report: Report, thing: Any, field: str) -> tuple[str, str] | None:
    """Return a place as the id of what it belongs to and its section."""
    found = link_of_derived(thing, field, report)
    return None if found is None else (found.of if isinstance(found.of, str) else found.of.id, found.section)


def test_a_derived_number_leads_to_what_it_was_computed_from(study: MadePages, seeds: MadePages) -> None:
    """One run: its record, and the line where it has the field; several: their list; a setting: the protocol."""
    one, many = study.report, seeds.report
    run, all_runs, protocol = "lora_1/submitted/seed-224", ("reproduction", "runs"), ("reproduction", "protocol")
    group, groups = one.group("lora_1", "submitted"), many.group("lora_1", "submitted")
    assert group is not None
    assert groups is not None
    assert place(one, group, "test_interval.low") == (run, "r")
    assert place(one, group, "train_time_s.mean") == (run, "r-train_time_s")
    assert place(many, groups, "test_accuracy.mean") == ("lora_1", "runs")
    assert place(one, group, "training.learning_rate") is None
    assert place(one, one.run(run), "confusion.counts.0.0") == (run, "r")
    adapter = one.adapters["lora_1"]
    assert place(one, adapter, "n_adapter_params") == (run, "r-n_adapter_params")
    assert place(one, adapter, "config.settings.r") is None
    assert place(one, adapter.formula, "n_adapter_params") == (run, "r-n_adapter_params")
    assert place(one, adapter.learned, "mean_relative_update") == ("lora_1/lr-1e-3/seed-224", "r")
    cost = next(row for table in one.costs for row in table.rows if row.adapter == "ia3")
    assert place(one, cost, "time_s.median") == ("ia3", "runs")
    assert place(one, cost, "accuracy") == (f"ia3/{cost.variant}/seed-224", "r")
    calibration = one.calibration.adapters["ia3"]
    assert place(one, calibration, "confidence") == (f"ia3/{calibration.variant}/seed-224", "r")
    verdict = one.headline_submitted
    assert place(one, verdict, "accuracy_a") == (f"{verdict.a}/submitted/seed-224", "r")
    assert place(one, verdict, "n_right_a") == (f"{verdict.a}/submitted/seed-224", "r")
    assert place(one, verdict, "accuracy_b") == (f"{verdict.b}/submitted/seed-224", "r")
    assert place(one, verdict, "difference") == all_runs
    assert place(one, one.baseline("head_only", "submitted"), "accuracy") == ("head_only/submitted/seed-224", "r")
    assert place(one, one.baseline("majority"), "accuracy") == all_runs
    assert place(one, one.baseline("chance"), "accuracy") is None
    assert place(one, one.comparisons["best"], "n_tested") == all_runs
    assert place(one, one, "study.data.n_train") == place(one, one, "n_seeds") == protocol
    assert place(one, one, "n_test_rows") == all_runs
    batch = one.ablations["batch_size"]
    assert place(one, batch, "values.batch-4") == protocol
    assert place(one, one.ablations["epochs"].epochs, "n_groups") == all_runs
    strategy = one.ablations["eval_strategy"]
    assert place(one, strategy.eval_views[0], "regret") == ("lora_1/eval-steps/seed-224", "r")
    published = many.published.runs["lora_1"]
    assert place(many, published, "mean_loss_difference") == ("lora_1", "runs")
    assert place(many, published, "published_train_loss") is None
    point = published.points[0]
    assert place(many, point, "rerun_loss") == ("lora_1", "runs")
    assert place(many, point, "published_loss") is place(many, point, "epoch") is None
    assert place(many, object(), "n") is None


def test_a_field_with_an_unusual_name_leads_to_the_whole_record(study: MadePages) -> None:
    """No anchor is made of a name that another field could share: the link leads to the record."""
    run = study.report.runs[0]
    assert link_of_number(run, ["environment", "packages", "scikit-learn"]) == RecordLink(run, "r")
    assert link_of_number(run, "test.accuracy") == RecordLink(run, "r-test-accuracy")


def test_rows_behind_a_figure_lead_to_their_epoch_in_the_record(study: MadePages) -> None:
    """Each row about one run leads to its record, to the row of its epoch where it has one, with the same numbers."""
    checked = 0
    for figure in study.figures.values():
        for row in rows_of(figure):
            found = link_of_row(figure, row, study.report)
            if figure.id == "block" or figure.id.startswith("published"):
                assert found is None
                continue
            assert found is not None, (figure.id, row)
            assert not isinstance(found.of, str)
            assert found.of.id.split("/")[0] == row.get("adapter", figure.adapter or "lora_1")
            if "epoch" in row:
                run = found.of.id.replace("/", "-")
                shown = line_of(study.paths.report / "en" / "notebooks" / f"{run}.qmd", found.section)
                epoch = json.loads(shown)
                for key in ("train_loss", "validation_loss", "validation_accuracy"):
                    assert epoch[key] == row.get(key, epoch[key]), (figure.id, row)
                checked += 1
    assert checked > 100
    for language in LANGUAGES:
        table = study.page(f"{language}/index").text.split(".figure-numbers")[2].split(":::")[0]
        rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
        assert rows
        link = r"\| \[[^][]+\]\(notebooks/[\w.-]+\.qmd#r-(epochs|evaluations)-\d+\) \|"
        assert all(re.match(link, row) for row in rows)


def test_rows_over_seeds_lead_to_the_list_of_runs(seeds: MadePages) -> None:
    """Means over seeds have no single record; published beside rerun is told by the figure's adapter."""
    figure = seeds.figures["headline"]
    found = link_of_row(figure, rows_of(figure)[0], seeds.report)
    assert found is not None
    assert found.section == "runs"
    published = seeds.figures["published-lora-1"]
    found = link_of_row(published, rows_of(published)[0], seeds.report)
    assert found == RecordLink(seeds.report.adapters["lora_1"], "runs")


def shown_record(page: Qmd) -> Any:
    """Return the record that a run's page shows, read back from its block."""
    block = re.search(r'```\{=html\}\n<pre class="record"[^>]*><code>(.*?)</code></pre>\n```', page.text, re.DOTALL)
    assert block is not None
    return json.loads(html.unescape(TAG.sub("", block[1])))


def test_a_run_s_page_holds_its_whole_record(seeds: MadePages) -> None:
    """In both languages the block is the record, every value of it, with a link to the file; anchors are unique."""
    for language, page in site_pages(seeds):
        if "/notebooks/" not in page.path.as_posix() or page.path.stem == "index":
            continue
        run = next(run for run in seeds.report.runs if run.id.replace("/", "-") == page.path.stem)
        folder = run.run.folder(seeds.paths)
        assert shown_record(page) == json.loads((folder / "record.json").read_text("utf-8"))
        assert f"## {'紀錄' if language == 'zh' else 'Record'} {{#r}}" in page.text
        links = [follow(page, node["c"][2][0])[0] for node in page.elements("Link")]
        assert (folder / "record.json").resolve() in links
        anchors = SPAN.findall(page.text)
        assert len(anchors) == len(set(anchors)) > 50


def test_a_record_s_texts_can_do_nothing() -> None:
    """Hostile texts and names of settings stand in the block as JSON: no tag but its own, no mark that acts."""
    settings = dict(enumerate(HOSTILE_TEXTS))
    hostile = {str(key): text for key, text in settings.items()}
    names = {text: index for index, text in enumerate(HOSTILE_TEXTS)} | {"a.b": {"c": 1}, "a": {"b.c": [[], {}, [1]]}}
    record = make_record(adapter__settings=hostile, adapter__config=names, source__reason="x" * 5_000)
    block = record_block(record, "record.json", {})
    inside = block.removeprefix("```{=html}\n").removesuffix("\n```")
    assert set(re.findall(r"<[^>]*>", inside)) - {"</span>", "</code>", "</pre>", "<code>"} == {
        '<pre class="record" tabindex="0" role="region" aria-label="record.json">',
        *(f'<span id="{anchor}">' for anchor in SPAN.findall(inside)),
    }
    assert "{{" not in inside
    assert "`" not in inside
    assert "\u202e" not in inside
    shown = json.loads(html.unescape(TAG.sub("", inside)))
    assert shown["adapter"]["settings"] == hostile
    assert shown["adapter"]["config"] == names
    assert shown["source"]["reason"] == "x" * 2_000 + " …"
    anchors = SPAN.findall(inside)
    assert len(anchors) == len(set(anchors))
    assert "r-adapter-config-a-b-c" not in anchors


def test_a_record_s_block_names_no_folder_of_this_machine() -> None:
    """Folders are shown as the notebook's are."""
    record = make_record(source__reason="see /home/me/book/x")
    assert "home" not in record_block(record, "record.json", {"/home/me/book": "."})


def test_runs_without_a_record_say_so(tmp_path: Path) -> None:
    """A missing run and a record that cannot be read have the section too, the latter with the file."""
    runs = ("lora_1/submitted/seed-224", "ia3/submitted/seed-224")
    made = make_study_pages(tmp_path, adapters=("lora_1", "ia3"), variants=ONE_VARIANT,
                            missing=runs[:1], truncated=runs[1:])  # fmt: skip
    for language, missing, broken in (
        ("zh", "還沒有執行過。所以也沒有紀錄。", "紀錄讀不出來。檔案是 record.json。"),
        ("en", "The run has not been made yet. So there is no record either.", "The file is record.json."),
    ):
        for run, sentence in zip(runs, (missing, broken), strict=True):
            page = made.page(f"{language}/notebooks/{run.replace('/', '-')}")
            assert sentence in page.text_of(page.tree["blocks"])
            assert "{#r}" in page.text
        files = [follow(page, node["c"][2][0])[0] for node in page.elements("Link")]
        assert made.report.run(runs[1]).run.folder(made.paths).resolve() / "record.json" in files


def test_the_rule_is_said_where_the_runs_are_listed(study: MadePages) -> None:
    """The reproduction page says in one paragraph where numbers lead; the PDF, whose numbers lead nowhere, does not."""
    for language, sentence in (
        ("zh", "來自執行的數字都是連結"),
        ("en", "Every number that comes from a run is a link"),
    ):
        assert sentence in study.page(f"{language}/reproduction").text
        assert sentence not in study.page(f"pdf/report-{language}").text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site of a small study, without PDFs."""
    made = make_study_pages(tmp_path_factory.mktemp("site"), adapters=("lora_1", "ia3"), variants=ONE_VARIANT)
    shutil.copytree(PROJECT.report / "assets", made.paths.report / "assets")
    (made.paths.root / "_quarto.yml").write_bytes((PROJECT.root / "_quarto.yml").read_bytes())
    write_blank_figures(made.figures)
    return render_site(made.paths.root)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_click_on_a_number_shows_its_line(site: Path, theme: str) -> None:
    """The record's box scrolls to the line, which stands out, from the keyboard too. In cells numbers look plain."""
    with open_browser() as browser:
        for language in LANGUAGES:
            with visit(browser, site / "report" / language / "index.html", theme=theme) as opened:
                number = opened.page.locator("td > a:has(> [data-field='test.accuracy'])").first
                look = number.evaluate(
                    "a => [getComputedStyle(a).color === getComputedStyle(a.parentElement).color,"
                    " getComputedStyle(a).textDecorationLine]"
                )
                assert look == [True, "none"]
                prose = opened.page.locator("p a:has(> .n)").first
                assert "underline" in prose.evaluate("a => getComputedStyle(a).textDecorationLine")
                number.focus()
                opened.page.keyboard.press("Enter")
                opened.page.wait_for_url("**/notebooks/*#r-test-accuracy")
                line = opened.page.locator("#r-test-accuracy")
                ground = line.evaluate("line => getComputedStyle(line).backgroundColor")
                assert ground == {"light": "rgb(255, 233, 163)", "dark": "rgb(95, 75, 0)"}[theme]
                inside = (
                    "line => { const box = line.closest('pre').getBoundingClientRect(), own ="
                    " line.getBoundingClientRect(); return own.top >= box.top && own.bottom <= box.bottom }"
                )
                assert line.evaluate(inside)
                assert opened.messages == []
