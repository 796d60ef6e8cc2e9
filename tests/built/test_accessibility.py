"""Check the site for readers who do not see it, do not use a mouse, or print it: WCAG 2.2 AA by axe-core, and by hand.

By default the densest pages of the made-up study's site are looked at; the slow variant looks at one page of each kind
in both languages, and with ``ADAPTERBOOK_SITE=_site`` every page of that site is looked at.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import open_browser, visit
from tests.support.study_site import GIVEN_SITE, main_of, pages_of, pages_of_each_kind, parse_page

WCAG: Final = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
# What can differ between the themes.
OF_COLOUR: Final = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
# What can differ between a wide window and a narrow one.
OF_LAYOUT: Final = {"type": "rule", "values": ["target-size", "scrollable-region-focusable", "aria-hidden-focus"]}
# Together they hold every kind of part: cover, tables, figures, tabs, formulas, code, boxes, forms, charts, faults.
DENSEST: Final = (
    "index.html",
    "report/en/index.html",
    "report/en/explorer.html",
    "report/en/notebooks/lora_1-submitted-seed-1.html",
    "report/zh/adapters/head_only.html",
    "report/zh/comparison.html",
    "report/zh/mechanism-lora.html",
    "report/zh/sentences.html",
)
REPORT: Final = "report/en/index.html"
# On a narrow window: what is wider or higher than its frame and cannot be focused.
UNREACHABLE: Final = """() => [...document.querySelectorAll('main *')].filter(frame => {
    const scrolls = /auto|scroll/.test(getComputedStyle(frame).overflowX + getComputedStyle(frame).overflowY);
    const more = frame.scrollWidth > frame.clientWidth + 1 || frame.scrollHeight > frame.clientHeight + 1;
    return scrolls && more && frame.clientWidth && frame.tabIndex < 0 && !frame.querySelector('a, button');
}).map(frame => frame.outerHTML.slice(0, 120))"""


@dataclass
class Findings:
    """What is wrong with some pages, by page."""

    violations: dict[str, list[str]] = field(default_factory=dict)
    too_wide: list[tuple[str, int]] = field(default_factory=list)
    unreachable: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def violations(page: Page, rules: dict[str, Any]) -> list[str]:
    """Return what axe-core finds wrong: each rule, with the first elements that break it."""
    answer = page.evaluate("rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", rules)
    return [
        f"{found['id']}: {[node['html'][:120] for node in found['nodes'][:3]]} of {len(found['nodes'])}"
        for found in answer["violations"]
    ]


def open_everything(page: Page) -> None:
    """Show what a reader can unfold, since what is hidden is not looked at."""
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")


def make_ready(page: Page) -> None:
    """Put axe-core into a page, and show it all there is.

    By the debugger's way: the page itself could not load it, its policy forbids that. The shade at the side of a wide
    table is a gradient, of which axe-core cannot tell the colour; what is below it is the page's. Of hundreds of rows,
    which are alike, some are enough, unless a site is given.
    """
    page.evaluate(Axe().axe_script)
    open_everything(page)
    page.evaluate("document.querySelectorAll('.table-frame').forEach(frame => { frame.style.background = 'none'; })")
    if not GIVEN_SITE:
        page.evaluate(
            "const cut = (parts, n) => [...parts].slice(n).forEach(part => part.remove());"
            "document.querySelectorAll('table').forEach(table => cut(table.rows, 6));"
            "document.querySelectorAll('pre code').forEach(code => cut(code.children, 40))"
        )


def densest(site: Path) -> list[str]:
    """Return the pages with the most kinds of parts; of a given site all pages."""
    return pages_of_each_kind(site) if GIVEN_SITE else list(DENSEST)


VARIANTS: Final = (
    pytest.param(densest, marks=pytest.mark.brief),
    pytest.param(pages_of_each_kind, marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=VARIANTS)
def findings(request: pytest.FixtureRequest, browser: Browser, study_site: Path) -> Findings:
    """Visit each page once, in every theme and width, and collect what is wrong."""
    found = Findings()
    for name in request.param(study_site):
        with visit(browser, study_site / name) as opened:
            page = opened.page
            open_everything(page)
            for width in (768, 320):
                page.set_viewport_size({"width": width, "height": 800})
                if opened.scrolls_sideways():
                    found.too_wide.append((name, width))
            page.set_viewport_size({"width": 380, "height": 800})  # frames are looked at when the size changes
            page.wait_for_timeout(50)
            if unreachable := page.evaluate(UNREACHABLE):
                found.unreachable[name] = unreachable
            page.set_viewport_size({"width": 1280, "height": 900})
            make_ready(page)
            problems = violations(page, WCAG)
            page.evaluate("document.documentElement.dataset.theme = 'dark'")
            problems += [f"dark: {problem}" for problem in violations(page, OF_COLOUR)]
            page.set_viewport_size({"width": 390, "height": 844})
            if page.locator(".menu-button").count():
                page.locator(".menu-button").click()
            problems += [f"narrow: {problem}" for problem in violations(page, OF_LAYOUT)]
            if problems:
                found.violations[name] = problems
    return found


def test_no_page_breaks_wcag(findings: Findings) -> None:
    """axe-core finds no violation of WCAG 2.2 A and AA, nor of its best practices, in any theme or width."""
    assert findings.violations == {}


def test_no_page_is_wider_than_a_phone(findings: Findings) -> None:
    """At 320 pixels, which is 1280 at four times the size, and at 768, no page scrolls sideways when unfolded."""
    assert findings.too_wide == []


def test_what_scrolls_is_reached_by_tab(findings: Findings) -> None:
    """On a narrow window whatever is wider or higher than its frame can be focused, and so scrolled by arrow keys."""
    assert findings.unreachable == {}


def test_axe_would_find_a_violation(browser: Browser, study_site: Path) -> None:
    """The check can fail: pale text, a picture without words and a control without a name are found."""
    with visit(browser, study_site / REPORT) as opened:
        make_ready(opened.page)
        opened.page.evaluate(
            "document.querySelector('main p').style.color = '#ccc';"
            "document.querySelector('main img').removeAttribute('alt');"
            "document.querySelector('.theme-button').removeAttribute('aria-label');"
            "document.querySelector('.theme-button').removeAttribute('title')"
        )
        found = " ".join(violations(opened.page, WCAG))
    assert {"color-contrast", "image-alt", "button-name"} <= set(re.findall(r"[\w-]+(?=: \[)", found))


def test_search_results_keep_to_wcag(browser: Browser, study_site: Path) -> None:
    """What appears when a reader types is held to the same rules, in both themes."""
    for theme in ("light", "dark"):
        with visit(browser, study_site / REPORT, theme=theme) as opened:
            opened.page.locator(".search input").fill("learning rate")
            expect(opened.page.locator(".search-results a").first).to_be_visible()
            make_ready(opened.page)
            assert violations(opened.page, WCAG) == []


def test_every_figure_says_what_it_shows_and_has_its_numbers_below(study_site: Path) -> None:
    """A figure's alternative text is a sentence that holds numbers or names; the table behind it follows."""
    seen = set()
    for name in pages_of(study_site):
        main = main_of(parse_page(study_site / name))
        parents = {child: parent for parent in main.iter() for child in parent}
        for figure in main.iter("figure"):
            image = figure.find(".//img")
            if image is None:
                continue
            drawing, words = image.attrib["src"].rpartition("/")[2], image.attrib["alt"]
            caption = "".join(figure.find("figcaption").itertext())  # type: ignore[union-attr]
            assert len(words) > len(caption) / 2, (name, words)
            assert words.rstrip()[-1] in ".。", (name, words)
            siblings = list(parents[figure])
            if drawing == "travel.svg" and name.endswith("index.html"):  # the page links to the one with its numbers
                continue
            if drawing == "answer.svg":  # the words name every number; cover and overview have no table behind it
                assert len(re.findall(r"\d%", words)) > 2, (name, words)
                continue
            table = siblings[siblings.index(figure) + 1]
            assert table.tag == "details", (name, drawing)
            assert table.find(".//table//td") is not None, (name, drawing)
            if drawing != "block.svg":  # a drawing of modules: names, no numbers
                assert re.search(r"\d", words), (name, words)
            seen.add(drawing)
    assert len(seen) > 10 or GIVEN_SITE


def test_all_that_acts_is_reached_by_tab(browser: Browser, study_site: Path) -> None:
    """Tab goes through skip link, header, menu, text, contents and footer in this order, a ring around each step."""
    regions = [".skip-link", ".site-header", "#sidebar", "main", ".toc", ".site-footer"]
    look = """regions => {
        const at = document.activeElement, style = getComputedStyle(at);
        const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
        return [regions.find(region => at.closest(region)) ?? null, ring, at.outerHTML.slice(0, 90)];
    }"""
    with visit(browser, study_site / REPORT) as opened:
        steps = []
        for _ in range(400):
            opened.page.keyboard.press("Tab")
            region, ring, element = opened.page.evaluate(look, regions)
            if region is None:
                break
            assert ring, f"no ring around {element}"
            steps.append(region)
        acting = opened.page.locator(":is(a[href], button, input, summary, [tabindex='0']):visible")
        assert list(dict.fromkeys(steps)) == regions
        assert len(steps) == acting.count()


def test_the_skip_link_leads_to_the_text(browser: Browser, study_site: Path) -> None:
    """The first key press of a keyboard reader offers to skip menu and header, and does."""
    with visit(browser, study_site / REPORT) as opened:
        opened.page.keyboard.press("Tab")
        expect(opened.page.locator(".skip-link")).to_be_in_viewport()
        opened.page.keyboard.press("Enter")
        expect(opened.page.locator("main")).to_be_focused()


def test_nothing_moves_for_who_asked_for_rest(browser: Browser, study_site: Path) -> None:
    """With prefers-reduced-motion nothing glides: no smooth scrolling, no transition, no animation."""
    moving = """() => [...document.querySelectorAll('*')].filter(element => {
        const style = getComputedStyle(element);
        return style.scrollBehavior === 'smooth' || !/^(0s(, )?)+$/.test(style.transitionDuration)
            || style.animationName !== 'none';
    }).length"""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto((study_site / REPORT).as_uri())
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0
    context.close()


def test_print_shows_the_text_alone(browser: Browser, study_site: Path, tmp_path: Path) -> None:
    """On paper there are no menus and no controls, whatever the theme, and the columns of wide tables are all there."""
    for name in (REPORT, "report/zh/comparison.html"):
        with visit(browser, study_site / name, theme="dark") as opened:
            page = opened.page
            heads = page.locator("main table:not(details table) th:visible").all_inner_texts()
            menu = page.locator("#sidebar a").nth(3).inner_text()
            page.emulate_media(media="print")
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 33, 38)"
            for hidden in (".site-header", "#sidebar", ".toc", ".pager", ".site-footer"):
                assert page.locator(f"{hidden}:visible").count() == 0, hidden
            target = tmp_path / "page.pdf"
            page.pdf(path=str(target), format="A4", print_background=False)
        text = subprocess.run(["pdftotext", "-raw", target, "-"], capture_output=True, text=True, check=True).stdout
        squeezed = "".join(text.split())
        assert menu
        assert [head for head in heads if "".join(head.split()) not in squeezed] == []
        assert squeezed.count("AdapterBook") <= 1
