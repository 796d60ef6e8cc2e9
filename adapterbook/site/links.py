"""Looks at a rendered site as a visitor's browser would: every link and anchor, and every request to another host.

Works on the HTML alone, so it holds for both renderers. Repairs nothing.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from adapterbook.common.cache import NO_CACHE, Cache

# Attributes that a browser fetches by itself, without a click.
FETCHED: Final = {"src", "srcset", "poster", "data"}
FETCHED_RELS: Final = {"stylesheet", "icon", "preload", "modulepreload", "manifest", "prefetch", "preconnect"}
STYLE_URL: Final = re.compile(r"url\(\s*['\"]?([^'\")]+)")


@dataclass(frozen=True)
class _Page:
    """The ids and the addresses in one page, each once."""

    ids: frozenset[str]
    links: tuple[str, ...]
    fetched: tuple[str, ...]


class _Reader(HTMLParser):
    """Collects what a page holds."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: dict[str, None] = {}
        self.links: dict[str, None] = {}
        self.fetched: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if name := attributes.get("id"):
            self.ids[name] = None
        if tag == "a" and "href" in attributes:
            self.links[attributes["href"]] = None
        if tag == "link" and FETCHED_RELS & set(attributes.get("rel", "").split()):
            self.fetched[attributes.get("href", "")] = None
        self.fetched |= {attributes[name]: None for name in FETCHED if attributes.get(name) and tag != "object"}


def find_site_problems(folder: Path, cache: Cache = NO_CACHE) -> list[str]:
    """Return what is wrong with the site in ``folder``, one line each; an empty list for a sound one."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path.relative_to(folder).as_posix()] = _read_page(path.read_bytes(), cache)
    problems = [problem for name in pages for problem in _page_problems(folder, name, pages)]
    for style in sorted(folder.rglob("*.css")):
        for url in STYLE_URL.findall(style.read_text("utf-8")):
            problems += _fetch_problems(folder, style.relative_to(folder).as_posix(), url)
    return problems


def _read_page(html: bytes, cache: Cache) -> _Page:
    ids, links, fetched = json.loads(cache.get("links", [html], lambda: _collect(html)))
    return _Page(frozenset(ids), tuple(links), tuple(fetched))


def _collect(html: bytes) -> bytes:
    reader = _Reader()
    reader.feed(html.decode("utf-8"))
    reader.close()
    return json.dumps([list(reader.ids), list(reader.links), list(reader.fetched)]).encode("utf-8")


def _page_problems(folder: Path, name: str, pages: dict[str, _Page]) -> Iterator[str]:
    page = pages[name]
    for url in page.fetched:
        yield from _fetch_problems(folder, name, url)
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or link in ("", "#"):
            continue
        target = _resolve(name, parts.path)
        if (folder / target).is_dir():
            target = posixpath.normpath(f"{target}/index.html")
        if not (folder / target).is_file():
            yield f"{name}: link to {link}: no such file in the site"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
            yield f"{name}: link to {link}: {target} has no id {unquote(parts.fragment)}"


def _fetch_problems(folder: Path, name: str, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.scheme == "data" or not url:
        return
    if parts.scheme or parts.netloc or url.startswith("/"):
        yield f"{name}: {url} is fetched from another host or from the server's root; the site has to hold it"
    elif not (folder / _resolve(name, parts.path)).is_file():
        yield f"{name}: {url} is not in the site"


def _resolve(name: str, path: str) -> str:
    """Return what a relative path on page ``name`` means, from the site's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path))) if path else name
