"""Read the page of test sentences: which they are, what each adapter makes of them, and how a browser shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from adapterbook.analysis.sentences import MAX_LETTERS, MAX_SENTENCES, sample_sentences
from adapterbook.analysis.shapes import Report
from adapterbook.common.formatting import Language, format_number
from adapterbook.config.paths import Paths
from adapterbook.pages.tables.sentence_list import N_WITHOUT_SCRIPT
from adapterbook.pages.writing.escape import isolate_text
from adapterbook.runs.predictions import load_predictions
from tests.support.browser import open_browser, visit
from tests.support.factory import make_predictions, read_report, write_results
from tests.support.interactive_site import HOSTILE_NAME, make_interactive_site
from tests.support.report_pages import few_run_pages

LANGUAGES: tuple[Language, ...] = ("zh", "en")
AT_ONCE = 24  # of sentences.js
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
        failed = _runs_of("lora_2")
        return Built(*make_interactive_site(root, "sentences", adapters=ADAPTERS, n_test=100, failed=failed))


def _runs_of(adapter: str) -> list[str]:
    return [f"{adapter}/{variant}/seed-224" for variant in ("submitted", "lr-2e-4", "lr-1e-3")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@dataclass(frozen=True)
class Card:
    """A sentence as the page shows it."""

    text: str
    about: str
    ends: list[str]
    guesses: list[str]
    dots: list[tuple[float, bool]]  # along the axis, from 0 to 1, and whether it is hollow


def cards_of(page: Page) -> list[Card]:
    """Return the cards that are shown."""
    read = """cards => cards.map(card => {
        const [left, room] = [6, card.querySelector('.sentence-axis').clientWidth - 12];
        const dots = [...card.querySelectorAll('.sentence-axis > svg circle')];
        return {
          text: card.querySelector('.sentence').textContent,
          about: card.querySelector('.test-row').textContent,
          ends: [...card.querySelectorAll('.sentence-ends > span')].map(end => end.textContent),
          guesses: [...card.querySelectorAll('li')].map(label => label.textContent.trim()),
          dots: dots.map(dot => [(dot.getAttribute('cx') - left) / room, dot.getAttribute('fill') === '#fff']),
        };
    })"""
    found = page.eval_on_selector_all(".sentence-card", read)
    return [Card(**{**card, "dots": sorted(map(tuple, card["dots"]))}) for card in found]


def test_a_test_set_that_a_page_can_hold_is_there_whole() -> None:
    """Of a small test set every row is taken, in order of the ids."""
    for n in (1, 23, 512):
        predictions = make_predictions("lora_1", n=n, n_positive=n // 2)
        sample = sample_sentences(predictions.sample(frac=1, random_state=1))
        assert [row["row_id"] for row in sample["rows"]] == sorted(predictions["row_id"])


def test_the_choice_knows_no_prediction() -> None:
    """Of a long test set the rows at even distances are taken, whatever was predicted and in any order."""
    n = 2 * MAX_SENTENCES
    predictions = make_predictions("lora_1", n=n)
    sample = sample_sentences(predictions.sample(frac=1, random_state=1))
    assert [row["row_id"] for row in sample["rows"]] == predictions["row_id"].tolist()[::2]
    other = sample_sentences(make_predictions("ia3", n=n, accuracy=0.9))
    assert [row["row_id"] for row in other["rows"]] == [row["row_id"] for row in sample["rows"]]
    assert other["identity"] == sample["identity"]
    assert sample_sentences(predictions.assign(text="x"))["identity"] != sample["identity"]


@pytest.mark.parametrize("length", [1000, pytest.param(10 * MAX_LETTERS, marks=pytest.mark.slow)])
def test_long_texts_are_fewer(length: int) -> None:
    """What a page holds is limited in letters too, but it holds at least one text."""
    sample = sample_sentences(make_predictions("lora_1", n=600).assign(text="x" * length))
    assert len(sample["rows"]) == max(1, MAX_LETTERS // length)


def test_probabilities_are_those_of_the_predictions(built: Built) -> None:
    """Each number is the one in predictions.parquet of the run at the adapter's own best learning rate."""
    found = built.report.sentences
    assert [run.run.adapter.id for run in found.runs] == ["lora_1", "ia3", "head_only"]
    assert len(found.rows) == found.n_test == 100
    for place, run in enumerate(found.runs):
        assert run.run.variant == built.report.adapters[run.run.adapter.id].best_variant
        table = load_predictions(run.run.folder(built.paths)).set_index("row_id")
        for row in found.rows:
            assert row.probabilities[place] == table.loc[row.row_id, "probability"]
            assert row.predictions[place] == table.loc[row.row_id, "prediction"]
            assert (row.text, row.label) == (table.loc[row.row_id, "text"], table.loc[row.row_id, "label"])
    spreads = [max(row.probabilities) - min(row.probabilities) for row in found.rows]
    assert [row.spread for row in found.rows] == spreads
    assert 0 < found.n_divided < 100 and all(row.divided for row in found.rows[: found.n_divided])
    for part in (found.rows[: found.n_divided], found.rows[found.n_divided :]):  # the divided ones come first
        assert [row.spread for row in part] == sorted((row.spread for row in part), reverse=True)


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
    """No console message, no sideways scrolling, no chart library; every label is in sight, and none covers another."""
    for language in LANGUAGES:
        with visit(browser, built.page(language), width=width, theme=theme) as opened:
            expect(opened.page.locator(".sentence-card").first).to_be_visible()
            assert opened.messages == []
            assert not [url for url in opened.requests if "vega" in url or not url.startswith("file:")]
            assert not opened.scrolls_sideways()
            boxes = opened.page.eval_on_selector_all(
                ".sentence-axis",
                "all => all.map(axis => { const room = axis.getBoundingClientRect();"
                " return [...axis.querySelectorAll('li')].map(label => { const box = label.getBoundingClientRect();"
                " return [box.left - room.left, box.right - room.left, box.top - room.top, room.width]; }); })",
            )
        assert len(boxes) == AT_ONCE
        for labels in boxes:
            assert all(left >= -0.5 and right <= room + 0.5 for left, right, _, room in labels)
            for i, (left, right, top, _) in enumerate(labels):
                for other_left, other_right, other_top, _ in labels[:i]:
                    assert abs(top - other_top) > 20 or right <= other_left + 0.5 or other_right <= left + 0.5


def test_a_card_says_what_the_analysis_does(browser: Browser, built: Built) -> None:
    """Texts as typed, labels, probabilities, dots at their places, hollow where wrong; the same in both languages."""
    found = built.report.sentences
    shown: dict[str, list[Card]] = {}
    for language in LANGUAGES:
        with visit(browser, built.page(language)) as opened:
            for _ in range(10):
                if opened.page.locator(".sentences-more").is_visible():
                    opened.page.locator(".sentences-more").click()
            shown[language] = cards_of(opened.page)
    names = ["LoRA 1", isolate_text(HOSTILE_NAME), "Head only"]
    for row, card in zip(found.rows, shown["en"], strict=True):
        assert (card.text, card.about) == (isolate_text(row.text), f"row {row.row_id}")
        assert card.ends == [
            f"negative{'' if row.label else ' (actual)'}",
            f"positive{' (actual)' if row.label else ''}",
        ]
        guesses = list(zip(row.probabilities, row.predictions, names, strict=True))
        assert sorted(card.guesses) == sorted(
            f"{name} {format_number(probability, 'percent', 'en')}{' ✗' if prediction != row.label else ''}"
            for probability, prediction, name in guesses
        )
        dots = sorted((round(probability, 3), prediction != row.label) for probability, prediction, _ in guesses)
        assert [at for at, _ in card.dots] == pytest.approx([at for at, _ in dots], abs=1e-6)
        assert [hollow for _, hollow in card.dots] == [hollow for _, hollow in dots]
    assert [card.dots for card in shown["zh"]] == [card.dots for card in shown["en"]]


def test_chooses_by_who_is_wrong_and_searches(browser: Browser, built: Built) -> None:
    """Choices by who is wrong and who is right combine with a search; the status counts, the address keeps them."""
    rows = built.report.sentences.rows
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        counts = {
            ("*some", ""): sum(row.n_wrong > 0 for row in rows),
            ("*each", ""): built.report.sentences.n_wrong_by_all,
            ("*some", "*some"): built.report.sentences.n_divided,
            ("lora_1", ""): sum(row.predictions[0] != row.label for row in rows),
            ("lora_1", "head_only"): sum(row.predictions[0] != row.label == row.predictions[2] for row in rows),
            ("", ""): 100,
        }
        assert 0 < counts["lora_1", "head_only"] < counts["lora_1", ""]
        for (wrong, right), count in counts.items():
            page.locator("select[name=wrong]").select_option(wrong)
            page.locator("select[name=right]").select_option(right)
            shown = min(count, AT_ONCE)
            status = f"{count} of 100 sentences match; {shown} shown." if count else "No sentence matches."
            expect(page.locator(".sentences-status")).to_have_text(status)
            assert len(cards_of(page)) == shown
        page.locator("select[name=wrong]").select_option("lora_1")
        wanted = next(row for row in rows if row.predictions[0] != row.label)
        page.get_by_role("searchbox", name="Words in the sentence").fill(str(wanted.row_id))
        expect(page.locator(".sentence-card")).to_have_count(1)
        assert page.url.endswith(f"#wrong=lora_1&text={wanted.row_id}")
        page.reload()
        assert [card.about for card in cards_of(page)] == [f"row {wanted.row_id}"]
        page.get_by_role("button", name="Clear").click()
        assert len(cards_of(page)) == AT_ONCE and "#" not in page.url
        page.goto(f"{built.page('en').as_uri()}#wrong=nobody&right=%3Cb%3E")
        page.reload()
        assert len(cards_of(page)) == AT_ONCE
        assert opened.messages == []


def test_numbers_lead_to_their_records(browser: Browser, built: Built) -> None:
    """Each label is a link to the page of the run that its number is from."""
    with visit(browser, built.page("en")) as opened:
        links = opened.page.locator(".sentence-axis a")
        assert links.count() == AT_ONCE * 3
        links.filter(has_text="LoRA 1").first.click()
        expect(opened.page.locator("h1")).to_contain_text("LoRA 1")
        assert opened.page.url.endswith("#r")


def test_more_sentences_by_keyboard(browser: Browser, built: Built) -> None:
    """The button shows the next sentences and hands the focus to the first of them, and goes when there are no more."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        for shown in (48, 72, 96, 100):
            page.locator(".sentences-more").press("Enter")
            expect(page.locator(".sentence-card")).to_have_count(shown)
        expect(page.locator(".sentences-more")).to_be_hidden()
        expect(page.locator(".sentence-card").nth(96).locator("a").first).to_be_focused()


def test_without_script_it_is_a_list(browser: Browser, built: Built) -> None:
    """With JavaScript off the first sentences are there with every adapter's number, and the page says so."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(built.page("zh").as_uri())
    expect(page.locator(".without-script")).to_contain_text("JavaScript")
    expect(page.locator(".sentence-list .sentence")).to_have_count(N_WITHOUT_SCRIPT)
    guesses = page.locator(".sentence-list .guess").all_text_contents()
    assert guesses == [
        format_number(probability, "percent", "zh") + (" ✗" if prediction != row.label else "")
        for row in built.report.sentences.rows[:N_WITHOUT_SCRIPT]
        for probability, prediction in zip(row.probabilities, row.predictions, strict=True)
    ]
    context.close()


def test_hostile_names_and_texts_stay_text(browser: Browser, built: Built) -> None:
    """Names in heads and choices, and the sentences, are shown as typed; nothing of them is an element."""
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        name = isolate_text(HOSTILE_NAME)
        assert name in page.locator(".sentences option").all_text_contents()
        assert any(name in text for text in page.locator(".sentence-axis li").all_text_contents())
        assert page.locator("main img").count() == 0
        assert opened.messages == []


def test_what_is_left_out_is_said(built: Built) -> None:
    """The adapter whose runs failed is named on the page, with the reason."""
    for language in LANGUAGES:
        text = (built.paths.report / language / "sentences.qmd").read_text("utf-8")
        assert "LoRA\u00a02" in text.partition("{#sec-sentences-left-out}")[2]
