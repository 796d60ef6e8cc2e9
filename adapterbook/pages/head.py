"""Write a page's metadata: for search engines and previews in its head, for readers in its footer.

Both renderers take the tags from the page's front matter. Addresses are absolute if ``book.yaml`` gives the site's
address; otherwise only the other language is named, by a relative link. No text from a user can end an attribute or
begin a shortcode.
"""

from __future__ import annotations

import html
import posixpath
from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from adapterbook.common.formatting import Language
from adapterbook.config.book import Book
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import BilingualText
from adapterbook.pages.citations import cite_report
from adapterbook.pages.numbers.provenance import COMMIT_LETTERS, Provenance, format_days
from adapterbook.pages.outline import PageSpec
from adapterbook.pages.writing.escape import escape_metadata, escape_text, html_attribute, inline_code

LANGUAGE_TAGS: Final[Mapping[Language, str]] = {"zh": "zh-TW", "en": "en"}
SEPARATOR: Final = " · "
LICENCES: Final = "report/assets/licences.txt"  # of the fonts and programs that the site ships


def both(text: BilingualText) -> str:
    """Return a text for a place that both languages share: once, where it is the same in both.

    Examples
    --------
    >>> both(BilingualText(zh="甲", en="A")), both(BilingualText(zh="A", en="A"))
    ('甲 · A', 'A')
    """
    return text.zh if text.zh == text.en else f"{text.zh}{SEPARATOR}{text.en}"


def signature(book: Book, language: Language) -> list[str]:
    """Return author and course, so far as they are known."""
    return [text.in_language(language) for text in (book.author, book.course) if text is not None]


def commit_link(book: Book, commit: str) -> Markup:
    """Return a commit's first letters, a link where it is known how the repository shows a commit."""
    shown, address = inline_code(commit[:COMMIT_LETTERS]), book.address_of_commit(commit)
    return shown if address is None else Markup(f"[{shown}]({address})")


def document_fields(book: Book, language: Language, origin: Provenance | None = None) -> dict[str, Any]:
    """Return front matter of a combined document: the texts of its cover, as far as they are known.

    ``runs`` are the days of the runs as the language writes them; ``last-run`` is for programs.
    """
    texts = {
        "title": book.title,
        "subtitle": book.subtitle,
        "author": book.author,
        "course": book.course,
        "licence": book.licence,
    }
    fields = {name: escape_metadata(text.in_language(language)) for name, text in texts.items() if text is not None}
    if book.site_url is not None:
        fields["site-url"] = escape_metadata(book.site_url)
    if origin is not None:
        fields["runs"] = escape_metadata(format_days(origin.first, origin.last, language))
        fields["last-run"] = Markup(origin.last.isoformat())
    return fields


def page_footer(book: Book, phrases: Phrases) -> dict[str, str]:
    """Return the foot of every page: the part of each language, with its PDF."""
    return {"left": _footer_part(book, phrases, "zh"), "right": _footer_part(book, phrases, "en")}


def _footer_part(book: Book, phrases: Phrases, language: Language) -> str:
    def label(key: str) -> Markup:
        return escape_text(phrases.text("labels", key, language))

    parts = [escape_text(text) for text in signature(book, language)]
    if book.licence is not None:
        licence = escape_text(book.licence.in_language(language))
        linked = licence if book.licence_url is None else Markup(f"[{licence}]({book.licence_url})")
        parts.append(label("text_licence") + _gap(language) + linked)
    if book.repository is not None:
        parts.append(Markup(f"[{label('source_code')}]({book.repository})"))
    tag = LANGUAGE_TAGS[language]
    parts.append(Markup(f'[{label("licences")}](/{LICENCES}){{hreflang="en"}}'))
    # With the slash, Quarto starts at the site's root on every page.
    parts.append(Markup(f'[{label("report_pdf")}](/report-{language}.pdf){{hreflang="{tag}"}}'))
    return f'[{SEPARATOR.join(parts)}]{{.imprint lang="{tag}"}}'


def _gap(language: Language) -> str:
    return "" if language == "zh" else " "


COVER: Final = "index.html"
COVER_SCRIPT: Final = "report/assets/cover.js"
LOCALES: Final[Mapping[Language, str]] = {"zh": "zh_TW", "en": "en_US"}
CARD: Final = "report/figures/{language}/social-card.png"
CARD_SIZE: Final = (1200, 630)  # pixels; social networks show this size without cropping
MAX_CARD_ALT: Final = 420  # characters


def page_head(
    page: PageSpec, language: Language, book: Book, card: BilingualText | None, origin: Provenance | None = None
) -> str:
    """Return the tags of a page in one language, a line each; the first page says how the report is cited.

    Parameters
    ----------
    card : BilingualText or None
        What the picture for previews shows; None where there is no picture.
    origin : Provenance, optional
        Of the report's runs; the report is as old as the last.
    """
    own = f"report/{language}/{page.stem}.html"
    counterparts = _counterparts(page.stem)
    if page.stem != "index":
        counterparts["x-default"] = counterparts["en"]
    title = (page.heading or page.title).in_language(language)
    description = page.description.in_language(language)
    tags = [*_addresses(own, counterparts, book), *_preview(own, title, description, language, "article", book, card)]
    if page.stem == "index":
        tags += cite_report(book, language, origin).tags(LANGUAGE_TAGS[language])
    return "\n".join(tags)


def cover_head(book: Book, card: BilingualText | None, origin: Provenance | None = None) -> str:
    """Return the tags of the page that both languages share."""
    title, description = both(book.title), both(book.subtitle)
    return "\n".join(
        [
            *_addresses(COVER, _counterparts("index"), book),
            *_preview(COVER, title, description, "zh", "website", book, card),
            *cite_report(book, "zh", origin).tags(LANGUAGE_TAGS["zh"]),
            f'<script src="{COVER_SCRIPT}"></script>',  # without defer: no language shall flash up before it is hidden
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
    tags = [f'<meta property="{name}" content="{html_attribute(value)}">' for name, value in properties.items()]
    return [*tags, f'<meta name="twitter:card" content="{style}">']


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CARD_ALT else f"{text[: MAX_CARD_ALT - 1].rstrip()}…"
