"""Write a table from its columns and its rows, with a number and a caption or without."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from adapterbook.pages.tables.cells import NONE, Cells, Column, Row
from adapterbook.pages.writing.escape import as_markup, escape_text
from adapterbook.pages.writing.markdown import keep_one_link, make_table

ExtraRows = Iterable[Sequence[str | None]]


class TableWriter(Cells):
    """Write the tables of one page."""

    def _numbered(
        self, key: str, columns: Sequence[Column], rows: Iterable[Any], *, extra: ExtraRows = (),
        id: str = "", **placeholders: str,
    ) -> Markup:  # fmt: skip
        """Return a table with a number, and its caption in ``phrases.yaml`` with the placeholders filled in."""
        caption = fill_in(self.words.phrases.caption(key, self.words.language), placeholders)
        identifier = f"tbl-{self.tools.page.slug}-{id or key.replace('_', '-')}"
        return self._table(key, columns, rows, extra, caption=caption, id=identifier)

    def _plain(self, columns: Sequence[Column], rows: Iterable[Any], *, extra: ExtraRows = ()) -> Markup:
        """Return a table without a number and a caption."""
        return self._table("", columns, rows, extra)

    def _table(self, key: str, columns: Sequence[Column], rows: Iterable[Any], extra: ExtraRows, **more: str) -> Markup:
        """Return a table; in the PDF, which would grow to twice its size, with one number a row as a link."""
        headings = [column.heading or self.words.heading(column.key, key) for column in columns]
        cells = [[NONE if cell is None else cell for cell in row] for row in (*self._cells(columns, rows), *extra)]
        if self.tools.target == "pdf":
            cells = [keep_one_link(row) for row in cells]
        return make_table(headings, cells, align=[column.align for column in columns], **more)

    def _cells(self, columns: Sequence[Column], rows: Iterable[Any]) -> list[list[str | None]]:
        """Return the cells of rows; a row is a part of the report, or says where in one its fields begin."""
        return [[self._cell(column, row if isinstance(row, Row) else Row(row)) for column in columns] for row in rows]

    def _cell(self, column: Column, row: Row) -> str | None:
        if column.cell is not None:
            return column.cell(self, row.thing)
        return self.value(row, column.field or column.key, column.kind)

    def _facts(self, facts: Mapping[str, str | None]) -> list[Sequence[str | None]]:
        """Return rows of one fact each, by the keys of their headings."""
        return [[self.words.heading(key), value] for key, value in facts.items()]


def fill_in(text: str, values: Mapping[str, str]) -> Markup:
    """Return a text, escaped, with its placeholders filled in.

    Examples
    --------
    >>> fill_in("on {device}*", {"device": "a|b"})
    Markup('on a&#124;b&#42;')
    """
    shown = {str(escape_text(f"{{{name}}}")): as_markup(value) for name, value in values.items()}
    pattern = "|".join(map(re.escape, shown)) or "(?!)"
    return Markup(re.sub(pattern, lambda match: shown[match[0]], escape_text(text)))
