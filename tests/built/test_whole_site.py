"""Build a whole site by the real commands, and look at it as readers, search engines and previews do.

It is opened from a folder, from a server's root and under a prefix. Then somebody makes the project their own, with
another title, author and set of adapters, and nothing of the old may be left anywhere on the site.
"""

from __future__ import annotations

import http.client
import posixpath
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Browser, expect

from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters
from adapterbook.pages.crate import CRATE
from adapterbook.pages.head import CARD_SIZE
from tests.support.browser import open_browser, visit
from tests.support.factory import PROJECT, write_results
from tests.support.small_project import BOOK, SITE_URL, copy_project, run_adapterbook

VARIANTS = {"submitted": {"title": "As submitted"}}
NEW: dict[str, Any] = {
    "title": {"zh": "新書名", "en": "A new title"},
    "subtitle": {"zh": "新副標", "en": "A new subtitle"},
    "author": {"zh": "王小明", "en": "Xiaoming Wang"},
    "course": {"zh": "新課程", "en": "A new course"},
    "repository": "https://github.com/xiaoming/new",
    "site_url": "https://xiaoming.github.io/new",
    "licence": {"zh": "創用 CC 姓名標示 4.0 國際", "en": "CC BY 4.0"},
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
}
TEXTS = (".html", ".js", ".css", ".json", ".ipynb", ".svg", ".xml", ".txt", "")


def build(paths: Paths, book: dict[str, Any]) -> None:
    """Make the pages and the site of a project that is called as `book` says."""
    paths.book.write_text(yaml.safe_dump(book, allow_unicode=True), "utf-8")
    for command in ("pages", "site"):
        done = run_adapterbook(paths, command)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(made_project: Paths) -> Path:
    return made_project.root / "_site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


class Page(HTMLParser):
    """What a page links to, fetches, and says of itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.head: list[tuple[str, str]] = []
        self.properties: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values["rel"] in ("canonical", "alternate"):
            self.head.append((values.get("hreflang", "canonical"), values["href"]))
        elif tag == "link":
            self.fetched.append(values["href"])
        elif "src" in values:
            self.fetched.append(values["src"])
        elif tag == "meta" and "content" in values:
            self.properties[values.get("property") or values.get("name", "")] = values["content"]


def pages_of(site: Path) -> dict[str, Page]:
    """Return all pages but that for lost visitors, by their place in the site."""
    paths = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in paths}


# ---- addresses


def test_every_page_names_itself_and_its_counterparts(site: Path) -> None:
    """One canonical address a page; its counterparts name it in return, and are there."""
    pages = pages_of(site)
    assert len(pages) > 15
    heads = {name: dict(page.head) for name, page in pages.items()}
    addresses = {head["canonical"]: name for name, head in heads.items()}
    assert len(addresses) == len(pages)
    for name, page in pages.items():
        assert [key for key, _ in page.head] == ["canonical", "zh-TW", "en", "x-default"], name
        assert heads[name]["canonical"] == f"{SITE_URL}/{name.removesuffix('index.html')}"
        for tag in ("zh-TW", "en", "x-default"):
            other = addresses[heads[name][tag]]
            assert {k: v for k, v in heads[other].items() if k != "canonical"} == {
                k: v for k, v in heads[name].items() if k != "canonical"
            }
        own = "zh-TW" if name.startswith("report/zh/") else "en" if name.startswith("report/en/") else "x-default"
        assert heads[name][own] == heads[name]["canonical"]


def test_the_map_holds_every_page(site: Path) -> None:
    """At the address that the page gives itself, with the same counterparts."""
    names = {"m": "http://www.sitemaps.org/schemas/sitemap/0.9", "x": "http://www.w3.org/1999/xhtml"}
    listed = {}
    for url in ET.parse(site / "sitemap.xml").getroot():
        links = [(str(link.get("hreflang")), str(link.get("href"))) for link in url.iterfind("x:link", names)]
        listed[url.findtext("m:loc", "", names)] = links
    told = {dict(page.head)["canonical"]: [pair for pair in page.head if pair[0] != "canonical"]
            for page in pages_of(site).values()}  # fmt: skip
    assert listed == told


def test_every_page_has_a_picture_for_previews(site: Path) -> None:
    """Of its language, which lies where it says, in the size that it says."""
    for name, page in pages_of(site).items():
        address = page.properties["og:image"]
        assert address.startswith(f"{SITE_URL}/")
        file = site / address.removeprefix(f"{SITE_URL}/")
        with Image.open(file) as image:
            assert image.size == CARD_SIZE
        assert file.parent.name == ("en" if name.startswith("report/en/") else "zh")
        assert page.properties["og:url"] == dict(page.head)["canonical"]
        assert page.properties["og:title"]


def test_every_page_has_the_site_s_mark(site: Path) -> None:
    """A picture in SVG, which is there, and the colours of both themes."""
    for name, page in pages_of(site).items():
        icon = next(address for address in page.fetched if address.endswith("favicon.svg"))
        assert (site / posixpath.dirname(name) / icon).resolve().is_file(), name
        assert page.properties["theme-color"]


# ---- under a server


@contextmanager
def serve(folder: Path) -> Iterator[int]:
    """Serve a folder on this machine's own address; give the port."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("prefix", ["/", "/some/prefix/"])
def test_all_links_are_right_under_any_prefix(site: Path, tmp_path: Path, prefix: str) -> None:
    """Each page that can be reached from the front page, each anchor, each file: answered, and from within the site."""
    place = tmp_path / prefix.strip("/")
    if prefix == "/":
        place = tmp_path / "root"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(site, target_is_directory=True)
    with serve(tmp_path / "root" if prefix == "/" else tmp_path) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        answers: dict[str, Page | None] = {}
        waiting, anchors = [prefix], []
        while waiting:
            path = waiting.pop()
            if path in answers:
                continue
            assert path.startswith(prefix), path
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, path
            is_page = answer.headers.get_content_type() == "text/html"
            page = answers[path] = Page(content.decode("utf-8")) if is_page else None
            for address in (*page.links, *page.fetched) if page else ():
                target = urlsplit(urljoin(path, address))
                if not target.netloc and target.scheme in ("", "http"):
                    waiting.append(target.path)
                    anchors.append((path, target.path, unquote(target.fragment)))
        connection.close()
    for path, place_of, anchor in anchors:
        page = answers[place_of]
        assert not anchor or page is None or anchor in page.ids, (path, place_of, anchor)
    reached = {unquote(path).removeprefix(prefix) or "index.html" for path, page in answers.items() if page}
    assert set(pages_of(site)) <= reached | {"report/zh/", "report/en/"}


# ---- search

# Language, question, and what the address of its page holds.
QUESTIONS = [
    ("zh", "學習率", "comparison.html"),
    ("zh", "ＩＡ３", "mechanism-ia3.html"),
    ("zh", "prompt", "adapters/prompt.html"),
    ("en", "learning rate", "comparison.html"),
    ("en", "LORA", "mechanism-lora.html"),
]
MORE_QUESTIONS = [
    ("zh", "學", "report/zh/"),
    ("zh", "過擬合", "glossary.html"),
    ("zh", "lora", "mechanism-lora.html"),
    ("zh", "IA³", "mechanism-ia3.html"),
    ("zh", "ia3", "adapters/ia3.html"),
    ("en", "overfitting", "glossary.html"),
    ("en", "IA³", "mechanism-ia3.html"),
    ("en", "ia3", "adapters/ia3.html"),
    ("en", "prompt", "adapters/prompt.html"),
]


@pytest.mark.parametrize(
    ("language", "question", "page"),
    [*QUESTIONS, *(pytest.param(*question, marks=pytest.mark.slow) for question in MORE_QUESTIONS)],
)
def test_a_question_finds_its_page(browser: Browser, site: Path, language: str, question: str, page: str) -> None:
    """From a file, among the first results, all of them in the reader's language; a click leads to the words."""
    with visit(browser, site / f"report/{language}/index.html") as opened:
        opened.page.locator(".search input").fill(question)
        results = opened.page.locator(".search-results a")
        expect(results.first).to_be_visible()
        targets = [str(link.get_attribute("href")) for link in results.all()]
        assert all(f"report/{language}/" in target for target in targets)  # nor the cover, which is in both
        assert any(page in target for target in targets[:8]), targets
        results.nth(next(i for i, target in enumerate(targets) if page in target)).click()
        opened.page.wait_for_url(f"**{page}*")
        folded = opened.page.evaluate("document.body.textContent.normalize('NFKC').toLowerCase()")
        assert question.replace("ＩＡ３", "ia3").replace("³", "3").lower() in folded
        assert opened.messages == []


def test_a_result_shows_the_page_s_own_words(browser: Browser, site: Path) -> None:
    """What was typed as ia3 is marked as IA³, and a full-width comma stays one."""
    with visit(browser, site / "report/zh/index.html") as opened:
        opened.page.locator(".search input").fill("ia3")
        marks = opened.page.locator(".search-results mark")
        expect(marks.first).to_be_visible()
        assert "IA³" in marks.all_text_contents()
        assert "，" in "".join(opened.page.locator(".search-results small").all_text_contents())


# ---- made one's own


@pytest.fixture(scope="module")
def made_own(made_project: Paths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site of the same project after another person put in their own book and adapters."""
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext on this machine (Debian: apt install poppler-utils)")
    words = "".join(text_of(path) for path in (made_project.root / "_site").rglob("*") if path.is_file())
    for old in ("舊書名甲", "Oldtitle", "舊作者丙", "Oldauthor", "oldowner/oldproject", "Oldcourse", "prompt"):
        assert old in words, f"{old} was never there: the test would find nothing"
    paths = Paths(tmp_path_factory.mktemp("own") / "project")
    copy_project(made_project, paths.root)
    notebook = paths.notebook.read_bytes()
    shutil.rmtree(paths.experiments)
    write_results(paths.root, adapters=["newlora", "newdora"], variants=VARIANTS, n_test=64)
    paths.notebook.write_bytes(notebook)
    build(paths, NEW)
    return paths.root / "_site"


def text_of(path: Path) -> str:
    """Return what a file says: of a PDF its pages and its properties."""
    if path.suffix == ".pdf":
        commands = (["pdftotext", str(path), "-"], ["pdfinfo", str(path)])
        return "".join(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands
        )
    return path.read_text("utf-8") if path.suffix in TEXTS else ""


@pytest.mark.slow
def test_nothing_of_the_old_is_left(made_own: Path) -> None:
    """Neither title nor author, course, address, licence or adapter of before, in no page, script, picture or PDF."""
    old = {text for value in BOOK.values() for text in (value.values() if isinstance(value, dict) else [value])}
    old |= {"oldowner"}
    shipped = load_book(PROJECT.book)
    old |= {shipped.title.zh, shipped.title.en, shipped.subtitle.zh, shipped.subtitle.en}
    adapters = load_adapters(PROJECT.experiments / "adapters")
    old |= {name for name in adapters if "_" in name}  # ia3 is what PEFT calls the method, too
    old |= {title for adapter in adapters.values() for title in (adapter.title.zh, adapter.title.en) if len(title) > 3}
    found = {}
    for path in sorted(made_own.rglob("*")):
        if path.is_file():
            text = path.relative_to(made_own).as_posix() + text_of(path)
            # The program's own name is in its licences, script, notebook and crate, and marks its page for the lost.
            names_us = path.name in ("404.html", "cover.js", "experiment.ipynb", "licences.txt", CRATE)
            ours = {shipped.title.zh, shipped.title.en} if names_us else set()
            left = sorted(word for word in old - ours if word.lower() in text.lower())
            if left:
                found[path.relative_to(made_own).as_posix()] = left
    assert found == {}


@pytest.mark.slow
def test_the_new_is_on_every_page_in_its_language(made_own: Path) -> None:
    """The foot of a page names author, course, licence and repository, the head the title; the PDF's cover both."""
    for language, tag, author in (("zh", "zh-TW", "王小明"), ("en", "en", "Xiaoming Wang")):
        known = [author, NEW["licence_url"], NEW["repository"]]
        known += [NEW[name][language] for name in ("course", "licence")]
        pages = sorted((made_own / "report" / language).rglob("*.html"))
        assert len(pages) > 10
        for page in pages:
            text = page.read_text("utf-8")
            assert f"– {NEW['title'][language]}</title>" in text
            part = re.search(rf'<span class="imprint" lang="{tag}">(.*?)</span>', text, re.DOTALL)
            assert part is not None
            assert [piece for piece in known if piece not in part[1]] == []
        cover = text_of(made_own / f"report-{language}.pdf").partition("\f")[0]
        assert NEW["title"][language] in cover
        assert author in cover
        assert NEW["course"][language] in cover


@pytest.mark.slow
def test_a_page_leads_to_the_commit_of_its_numbers(made_own: Path) -> None:
    """The last line of each page has a link to the repository as it was."""
    page = (made_own / "report" / "en" / "index.html").read_text("utf-8")
    assert re.search(r'href="https://github.com/xiaoming/new/tree/[0-9a-f]{40}"><code>[0-9a-f]{8}</code>', page)


@pytest.mark.slow
def test_pages_say_where_they_will_be(made_own: Path) -> None:
    """The address of the site makes each page's canonical link."""
    page = (made_own / "report" / "zh" / "method.html").read_text("utf-8")
    assert '<link rel="canonical" href="https://xiaoming.github.io/new/report/zh/method.html">' in page
