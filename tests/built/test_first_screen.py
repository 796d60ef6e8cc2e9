"""Check what a visitor sees of the cover and the overview without scrolling, and how a phone shows a figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import open_browser, visit

SCREENS = [(1280, 800), (390, 844)]
# The lowest pixel of the first visible element that a selector finds.
BOTTOM = """selector => Math.max(...[...document.querySelectorAll(selector)].filter(e => e.checkVisibility())
  .slice(0, 1).map(e => e.getBoundingClientRect().bottom))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def bottom_of(page: Page, selector: str) -> float:
    """Return how far down the first visible element of a selector ends, once the pictures are there."""
    page.wait_for_load_state("networkidle")
    return float(page.evaluate(BOTTOM, selector))


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_overview_opens_with_the_finding_and_its_picture(
    browser: Browser, study_site: Path, width: int, height: int
) -> None:
    """The title is the finding, and the picture that shows it ends inside the first screen, in both languages."""
    for language, words in (("zh", "學習率"), ("en", "learning rate")):
        with visit(browser, study_site / f"report/{language}/index.html", width=width) as opened:
            opened.page.set_viewport_size({"width": width, "height": height})
            expect(opened.page.locator("h1")).to_contain_text(words)
            assert 200 < bottom_of(opened.page, "#fig-index-answer img") < height
            assert opened.page.locator("main .callout").first.bounding_box()["y"] > height / 2  # type: ignore[index]


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_cover_is_in_the_language_that_is_chosen(
    browser: Browser, study_site: Path, width: int, height: int
) -> None:
    """Both buttons and the picture are in the first screen; a button changes the language, and it is remembered."""
    with visit(browser, study_site / "index.html", width=width) as opened:
        page = opened.page
        page.set_viewport_size({"width": width, "height": height})
        for language, other in (("zh", "en"), ("en", "zh")):
            page.locator(f".cover-languages a[href='#{language}']").click()
            expect(page.locator(f"#{language}")).to_be_visible()
            expect(page.locator(f"#{other}")).to_be_hidden()
            assert bottom_of(page, ".cover-languages a:last-child") < height / 3
            assert 200 < bottom_of(page, ".cover img") < height
        page.goto(page.url.partition("#")[0])
        expect(page.locator("#en")).to_be_visible()
        assert page.locator("#en .ways a").count() == 3
        assert opened.messages == []


def test_a_phone_gets_the_drawing_for_phones(browser: Browser, study_site: Path) -> None:
    """A narrow window shows the picture that was drawn for it, at its size; a wide one shows the other."""
    for width, folder in ((390, "/phone/answer.svg"), (1280, "/en/answer.svg")):
        with visit(browser, study_site / "report/en/index.html", width=width) as opened:
            opened.page.wait_for_load_state("networkidle")
            picture = opened.page.locator("#fig-index-answer img")
            assert picture.evaluate("image => image.currentSrc").endswith(folder)
            scale = picture.evaluate("image => image.clientWidth / image.naturalWidth")
            assert 0.95 < scale < 1.2  # letters of 9 pt are at least 11 px high
