"""Use the training lab as a reader does: its page, and the forms inside the explanations, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from adapterbook.common.formatting import Language
from adapterbook.pages.lab import DATA, KNOBS
from benchmarks.first_page import _serve
from tests.built.test_accessibility import OF_COLOUR, OF_LAYOUT, WCAG, make_ready, violations
from tests.support.browser import open_browser, visit
from tests.support.factory import write_results
from tests.support.probe import write_probe
from tests.support.report_pages import make_site, write_site_files

LANGUAGES: tuple[Language, ...] = ("zh", "en")
TRAINED = "[data-state=trained]"


def build_site(root: Path) -> Path:
    """Render a made-up study's site with a lab, and return its folder."""
    paths = write_results(root, n_test=60)
    write_probe(paths)
    write_site_files(paths)
    make_site(paths, "lab|method", n_run_pages=2)
    return root / "_site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory.mktemp("lab") / "some where")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def page_of(site: Path, language: Language, name: str = "lab") -> Path:
    return site / "report" / language / f"{name}.html"


def train(lab: Locator) -> str:
    """Press the button, wait for the end, and return what is said."""
    lab.locator(".lab-start").click()
    expect(lab.locator(".lab-verdict")).to_be_visible(timeout=20_000)
    return lab.locator(".lab-said").inner_text()


def rows_of(page: Page) -> list[list[str]]:
    """Return the table of the training's numbers."""
    page.locator(".lab-table").evaluate("details => { details.open = true; }")
    found: list[list[str]] = page.locator(".lab-table tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return found


def move(lab: Locator, name: str, to: str) -> None:
    """Move a slider by keys until its text is this one."""
    slider = lab.locator(f"input[name={name}]")
    slider.press("Home")
    for _ in range(40):
        if slider.get_attribute("aria-valuetext") == to:
            return
        slider.press("ArrowRight")
    raise AssertionError(f"{name} does not offer {to}")


def test_a_reader_trains_and_sees_curves_and_sentences(browser: Browser, site: Path) -> None:
    """Each preset trains in both languages: a point an epoch, a dot a sentence, a verdict, and the mark of the lab."""
    for language in LANGUAGES:
        with visit(browser, page_of(site, language)) as opened:
            page, lab = opened.page, opened.page.locator(".lab")
            # With pictures on the way in one language; without them in the other, which is faster.
            page.emulate_media(reduced_motion="reduce" if language == "en" else "no-preference")
            presets = lab.locator(".lab-presets button")
            expect(presets).to_have_count(3)
            assert "scripts/lab-data" not in " ".join(opened.requests), "the data are loaded when the reader trains"
            for i in range(3):
                presets.nth(i).click()
                expect(presets.nth(i)).to_have_attribute("aria-pressed", "true")
                lab.locator(".lab-guess input").nth(i).check()
                said = train(lab)
                assert re.search(r"\d\.\d{3}", said)
                assert lab.locator(".lab-said .lab-mark").is_visible()
            rows = rows_of(page)
            assert len(rows) == 11 and all(all(row) for row in rows[1:]), "one before the first step, one an epoch"
            assert float(rows[-1][1]) < float(rows[1][1]), "the last preset learns"
            assert lab.locator(".lab-strip").nth(0).locator("circle").count() == 128
            assert lab.locator(".lab-strip").nth(1).locator("circle").count() == 32
            assert not opened.scrolls_sideways()
            assert opened.messages == []
            assert all(address.startswith("file:") for address in opened.requests)


def test_numbers_in_words_are_those_of_the_table(browser: Browser, site: Path) -> None:
    """Lowest and last validation loss, and the epoch of the kept weights, are the ones listed."""
    with visit(browser, page_of(site, "en")) as opened:
        lab = opened.page.locator(".lab")
        lab.locator(".lab-presets button").nth(2).click()
        move(lab, "rate", "1e-2")
        said = train(lab)
        losses = [float(row[2]) for row in rows_of(opened.page)[1:]]
        lowest = min(losses)
        assert f"{lowest:.3f}" in said and f"{losses[-1]:.3f}" in said
        assert f"epoch {losses.index(lowest) + 1}" in said
        right = re.search(r"they get (\d+) of (\d+)", said)
        assert right and int(right[1]) <= int(right[2]) == 60
        assert f"about {1e-2 * 320 / 2:.1f}." in said, "how far the weights can move"


@pytest.mark.slow  # trains in the browser
def test_an_address_is_a_training(browser: Browser, site: Path) -> None:
    """The address holds both trainings; opened elsewhere it gives the same curve, digit by digit."""
    with visit(browser, page_of(site, "en")) as opened:
        lab = opened.page.locator(".lab")
        train(lab)
        move(lab, "rate", "3e-3")
        move(lab, "batch", "8")
        lab.locator("select[name=strategy]").select_option("steps")
        said, rows = train(lab), rows_of(opened.page)
        address = opened.page.url.partition("#")[2]
        assert "3e-3" in address and "before=2e-5" in address
        assert len(rows) == 81, "before the first step, and after every second of 160"
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{page_of(site, 'en').as_uri()}#{address}")
    expect(page.locator(".lab-legend span")).to_have_count(2, timeout=20_000)
    expect(page.locator(f".lab{TRAINED} .lab-name-now")).to_contain_text("3e-3", timeout=20_000)
    expect(page.locator(".lab-verdict")).to_be_visible()
    assert rows_of(page) == rows
    assert page.locator(".lab-said").inner_text() == said
    page.goto(f"{page_of(site, 'en').as_uri()}#run=9_-1_x_%00_1")
    expect(page.locator(".lab-start")).to_be_enabled()
    context.close()


def test_without_evaluation_nothing_is_claimed(browser: Browser, site: Path) -> None:
    """There is no validation loss, the dots of the validation sentences tell nothing, and the last weights are kept."""
    with visit(browser, page_of(site, "en")) as opened:
        lab = opened.page.locator(".lab")
        lab.locator("select[name=strategy]").select_option("no")
        lab.locator(".lab-guess input").nth(1).check()
        said = train(lab)
        assert "nobody can tell" in said and "last weights are kept" in said
        assert {row[2] for row in rows_of(opened.page)} == {""}
        assert "nobody has looked" in lab.locator(".lab-share").nth(1).inner_text()


def test_the_dots_go_back_in_time(browser: Browser, site: Path) -> None:
    """At the beginning all dots lie near guessing; the slider says the epoch, and works by keys."""
    places = "dots => dots.map(dot => new DOMMatrix(getComputedStyle(dot).transform).e)"
    with visit(browser, page_of(site, "en")) as opened:
        opened.page.emulate_media(reduced_motion="reduce")
        lab = opened.page.locator(".lab")
        move(lab, "rate", "1e-2")
        train(lab)
        dots = lab.locator(".lab-strip").first.locator("circle")
        last = dots.evaluate_all(places)
        time = lab.locator("input[name=time]")
        time.press("Home")
        assert "epoch 0" in str(time.get_attribute("aria-valuetext"))
        first = dots.evaluate_all(places)
        width = lab.locator(".lab-strip").first.evaluate("strip => strip.clientWidth")
        assert sum(x > 0.75 * width for x in last) > 64 > 32 > sum(x > 0.75 * width for x in first)


@pytest.mark.slow  # trains twice
def test_a_training_can_be_kept(browser: Browser, site: Path) -> None:
    """What is kept stays beside later trainings until it is let go."""
    with visit(browser, page_of(site, "en")) as opened:
        lab = opened.page.locator(".lab")
        train(lab)
        lab.get_by_role("button", name="Keep this training").click()
        for rate in ("1e-4", "1e-2"):
            move(lab, "rate", rate)
            train(lab)
            assert "2e-5" in lab.locator(".lab-name-before").inner_text()
            assert rate in lab.locator(".lab-name-now").inner_text()
        lab.get_by_role("button", name="No longer keep it").click()
        expect(lab.locator(".lab-name-before")).to_have_count(0)


@pytest.mark.slow  # trains on four pages
def test_an_explanation_has_its_knob(browser: Browser, site: Path) -> None:
    """In each of the four explanations a button opens a form of one knob; nothing is loaded before, the data once.

    One form is trained with in Chinese, all four in English: the scripts are the same.
    """
    for language in LANGUAGES:
        with visit(browser, page_of(site, language, "method"), width=390) as opened:
            page = opened.page
            page.emulate_media(reduced_motion="reduce")  # trains without pictures on the way, which is faster
            labs = page.locator(".lab")
            assert labs.evaluate_all("labs => labs.map(lab => lab.dataset.knob)") == list(KNOBS)
            loaded = [Path(address).name for address in opened.requests if "/lab/" in address]
            assert sorted(loaded) == ["lab.css", "loader.js"]
            for lab in labs.all()[: 4 if language == "en" else 1]:
                lab.get_by_role("button").click()
                expect(lab.locator(".lab-start")).to_be_focused()
                assert lab.locator("form :is(input, select)").count() == 1
                train(lab)
                expect(lab.locator(".lab-panel")).to_have_count(3)
            labs.first.locator("input[name=rate]").press("End")
            train(labs.first)
            expect(labs.first.locator(".lab-legend span")).to_have_count(2)
            assert sum(address.endswith(DATA) for address in opened.requests) == 1
            assert opened.messages == [] and not opened.scrolls_sideways()
            link = labs.first.get_by_role("link")
            link.click()
            page.wait_for_url("**/lab.html*")
            expect(page.locator(f".lab{TRAINED}")).to_be_visible(timeout=20_000)


@pytest.mark.slow  # another server
def test_the_lab_works_under_a_prefix(browser: Browser, site: Path) -> None:
    """From a server, in a folder below its root, the scripts find each other."""
    with _serve(site.parents[1]) as address:
        context = browser.new_context()
        page = context.new_page()
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto(f"{address}/some%20where/_site/report/zh/lab.html")
        train(page.locator(".lab"))
        assert failed == []
        context.close()


@pytest.mark.slow  # both languages, both themes
def test_the_lab_keeps_to_wcag(browser: Browser, site: Path) -> None:
    """Trained and unfolded, the lab and a form in an explanation break no rule, in both themes, wide and narrow."""
    for name in ("lab", "method"):
        with visit(browser, page_of(site, "en", name)) as opened:
            page, lab = opened.page, opened.page.locator(".lab").first
            page.emulate_media(reduced_motion="reduce")
            if name == "method":
                lab.get_by_role("button").click()
            for _ in range(2):
                train(lab)
            make_ready(page)
            assert violations(page, WCAG) == []
            page.evaluate("document.documentElement.dataset.theme = 'dark'")
            assert violations(page, OF_COLOUR) == []
            page.set_viewport_size({"width": 390, "height": 844})
            assert violations(page, OF_LAYOUT) == []


def test_keys_alone_train(browser: Browser, site: Path) -> None:
    """Tab reaches every control in order, arrow keys turn them, and Enter trains; what is said is in a live region."""
    with visit(browser, page_of(site, "en")) as opened:
        page, lab = opened.page, opened.page.locator(".lab")
        lab.locator(".lab-presets button").first.focus()
        names = []
        for _ in range(9):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.name || document.activeElement.textContent"))
        knobs = ["rate", "batch", "strategy", "epochs", "seed"]
        assert names == ["Too small a rate?", "Does it overfit?", *knobs, "expected-", "Train"]
        page.keyboard.press("Enter")
        expect(lab.get_by_role("status").locator(".lab-verdict")).to_be_visible(timeout=20_000)


def test_nothing_moves_for_who_asked_for_rest(browser: Browser, site: Path) -> None:
    """With prefers-reduced-motion there is one picture, the last, and no dot glides."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(page_of(site, "en").as_uri())
    page.evaluate(
        """() => { window.drawn = 0; new MutationObserver(found => { window.drawn += found.length; })
          .observe(document.querySelector('.lab-chart'), {childList: true}); }"""
    )
    train(page.locator(".lab"))
    assert page.evaluate("window.drawn") <= 2  # the last, and perhaps the window's size
    assert page.locator(".lab-sentence").first.evaluate("dot => getComputedStyle(dot).transitionDuration") == "0s"
    context.close()


def test_without_scripts_the_figure_stays(browser: Browser, site: Path) -> None:
    """Without JavaScript the method page has its figures and no empty form; the lab says what it needs."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_of(site, "en", "method").as_uri())
    assert page.locator("#fig-method-learning-rate img").is_visible()
    assert page.locator(".lab:visible").count() == 0
    page.goto(page_of(site, "en").as_uri())
    assert "needs JavaScript" in page.locator(".lab").inner_text()
    context.close()


def test_data_that_do_not_load_are_said(browser: Browser, site: Path) -> None:
    """If the file of features is missing, the lab says so and the reader can try again."""
    with visit(browser, page_of(site, "en")) as opened:
        data, away = site / "report" / DATA, site / "away.js"
        data.rename(away)
        try:
            opened.page.locator(".lab-start").click()
            expect(opened.page.locator(".lab-said")).to_contain_text("could not be loaded")
        finally:
            away.rename(data)
        assert "training loss" in train(opened.page.locator(".lab"))
