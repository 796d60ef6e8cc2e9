"""Write ``404.html``, which a server shows for an address without a page, in both languages and the site's style."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.files import write_atomically
from adapterbook.site.font_files import cut_web_font, select_cjk
from adapterbook.site.pandoc import plain_title
from adapterbook.site.project import read_config

NOT_FOUND: Final = "404.html"
GENERATOR: Final = "AdapterBook"
HERE: Final = Path(__file__).parent
FACE: Final = (
    '@font-face {{ font-family: "Report TC"; font-weight: 400 700; src: url("data:font/woff2;base64,{}"); }}\n'
)


def write_not_found(project: Path, cache: Cache = NO_CACHE) -> None:
    """Write ``404.html`` into the project's folder, unless a person wrote one there."""
    path = project / NOT_FOUND
    if path.is_file() and f'content="{GENERATOR}"' not in path.read_text("utf-8", errors="replace"):
        return
    write_atomically(path, render_not_found(project, cache))


def render_not_found(project: Path, cache: Cache = NO_CACHE) -> str:
    """Return the page; it needs no file beside it, and its own scripts are allowed by their hashes."""
    website = read_config(project).get("website") or {}
    address = str(website.get("site-url") or "").rstrip("/")
    theme = (HERE / "embedded" / "theme.js").read_text("utf-8")
    find_home = (HERE / "find_home.js").read_text("utf-8")
    allowed = " ".join(f"'sha256-{_hash(script)}'" for script in (theme, find_home))
    values = {
        "policy": f"default-src 'none'; script-src 'self' {allowed}; style-src 'unsafe-inline'; img-src 'self'; "
        "font-src data:; base-uri 'none'; form-action 'none'",
        "generator": GENERATOR,
        "title": plain_title(str(website.get("title") or ""), page="_quarto.yml: title", cache=cache),
        "home": f"{address}/" if address else "./",
        "icon": str(website.get("favicon") or ""),
        "theme": Markup(theme),
        "find_home": Markup(find_home),
    }
    layout = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (HERE / "not_found.html").read_text("utf-8")
    )
    letters = select_cjk(layout.render(values, style=""))
    font = cut_web_font(letters, cache)
    face = "" if font is None else FACE.format(base64.b64encode(font).decode())
    style = face + (HERE / "embedded" / "site.css").read_text("utf-8")
    return layout.render(values, style=Markup(style))


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
