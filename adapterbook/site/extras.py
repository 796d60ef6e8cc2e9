"""Add files for web servers and search engines to a rendered site: ``404.html``, a sitemap, ``.nojekyll``.

The sitemap takes each page's address and its counterparts from the page's head, so the two never differ.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.site.links import read_start_tags

LOST: Final = "404.html"


def write_extras(folder: Path, website: Mapping[str, Any], cache: Cache = NO_CACHE) -> None:
    """Write the extra files of a site.

    Parameters
    ----------
    folder : Path
        The rendered site.
    website : mapping
        ``website`` of ``_quarto.yml``: ``title``, and ``site-url`` where the address is known.
    """
    (folder / ".nojekyll").touch()  # else GitHub Pages leaves out files whose names begin with an underscore
    base = str(website.get("site-url") or "").rstrip("/")
    if not (folder / LOST).exists():
        title = html.escape(html.unescape(str(website.get("title", ""))))
        home = html.escape(f"{base}/" if base else "./")
        (folder / LOST).write_text(NOT_FOUND.format(title=title, home=home, style=STYLE, policy=POLICY), "utf-8")
    if base:
        (folder / "sitemap.xml").write_text(_render_map(folder, base, cache), "utf-8")
        if not (folder / "robots.txt").exists():
            (folder / "robots.txt").write_text(f"User-agent: *\nAllow: /\n\nSitemap: {base}/sitemap.xml\n", "utf-8")


def _render_map(folder: Path, base: str, cache: Cache) -> str:
    entries = []
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if name == LOST:
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


# A server answers any address with this page, so it refers to no other file; the policy allows its style by its hash.
STYLE: Final = """
:root { color-scheme: light dark; background: Canvas; color: CanvasText; font: 1.1rem/1.7 system-ui, sans-serif; }
body { max-width: 32rem; margin: 20vh auto; padding: 0 1.5rem; }
"""
STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
NOT_FOUND: Final = """<!DOCTYPE html>
<html lang="zh-TW">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>找不到網頁 Not found – {title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>404</h1>
<p>這裡沒有網頁。請<a href="{home}">回到首頁</a>。</p>
<p lang="en">There is no page here. Please <a href="{home}">go to the front page</a>.</p>
</main>
</body>
</html>
"""

MAP: Final = """<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:xhtml="http://www.w3.org/1999/xhtml">
{urls}</urlset>
"""
