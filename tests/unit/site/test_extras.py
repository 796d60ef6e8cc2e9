"""Test the sitemap and the other files for servers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from adapterbook.site import build_site
from adapterbook.site.extras import write_extras
from tests.support.site_sample import write_sample

MAP = {"m": "http://www.sitemaps.org/schemas/sitemap/0.9", "x": "http://www.w3.org/1999/xhtml"}
HEAD = """<!DOCTYPE html><html><head><title>x</title>
<link rel="canonical" href="https://example.org/book/{own}">
<link rel="alternate" hreflang="zh-TW" href="https://example.org/book/zh/a&amp;b.html">
<link rel="alternate" hreflang="en" href="https://example.org/book/en/a&amp;b.html">
</head><body><link rel="canonical" href="https://example.org/book/never"></body></html>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a site of four pages: a pair, one that names no address, one that names another site's."""
    pages = {
        "zh/a&b.html": HEAD.format(own="zh/a&amp;b.html"),
        "en/a&b.html": HEAD.format(own="en/a&amp;b.html"),
        "index.html": "<!DOCTYPE html><title>x</title>",
        "other.html": '<head><link rel="canonical" href="https://elsewhere.example/"></head>',
    }
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_the_map_repeats_what_the_pages_say(folder: Path) -> None:
    """The sitemap has each page once, at its own address, with its counterparts, and only addresses of this site."""
    write_extras(folder, {"title": "Book", "site-url": "https://example.org/book/"})
    root = ET.parse(folder / "sitemap.xml").getroot()
    assert {url.findtext("m:loc", None, MAP) for url in root} == {
        "https://example.org/book/zh/a&b.html",
        "https://example.org/book/en/a&b.html",
        "https://example.org/book/index.html",
        "https://example.org/book/other.html",
    }
    links = [(link.get("hreflang"), link.get("href")) for link in root.iterfind("m:url/x:link", MAP)]
    assert links == 2 * [
        ("zh-TW", "https://example.org/book/zh/a&b.html"),
        ("en", "https://example.org/book/en/a&b.html"),
    ]
    assert "Sitemap: https://example.org/book/sitemap.xml" in (folder / "robots.txt").read_text("utf-8")
    assert (folder / ".nojekyll").read_bytes() == b""


def test_without_an_address_there_is_no_map(folder: Path) -> None:
    """Without an address the site has no sitemap and no robots.txt, but .nojekyll."""
    write_extras(folder, {})
    assert not (folder / "sitemap.xml").exists()
    assert not (folder / "robots.txt").exists()
    assert (folder / ".nojekyll").is_file()


def test_what_the_project_brings_stays(folder: Path) -> None:
    """The project's own robots.txt is not overwritten."""
    (folder / "robots.txt").write_text("own", "utf-8")
    write_extras(folder, {"site-url": "https://example.org/book"})
    assert (folder / "robots.txt").read_text("utf-8") == "own"


def test_a_site_is_built_with_them(tmp_path: Path) -> None:
    """With website.site-url every page is in the map."""
    root = write_sample(tmp_path)
    with (root / "report/_navigation.yml").open("a", encoding="utf-8") as file:
        file.write('  site-url: "https://example.org/book/"\n')
    build_site(root, "embedded", say=lambda line: None)
    assert len(ET.parse(root / "_site/sitemap.xml").getroot()) == 7
