"""Check every link, anchor and request of a rendered site, as a visitor's browser would follow them.

It reads the HTML, so it works for both renderers. :mod:`.check` checks the pages' sources.
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


def read_start_tags(html: str) -> list[tuple[str, dict[str, str]]]:
    """Return name and attributes of each start tag, in order; an attribute without a value is empty.

    Examples
    --------
    >>> read_start_tags('<p id="a">x &lt; y<a href="b&amp;c" download>z</a>')
    [('p', {'id': 'a'}), ('a', {'href': 'b&c', 'download': ''})]
    """
    reader = _StartTags()
    reader.feed(html)
    reader.close()
    return reader.found


class _StartTags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


# Attributes whose addresses a browser fetches without a click.
FETCHED: Final = {"src", "srcset", "poster", "data"}
FETCHED_RELS: Final = {"stylesheet", "icon", "preload", "modulepreload", "manifest", "prefetch", "preconnect"}
STYLE_URL: Final = re.compile(r"url\(\s*['\"]?([^'\")]+)")


@dataclass(frozen=True)
class _Page:
    """Hold the distinct ids and addresses in one page."""

    ids: frozenset[str]
    links: tuple[str, ...]
    fetched: tuple[str, ...]


def find_site_problems(folder: Path, cache: Cache = NO_CACHE) -> list[str]:
    """Return the problems of the site in ``folder``, a line each; an empty list if there are none."""
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
    """Return the fields of a page's :class:`_Page` as JSON."""
    ids: dict[str, None] = {}
    links: dict[str, None] = {}
    fetched: dict[str, None] = {}
    for tag, attributes in read_start_tags(html.decode("utf-8")):
        if name := attributes.get("id"):
            ids[name] = None
        if tag == "a" and "href" in attributes:
            links[attributes["href"]] = None
        if tag == "link" and FETCHED_RELS & set(attributes.get("rel", "").split()):
            fetched[attributes.get("href", "")] = None
        fetched |= {attributes[name]: None for name in FETCHED if attributes.get(name) and tag != "object"}
    return json.dumps([list(ids), list(links), list(fetched)]).encode("utf-8")


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
    """Return a path that is relative to page ``name`` as one relative to the site's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path))) if path else name
