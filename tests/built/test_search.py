"""Search the site of a made-up study in a browser: what comes first, what is folded, and the keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import open_browser, visit

# By language, what is asked and the addresses of which one is to be the first answer.
FIRST = {
    "zh": {
        "學習率": ("method.html#sec-method-learning-rate",),
        "批次大小": ("method.html#sec-method-batch-size",),
        "評估策略": ("method.html#sec-method-eval-strategy",),
        "訓練輪數": ("method.html#sec-method-epochs",),
        "learning rate": ("glossary.html#glossary-learning-rate",),
        "warm-up": ("glossary.html#glossary-warmup",),
        "IA³": ("adapters/ia3.html", "glossary.html#glossary-ia3"),
    },
    "en": {
        "learning rate": ("method.html#sec-method-learning-rate",),
        "Batch Size": ("method.html#sec-method-batch-size",),
        "evaluation strategy": ("method.html#sec-method-eval-strategy",),
        "warm-up": ("glossary.html#glossary-warmup",),
        "warm up": ("glossary.html#glossary-warmup",),
        "IA³": ("adapters/ia3.html", "glossary.html#glossary-ia3"),
        "ia3": ("adapters/ia3.html", "glossary.html#glossary-ia3"),
        "批次大小": ("glossary.html#glossary-batch-size",),
    },
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def ask(page: Page, question: str) -> None:
    """Type a question and wait for its answers."""
    page.locator(".search input").fill(question)
    expect(page.locator(".search-results")).to_be_visible()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_chapter_or_the_term_comes_first(browser: Browser, study_site: Path, language: str) -> None:
    """A heading or a term of the glossary that equals the query is the first answer, in the page's language."""
    with visit(browser, study_site / f"report/{language}/index.html") as opened:
        for question, places in FIRST[language].items():
            ask(opened.page, question)
            first = opened.page.locator(".search-results a").first
            expected = [f"{(study_site / 'report').as_uri()}/{language}/{place}" for place in places]
            assert first.evaluate("link => link.href") in expected, question
        assert opened.messages == []


@pytest.mark.parametrize("language", ["zh", "en"])
def test_notebooks_are_one_folded_answer_at_the_end(browser: Browser, study_site: Path, language: str) -> None:
    """However many notebooks hold the words, they take one line, the last; unfolded it leads to them."""
    with visit(browser, study_site / f"report/{language}/index.html") as opened:
        page = opened.page
        ask(page, "Trainer")
        group = page.locator(".search-results > ul > li").last
        assert group.locator("a").count() and group.locator("a").first.is_hidden()
        outside = page.locator(".search-results > ul > li > a").evaluate_all("links => links.map(link => link.href)")
        assert outside and not [link for link in outside if "/notebooks/" in link and "index.html" not in link]
        for _ in range(len(outside) + 1):
            page.keyboard.press("ArrowDown")
        expect(group.locator("summary")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        expect(group.locator("a").first).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/report/{language}/notebooks/**")


def test_a_slash_leads_to_the_search(browser: Browser, study_site: Path) -> None:
    """The key / focuses the search, but not where one writes, and not with a modifier."""
    with visit(browser, study_site / "report/en/method.html") as opened:
        box = opened.page.locator(".search input")
        opened.page.keyboard.press("Control+/")
        expect(box).not_to_be_focused()
        opened.page.keyboard.press("/")
        expect(box).to_be_focused()
        expect(box).to_have_value("")
        opened.page.keyboard.type("a/b")
        expect(box).to_have_value("a/b")


def test_an_answer_is_not_made_of_digits(browser: Browser, study_site: Path) -> None:
    """The text of an answer has no row of bare numbers from a table."""
    with visit(browser, study_site / "report/en/index.html") as opened:
        ask(opened.page, "LoRA 1")
        texts = opened.page.locator(".search-results > ul > li > a small").all_text_contents()
        assert texts and not [text for text in texts if text.count("%") > 3]
