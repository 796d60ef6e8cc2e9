"""Test, without Quarto, the two filters and the script that the project gives it beside the pages.

The filters run in pandoc, as they do in Quarto, on Quarto's input for them. The script runs on menus as Quarto writes
them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pypandoc
import pytest
import yaml
from playwright.sync_api import Page

from tests.support.browser import open_browser
from tests.support.study_site import parse_page

ROOT: Final = Path(__file__).parents[3]
ASSETS: Final = ROOT / "report" / "assets" / "quarto"
SCRIPTS: Final = ["menus.js", "search.js"]
RUN: Final = """
local scripts = {}
quarto = {doc={add_html_dependency=function(dependency) scripts[#scripts + 1] = dependency end}}
local document = pandoc.read(io.read('a'), 'markdown')
for _, pass in ipairs(dofile(arg[1])) do document = document:walk(pass) end
io.write(pandoc.json.encode{html=pandoc.write(document, 'html'), scripts=scripts})
"""
MENUS: Final = """<!DOCTYPE html>
<html lang="{lang}">
<title>x</title>
<nav class="navbar"><button class="navbar-toggler" role="menu" aria-label="Toggle navigation"></button></nav>
<nav class="quarto-secondary-nav"></nav>
<nav id="quarto-sidebar"><a class="sidebar-item-toggle" role="navigation" aria-label="Toggle section">›</a></nav>
<nav id="TOC" role="doc-toc"></nav>
<nav class="page-navigation"></nav>
<main>
<div class="language-switch"><p><a href="other.html">other</a></p></div>
<section id="sec-a" style="height: 3000px">a</section>
<section id="sec-b" style="height: 3000px"><div id="fig-b" class="quarto-float">b</div></section>
</main>
<script src="menus.js"></script>
"""


def run_filter(name: str, text: str, folder: Path) -> tuple[Path, list[dict[str, object]]]:
    """Return the HTML that pandoc makes of `text` with a filter, as a page, and the scripts that it asks Quarto for."""
    runner = folder / "run.lua"
    runner.write_text(RUN, "utf-8")
    command = [pypandoc.get_pandoc_path(), "lua", str(runner), str(ASSETS / name)]
    answer = json.loads(subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=True).stdout)
    page = folder / "page.html"
    page.write_text(f"<!DOCTYPE html><html><main>{answer['html']}</main></html>", "utf-8")
    return page, answer["scripts"] or []


def test_the_project_names_the_filters_where_they_belong() -> None:
    """One filter works before Quarto reads a page, the other after it rendered all of it; both are for HTML alone."""
    config = yaml.safe_load((ROOT / "_quarto.yml").read_text("utf-8"))
    places = {entry["at"]: ROOT / entry["path"] for entry in config["format"]["html"]["filters"]}
    assert places == {"pre-ast": ASSETS / "before.lua", "post-render": ASSETS / "after.lua"}
    assert "filters" not in config


def test_a_callout_that_unfolds_is_a_details(tmp_path: Path) -> None:
    """A collapsible callout becomes a details element, which keys open, unlike Quarto's <div>; others stay."""
    page, _ = run_filter(
        "before.lua",
        '::: {.callout-note collapse="true" title="Numbers <b>of</b> *x*"}\n| a |\n|---|\n| 1 |\n:::\n\n'
        '::: {.callout-warning collapse="false" title="Open"}\nb\n:::\n\n'
        '::: {.callout-note title="Plain"}\nc\n:::\n\n::: {.note collapse="true" title="None"}\nd\n:::\n',
        tmp_path,
    )
    main = parse_page(page).find(".//main")
    assert main is not None
    folded, opened = main.findall("details")
    assert "".join(folded[0].itertext()) == "Numbers <b>of</b> x"
    assert folded.find(".//td") is not None
    assert ("open" in folded.attrib, "open" in opened.attrib) == (False, True)
    assert "unfolding-warning" in opened.attrib["class"]
    assert [div.attrib["title"] for div in main.findall("div")] == ["Plain", "None"]


def test_every_page_gets_the_scripts(tmp_path: Path) -> None:
    """Quarto is asked to ship the scripts with each page, and the files exist."""
    _, scripts = run_filter("before.lua", "text", tmp_path)
    assert [name for dependency in scripts for name in dependency["scripts"]] == SCRIPTS  # type: ignore[attr-defined]
    assert all((ASSETS / name).is_file() for name in SCRIPTS)


def test_a_table_scrolls_in_a_frame_that_has_a_name(tmp_path: Path) -> None:
    """A numbered table's frame has its caption's name, another frame the page language's word for a table."""
    page, _ = run_filter(
        "after.lua",
        "---\nlang: zh-TW\n---\n\n::: {aria-describedby=cap-1}\n| a |\n|---|\n| 1 |\n:::\n\n| b |\n|---|\n| 2 |\n",
        tmp_path,
    )
    main = parse_page(page).find(".//main")
    assert main is not None
    frames = [div for div in main.iter("div") if "table-frame" in div.attrib.get("class", "")]
    assert len(frames) == len(list(main.iter("table"))) == 2
    for frame in frames:
        assert frame.find("table") is not None
        assert (frame.attrib["tabindex"], frame.attrib["role"]) == ("0", "group")
    assert (frames[0].attrib["aria-labelledby"], frames[1].attrib["aria-label"]) == ("cap-1", "表格")


def test_only_a_picture_has_an_alternative_text(tmp_path: Path) -> None:
    """What Quarto copies from a picture to the <div> around it is taken away there, and stays with the picture."""
    page, _ = run_filter("after.lua", '::: {#fig-x alt="words"}\n![words](x.svg)\n:::\n', tmp_path)
    main = parse_page(page).find(".//main")
    assert main is not None
    assert [element.tag for element in main.iter() if "alt" in element.attrib] == ["img"]


def test_a_phone_gets_a_picture_of_its_width(tmp_path: Path) -> None:
    """A figure that names a drawing for phones becomes a <picture> of both; another stays as it is."""
    page, _ = run_filter("after.lua", '![a](x.svg){phone="phone/x.svg"}\n\n![b](y.svg)\n', tmp_path)
    main = parse_page(page).find(".//main")
    assert main is not None
    (picture,) = main.iter("picture")
    assert [(part.tag, part.attrib.get("srcset") or part.attrib["src"]) for part in picture] == [
        ("source", "phone/x.svg"), ("img", "x.svg"),
    ]  # fmt: skip
    assert "phone" not in {name for image in main.iter("img") for name in image.attrib}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Open one browser's page for all tests of this file."""
    with open_browser() as browser:
        yield browser.new_page()


def test_menus_have_names_and_open_by_key(page: Page, tmp_path: Path) -> None:
    """Each menu has another name, in the page's language; what was a navigation without address is a button."""
    shutil.copy(ASSETS / "menus.js", tmp_path)
    look = "[...document.querySelectorAll('nav')].map(nav => nav.getAttribute('aria-label'))"
    for lang, first in (("en", "Site"), ("zh-TW", "網站")):
        (tmp_path / "menus.html").write_text(MENUS.format(lang=lang), "utf-8")
        page.goto((tmp_path / "menus.html").as_uri())
        names = page.evaluate(look)
        assert names[0] == first
        assert None not in names
        assert len(set(names)) == 5
        assert page.locator("[role=navigation], [role=menu]").count() == 0
    page.evaluate("document.querySelector('.sidebar-item-toggle').onclick = () => { document.title = 'clicked'; }")
    page.locator(".sidebar-item-toggle").focus()
    for key in ("Enter", " "):
        page.evaluate("document.title = ''")
        page.keyboard.press(key)
        assert page.title() == "clicked", key


def test_the_language_switch_keeps_the_place(page: Page, tmp_path: Path) -> None:
    """At the top the switch leads to the other page's top, further down to the section or figure that is being read."""
    shutil.copy(ASSETS / "menus.js", tmp_path)
    (tmp_path / "menus.html").write_text(MENUS.format(lang="en"), "utf-8")
    page.goto((tmp_path / "menus.html").as_uri())
    for y, expected in ((0, "other.html"), (1000, "other.html#sec-a"), (4000, "other.html#fig-b")):
        page.evaluate("y => scrollTo(0, y)", y)
        page.evaluate("document.querySelector('.language-switch a').dispatchEvent(new Event('contextmenu'))")
        assert page.locator(".language-switch a").get_attribute("href") == expected


def test_each_language_searches_its_own_pages(page: Page) -> None:
    """Of Quarto's one index a page gets its language's part, without the switch's text and the single notebooks."""
    places = [f"report/{language}/{name}" for language in ("zh", "en") for name in (
        "index.html", "method.html#sec-a", "notebooks/index.html", "notebooks/lora_1-seed-1.html")]  # fmt: skip
    entries = [
        {"href": place, "title": "t", "section": "", "text": "other\n seed"} for place in [*places, "index.html"]
    ]
    served = {
        "/search.json": json.dumps(entries),
        "/search.js": (ASSETS / "search.js").read_text("utf-8"),
        "/other.json": "[1]",
        "/cover.html": "<!DOCTYPE html><html lang='zh-TW'><title>x</title><script src='search.js'></script>",
        **{f"/{tag}.html": MENUS.format(lang=tag).replace("menus.js", "search.js") for tag in ("zh-TW", "en")},
    }
    page.route(
        "http://site.test/**", lambda route: route.fulfill(body=served[route.request.url[len("http://site.test") :]])
    )
    ask = "name => fetch(name).then(answer => answer.json())"
    for tag, expected in (("zh-TW", places[:3]), ("en", places[4:7])):
        page.goto(f"http://site.test/{tag}.html")
        found = page.evaluate(ask, "search.json")
        assert [entry["href"] for entry in found] == expected
        assert {entry["text"] for entry in found} == {"seed"}
        assert page.evaluate(ask, "other.json") == [1]
    page.goto("http://site.test/cover.html")
    assert page.evaluate(ask, "search.json") == entries
    page.unroute("http://site.test/**")
