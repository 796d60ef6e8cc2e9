"""head.py: what the head of a page tells search engines and previews."""

from __future__ import annotations

import html
import json
from html.parser import HTMLParser

import pytest

from adapterbook.common.formatting import Language
from adapterbook.config.book import Book
from adapterbook.config.study import BilingualText
from adapterbook.pages.head import cover_head, page_head
from adapterbook.pages.outline import PageSpec
from tests.support.factory import HOSTILE_TEXTS

SITE = "https://example.org/book"
CARD = BilingualText(zh="驗證損失先降後升。", en="Validation loss falls, then rises.")


def make_book(site_url: str | None = SITE, title: str = "Title") -> Book:
    """Return a book."""
    return Book(title=both(title), subtitle=both("Subtitle"), site_url=site_url)


def both(text: str) -> BilingualText:
    """Return a text that differs by language."""
    return BilingualText(zh=f"{text} zh", en=f"{text} en")


def make_page(stem: str, title: str = "Page") -> PageSpec:
    """Return a page."""
    return PageSpec(stem, "x.qmd.j2", both(title), both("About"))


class Tags(HTMLParser):
    """Reads links, metadata and data for search engines; anything else is a fault."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.meta: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "link":
            assert set(values) <= {"rel", "hreflang", "href"}
            self.links[values.get("hreflang") or values["rel"]] = values["href"]
        elif tag == "script":
            assert values in ({"type": "application/ld+json"}, {"src": "report/assets/cover.js"})
        else:
            assert tag == "meta"
            assert set(values) in ({"property", "content"}, {"name", "content"})
            self.meta[values.get("property") or values["name"]] = values["content"]

    def handle_data(self, data: str) -> None:
        assert not data.strip() or json.loads(data)["@type"] == "Report"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_of_a_pair_names_the_same_counterparts(language: Language) -> None:
    """Absolute addresses, each its own canonical one; who reads neither language is sent to the English page."""
    tags = Tags(page_head(make_page("adapters/ia3"), language, make_book(), CARD))
    assert tags.links == {
        "canonical": f"{SITE}/report/{language}/adapters/ia3.html",
        "zh-TW": f"{SITE}/report/zh/adapters/ia3.html",
        "en": f"{SITE}/report/en/adapters/ia3.html",
        "x-default": f"{SITE}/report/en/adapters/ia3.html",
    }
    assert tags.meta["og:url"] == tags.links["canonical"]


def test_the_overview_and_the_cover_are_one_cluster() -> None:
    """The cover, where one chooses, serves all other languages; a folder's page has the folder's address."""
    cover = Tags(cover_head(make_book(), CARD))
    overview = Tags(page_head(make_page("index"), "zh", make_book(), CARD))
    counterparts = {"zh-TW": f"{SITE}/report/zh/", "en": f"{SITE}/report/en/", "x-default": f"{SITE}/"}
    assert cover.links == counterparts | {"canonical": f"{SITE}/"}
    assert overview.links == counterparts | {"canonical": f"{SITE}/report/zh/"}
    index_of_notebooks = Tags(page_head(make_page("notebooks/index"), "en", make_book(), CARD))
    assert index_of_notebooks.links["x-default"] == f"{SITE}/report/en/notebooks/"


def test_a_preview_has_title_description_and_picture() -> None:
    """Of the page's language, with the picture's size and what it shows; the cover's title is in both."""
    meta = Tags(page_head(make_page("method"), "zh", make_book(), CARD)).meta
    assert meta == {
        "og:type": "article",
        "og:site_name": "Title zh",
        "og:title": "Page zh",
        "og:description": "About zh",
        "og:url": f"{SITE}/report/zh/method.html",
        "og:locale": "zh_TW",
        "og:locale:alternate": "en_US",
        "og:image": f"{SITE}/report/figures/zh/social-card.png",
        "og:image:type": "image/png",
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": CARD.zh,
        "twitter:card": "summary_large_image",
    }
    cover = Tags(cover_head(make_book(), CARD)).meta
    assert (cover["og:type"], cover["og:title"]) == ("website", "Title zh · Title en")


def test_without_a_picture_none_is_named() -> None:
    """No run has a curve."""
    meta = Tags(page_head(make_page("method"), "en", make_book(), None)).meta
    assert "og:image" not in meta
    assert meta["twitter:card"] == "summary"


def test_without_an_address_only_the_counterparts_are_named() -> None:
    """By links from page to page."""
    tags = Tags(page_head(make_page("adapters/ia3"), "zh", make_book(None), CARD))
    assert tags.meta == {}
    assert tags.links == {
        "zh-TW": "ia3.html", "en": "../../en/adapters/ia3.html", "x-default": "../../en/adapters/ia3.html"
    }  # fmt: skip
    assert Tags(page_head(make_page("index"), "en", make_book(None), CARD)).links["x-default"] == "../../index.html"
    assert Tags(cover_head(make_book(None), CARD)).links["en"] == "report/en/index.html"


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_text_leaves_its_attribute(text: str) -> None:
    """It is read back as it was, on one line; no shortcode, no other tag."""
    head = page_head(make_page("adapters/x", text), "en", make_book(title=text), BilingualText(zh=text, en=text * 40))
    assert "{" not in head
    meta = Tags(head).meta
    shown = " ".join("".join(c if c.isprintable() else " " for c in f"{text} en").split())
    assert meta["og:title"] == html.unescape(html.escape(shown))
    assert meta["og:site_name"] == shown
    assert len(meta["og:image:alt"]) <= 420
