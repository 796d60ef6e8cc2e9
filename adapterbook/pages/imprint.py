"""Write the titles, authors, licence and addresses of ``book.yaml`` on cover, menus, footer and PDFs, escaped.

Quarto knows one footer for all pages, so it holds both languages, and the style sheets show the page's language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from adapterbook.common.formatting import Language
from adapterbook.config.book import Book
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import BilingualText
from adapterbook.pages.numbers.provenance import COMMIT_LETTERS, Provenance, format_days
from adapterbook.pages.writing.escape import escape_metadata, escape_text, inline_code

LANGUAGE_TAGS: Final[Mapping[Language, str]] = {"zh": "zh-TW", "en": "en"}
SEPARATOR: Final = " · "


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
    """Return front matter of a combined document: what its cover says, as far as it is known.

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
    # The slash leads Quarto to the site's root from whatever page.
    parts.append(Markup(f'[{label("report_pdf")}](/report-{language}.pdf){{hreflang="{tag}"}}'))
    return f'[{SEPARATOR.join(parts)}]{{.imprint lang="{tag}"}}'


def _gap(language: Language) -> str:
    return "" if language == "zh" else " "
