"""A whole site as readers, search engines and previews find it: from a folder, a server's root, and under a prefix."""

from __future__ import annotations

import http.client
import posixpath
import re
import shutil
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
from PIL import Image
from playwright.sync_api import Browser, expect

from adapterbook.pages.head import CARD_SIZE
from tests.support.browser import open_browser, visit
from tests.support.factory import PROJECT, write_results
from tests.support.small_project import run_adapterbook

BASE = "https://example.org/some/prefix"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of made-up results, made by the real commands, with its address in book.yaml."""
    root = tmp_path_factory.mktemp("whole-site")
    paths = write_results(root, adapters=["lora_1", "lora_2", "ia3"], variants={"submitted": {"title": "As submitted"}})
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copytree(PROJECT.report / "assets", paths.report / "assets")
    shutil.copy(PROJECT.root / "_quarto.yml", root)
    shutil.copy(PROJECT.notebook, paths.notebook)
    text = PROJECT.book.read_text("utf-8")
    paths.book.write_text(re.sub(r"(?m)^site_url: .*", f"site_url: {BASE}/", text), "utf-8")
    for step in ("pages", "site"):
        done = run_adapterbook(paths, step)
        assert done.returncode == 0, done.stdout + done.stderr
    return root / "_site"


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
        assert heads[name]["canonical"] == f"{BASE}/{name.removesuffix('index.html')}"
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
        assert address.startswith(f"{BASE}/")
        file = site / address.removeprefix(f"{BASE}/")
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

ZH = [
    ("學", "report/zh/"),
    ("學習率", "comparison.html"),
    ("過擬合", "glossary.html"),
    ("lora", "mechanism-lora.html"),
    ("IA³", "mechanism-ia3.html"),
    ("ia3", "mechanism-ia3.html"),
    ("ＩＡ３", "mechanism-ia3.html"),
    ("lora_2", "adapters/lora_2.html"),
    ("ia3", "adapters/ia3.html"),
]
EN = [
    ("learning rate", "comparison.html"),
    ("overfitting", "glossary.html"),
    ("LORA", "mechanism-lora.html"),
    ("IA³", "mechanism-ia3.html"),
    ("ia3", "adapters/ia3.html"),
    ("lora_2", "adapters/lora_2.html"),
]


@pytest.mark.parametrize(
    ("language", "question", "page"), [*(("zh", *item) for item in ZH), *(("en", *item) for item in EN)]
)
def test_a_question_finds_its_page(browser: Browser, site: Path, language: str, question: str, page: str) -> None:
    """From a file, among the first results, all of them in the reader's language; a click leads to the words."""
    with visit(browser, site / f"report/{language}/index.html") as opened:
        opened.page.locator(".search input").fill(question)
        results = opened.page.locator(".search-results a")
        expect(results.first).to_be_visible()
        targets = [str(link.get_attribute("href")) for link in results.all()]
        other = "en" if language == "zh" else "zh"  # the cover, which is in both, is found by the Chinese
        assert not any(f"report/{other}/" in target for target in targets)
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
