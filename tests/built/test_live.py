"""Try the adapters in a browser: the tokenizer and the arithmetic are Python's, and the page can be used by all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from adapterbook.common.formatting import Language
from adapterbook.config.paths import Paths
from adapterbook.runs.live.arithmetic import Encoder
from adapterbook.runs.live.make import load_tokenizer
from adapterbook.runs.live.names import pack_adapter, pack_base, read_base, read_tokenizer
from adapterbook.runs.live.record import ANSWERS, LiveRecord, live_folder
from adapterbook.sources.packages import materialise
from adapterbook.training.data import truncate_words
from tests.built.test_accessibility import WCAG, make_ready, violations
from tests.support.browser import open_browser, visit
from tests.support.factory import PROJECT, write_results
from tests.support.live import prepare_live, seal_runs, write_base_model
from tests.support.report_pages import make_site, write_site_files

ASSETS = PROJECT.root / "report" / "assets" / "live"
LANGUAGES: tuple[Language, ...] = ("zh", "en")
HARD = [
    "", "   ", "naïve CAFÉ Ελλάς ΟΔΟΣ İstanbul ﬁne", "tabs\tand\nlines\u2028end\u00a0of\u3000it",
    "zero\u200bwidth\ufeff\u0000mark", "這部電影，很好看。 A must-see!", "我看了 Star Wars 三次", "カタカナとひらがな",
    "한국어 영화", "a[SEP]b [MASK] [sep]", "don't -- (well...) 'tis", "x" * 101, "e\u0301 é \u0130",
    "😀 good 👍🏽 film", "$9.99 & 50% <b>off</b> `code` {x}", "good " * 80, "unable", "\ud7ff\ue000", "end\ufeff",
]  # fmt: skip


@dataclass(frozen=True)
class Built:
    """A project with prepared adapters, and its site."""

    paths: Paths
    record: LiveRecord
    base_model: Path

    def page(self, language: Language) -> Path:
        return self.paths.root / "_site" / "report" / language / "live.html"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("live")
    paths = write_results(root, adapters=("lora_1", "ia3"), n_test=20)
    write_site_files(paths)
    seal_runs(paths)
    base_model = write_base_model(root / "base")
    record = prepare_live(paths, base_model)
    make_site(paths, "live", n_run_pages=2)
    return Built(paths, record, base_model)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def blank(browser: Browser) -> Iterator[Page]:
    """Open a page that has the two scripts without the page's own."""
    page = browser.new_page()
    page.goto("about:blank")
    for name in ("tokenizer", "encoder"):
        page.add_script_tag(path=ASSETS / f"{name}.js")
    yield page
    page.close()


def _tokens_in_browser(page: Page, settings: dict[str, Any], texts: list[str]) -> list[list[int]]:
    script = "([settings, texts]) => texts.map(liveTokenizer.makeTokenizer(settings))"
    found: list[list[int]] = page.evaluate(script, [settings, texts])
    return found


def test_every_sentence_of_the_data_has_pythons_tokens(blank: Page) -> None:
    """All 10,568 sentences of the embedded data give the tokens that the tokenizers package gives."""
    model = materialise("embedded/all-MiniLM-L6-v2-distilbert")
    data = materialise("embedded/movie-review-snippets")
    texts = pd.read_parquet(data / "train.parquet")["text"].tolist()
    tokenizer = load_tokenizer(model, 512)
    expected = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    assert len(texts) == 10_568
    assert _tokens_in_browser(blank, read_tokenizer(model, 512), texts) == expected


def test_hard_texts_have_pythons_tokens_and_words(blank: Page) -> None:
    """Accents, controls, Chinese, special tokens, emoji and long words: tokens and first words are Python's."""
    model = materialise("embedded/all-MiniLM-L6-v2-distilbert")
    for most in (512, 12):
        tokenizer = load_tokenizer(model, most)
        expected = [tokenizer.encode(text).ids for text in HARD]
        assert _tokens_in_browser(blank, read_tokenizer(model, most), HARD) == expected
    for most in (1, 5, 50):
        cut = blank.evaluate(
            "([texts, most]) => texts.map((text) => liveTokenizer.firstWords(text, most))", [HARD, most]
        )
        assert cut == [truncate_words(text, most) for text in HARD]


def _ask(page: Page, text: str) -> dict[str, list[float]]:
    """Type a text, wait for its answers, and return them by file."""
    before = page.locator(".live").get_attribute("data-answered")
    page.locator(".live textarea").fill(text)
    return _answers(page, before)


def _answers(page: Page, before: str | None) -> dict[str, list[float]]:
    page.wait_for_function(
        "(before) => (document.querySelector('.live').dataset.answered ?? null) !== before", arg=before
    )
    found: dict[str, list[float]] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.live td[data-file]')].map((cell) =>"
        " [cell.dataset.file.replace('.safetensors', ''), JSON.parse(cell.dataset.shares)]))"
    )
    return found


def _load(page: Page) -> dict[str, list[float]]:
    page.locator(".live-load").click()
    return _answers(page, None)


def _move(page: Page, slider: str, value: str) -> dict[str, list[float]]:
    before = page.locator(".live").get_attribute("data-answered")
    page.locator(f".live input[name={slider}]").fill(value)
    return _answers(page, before)


@pytest.mark.parametrize(("language", "width", "theme"), [("zh", 390, "dark"), ("en", 1280, "light")])
def test_the_page_gives_pythons_answers(
    browser: Browser, built: Built, language: Language, width: int, theme: str
) -> None:
    """From file:// nothing of the model is loaded before the button, and each answer is the one of the test row."""
    texts = pd.read_parquet(built.paths.results / "embedded" / built.record.adapters[0].run_id / "predictions.parquet")[
        "text"
    ]
    stored = load_file(live_folder(built.paths, "embedded") / ANSWERS)
    with visit(browser, built.page(language), width=width, theme=theme) as opened:
        page = opened.page
        expect(page.locator(".live-load")).to_be_enabled()
        assert not [url for url in opened.requests if "scripts/live/" in url]
        _load(page)
        for row in (0, 7, 13):
            found = _ask(page, texts[row])
            assert found.keys() == stored.keys()
            for name, shares in found.items():
                assert shares == pytest.approx(stored[name][row], abs=1e-5)
        assert opened.messages == []
        assert not [url for url in opened.requests if not url.startswith("file:")]
        assert not opened.scrolls_sideways()


def test_scale_and_rank_are_those_of_the_arithmetic(browser: Browser, built: Built) -> None:
    """Scale 0 is the base model with the head, 2 twice the update, and a lower rank its first directions."""
    base = read_base(built.base_model)
    packed, text = pack_base(base), "a good film, unable"
    tokenizer: Tokenizer = load_tokenizer(built.base_model, None)
    run = next(item for item in built.record.adapters if item.adapter == "lora_1")
    part = pack_adapter(built.paths.results / "embedded" / run.run_id / "adapter", base)

    def expected(scale: float, rank: int) -> Any:
        changed = {
            name: weight[:rank] * (weight.dtype.type(scale) if name.endswith(".b.scale") else 1)
            if name.endswith((".a", ".b", ".a.scale", ".b.scale"))
            else weight
            for name, weight in part.items()
        }
        return pytest.approx(Encoder(base.shape, packed, changed).probabilities(tokenizer.encode(text).ids), abs=1e-5)

    name = run.file.removesuffix(".safetensors")
    with visit(browser, built.page("en")) as opened:
        _load(opened.page)
        assert _ask(opened.page, text)[name] == expected(1, 4)
        assert _move(opened.page, "scale", "0")[name] == expected(0, 4)
        assert _move(opened.page, "scale", "2")[name] == expected(2, 4)
        assert _move(opened.page, "rank", "1")[name] == expected(2, 1)
        assert expected(2, 1) != expected(2, 4)
        expect(opened.page.locator("input[name=rank]")).to_have_attribute("aria-valuetext", "the 1 largest of 4")


def test_each_word_is_left_out_by_the_keyboard(browser: Browser, built: Built) -> None:
    """A keyboard reaches every control in order; each word shows by how much its absence lowers the answer."""
    text = "a good film"
    with visit(browser, built.page("en")) as opened:
        page = opened.page
        page.locator(".live-load").focus()
        page.keyboard.press("Enter")
        _answers(page, None)
        expect(page.locator(".live textarea")).to_be_focused()
        whole = _ask(page, text)
        names = []
        for _ in range(6):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.name || document.activeElement.textContent"))
        assert (
            names[:3] == ["Take a test sentence", "scale", "rank"] and names[-1] == "Leave out each word"
        ) or "whose" in names
        page.get_by_role("button", name="Leave out each word").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".live-words li")).to_have_count(3)
        shown = page.locator(".live-words .live-points").all_text_contents()
        file = page.locator(".live select").input_value().removesuffix(".safetensors")
        label = int(np.argmax(whole[file]))
        falls = [whole[file][label] - _ask(page, shorter)[file][label] for shorter in ("good film", "a film", "a good")]
        assert [float(points.replace("−", "-")) for points in shown] == pytest.approx(
            [100 * fall for fall in falls], abs=0.051
        )


def test_a_file_that_does_not_come_is_said(browser: Browser, built: Built) -> None:
    """A script that is missing leaves a message, and the button to try again, which then succeeds."""
    script = next((built.paths.root / "_site" / "report" / "scripts" / "live").glob("encoder-*.js"))
    away = script.with_suffix(".away")
    with visit(browser, built.page("en")) as opened:
        script.rename(away)
        try:
            opened.page.locator(".live-load").click()
            said = "A file could not be loaded. Please reload the page and try again."
            expect(opened.page.locator(".live-status")).to_have_text(said)
        finally:
            away.rename(script)
        expect(opened.page.locator(".live-load")).to_be_enabled()
        _load(opened.page)


def test_the_page_says_how_far_it_is_from_the_records(built: Built) -> None:
    """The numbers of the record stand on the page, in both languages, and the made-up runs make it warn."""
    assert built.record.inexact  # made-up predictions are not those of the adapters
    for language, warning in (("zh", "不夠準"), ("en", "are inexact")):
        text = (built.paths.report / language / "live.qmd").read_text("utf-8")
        assert warning in text
        for adapter in built.record.adapters:
            assert f"{100 * adapter.mean_difference:.2f}" in text
            assert f"{100 * adapter.max_difference:.2f}" in text


@pytest.mark.parametrize(("language", "width", "theme"), [("zh", 390, "light"), ("en", 1280, "dark")])
def test_axe_finds_nothing_on_the_loaded_page(
    browser: Browser, built: Built, language: Language, width: int, theme: str
) -> None:
    """With a model, answers and coloured words on the page, axe-core finds no violation of WCAG 2.2 AA."""
    with visit(browser, built.page(language), width=width, theme=theme) as opened:
        _load(opened.page)
        _ask(opened.page, "a good film, unable")
        opened.page.locator(".live-measure").click()
        expect(opened.page.locator(".live-words li")).to_have_count(4)
        make_ready(opened.page)
        assert violations(opened.page, WCAG) == []
