"""Read the page of test sentences: which they are, what each adapter makes of them, and the table in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from adapterbook.analysis.sentences import N_SENTENCES, sample_sentences
from adapterbook.analysis.shapes import Report
from adapterbook.common.formatting import Language, format_number
from adapterbook.config.paths import Paths
from adapterbook.pages.writing.escape import isolate_text
from adapterbook.runs.predictions import load_predictions
from tests.support.browser import open_browser, visit
from tests.support.factory import make_predictions, read_report, write_results
from tests.support.interactive_site import HOSTILE_NAME, make_interactive_site
from tests.support.report_pages import few_run_pages

LANGUAGES: tuple[Language, ...] = ("zh", "en")
ADAPTERS = ("lora_1", "lora_2", "ia3", "head_only")


@dataclass(frozen=True)
class Built:
    """A project, its report and its site."""

    paths: Paths
    report: Report

    def page(self, language: Language) -> Path:
        return self.paths.root / "_site" / "report" / language / "sentences.html"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("sentences")
    with few_run_pages(6):
        return Built(*make_interactive_site(root, adapters=ADAPTERS, n_test=100, failed=_runs_of("lora_2")))


def _runs_of(adapter: str) -> list[str]:
    return [f"{adapter}/{variant}/seed-224" for variant in ("submitted", "lr-2e-4", "lr-1e-3")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def rows_of(page: Page) -> list[list[str]]:
    """Return the texts of the rows that are shown."""
    rows: list[list[str]] = page.eval_on_selector_all(
        ".sentence-table tbody tr",
        "rows => rows.filter(row => !row.hidden).map(row => [...row.cells].map(cell => cell.textContent.trim()))",
    )
    return rows


def test_the_choice_knows_no_prediction() -> None:
    """The sample is every fourth of 96 rows by their ids, whatever was predicted and in whatever order they lie."""
    predictions = make_predictions("lora_1", n=96)
    sample = sample_sentences(predictions.sample(frac=1, random_state=1))
    assert [row["row_id"] for row in sample["rows"]] == predictions["row_id"].tolist()[::4]
    other = sample_sentences(make_predictions("ia3", n=96, accuracy=0.9))
    assert [row["row_id"] for row in other["rows"]] == [row["row_id"] for row in sample["rows"]]
    assert other["identity"] == sample["identity"]
    assert sample_sentences(predictions.assign(text="x"))["identity"] != sample["identity"]


@pytest.mark.parametrize("n", [1, 23, 24, 25, 47])
def test_a_small_test_set_has_what_there_is(n: int) -> None:
    """A sample has no more rows than there are and no row twice, and the first is among them."""
    sample = sample_sentences(make_predictions("lora_1", n=n, n_positive=n // 2))
    ids = [row["row_id"] for row in sample["rows"]]
    assert len(set(ids)) == len(ids) == min(n, N_SENTENCES) and ids[0] == 160


def test_probabilities_are_those_of_the_predictions(built: Built) -> None:
    """Each number is the one in predictions.parquet of the run at the adapter's own best learning rate."""
    found = built.report.sentences
    assert [run.run.adapter.id for run in found.runs] == ["lora_1", "ia3", "head_only"]
    assert len(found.rows) == N_SENTENCES and found.n_test == 100
    for place, run in enumerate(found.runs):
        assert run.run.variant == built.report.adapters[run.run.adapter.id].best_variant
        table = load_predictions(run.run.folder(built.paths)).set_index("row_id")
        for row in found.rows:
            assert row.probabilities[place] == table.loc[row.row_id, "probability"]
            assert row.predictions[place] == table.loc[row.row_id, "prediction"]
            assert (row.text, row.label) == (table.loc[row.row_id, "text"], table.loc[row.row_id, "label"])
    spreads = [max(row.probabilities) - min(row.probabilities) for row in found.rows]
    assert [row.spread for row in found.rows] == spreads == sorted(spreads, reverse=True)


def test_what_cannot_be_compared_is_left_out(tmp_path: Path) -> None:
    """Other texts, missing predictions and an adapter without results are left out, each with its reason."""
    paths = write_results(tmp_path, adapters=("lora_1", "lora_2", "lora_3", "ia3", "head_only"), n_test=30,
                          missing=_runs_of("lora_3"))  # fmt: skip
    for variant in ("submitted", "lr-2e-4", "lr-1e-3"):
        folder = paths.results / "embedded" / "lora_2" / variant / "seed-224"
        load_predictions(folder).assign(text="other").to_parquet(folder / "predictions.parquet")
        (paths.results / "embedded" / "ia3" / variant / "seed-224" / "predictions.parquet").unlink()
    found = read_report(paths).sentences
    assert found.left_out == {"lora_3": "missing", "ia3": "no_predictions", "lora_2": "different_rows"}
    assert [run.run.adapter.id for run in found.runs] == ["lora_1", "head_only"]


def test_without_any_result_there_is_no_table(tmp_path: Path) -> None:
    """A study whose runs are all missing has no sentences, and says why of each adapter."""
    found = read_report(write_results(tmp_path, adapters=("lora_1",), missing=_runs_of("lora_1"))).sentences
    assert (found.rows, found.runs, found.n_test) == ((), (), None)
    assert found.left_out == {"lora_1": "missing"}


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), pytest.param(1280, "light", marks=pytest.mark.slow)])
def test_opens_cleanly(browser: Browser, built: Built, width: int, theme: str) -> None:
    """The page gives no console message, does not scroll sideways and loads no chart library, in both languages."""
    for language in LANGUAGES:
        with visit(browser, built.page(language), width=width, theme=theme) as opened:
            expect(opened.page.locator(".sentences select")).to_be_visible()
            assert opened.messages == []
            assert not [url for url in opened.requests if "vega" in url or not url.startswith("file:")]
            assert not opened.scrolls_sideways()


def test_the_table_says_what_the_analysis_does(browser: Browser, built: Built) -> None:
    """The table has texts as typed, labels, probabilities and marks of mistakes, the same in both languages."""
    found = built.report.sentences
    shown: dict[str, list[list[str]]] = {}
    for language in LANGUAGES:
        with visit(browser, built.page(language)) as opened:
            shown[language] = rows_of(opened.page)
    for row, cells in zip(found.rows, shown["en"], strict=True):
        text = isolate_text(row.text)
        assert cells[0].startswith(text) and cells[0].endswith(f"row {row.row_id}")
        assert cells[1] == ("positive" if row.label else "negative")
        assert cells[2:-1] == [
            format_number(probability, "percent", "en") + (" ✗" if prediction != row.label else "")
            for probability, prediction in zip(row.probabilities, row.predictions, strict=True)
        ]
        assert cells[-1] == format_number(row.spread, "points_unsigned", "en")
    assert [cells[2:] for cells in shown["zh"]] == [cells[2:] for cells in shown["en"]]


def test_sorts_and_filters(browser: Browser, built: Built) -> None:
    """A head sorts by its numbers, twice turns round; a choice hides the others; the status says how many there are."""
    found = built.report.sentences
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        before = rows_of(page)
        button = page.get_by_role("button", name="LoRA 1")
        button.click()
        values = [float(cells[2].split("%")[0]) for cells in rows_of(page)]
        assert values == sorted(values, reverse=True)
        expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
        button.press("Enter")
        assert [float(cells[2].split("%")[0]) for cells in rows_of(page)] == sorted(values)
        page.get_by_role("button", name="Sentence").click()
        ids = [int(cells[0].rpartition("row ")[2]) for cells in rows_of(page)]
        assert ids == sorted(row.row_id for row in found.rows)
        page.get_by_role("button", name="Gap").click()
        assert rows_of(page) == before

        select = page.get_by_label("Show")
        counts = {
            "divided": found.n_divided,
            "wrong": sum(row.n_wrong > 0 for row in found.rows),
            "all-wrong": found.n_wrong_by_all,
            "wrong-2": sum(row.predictions[0] != row.label for row in found.rows),
            "all": N_SENTENCES,
        }
        assert 0 < found.n_divided < N_SENTENCES
        for choice, count in counts.items():
            select.select_option(choice)
            assert len(rows_of(page)) == count, choice
            expect(page.locator(".sentences-status")).to_have_text(f"Showing {count} of 24 sentences.")
        assert opened.messages == []


def test_bars_reach_from_the_middle(browser: Browser, built: Built) -> None:
    """Each bar begins at one half and ends at the probability, on the side of the prediction."""
    with visit(browser, built.page("en")) as opened:
        bars = opened.page.eval_on_selector_all(
            ".sentence-table .guess",
            "all => all.map(guess => { const bar = guess.querySelector('.sentence-bar-value');"
            " return [guess.textContent, +bar.getAttribute('x'), +bar.getAttribute('width')]; })",
        )
    assert len(bars) == N_SENTENCES * 3
    for text, x, width in bars:
        percent = float(text.split("%")[0])
        assert (x, x + width) == pytest.approx((min(50, percent), max(50, percent)))


def test_bars_are_bars_at_every_width(browser: Browser, built: Built) -> None:
    """A bar is three rem by a half on a phone as on a desk: no other rule of the style applies to it."""
    for width in (390, 1280):
        with visit(browser, built.page("en"), width=width) as opened:
            sizes = opened.page.eval_on_selector_all(
                ".sentence-bar", "all => all.map(bar => [bar.clientWidth, bar.clientHeight])"
            )
        assert len(sizes) == N_SENTENCES * 3
        assert {tuple(size) for size in sizes} == {(48, 8)}, width


def test_numbers_lead_to_their_records(browser: Browser, built: Built) -> None:
    """Each probability is a link to the page of the run that it is from."""
    with visit(browser, built.page("en")) as opened:
        links = opened.page.locator(".sentence-table .guess a")
        assert links.count() == N_SENTENCES * 3
        links.nth(0).click()
        expect(opened.page.locator("h1")).to_contain_text("LoRA 1")
        assert opened.page.url.endswith("#r")


def test_without_script_it_is_a_table(browser: Browser, built: Built) -> None:
    """With JavaScript off every sentence is there, in falling order of disagreement, and the page says so."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(built.page("zh").as_uri())
    expect(page.locator(".without-script")).to_contain_text("JavaScript")
    spreads = page.locator(".sentence-table tbody td:last-child").all_text_contents()
    assert len(spreads) == N_SENTENCES
    assert [float(text) for text in spreads] == sorted(map(float, spreads), reverse=True)
    context.close()


def test_hostile_names_and_texts_stay_text(browser: Browser, built: Built) -> None:
    """Names in heads and choices, and the sentences, are shown as typed; nothing of them is an element."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        name = isolate_text(HOSTILE_NAME)
        assert name in [text.strip() for text in page.locator(".sentence-table th").all_text_contents()]
        assert any(name in text for text in page.locator(".sentences option").all_text_contents())
        assert page.locator("main img").count() == 0
        assert opened.messages == []


def test_what_is_left_out_is_said(built: Built) -> None:
    """The adapter whose runs failed is named on the page, with the reason."""
    for language in LANGUAGES:
        text = (built.paths.report / language / "sentences.qmd").read_text("utf-8")
        assert "LoRA 2" in text.partition("{#sec-sentences-left-out}")[2]
