"""Rows of cells → a Pandoc pipe table with a caption and an identifier.

Owns the widths: pandoc takes the dashes of a long pipe table as the relative widths of its columns, and our cells are
long in source (each number carries its origin) while short on the page. Refuses rows of unequal length.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from adapterbook.pages.writing.escape import escape_text

ATTRIBUTES: Final = re.compile(r"(?<=[\])`])\{[^{}]*\}")
LINK_TARGET: Final = re.compile(r"(?<=\])\([^()]*\)")
LINKED_NUMBER: Final = re.compile(r"\[(\[[^\][]*\]\{\.n [^{}]*\})\]\([^()]*\)")
MARKS: Final = re.compile(r"[\[\]`*]")
ESCAPED_BRACE, CLOSING_BRACE, WORD_JOINER = "&#123;", "&#125;", "&#8288;"
MIN_WIDTH, MAX_WIDTH = 4, 44
RULES: Final = {"l": (":", ""), "r": ("", ":"), "c": (":", ":"), "-": ("", "")}


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[str], caption: str = "", id: str = ""
) -> Markup:
    """Return a pipe table.

    Parameters
    ----------
    columns : sequence of str
        Headings. A ``str`` is escaped, ``Markup`` is taken as it is; so are the cells.
    rows : sequence of rows
        Each with as many cells as there are columns.
    align : str or sequence of str
        One letter a column: ``l``, ``r``, ``c``, or ``-`` for what the style sheet says.
    caption, id : str
        Without an identifier (``tbl-…``) the table has no number, without a caption no line below it. Quarto cuts a
        caption at its first brace, escaped or not, where it stands in a line ``: caption {#tbl-x}``: such a one is
        written as the last paragraph of a Div.

    Raises
    ------
    ValueError
        If a row or ``align`` has another number of columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a table of {len(columns)} columns has a row of {len(row)}: {list(row)!r}")
    if len(align) != len(columns):
        raise ValueError(f"a table of {len(columns)} columns has the alignment {align!r}")
    cells = [[_cell(cell) for cell in row] for row in (columns, *rows)]
    widths = [min(max(MIN_WIDTH, *(visible_width(row[i]) for row in cells)), MAX_WIDTH) for i in range(len(columns))]
    rule = [
        RULES[letter][0] + "-" * (width - sum(map(len, RULES[letter]))) + RULES[letter][1]
        for letter, width in zip(align, widths, strict=True)
    ]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + "|".join(rule) + "|")
    text = "\n".join(lines)
    shown = _cell(caption)
    if shown.endswith(CLOSING_BRACE):
        shown += WORD_JOINER  # else Quarto takes what stands in the braces for the caption's attributes
    if id and ESCAPED_BRACE in shown:
        text = f"::: {{#{id}}}\n{text}\n\n{shown}\n:::"
    elif caption or id:
        text += f"\n\n: {shown}{f' {{#{id}}}' if id else ''}"
    return Markup(text)


def keep_one_link(row: Sequence[str]) -> list[str]:
    """Return a row in which the first number that is a link stays one, and the others are numbers alone.

    Examples
    --------
    >>> keep_one_link(["a", Markup('[[1]{.n data-run="r"}](u#x)'), Markup('[[2]{.n data-run="r"}](u#y)')])
    ['a', Markup('[[1]{.n data-run="r"}](u#x)'), Markup('[2]{.n data-run="r"}')]
    """
    n_seen = 0

    def shown(match: re.Match[str]) -> str:
        nonlocal n_seen
        n_seen += 1
        return match[0] if n_seen == 1 else match[1]

    return [Markup(LINKED_NUMBER.sub(shown, cell)) if isinstance(cell, Markup) else cell for cell in row]


def visible_width(cell: str) -> int:
    """Return how wide a cell is on the page, in Latin letters; a Chinese character takes two.

    Examples
    --------
    >>> visible_width('[93.8%]{.n data-run="lora_1"}')
    5
    >>> visible_width('[[93.8%]{.n data-run="lora_1"}](../notebooks/lora_1.qmd#r-test-accuracy)')
    5
    >>> visible_width("準確率")
    6
    """
    text = html.unescape(MARKS.sub("", LINK_TARGET.sub("", ATTRIBUTES.sub("", cell))))
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _cell(cell: str) -> str:
    """Return a cell on one line; a line break would end the table."""
    text = cell if isinstance(cell, Markup) else escape_text(cell)
    return " ".join(str(text).split("\n")).strip()
