"""Write what the head of a page tells search engines and previews: address, other language, title and picture.

Both renderers take these tags from the page's front matter. Addresses are absolute if ``book.yaml`` gives the site's
address; otherwise only the other language is named, by a relative link. No text from a user can end an attribute or
begin a shortcode.
"""

from __future__ import annotations

import html
import posixpath
from collections.abc import Mapping
from typing import Final

from adapterbook.common.formatting import Language
from adapterbook.config.book import Book
from adapterbook.config.study import BilingualText
from adapterbook.pages.imprint import LANGUAGE_TAGS, both
from adapterbook.pages.outline import PageSpec

COVER: Final = "index.html"
LOCALES: Final[Mapping[Language, str]] = {"zh": "zh_TW", "en": "en_US"}
CARD: Final = "report/figures/{language}/social-card.png"
CARD_SIZE: Final = (1200, 630)  # pixels; what the networks show without cutting
MAX_CARD_ALT: Final = 420  # characters


def page_head(page: PageSpec, language: Language, book: Book, card: BilingualText | None) -> str:
    """Return the tags of a page in one language, a line each.

    Parameters
    ----------
    card : BilingualText or None
        What the picture for previews shows; None where there is no picture.
    """
    own = f"report/{language}/{page.stem}.html"
    counterparts = _counterparts(page.stem)
    if page.stem != "index":
        counterparts["x-default"] = counterparts["en"]
    title, description = page.title.in_language(language), page.description.in_language(language)
    return "\n".join(
        [*_addresses(own, counterparts, book), *_preview(own, title, description, language, "article", book, card)]
    )


def cover_head(book: Book, card: BilingualText | None) -> str:
    """Return the tags of the page that both languages share."""
    title, description = both(book.title), both(book.subtitle)
    return "\n".join(
        [
            *_addresses(COVER, _counterparts("index"), book),
            *_preview(COVER, title, description, "zh", "website", book, card),
        ]
    )


def _counterparts(stem: str) -> dict[str, str]:
    """Return a page in each language, and what serves all others: the cover, where one chooses."""
    pages = {tag: f"report/{language}/{stem}.html" for language, tag in LANGUAGE_TAGS.items()}
    return pages | {"x-default": COVER}


def _addresses(own: str, counterparts: Mapping[str, str], book: Book) -> list[str]:
    if book.site_url is None:
        folder = posixpath.dirname(own)
        links = {tag: posixpath.relpath(href, folder or ".") for tag, href in counterparts.items()}
        canonical = []
    else:
        links = {tag: _address(book.site_url, href) for tag, href in counterparts.items()}
        canonical = [f'<link rel="canonical" href="{_address(book.site_url, own)}">']
    return canonical + [f'<link rel="alternate" hreflang="{tag}" href="{link}">' for tag, link in links.items()]


def _address(site_url: str, href: str) -> str:
    """Return a page's one address: that of its folder for the page that a server shows there."""
    return html.escape(f"{site_url}/{href.removesuffix('index.html') if _is_index(href) else href}")


def _is_index(href: str) -> bool:
    return posixpath.basename(href) == "index.html"


def _preview(
    own: str, title: str, description: str, language: Language, kind: str, book: Book, card: BilingualText | None
) -> list[str]:
    """Return Open Graph's tags, and Twitter's where they differ; none where the address is not known."""
    if book.site_url is None:
        return []
    other: Language = "en" if language == "zh" else "zh"
    properties = {
        "og:type": kind,
        "og:site_name": book.title.in_language(language),
        "og:title": title,
        "og:description": description,
        "og:url": html.unescape(_address(book.site_url, own)),
        "og:locale": LOCALES[language],
        "og:locale:alternate": LOCALES[other],
    }
    if card is not None:
        properties |= {
            "og:image": f"{book.site_url}/{CARD.format(language=language)}",
            "og:image:type": "image/png",
            "og:image:width": str(CARD_SIZE[0]),
            "og:image:height": str(CARD_SIZE[1]),
            "og:image:alt": _cut(card.in_language(language)),
        }
    style = "summary" if card is None else "summary_large_image"
    tags = [f'<meta property="{name}" content="{_attribute(value)}">' for name, value in properties.items()]
    return [*tags, f'<meta name="twitter:card" content="{style}">']


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CARD_ALT else f"{text[: MAX_CARD_ALT - 1].rstrip()}…"


def _attribute(text: str) -> str:
    """Return a text inside quotes, on one line; Quarto would run a shortcode here, too."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    escaped = html.escape(" ".join(clean.split()))
    return escaped.replace("{", "&#123;").replace("}", "&#125;")
