"""Write the search index of one language: a list of sections with their text, as a script.

It is a script, because a page that is opened from a file may not fetch data. site.js searches for substrings: Chinese
has no spaces between words, so a search for whole words would miss most of them. The texts are the page's; site.js
finds ia3 in IA³ and shows IA³. A term of the glossary is a section of its page. Pages that their metadata put into a
`search-group`, such as the notebooks, are folded into one result at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Final

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.site.project import Page

# (link from the site's root, page title, section heading, text, group)
SearchEntry = tuple[str, str, str, str, str]

HEADINGS: Final = frozenset({"h2", "h3", "h4", "h5", "h6"})
SILENT: Final = frozenset({"script", "style", "annotation"})
# In JSON these occur only in texts. Escaped, no text can end a script or one of its lines.
SCRIPT_ESCAPES: Final = {"<": r"\u003c", "\u2028": r"\u2028", "\u2029": r"\u2029"}
# A table's cell that is a mere number: its column's name, which tells what it is, stands far away.
NUMBER: Final = re.compile(r"[\s\d.,:;%/()+±×–−-]*(e[+-]?\d+)?\s*")
INLINE: Final = frozenset({"a", "b", "code", "em", "i", "mark", "span", "strong", "sub", "sup", "mi", "mo", "mn"})


class _Sections(HTMLParser):
    """Collect a page's text, section by section."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: list[tuple[str, list[str], list[str]]] = [("", [], [])]
        self._in_heading = False
        self._in_term = False
        self._n_tables = 0  # that are open
        self._silent = 0
        self._records: list[bool] = []  # of each open <pre>: whether it shows a whole record

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._n_tables += tag == "table"
        if tag == "pre":
            self._records.append("record" in str(attributes.get("class")).split())
        if tag in SILENT or (tag == "pre" and self._records[-1]):
            self._silent += 1
        elif tag in HEADINGS and attributes.get("id"):
            self._begin(str(attributes["id"]))
        elif tag == "dt":
            self._in_term = True
        elif self._in_term and attributes.get("id"):
            self._begin(str(attributes["id"]))
        elif self._in_term and "other-language" in str(attributes.get("class")).split():
            self._add("(")  # the other name of the term
        elif tag not in INLINE:
            self._add(" ")

    def handle_endtag(self, tag: str) -> None:
        self._n_tables -= tag == "table"
        if tag in SILENT or (tag == "pre" and self._records and self._records.pop()):
            self._silent -= 1
        elif tag == "dt":
            if self._in_heading and "(" in self.sections[-1][1]:
                self._add(")")
            self._in_heading = self._in_term = False
        elif tag in HEADINGS:
            self._in_heading = False
        elif tag not in INLINE:
            self._add(" ")

    def handle_data(self, data: str) -> None:
        if not self._n_tables or not NUMBER.fullmatch(data):
            self._add(data)

    def _begin(self, anchor: str) -> None:
        self.sections.append((anchor, [], []))
        self._in_heading = True

    def _add(self, text: str) -> None:
        if not self._silent:
            _, heading, body = self.sections[-1]
            (heading if self._in_heading else body).append(text)


def index_page(href: str, title: str, body: str, group: str = "", cache: Cache = NO_CACHE) -> list[SearchEntry]:
    """Return the sections of one page; ``body`` is its rendered HTML.

    Examples
    --------
    >>> index_page("a.html", "A", '<p>one</p><h2 id="s">Two</h2><p>th&lt;ree</p>')
    [('a.html', 'A', '', 'one', ''), ('a.html#s', 'A', 'Two', 'th<ree', '')]

    A whole record is left out, and so are the numbers of tables: they are on other pages, with their names.

    >>> index_page("a.html", "A", '<pre class="record">{"seed": 1}</pre>2<table><td>2.5%</td><td>x2</td></table>')
    [('a.html', 'A', '', '2 x2', '')]
    >>> glossary = '<dl><dt><b id="t">term</b> <b class="other-language">詞</b></dt><dd>text</dd></dl>'
    >>> index_page("a.html", "A", glossary)[1:]
    [('a.html#t', 'A', 'term (詞)', 'text', '')]
    """
    sections = json.loads(cache.get("search", [body], lambda: json.dumps(_read_sections(body)).encode("utf-8")))
    return [(f"{href}#{anchor}" if anchor else href, title, *texts, group) for anchor, *texts in sections]


def group_of(page: Page) -> str:
    """Return the group in which a page is found, or an empty text."""
    return str(page.metadata.get("search-group") or "")


def _read_sections(body: str) -> list[tuple[str, str, str]]:
    parser = _Sections()
    parser.feed(body)
    parser.close()
    return [(anchor, _tidy(heading), _tidy(text)) for anchor, heading, text in parser.sections]


def render_index(entries: Iterable[SearchEntry]) -> str:
    """Return the script that hands the entries to site.js."""
    data = json.dumps(list(entries), ensure_ascii=False, separators=(",", ":"))
    for char, escaped in SCRIPT_ESCAPES.items():
        data = data.replace(char, escaped)
    return f"window.siteSearchIndex = {data};\n"


def _tidy(pieces: list[str]) -> str:
    return " ".join("".join(pieces).split())
