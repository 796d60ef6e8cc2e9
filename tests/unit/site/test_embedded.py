"""Read back from the sample site's HTML what the embedded renderer writes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adapterbook.common.errors import RenderError
from adapterbook.site import build_site
from adapterbook.site.embedded import EmbeddedRenderer
from adapterbook.site.links import find_site_problems
from adapterbook.site.pandoc import Job, convert_all
from tests.support.site_sample import built_sample, write_sample

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}


@dataclass
class Element:
    """Hold one element of a page, with its text."""

    tag: str
    attributes: dict[str, str]
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split()).replace("\u00a0", " ")


class Document(HTMLParser):
    """Read a page as a flat list of elements, and refuse tags that are closed out of order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.pieces.append(data)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [e for e in self.elements if e.tag == tag and wanted.items() <= e.attributes.items()]

    def one(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, (tag, attributes, len(found))
        return found[0]


def site() -> Path:
    return built_sample() / "_site"


def page(name: str) -> Document:
    return Document((site() / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def zh() -> Document:
    return page("report/zh/index.html")


@pytest.fixture(scope="module")
def en() -> Document:
    return page("report/en/index.html")


def test_same_pages_in_both_languages() -> None:
    """Every source has its page, and both languages have the same ones."""
    names = {
        language: sorted(p.name for p in (site() / "report" / language).rglob("*.html")) for language in ("zh", "en")
    }
    assert names["zh"] == names["en"] == ["ia3.html", "index.html", "lora_1.html"]
    assert (site() / "index.html").is_file()


def test_no_broken_link_and_no_other_host() -> None:
    """Every link, anchor and fetched file is in the site."""
    assert find_site_problems(site()) == []


def test_link_check_sees_what_is_broken(tmp_path: Path) -> None:
    """A missing file, a missing anchor and a request to another host are each found."""
    broken = shutil.copytree(site(), tmp_path / "site")
    path = broken / "report/en/index.html"
    extra = '<a href="gone.html">x</a><a href="../zh/index.html#gone">x</a><img src="https://example.org/a.png" alt="">'
    path.write_text(path.read_text("utf-8").replace("</main>", extra + "</main>"), "utf-8")
    found = "\n".join(find_site_problems(broken))
    assert re.search(r"gone\.html: no such file", found)
    assert re.search(r"has no id gone", found)
    assert re.search(r"https://example\.org/a\.png", found)


def test_addresses_are_relative() -> None:
    """No page names a path from the server's root, so the site works under any prefix."""
    for path in site().rglob("*.html"):
        assert not re.search(r'(?:href|src)="/', path.read_text("utf-8")), path


def test_ids_are_unique() -> None:
    """No id occurs twice on a page."""
    for path in site().rglob("*.html"):
        ids = [e.attributes["id"] for e in Document(path.read_text("utf-8")).elements if e.attributes.get("id")]
        assert len(ids) == len(set(ids)), path


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("zh", ["方程式 1", "圖 1", "表 1", "圖 1 (a)", "節 2", "列表 1", "圖 2"]),
        ("en", ["Equation 1", "Figure 1", "Table 1", "Figure 1 (a)", "Section 2", "Listing 1"]),
    ],
)
def test_cross_references_are_numbered_in_the_pages_language(language: str, texts: list[str]) -> None:
    """References show kind and number in the page's language and lead to what they name."""
    document = page(f"report/{language}/index.html")
    references = {e.text: e.attributes["href"] for e in document.all("a", class_="cross-reference")}
    assert set(references) == set(texts)
    targets = {href.removeprefix("#") for href in references.values()}
    assert targets <= {e.attributes.get("id") for e in document.elements}


def test_captions_carry_the_same_numbers(zh: Document) -> None:
    """A figure's caption has its label, a panel's its letter, a table's and a listing's theirs."""
    captions = [e.text for e in zh.all("figcaption")]
    assert captions == [
        "(a) 損失",
        "(b) 準確率",
        "圖 1：兩種轉接器的學習曲線。",
        "表 1：兩次訓練的結果。",
        "圖 2：批次",
        "列表 1：一種設定",
    ]


def test_figures_have_their_alternative_text_and_size(zh: Document) -> None:
    """fig-alt becomes alt; the SVG's own size is given in CSS pixels (320 pt × 220 pt)."""
    image = zh.all("img")[0]
    assert image.attributes["alt"] == "損失隨訓練輪數下降"
    assert (image.attributes["width"], image.attributes["height"]) == ("427", "293")


def test_callouts(zh: Document) -> None:
    """A callout's title is the heading, the attribute or the kind; a collapsed one is a closed details element."""
    titles = [e.text for e in zh.elements if e.attributes.get("class") == "callout-title"]
    assert titles == ["讀表的方法", "不能與已發表的數字相比", "提示", "數字"]
    for kind in ("callout callout-warning", "callout callout-note callout-simple"):
        assert "open" not in zh.one("details", class_=kind).attributes


def test_tabs_follow_the_aria_pattern(zh: Document) -> None:
    """Each tab names its panel and the panel its tab; only the first is chosen and in the tab order."""
    tabs = zh.all("button", role="tab")
    assert [tab.text for tab in tabs] == ["學習率", "批次大小"]
    assert [tab.attributes["aria-selected"] for tab in tabs] == ["true", "false"]
    assert [tab.attributes.get("tabindex") for tab in tabs] == [None, "-1"]
    for tab in tabs:
        panel = zh.one("div", id=tab.attributes["aria-controls"])
        assert panel.attributes["aria-labelledby"] == tab.attributes["id"]


def test_only_what_is_for_the_web_shows(zh: Document) -> None:
    """Content for the PDF and raw Typst are left out; content for HTML and footnotes are shown."""
    text = zh.one("main").text
    assert "只在網頁上" in text
    assert "只在紙上" not in text
    assert "原始 Typst" not in text
    assert zh.one("p", id="raw-html").text == "原始 HTML"
    assert "分類頭也會學" in zh.one("section", role="doc-endnotes").text


def test_formulas_are_mathml(zh: Document) -> None:
    """Formulas are MathML, so no script is needed for them."""
    assert len(zh.all("math")) == 1
    assert zh.one("div", class_="equation-number").text == "(1)"


def test_contents_of_the_page_link_to_its_headings(en: Document) -> None:
    """The table of contents has every numbered heading, in order, as links."""
    links = [e for e in en.elements if e.attributes.get("id", "").startswith("toc-") and e.tag == "a"]
    assert [(e.text, e.attributes["href"]) for e in links] == [
        ("1 The question", "#sec-question"),
        ("2 Method", "#sec-method"),
        ("2.1 Hostile sentences", "#sec-hostile"),
    ]


def test_tables_scroll_in_a_frame_that_has_a_name(zh: Document, en: Document) -> None:
    """A table's frame can be focused and has the table's name; an empty corner cell is not a heading."""
    frame = zh.one("div", class_="table-frame many-columns")
    assert (frame.attributes["tabindex"], frame.attributes["role"]) == ("0", "group")
    assert frame.attributes["aria-label"].replace("\u00a0", " ") == "表 1：兩次訓練的結果。"
    assert [cell.text for cell in en.all("th")] == ["learning rate", "accuracy"]


def test_hostile_text_shows_as_typed(en: Document) -> None:
    """Escaped markup is text, and creates neither element nor reference nor link."""
    text = en.one("main").text
    assert "<script>alert(1)</script> `code` ::: $x$ @fig-x {{< include x >}} [x](javascript:alert(1))" in text
    assert all("src" in script.attributes and not script.text for script in en.all("script"))
    assert not [e for e in en.all("a") if "javascript" in e.attributes.get("href", "")]
    assert "Unescaped link: never." in text


def test_hostile_title_shows_as_typed() -> None:
    """HTML in a title is text in heading, browser's tab, menu and pager; Markdown in it is read."""
    document = page("report/en/adapters/lora_1.html")
    assert document.one("h1").text == "Adapter lora_1 <script>alert(1)</script> as typed"
    assert document.one("title").text.startswith("Adapter lora_1 <script>alert(1)</script> as typed – ")
    assert "<script>" in document.one("nav", id="sidebar").text
    assert len(document.all("em")) == 1


def test_language_and_its_switch(zh: Document, en: Document) -> None:
    """Each page declares its language and has one link to its counterpart, in header and head; the Div is dropped."""
    assert (zh.one("html").attributes["lang"], en.one("html").attributes["lang"]) == ("zh-TW", "en")
    switch = zh.one("a", class_="language")
    assert (switch.attributes["href"], switch.attributes["lang"], switch.text) == ("../en/index.html", "en", "English")
    assert en.one("a", class_="language").text == "繁體中文"
    assert zh.one("link", rel="alternate").attributes == {
        "rel": "alternate",
        "hreflang": "en",
        "href": "../en/index.html",
    }
    assert not zh.all("div", class_="language-switch")


def test_navbar_leaves_out_what_is_elsewhere(zh: Document) -> None:
    """The navbar has neither a link to the other language, which the switch has, nor a page of the sidebar."""
    assert zh.one("nav", class_="navbar").text == "PDF（中文）"
    assert page("index.html").one("nav", class_="navbar").text == "繁體中文EnglishPDF（中文）PDF (English)"


def test_policy_allows_no_inline_script() -> None:
    """Every page forbids inline scripts and has none, nor handlers in attributes."""
    for path in (site() / "report").rglob("*.html"):
        document = Document(path.read_text("utf-8"))
        policy = document.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
        assert "script-src 'self' file:;" in policy
        assert not [name for e in document.elements for name in e.attributes if name.startswith("on")]


def test_search_index_is_a_script_with_every_section() -> None:
    """The index is JavaScript that assigns JSON, one entry a section, without the sources of formulas."""
    script = (site() / "assets/search-zh-TW.js").read_text("utf-8")
    match = re.fullmatch(r"window\.siteSearchIndex = (\[.*\]);\n", script)
    assert match
    entries = json.loads(match[1])
    assert ["report/zh/index.html#sec-method", "總覽", "2 作法"] in [entry[:3] for entry in entries]
    assert not [entry for entry in entries if "frac" in entry[3]]


def test_files_beside_the_pages() -> None:
    """Pictures, linked files, 404.html and .nojekyll are written; a sitemap only if the site's address is known."""
    for name in ("report/figures/zh/loss.svg", "report/zh/record.json", "404.html", ".nojekyll", "report-zh.pdf"):
        assert (site() / name).is_file(), name
    assert not (site() / "sitemap.xml").exists()


def test_first_page_is_light() -> None:
    """The Chinese front page of the report with all it loads stays below 250 KiB."""
    assets = [path for path in (site() / "assets").iterdir() if not path.name.startswith("search-")]
    page_files = [site() / "report/zh/index.html", *(site() / "report/figures/zh").iterdir()]
    assert sum(path.stat().st_size for path in [*assets, *page_files]) < 250 * 1024


def test_failed_build_leaves_the_old_site(tmp_path: Path) -> None:
    """A page that cannot be rendered stops the build and is named, and the old site is untouched."""
    root = write_sample(tmp_path)
    EmbeddedRenderer().render_site(root)
    before = (root / "_site/index.html").read_bytes()
    broken = root / "report/zh/index.qmd"
    broken.write_text(broken.read_text("utf-8") + "\n$\\frac{1$\n", "utf-8")
    with pytest.raises(RenderError, match=r"report/zh/index\.qmd"):
        build_site(root, "embedded", say=lambda line: None)
    assert (root / "_site/index.html").read_bytes() == before
    assert sorted(path.name for path in (root / ".cache").iterdir()) == ["build", "build.lock"]


def test_pandoc_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that hangs is ended, and the page named."""
    script = tmp_path / "pandoc"
    script.write_text("#!/bin/sh\nexec sleep 60\n", "utf-8")
    script.chmod(0o755)
    monkeypatch.setattr("adapterbook.site.pandoc.find_pandoc", lambda: str(script))
    monkeypatch.setattr("adapterbook.site.pandoc.TIME_LIMIT_S", 0.2)
    with pytest.raises(RenderError, match=r"a\.qmd: pandoc was not done"):
        convert_all([Job("a.qmd", "text")])


def test_same_pages_give_the_same_bytes(tmp_path: Path) -> None:
    """Rendering twice gives the same files, so that a published site changes only where its content does."""
    root = write_sample(tmp_path)
    build_site(root, "embedded", say=lambda line: None)
    for path in site().rglob("*"):
        if path.is_file():
            assert (root / "_site" / path.relative_to(site())).read_bytes() == path.read_bytes(), path.name
