"""Use the curve explorer in a real browser, opened from its folder: what it draws, says, and hands over."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import altair as alt
import pytest
from playwright.sync_api import Browser, Page, expect

from adapterbook.analysis.shapes import Report
from adapterbook.common.formatting import Language, format_number
from adapterbook.config.paths import Paths
from adapterbook.figures.style import OTHER_LINES, OTHER_MARKERS, LineStyle, style_of
from adapterbook.figures.vega_charts import DASHES, MARKERS, RAMP, chart_spec, line_look
from adapterbook.figures.words import short_names
from adapterbook.pages import explorer
from adapterbook.pages.scripts import script_block
from adapterbook.pages.writing.escape import isolate_text
from adapterbook.runs.record import Record, load_record
from tests.support.browser import open_browser, visit
from tests.support.factory import FIGURE_WORDS, make_record
from tests.support.interactive_site import HOSTILE_NAME, make_interactive_site

LANGUAGES: tuple[Language, ...] = ("zh", "en")
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Built:
    """A project, its report and its site."""

    paths: Paths
    report: Report

    @property
    def site(self) -> Path:
        return self.paths.root / "_site"

    def page(self, language: Language, name: str = "explorer") -> Path:
        return self.site / "report" / language / f"{name}.html"

    def record(self, adapter: str, variant: str, seed: int) -> Record:
        return load_record(self.paths.results / "embedded" / adapter / variant / f"seed-{seed}")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("explorer")
    adapters = ("lora_1", "ia3", "head_only")
    missing = ["head_only/lr-2e-4/seed-1"]
    looked_at = "index|comparison|explorer|notebooks/.*-submitted-seed-2"
    return Built(*make_interactive_site(root, looked_at, adapters=adapters, seeds=SEEDS, n_test=40, missing=missing))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def rows_of(page: Page) -> list[list[str]]:
    """Return the texts of the table's rows, once the charts of the same choice are there."""
    page.wait_for_function("document.querySelectorAll('.explorer-chart').length > 0")
    page.locator(".explorer-data").evaluate("frame => { frame.parentElement.open = true; }")
    page.wait_for_selector(".explorer-data tbody tr")
    rows: list[list[str]] = page.eval_on_selector_all(
        ".explorer-data tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return rows


def wait_for_charts(page: Page) -> None:
    """Wait until every panel has its chart."""
    expect(page.locator(".explorer-panel").first).to_be_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('.explorer-chart')].every(chart => chart.querySelector('.explorer-reading'))"
    )


def open_view(page: Page, path: Path, view: str) -> None:
    """Open a page with what is chosen in its address, and wait for its charts."""
    page.goto(f"{path.as_uri()}#{view}")
    page.reload()
    wait_for_charts(page)


def reading_of(page: Page) -> dict[str, str]:
    """Return what the values at a place say, by line."""
    tip = page.locator(".explorer-tip")
    expect(tip).to_be_visible()
    names, values = tip.locator("th").all_text_contents(), tip.locator("td:last-child").all_text_contents()
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), pytest.param(1280, "light", marks=pytest.mark.slow)])
def test_opens_cleanly(browser: Browser, built: Built, width: int, theme: str) -> None:
    """Charts are drawn with no console message, no request elsewhere, no sideways scrolling, in both languages."""
    for language in LANGUAGES:
        with visit(browser, built.page(language), width=width, theme=theme) as opened:
            opened.page.locator("select[name=setting]").select_option("rates")
            wait_for_charts(opened.page)
            assert opened.page.locator(".explorer-panel").count() == 3
            expect(opened.page.locator(".static-curves")).to_be_hidden()  # the charts show the same
            assert opened.messages == []
            assert [url for url in opened.requests if not url.startswith(built.site.resolve().as_uri())] == []
            assert not opened.scrolls_sideways()


def test_needs_no_inline_style(browser: Browser, built: Built) -> None:
    """It works where the policy allows no style but the site's own files either."""
    page = built.page("en")
    strict = page.with_name("strict.html")
    strict.write_text(page.read_text("utf-8").replace(" &#39;unsafe-inline&#39;", ""), "utf-8")
    assert "unsafe-inline" not in strict.read_text("utf-8")
    with visit(browser, strict) as opened:
        wait_for_charts(opened.page)
        opened.page.locator(".explorer-chart").hover()
        assert opened.messages == []
    strict.unlink()


@pytest.mark.slow
def test_only_the_explorer_loads_vega(browser: Browser, built: Built) -> None:
    """The front pages and all others do without the script that draws charts."""
    for path in (built.site / "index.html", built.page("zh", "index"), built.page("en", "comparison")):
        with visit(browser, path) as opened:
            opened.page.wait_for_load_state("networkidle")
            assert not [
                url
                for url in opened.requests
                if "/assets/explorer" in url or url.endswith(("vega.js", "interactive.css"))
            ]
    pages = [path for path in built.site.rglob("*.html") if "vega.js" in path.read_text("utf-8")]
    assert sorted(pages) == sorted(built.page(language) for language in LANGUAGES)


def test_the_table_shows_the_records_numbers(browser: Browser, built: Built) -> None:
    """A seed's rows are its record's, each linked to the very line; the means are the analysis's, with their range."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        page.locator("select[name=setting]").select_option("submitted")
        page.locator("select[name=metric]").select_option("losses")
        page.locator("select[name=seeds]").select_option("2")
        record = built.record("lora_1", "submitted", 2)
        shown = [row[3:] for row in rows_of(page) if row[0] == "LoRA 1"]
        assert shown == [
            [format_number(point.epoch, "plain", "en"), format_number(point.train_loss, "loss", "en"),
             format_number(point.validation_loss, "loss", "en")]
            for point in record.epochs
        ]  # fmt: skip
        links = page.eval_on_selector_all(".explorer-data tbody a", "links => links.map(link => link.href)")
        assert len(links) == len(rows_of(page))
        for link in links:
            parts = urlsplit(link)
            assert f'id="{parts.fragment}"' in Path(unquote(parts.path)).read_text("utf-8")
        own = [link for link in links if "lora_1" in link]
        assert own[3].endswith("lora_1-submitted-seed-2.html#r-epochs-3")

        page.locator("select[name=metric]").select_option("validation_accuracy")
        page.locator("select[name=seeds]").select_option("mean")
        group = built.report.group("lora_1", "submitted")
        assert group is not None
        shown = [row[-1:] for row in rows_of(page) if row[0] == "LoRA 1"]
        assert shown == [
            ["{} ({} to {})".format(*(format_number(value, "percent", "en") for value in (it.mean, it.low, it.high)))]
            for _, it in group.curve.values("validation_accuracy")
        ]
        # Two seeds have a mean, but no range: how far seeds differ is not known.
        page.locator("select[name=setting]").select_option("lr-2e-4")
        head_only = [row for row in rows_of(page) if row[0] == "Head only"]
        assert len(head_only) == 10 and all(row[2] == "mean of 2 seeds" and "to" not in row[-1] for row in head_only)


def test_choices_change_chart_table_and_address(browser: Browser, built: Built) -> None:
    """An adapter that is taken out leaves chart, table and count; the address brings the same view back."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        wait_for_charts(page)
        assert page.locator(".explorer-chart .mark-line path").count() == 3
        assert "#" not in page.url
        page.get_by_role("checkbox", name="LoRA 1").uncheck()
        wait_for_charts(page)
        expect(page.locator(".explorer-chart .mark-line path")).to_have_count(2)
        assert "LoRA 1" not in {row[0] for row in rows_of(page)}
        expect(page.locator(".explorer-status")).to_have_text("Curves shown: 2; numbers: 20.")
        page.locator("select[name=seeds]").select_option("each")
        expect(page.locator(".explorer-status")).to_have_text("Curves shown: 6; numbers: 60.")
        before = rows_of(page)
        assert page.url.endswith("#adapter=ia3&adapter=head_only&seeds=each")
        page.reload()
        assert rows_of(page) == before
        page.get_by_role("button", name="None").click()
        expect(page.locator(".explorer-status")).to_contain_text("Choose an adapter")
        assert page.get_by_role("button", name="Download").is_disabled()
        assert page.locator(".explorer-chart").count() == 0
        page.reload()
        expect(page.locator(".explorer-status")).to_contain_text("Choose an adapter")
        page.get_by_role("button", name="All", exact=True).click()
        expect(page.locator(".explorer-chart .mark-line path")).to_have_count(9)
        assert opened.messages == []


def test_an_address_that_makes_no_sense_is_passed_over(browser: Browser, built: Built) -> None:
    """Unknown names in the address give the usual view, and a link to a heading does not change what is chosen."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        usual = rows_of(page)
        page.goto(f"{built.page('en').as_uri()}#adapter=nobody&setting=%3Cb%3E&metric=constructor&seeds=9")
        page.reload()
        assert rows_of(page) == usual
        page.locator("select[name=metric]").select_option("train_loss")
        page.evaluate("location.hash = 'sec-explorer-choose'")
        page.wait_for_timeout(100)
        expect(page.locator("select[name=metric]")).to_have_value("train_loss")
        assert opened.messages == []


@pytest.mark.slow
def test_both_languages_have_the_same_numbers(browser: Browser, built: Built) -> None:
    """The same address shows the same numbers in both languages, under each language's words."""
    shown: dict[str, list[list[str]]] = {}
    for language in LANGUAGES:
        with visit(browser, built.page(language)) as opened:
            opened.page.goto(f"{built.page(language).as_uri()}#setting=rates&metric=losses&seeds=each")
            opened.page.reload()
            shown[language] = [row[2:] for row in rows_of(opened.page)]
            heads = opened.page.locator(".explorer-data th").all_text_contents()
            assert heads[0] == ("轉接器" if language == "zh" else "Adapter")
    assert shown["zh"] == shown["en"]
    assert len(shown["en"]) == 10 * (3 * 3 * 3 - 1)


def test_csv_holds_what_is_shown(browser: Browser, built: Built) -> None:
    """The file is UTF-8 with a mark for Excel, holds the records' values in full, and no cell is a formula."""
    with visit(browser, built.page("zh")) as opened:
        page = opened.page
        page.goto(f"{built.page('zh').as_uri()}#setting=submitted&metric=losses&seeds=3")
        page.reload()
        rows = rows_of(page)
        with page.expect_download() as download:
            page.get_by_role("button", name="下載").click()
        assert download.value.suggested_filename == "curves-zh-losses.csv"
        content = download.value.path().read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") and content.endswith(b"\r\n")
    read = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert len(read) == len(rows) == 30
    expected = [
        [point.epoch, point.train_loss, point.validation_loss]
        for adapter in built.report.adapters
        for point in built.record(adapter, "submitted", 3).epochs
    ]
    assert [[float(row[name]) for name in ("輪次", "訓練損失", "驗證損失")] for row in read] == expected
    assert {row["學習率"] for row in read} == {"0.00002"} and {row["種子"] for row in read} == {"3"}
    assert {row["id"] for row in read} == {"lora_1", "ia3", "head_only"}
    (name,) = {row["轉接器"] for row in read if row["id"] == "ia3"}
    assert name == "'" + HOSTILE_NAME


@pytest.mark.slow
def test_csv_of_means_has_their_range(browser: Browser, built: Built) -> None:
    """Means come with lowest and highest, and with how many seeds they are of."""
    with visit(browser, built.page("en")) as opened:
        with opened.page.expect_download() as download:
            opened.page.get_by_role("button", name="Download").click()
        read = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    adapter = built.report.adapters["lora_1"]
    assert adapter.best is not None
    spreads = [spread for _, spread in adapter.best.curve.values("validation_loss")]
    own = [row for row in read if row["id"] == "lora_1"]
    for row, spread in zip(own, spreads, strict=True):
        assert float(row["Validation loss"]) == spread.mean
        assert [float(row["Validation loss Low"]), float(row["Validation loss High"])] == [spread.low, spread.high]
        assert row["Seed"] == "" and row["Seeds"] == "3"


@pytest.mark.slow
def test_lines_look_as_in_the_figures(browser: Browser, built: Built) -> None:
    """Each line has the colour and dashes of the static figures, its marker their shape, its swatch the same."""
    with visit(browser, built.page("en")) as opened:
        wait_for_charts(opened.page)
        lines = opened.page.eval_on_selector_all(
            ".explorer-chart .mark-line path",
            "paths => paths.map(path => [path.getAttribute('stroke'), path.getAttribute('stroke-dasharray')])",
        )
        swatches = opened.page.eval_on_selector_all(
            ".explorer fieldset svg",
            "all => all.map(svg => [...svg.children].flatMap(path => ['stroke', 'stroke-dasharray', 'd'].map("
            "name => path.getAttribute(name))))",
        )
        markers = set(opened.page.eval_on_selector_all(
            ".explorer-chart .mark-symbol path[opacity='1']", "paths => paths.map(path => path.getAttribute('fill'))"
        ))  # fmt: skip
    looks = {name: line_look(style_of(built.report, name)) for name in built.report.adapters}
    assert {color for color, _ in lines} == markers == {look["color"] for look in looks.values()}
    for color, dash in lines:
        (look,) = [look for look in looks.values() if look["color"] == color]
        assert [float(part) for part in dash.split(",")] == look["dash"]
    for swatch, look in zip(swatches, looks.values(), strict=True):
        assert swatch[:2] == [look["color"], " ".join(f"{length:g}" for length in look["dash"])]
        assert swatch[5] == look["shape"]


def test_all_values_at_a_place_are_read(browser: Browser, built: Built) -> None:
    """The pointer, a finger and the arrow keys read every curve's value at the nearest place; Escape puts it away."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        wait_for_charts(page)
        by_epoch = {epoch: {row[0]: row[-1] for row in rows_of(page) if row[3] == epoch} for epoch in ("1", "2", "10")}
        chart = page.locator(".explorer-chart")
        chart.scroll_into_view_if_needed()
        place = chart.bounding_box()
        assert place is not None
        page.mouse.move(place["x"] + place["width"] - 12, place["y"] + 40)
        assert reading_of(page) == by_epoch["10"]
        values = [float(text.split()[0]) for text in reading_of(page).values()]
        assert values == sorted(values, reverse=True)
        assert page.locator(".explorer-tip p").text_content() == "Epoch 10"
        assert page.locator(".explorer-dot").count() == 3
        assert page.locator(".explorer-tip img").count() == 0
        page.keyboard.press("Escape")
        expect(page.locator(".explorer-tip")).to_be_hidden()
        page.mouse.move(0, 0)
        chart.focus()
        assert reading_of(page) == by_epoch["1"]
        page.keyboard.press("ArrowRight")
        assert reading_of(page) == by_epoch["2"]
        said = chart.get_attribute("aria-valuetext") or ""
        assert said.startswith("Epoch 2: ") and all(value in said for value in by_epoch["2"].values())
        page.keyboard.press("End")
        assert reading_of(page) == by_epoch["10"]
        page.keyboard.press("Escape")
        touch = {"pointerType": "touch", "clientX": place["x"] + place["width"] - 12, "clientY": place["y"] + 40}
        chart.dispatch_event("pointerdown", touch)
        assert reading_of(page) == by_epoch["10"]


def test_zooms_and_comes_back(browser: Browser, built: Built) -> None:
    """A part that is drawn out with the mouse fills the chart, also in the address; keys and the button lead back."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        wait_for_charts(page)
        chart = page.locator(".explorer-chart")
        chart.scroll_into_view_if_needed()
        place = chart.bounding_box()
        assert place is not None
        page.mouse.move(place["x"] + 0.3 * place["width"], place["y"] + 40)
        page.mouse.down()
        page.mouse.move(place["x"] + 0.6 * place["width"], place["y"] + 60, steps=3)
        page.mouse.up()
        page.wait_for_function("location.hash.includes('zoom=')")
        wait_for_charts(page)
        whole = page.get_by_role("button", name="Show all")
        first, last = (float(chart.get_attribute(f"aria-value{end}") or "nan") for end in ("min", "max"))
        assert 1 < first < last < 10
        page.reload()
        wait_for_charts(page)
        assert float(chart.get_attribute("aria-valuemin") or "nan") == pytest.approx(first, rel=0.01)
        chart.focus()
        page.keyboard.press("0")
        page.wait_for_function("!location.hash.includes('zoom=')")
        expect(whole).to_be_disabled()
        wait_for_charts(page)
        page.get_by_role("button", name="Zoom in").click()
        page.wait_for_function("location.hash.includes('zoom=')")
        whole.click()
        page.wait_for_function("!location.hash.includes('zoom=')")
        assert opened.messages == []


def test_any_runs_stand_in_one_chart(browser: Browser, built: Built) -> None:
    """Ticks in the table of runs put runs of any adapter and variant into one chart; the address keeps them."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        page.get_by_role("button", name="None").click()
        page.locator(".explorer-fold summary").first.click()
        for name in ("LoRA 1 · as submitted", "LoRA 1 · Learning rate 2e-4", "Head only · as submitted"):
            page.get_by_role("checkbox", name=name).check()
        wait_for_charts(page)
        expect(page.locator(".explorer-legend > span")).to_have_count(3)
        expect(page.locator("select[name=setting]")).to_have_value("own")
        assert page.url.count("run=") == 3
        page.reload()
        wait_for_charts(page)
        assert {row[0] for row in rows_of(page)} == {"LoRA 1", "Head only"}
        looks = page.eval_on_selector_all(
            ".explorer-chart .mark-line path",
            "paths => paths.map(path => path.getAttribute('stroke') + path.getAttribute('stroke-dasharray'))",
        )
        assert len(set(looks)) == 3
        open_view(page, built.page("en"), "adapter=lora_1&setting=own&run=lora_1%2Fsubmitted&run=lora_1%2Flr-2e-4")
        colors = page.eval_on_selector_all(
            ".explorer-chart .mark-line path", "paths => paths.map(path => path.getAttribute('stroke'))"
        )
        assert set(colors) == {RAMP[0], RAMP[-1]}  # one adapter's settings go from light to dark
        assert opened.messages == []


def test_the_runs_say_what_differs_and_sort(browser: Browser, built: Built) -> None:
    """The table has every run's best, last and test results and the settings that differ; a heading sorts it."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        page.locator(".explorer-fold summary").first.click()
        heads = page.locator(".explorer-runs th").all_text_contents()
        assert heads[:4] == ["Shown", "Adapter", "Variant", "learning_rate"]
        assert "num_train_epochs" not in heads and "r" in heads
        cells = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        rows = page.eval_on_selector_all(".explorer-runs tbody tr", cells)
        assert len(rows) == 9
        for name, column in (("best_validation_loss", "Lowest validation loss"), ("test_accuracy", "Test accuracy")):
            kind = "loss" if "loss" in name else "percent"
            shown = [row[heads.index(column)] for row in rows]
            groups = [group for adapter in built.report.adapters.values() for group in adapter.groups.values()]
            assert shown == [format_number(getattr(group, name).mean, kind, "en") for group in groups]
        page.get_by_role("button", name="Test accuracy").click()
        found = page.eval_on_selector_all(".explorer-runs tbody tr", cells)
        values = [float(row[heads.index("Test accuracy")].rstrip("%")) for row in found]
        assert values == sorted(values, reverse=True)
        expect(page.locator(".explorer-runs th[aria-sort]")).to_have_attribute("aria-sort", "descending")
        page.get_by_role("button", name="learning_rate").click()
        found = page.eval_on_selector_all(".explorer-runs tbody tr", cells)
        rates = [float(row[3]) for row in found]
        assert rates == sorted(rates)


def test_the_axis_is_steps_seconds_rate_or_rank(browser: Browser, built: Built) -> None:
    """Steps and seconds are the record's, also for each step's loss; results stand against learning rate and rank."""
    record = built.record("lora_1", "submitted", 2)
    n = len(record.steps)
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        common = "adapter=lora_1&setting=submitted&seeds=2"
        for axis, last in (("step", str(n)), ("seconds", format_number(record.steps[-1].seconds, "decimal", "en"))):
            open_view(page, built.page("en"), f"{common}&x={axis}")
            page.locator(".explorer-chart").focus()
            page.keyboard.press("End")
            assert (page.locator(".explorer-tip p").text_content() or "").endswith(f" {last}")
            assert reading_of(page) == {"LoRA 1": format_number(record.epochs[-1].validation_loss, "loss", "en")}
        open_view(page, built.page("en"), f"{common}&x=step&metric=step_loss&smoothing=60")
        assert [row[-2:] for row in rows_of(page)] == [
            [str(step.step), format_number(step.loss, "loss", "en")] for step in record.steps
        ]
        page.locator(".explorer-chart").focus()
        page.keyboard.press("End")  # smoothed or not, the value read is the record's
        assert reading_of(page) == {"LoRA 1": format_number(record.steps[-1].loss, "loss", "en")}
        open_view(page, built.page("en"), "adapter=lora_1&x=learning_rate")
        assert [row[2] for row in rows_of(page)] == ["2e-5", "2e-4", "1e-3"]
        group = built.report.adapters["lora_1"].groups["lr-2e-4"]
        assert group.test_accuracy is not None
        assert rows_of(page)[1][3].startswith(format_number(group.test_accuracy.mean, "percent", "en"))
        open_view(page, built.page("en"), "x=rank&metric=best_validation_loss")
        assert [(row[0], row[2]) for row in rows_of(page)] == [("LoRA 1", "64")]
        expect(page.locator(".explorer-status")).to_contain_text("Without a rank or a result")
        assert opened.messages == []


def test_scales_are_logarithmic_on_request(browser: Browser, built: Built) -> None:
    """A tick makes an axis logarithmic, the address keeps it, and nothing is warned about."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        wait_for_charts(page)
        before = page.locator(".explorer-chart .mark-line path").first.get_attribute("d")
        page.get_by_role("checkbox", name="Log y").check()
        page.get_by_role("checkbox", name="Log x").check()
        page.wait_for_function("location.hash === '#log=xy'")
        page.wait_for_timeout(0)
        wait_for_charts(page)
        assert page.locator(".explorer-chart .mark-line path").first.get_attribute("d") != before
        assert opened.messages == []


def test_an_empty_choice_says_why(browser: Browser, built: Built) -> None:
    """Without an adapter, and without a ticked run, the reader is told what to do."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        for view, words in (("adapter=", "Choose an adapter."), ("setting=own", "Tick the runs to show")):
            page.goto(f"{built.page('en').as_uri()}#{view}")
            page.reload()
            expect(page.locator(".explorer-status")).to_contain_text(words)
            assert page.locator(".explorer-chart").count() == 0


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_the_first_screen_has_controls_and_chart(browser: Browser, built: Built, size: tuple[int, int]) -> None:
    """From the first control to the axis below the chart all fits into one screen."""
    with visit(browser, built.page("zh"), width=size[0]) as opened:
        opened.page.set_viewport_size({"width": size[0], "height": size[1]})
        opened.page.reload()
        wait_for_charts(opened.page)
        top = opened.page.locator(".explorer-controls").bounding_box()
        chart = opened.page.locator(".explorer-chart").bounding_box()
        assert top is not None and chart is not None
        assert chart["y"] + chart["height"] - top["y"] < size[1] - 150


def test_by_keyboard_alone(browser: Browser, built: Built) -> None:
    """Check boxes, selects, tools, chart and tables are reached and worked by keys."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        page.get_by_role("checkbox").first.focus()
        page.keyboard.press("Space")
        expect(page.locator(".explorer-status")).to_contain_text("Curves shown: 2")
        wait_for_charts(page)
        reached = []
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.name || document.activeElement.className"))
        assert [name for name in reached if name in ("metric", "axis", "log-y", "explorer-chart")] == [
            "metric", "axis", "log-y", "explorer-chart",
        ]  # fmt: skip


@pytest.mark.slow
def test_without_script_the_figure_stays(browser: Browser, built: Built) -> None:
    """With JavaScript off the page says so, and shows the static figure and its table."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(built.page("zh").as_uri())
    expect(page.locator(".without-script")).to_contain_text("JavaScript")
    expect(page.locator("figure img")).to_be_visible()
    page.locator("summary.callout-title").first.click()
    expect(page.locator(".figure-numbers table")).to_be_visible()
    context.close()


def test_hostile_names_stay_text(browser: Browser, built: Built) -> None:
    """A name that would end a script, a fence or a cell is shown as typed, in controls, table and chart's text."""
    for language in LANGUAGES:
        with visit(browser, built.page(language)) as opened:
            page = opened.page
            page.locator("select[name=setting]").select_option("lr-1e-3")
            wait_for_charts(page)
            assert isolate_text(HOSTILE_NAME) in page.locator("fieldset label").all_text_contents()
            assert [isolate_text(HOSTILE_NAME)] * 2 in [row[:2] for row in rows_of(page)]
            assert isolate_text(HOSTILE_NAME) in (page.locator(".explorer-chart").get_attribute("aria-label") or "")
            page.locator(".explorer-fold summary").first.click()
            expect(page.locator(".explorer-runs td").first).to_be_visible()
            assert isolate_text(HOSTILE_NAME) in page.locator(".explorer-runs td").all_text_contents()
            assert page.locator("main img").count() == page.locator("main figure img").count()
            assert opened.messages == []
    source = (built.paths.report / "en" / "explorer.qmd").read_text("utf-8")
    assert "{{<" not in source and "</script><img" not in source


def test_script_block_gives_the_data_back() -> None:
    """Whatever is in a text, no character of the block could act, and the data come out as they went in."""
    texts = ["</script>", "<!--", "```\n", "{{< x >}}", "{{{{", "a\\", "\u2028", "&amp;", '"', HOSTILE_NAME]
    block = str(script_block("x", {"texts": texts}, "<b>"))
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', block)
    assert json.loads(data) == {"texts": texts}
    assert not set(data) & set("<>&`\u2028") and "{{" not in data
    assert block.count("```") == 2 and "<b>" not in block


def test_the_explorer_is_of_many_runs_too(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many runs the page holds the means alone."""
    monkeypatch.setattr(explorer, "MAX_SEED_LINES", 5)
    words = FIGURE_WORDS["en"]
    block = explorer.explorer_block(built.report, words, short_names(built.report, words), lambda place: None)
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', str(block))
    assert [line["seed"] for line in json.loads(data)["lines"]] == [None] * 9


def test_the_spec_is_valid_and_holds_no_data() -> None:
    """Altair accepts the chart; its layers await the page's curves and the level of guessing."""
    spec = chart_spec()
    alt.LayerChart.from_dict(spec, validate=True)
    assert [layer["data"]["name"] for layer in spec["layer"]] == ["level", *["curves"] * 5]
    assert not spec.get("datasets")
    assert {parameter["name"] for parameter in spec["params"]} == {"first", "last", "low", "high"}
    assert "$schema" not in spec


def test_of_very_many_steps_some_are_taken() -> None:
    """A line holds the first step, the last, and those at even distances between; means are over the seeds."""
    records = [make_record("lora_1", "submitted", seed) for seed in (1, 2)]
    made = explorer._steps(records, 7, "en")
    n = len(records[0].steps)
    assert [row[0] for row in made["steps"]] == [1 + round(i * (n - 1) / 6) for i in range(7)]
    mean = (records[0].steps[0].loss + records[1].steps[0].loss) / 2
    assert made["steps"][0][1] == format_number(mean, "loss", "en")
    assert made["per_epoch"] == n / records[0].training.num_train_epochs


def test_every_style_can_be_drawn() -> None:
    """Each line style and marker that an adapter can get has dashes and an outline; none are alike."""
    assert set(OTHER_LINES) <= set(DASHES)
    markers = {*OTHER_MARKERS, "o", "s", "^", "D", "h"}
    assert markers <= set(MARKERS)
    shapes = [line_look(LineStyle("#000000", "-", marker))["shape"] for marker in sorted(markers)]
    assert len(set(shapes)) == len(shapes)
