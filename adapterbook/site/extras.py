"""Add files for web servers and search engines to a rendered site: a sitemap, ``robots.txt``, ``.nojekyll``.

The sitemap takes each page's address and its counterparts from the page's head, so the two never differ.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.site.links import read_start_tags
from adapterbook.site.not_found import NOT_FOUND


def write_extras(folder: Path, website: Mapping[str, Any], cache: Cache = NO_CACHE) -> None:
    """Write the extra files of a site.

    Parameters
    ----------
    folder : Path
        The rendered site.
    website : mapping
        ``website`` of ``_quarto.yml``: ``site-url`` where the address is known.
    """
    (folder / ".nojekyll").touch()  # else GitHub Pages leaves out files whose names begin with an underscore
    base = str(website.get("site-url") or "").rstrip("/")
    if base:
        (folder / "sitemap.xml").write_text(_render_map(folder, base, cache), "utf-8")
        if not (folder / "robots.txt").exists():
            (folder / "robots.txt").write_text(f"User-agent: *\nAllow: /\n\nSitemap: {base}/sitemap.xml\n", "utf-8")


def _render_map(folder: Path, base: str, cache: Cache) -> str:
    entries = []
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if name == NOT_FOUND:
            continue
        page = path.read_bytes()
        canonical, alternates = json.loads(cache.get("head", [page], partial(_read_head, page)))
        address = canonical if canonical.startswith(f"{base}/") else f"{base}/{name}"
        links = "".join(
            f'<xhtml:link rel="alternate" hreflang="{html.escape(tag)}" href="{html.escape(link)}"/>\n'
            for tag, link in alternates.items()
            if link.startswith(f"{base}/")
        )
        entries.append(f"<url>\n<loc>{html.escape(address)}</loc>\n{links}</url>\n")
    return MAP.format(urls="".join(entries))


def _read_head(page: bytes) -> bytes:
    """Return a page's canonical address, and its counterparts by language, as JSON."""
    canonical = ""
    alternates: dict[str, str] = {}
    for tag, attributes in read_start_tags(page.partition(b"</head>")[0].decode("utf-8")):
        rels = attributes.get("rel", "").split() if tag == "link" else []
        if "canonical" in rels:
            canonical = attributes.get("href", "")
        elif "alternate" in rels and attributes.get("hreflang"):
            alternates[attributes["hreflang"]] = attributes.get("href", "")
    return json.dumps([canonical, alternates]).encode()


MAP: Final = """<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:xhtml="http://www.w3.org/1999/xhtml">
{urls}</urlset>
"""
