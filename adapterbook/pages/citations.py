"""Give a page the list of the works that it cites, and say how the report itself is cited.

A template cites a work as ``[@hu_2021]``, by its key in ``templates/references.bib``. Both renderers make the citation
and the list with pandoc's citeproc. A study's own ``references.bib`` adds works to the shared file, or replaces some.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from adapterbook.common.errors import RenderError
from adapterbook.common.formatting import Language
from adapterbook.config.book import Book
from adapterbook.pages.numbers.provenance import Provenance
from adapterbook.pages.scripts import json_in_script
from adapterbook.pages.writing.escape import html_attribute

BIBLIOGRAPHY: Final = "references.bib"
STYLES: Final[Mapping[Language, str | None]] = {"zh": "references-zh.csl", "en": None}  # None: pandoc's own
# Where citeproc puts the list of works.
WORKS: Final = Markup("::: {#refs}\n:::")
ENTRY: Final = re.compile(r"^(?=@)", re.MULTILINE)
KEY: Final = re.compile(r"@\w+\s*\{\s*([^\s,]+)\s*,")
# Front matter and code, which cite nothing.
NO_PROSE: Final = re.compile(r"\A---\n.*?^---$|^(```+|~~~+).*?^\1|`[^`\n]*`", re.DOTALL | re.MULTILINE)
CITED: Final = re.compile(r"\[[^\][]*@[^\][]*\]")
CITED_KEY: Final = re.compile(r"(?<![\w@])@(?!(?:fig|tbl|eq|sec|lst)-)(\w[\w:.-]*\w)")
NAME_BREAK: Final = re.compile(r"\s*(?:[、，,;；&]|\band\b)\s*")
ACTIVE_IN_BIBTEX: Final = re.compile(r"[\\{}%#$&_~^]")
# What a backslash would make of these characters is something else: a new line, an accent.
BIBTEX_WORDS: Final[Mapping[str, str]] = {
    "\\": r"{\textbackslash}", "~": r"{\textasciitilde}", "^": r"{\textasciicircum}"
}  # fmt: skip


class Bibliography:
    """Hold the entries of the works that can be cited, by their keys, and the files that a style needs."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.entries: dict[str, str] = {}
        for folder in reversed(folders):
            path = folder / BIBLIOGRAPHY
            self.entries |= _read_entries(path.read_text("utf-8")) if path.is_file() else {}
        self.styles = {
            name: next(path for folder in folders if (path := folder / name).is_file()).read_text("utf-8")
            for name in STYLES.values()
            if name is not None
        }

    def files(self) -> dict[str, str]:
        """Return the files that pages with citations name, by their names."""
        return {BIBLIOGRAPHY: "\n".join(self.entries.values()), **self.styles}

    def cited(self, text: str) -> list[str]:
        """Return the keys of the works that a page cites, sorted.

        Raises
        ------
        RenderError
            If one is not in the bibliography.
        """
        groups = CITED.findall(NO_PROSE.sub("", text))
        keys = sorted({key for group in groups for key in CITED_KEY.findall(group)})
        unknown = [f"@{key} is not in templates/{BIBLIOGRAPHY}; add it, or mend the key" for key in keys
                   if key not in self.entries]  # fmt: skip
        if unknown:
            raise RenderError("Works are cited that the bibliography lacks:", unknown)
        return keys

    def fields(self, language: Language, folder: str, also: Iterable[str] = ()) -> dict[str, Any]:
        """Return front matter of a page with citations; `folder` leads to that of the files, `also` is listed, too."""
        style = STYLES[language]
        listed = ", ".join(f"@{key}" for key in also)
        return {
            "bibliography": f"{folder}{BIBLIOGRAPHY}",
            **({} if style is None else {"csl": f"{folder}{style}"}),
            "link-citations": True,
            **({"nocite": Markup(listed)} if listed else {}),
        }


def _read_entries(text: str) -> dict[str, str]:
    """Return the entries of BibTeX by their keys; each begins on a line that starts with an @."""
    return {match[1]: entry for entry in ENTRY.split(text) if (match := KEY.match(entry))}


@dataclass(frozen=True)
class ReportCitation:
    """Hold what a citation of the report names; ``year`` and ``date`` are those of its last run."""

    title: str
    subtitle: str
    authors: tuple[str, ...]
    date: str | None
    year: str | None
    address: str | None
    pdf: str | None
    licence: str | None

    @property
    def bibtex(self) -> str:
        """Return the entry for a bibliography; braces do not open two at once, where Quarto looks for shortcodes."""
        fields = {
            "author": " and ".join(f"{{{_bibtex(name)}}}" for name in self.authors) or None,
            "title": f"{{{_bibtex(self.title)}}}: {_bibtex(self.subtitle)}",
            "year": self.year,
            "url": self.address,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value is not None]
        return re.sub(r"\{(?=\{)", "{ ", "\n".join(["@misc{report,", *lines, "}"]))

    def tags(self, tag: str) -> list[str]:
        """Return what search engines and programs for references read in a page's head."""
        facts = [
            ("title", self.title), *(("author", name) for name in self.authors),
            ("publication_date", self.date and self.date.replace("-", "/")), ("language", tag),
            ("public_url", self.address), ("pdf_url", self.pdf),
        ]  # fmt: skip
        data = {
            "@context": "https://schema.org", "@type": "Report", "name": self.title, "description": self.subtitle,
            "inLanguage": tag, "author": [{"@type": "Person", "name": name} for name in self.authors],
            "datePublished": self.date, "url": self.address, "license": self.licence,
            "encoding": self.pdf and {"@type": "MediaObject", "contentUrl": self.pdf,
                                      "encodingFormat": "application/pdf"},
        }  # fmt: skip
        known = {name: value for name, value in data.items() if value}
        metas = [f'<meta name="citation_{name}" content="{html_attribute(value)}">' for name, value in facts if value]
        return [*metas, f'<script type="application/ld+json">{json_in_script(known)}</script>']


def cite_report(book: Book, language: Language, origin: Provenance | None) -> ReportCitation:
    """Return how the report is cited in a language, as far as ``book.yaml`` and the records say."""
    author = None if book.author is None else book.author.in_language(language)
    date = None if origin is None else origin.last.isoformat()
    site = book.site_url
    return ReportCitation(
        title=_on_one_line(book.title.in_language(language)),
        subtitle=_on_one_line(book.subtitle.in_language(language)),
        authors=tuple(_on_one_line(name) for name in NAME_BREAK.split(author or "") if name),
        date=date,
        year=date and date[:4],
        address=book.repository if site is None else f"{site}/report/{language}/",
        pdf=None if site is None else f"{site}/report-{language}.pdf",
        licence=book.licence_url,
    )


def _on_one_line(text: str) -> str:
    """Return a text without line breaks, and with U+FFFD for each control character."""
    return "".join("\ufffd" if unicodedata.category(char) == "Cc" else char for char in " ".join(text.split()))


def _bibtex(text: str) -> str:
    return ACTIVE_IN_BIBTEX.sub(lambda match: BIBTEX_WORDS.get(match[0], f"\\{match[0]}"), text)
