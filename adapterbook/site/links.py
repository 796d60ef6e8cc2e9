"""Looks at a rendered site as a visitor's browser would: every link and anchor, and every request to another host.

Works on the HTML alone, so it holds for both renderers. Repairs nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

__all__ = ["find_site_problems"]

# Attributes that a browser fetches by itself, without a click.
FETCHED: Final = {"src", "srcset", "poster", "data"}
FETCHED_RELS: Final = {"stylesheet", "icon", "preload", "modulepreload", "manifest", "prefetch", "preconnect"}
STYLE_URL: Final = re.compile(r"url\(\s*['\"]?([^'\")]+)")


@dataclass
class _Page(HTMLParser):
    """The ids and the addresses in one page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if name := attributes.get("id"):
            self.ids.add(name)
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and FETCHED_RELS & set(attributes.get("rel", "").split()):
            self.fetched.append(attributes.get("href", ""))
        self.fetched += [attributes[name] for name in FETCHED if attributes.get(name) and tag != "object"]


def find_site_problems(folder: Path) -> list[str]:
    """Return what is wrong with the site in ``folder``, one line each; an empty list for a sound one."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text("utf-8"))
        page.close()
        pages[path.relative_to(folder).as_posix()] = page
    problems = [problem for name in pages for problem in _page_problems(folder, name, pages)]
    for style in sorted(folder.rglob("*.css")):
        for url in STYLE_URL.findall(style.read_text("utf-8")):
            problems += _fetch_problems(folder, style.relative_to(folder).as_posix(), url)
    return problems


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
