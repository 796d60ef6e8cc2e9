"""Open the sample site in a real browser, from its folder as a student would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import open_browser, visit
from tests.support.site_sample import built_sample

PAGES = ["index.html", "report/zh/index.html", "report/en/index.html", "report/en/adapters/lora_1.html"]
PLACE = "#sec-method-learning-rate-how"  # in the middle of a long page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def site() -> Path:
    return built_sample() / "_site"


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), pytest.param(1280, "light", marks=pytest.mark.slow)])
def test_pages_open_cleanly(browser: Browser, site: Path, width: int, theme: str) -> None:
    """A page has the system's theme, no console message, no failed or foreign request, and does not scroll sideways."""
    for name in PAGES:
        with visit(browser, site / name, width=width, theme=theme) as opened:
            opened.page.wait_for_load_state("networkidle")
            assert opened.messages == [], name
            assert [url for url in opened.requests if not url.startswith(site.resolve().as_uri())] == []
            assert not opened.scrolls_sideways(), name
            assert opened.page.evaluate("document.documentElement.dataset.theme") == theme


def test_theme_button_changes_and_remembers(browser: Browser, site: Path) -> None:
    """The button turns the theme round, says so, and the choice outlives a reload."""
    with visit(browser, site / "report/zh/index.html") as opened:
        background = "getComputedStyle(document.body).backgroundColor"
        light = opened.page.evaluate(background)
        button = opened.page.locator(".theme-button")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        dark = opened.page.evaluate(background)
        assert dark != light
        assert "invert" in opened.page.evaluate("getComputedStyle(document.querySelector('figure img')).filter")
        opened.page.reload()
        assert opened.page.evaluate(background) == dark
        assert opened.messages == []


@pytest.mark.parametrize(
    ("name", "question", "found", "target"),
    [
        ("report/zh/index.html", "擬", "總覽 › 2 作法", "#sec-method"),
        ("report/zh/index.html", "ＬＯＲＡ", "總覽", "report/zh/"),
        ("report/en/index.html", "how far ONE step", "Overview › 2 Method", "#sec-method"),
    ],
)
def test_search_finds(browser: Browser, site: Path, name: str, question: str, found: str, target: str) -> None:
    """One Chinese character, full-width letters, and several words in any case are found, from file://."""
    with visit(browser, site / name) as opened:
        opened.page.locator(".search input").fill(question)
        result = opened.page.locator(".search-results a").filter(has_text=found).first
        expect(result).to_be_visible()
        result.click()
        assert target in opened.page.url
        assert opened.messages == []


def test_search_shows_hostile_text_as_text(browser: Browser, site: Path) -> None:
    """A result that holds markup creates no element but the marks around what was found."""
    with visit(browser, site / "report/en/index.html") as opened:
        opened.page.locator(".search input").fill("<script>alert")
        results = opened.page.locator(".search-results")
        expect(results.locator("mark").first).to_have_text("<script>alert")
        assert results.locator("script").count() == 0
        opened.page.locator(".search input").fill("no such words")
        expect(results.locator(".search-status")).to_have_text("No results")
        opened.page.keyboard.press("Escape")
        expect(results).to_be_hidden()


def test_tabs_by_keyboard(browser: Browser, site: Path) -> None:
    """Arrow keys choose the next tab and show its panel alone."""
    with visit(browser, site / "report/en/index.html") as opened:
        page = opened.page
        page.get_by_role("tab", name="Learning rate").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Batch size")).to_be_focused()
        expect(page.get_by_text("How many rows one step sees.")).to_be_visible()
        expect(page.get_by_text("How far one step goes.")).to_be_hidden()


def test_copy_button_copies_the_code(browser: Browser, site: Path) -> None:
    """The button is labelled, says that it copied, and the code itself is on the clipboard."""
    with visit(browser, site / "report/en/index.html") as opened:
        opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button = opened.page.get_by_role("button", name="Copy code")
        expect(button).to_have_text("Copy")
        button.click()
        expect(button).to_have_text("Copied")
        copied = opened.page.evaluate("navigator.clipboard.readText()")
        assert copied.strip() == "config = LoraConfig(r=64, lora_alpha=16)  # a comment"


def test_without_script_all_is_there(browser: Browser, site: Path) -> None:
    """With JavaScript off, every tab's text, the menu and the links show."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    page = context.new_page()
    page.goto((site / "report/en/index.html").as_uri())
    for text in ("How far one step goes.", "How many rows one step sees."):
        expect(page.get_by_text(text)).to_be_visible()
    expect(page.locator("#sidebar")).to_be_visible()
    context.close()


def test_menu_on_a_narrow_window(browser: Browser, site: Path) -> None:
    """The menu opens by its button and closes by Escape, which gives the focus back."""
    with visit(browser, site / "report/zh/index.html", width=390) as opened:
        sidebar, button = opened.page.locator("#sidebar"), opened.page.locator(".menu-button")
        expect(sidebar).to_be_hidden()
        button.click()
        expect(sidebar).to_be_visible()
        opened.page.keyboard.press("Escape")
        expect(sidebar).to_be_hidden()
        expect(button).to_be_focused()


def test_menu_covers_a_narrow_page_and_is_gone_on_a_wide_one(browser: Browser, site: Path) -> None:
    """From wherever it is opened the menu is in sight and alone in the tab order; a wider window undoes that."""
    with visit(browser, site / "report/zh/index.html", width=390) as opened:
        page = opened.page
        page.evaluate("scrollTo({top: 900, behavior: 'instant'})")
        page.locator(".menu-button").click()
        expect(page.locator("#sidebar a").first).to_be_in_viewport()
        for part in (".search", "main", ".site-footer"):
            assert page.locator(part).evaluate("part => part.inert"), part
        page.set_viewport_size({"width": 1280, "height": 900})
        expect(page.locator("#sidebar")).to_be_visible()
        assert not page.locator("main").evaluate("part => part.inert")


def test_english_pages_leave_the_chinese_font_alone(browser: Browser, site: Path) -> None:
    """A page in English loads at most the few characters of its header, none of the Chinese pages' fonts."""
    with visit(browser, site / "report/en/index.html") as opened:
        opened.page.wait_for_load_state("networkidle")
        fonts = {url.rsplit("/", 1)[1] for url in opened.requests if url.endswith(".woff2")}
        assert fonts <= {"text-common.woff2", "math.woff2"}


def test_language_switch_leads_to_the_counterpart(browser: Browser, site: Path) -> None:
    """One click leads to the same page in the other language, and one back."""
    with visit(browser, site / "report/zh/adapters/ia3.html") as opened:
        opened.page.locator("a.language").click()
        assert opened.page.url.endswith("/report/en/adapters/ia3.html")
        opened.page.locator("a.language").click()
        assert opened.page.url.endswith("/report/zh/adapters/ia3.html")


@pytest.mark.parametrize(
    ("own", "other", "width"), [("zh", "en", 390), pytest.param("en", "zh", 1280, marks=pytest.mark.slow)]
)
def test_language_switch_keeps_the_place(browser: Browser, study_site: Path, own: str, other: str, width: int) -> None:
    """From the middle of a page the switch, still in sight, leads to the same section, and back to where one was."""
    with visit(browser, study_site / f"report/{own}/method.html", width=width) as opened:
        page = opened.page
        heading = page.locator(PLACE)
        heading.evaluate("heading => heading.scrollIntoView({block: 'start', behavior: 'instant'})")
        for language in (other, own):
            expect(page.locator("a.language")).to_be_in_viewport()
            place = page.locator("a.language").bounding_box()  # Playwright's own click scrolls the page before
            assert place is not None
            page.mouse.click(place["x"] + 5, place["y"] + 5)
            page.wait_for_url(f"**/report/{language}/method.html{PLACE}")
            expect(heading).to_be_in_viewport()
            for _ in range(50):  # the browser goes there once all is laid out
                top = heading.evaluate("heading => heading.getBoundingClientRect().top")
                if top < 200:
                    break
                page.wait_for_timeout(100)
            assert top < 200
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        page.locator("a.language").click()
        page.wait_for_url(f"**/report/{other}/method.html")
