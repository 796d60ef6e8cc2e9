"""Turn an executed notebook into the body of a page, in one language.

The tags of a cell (``metadata.tags``) name the languages that show it. A notebook under ``results/`` is not trusted:
its prose counts as Markdown only if the project's notebook has the same prose, and its outputs are shown as plain text.
Images and HTML outputs are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

from adapterbook.common.errors import RenderError
from adapterbook.common.formatting import Language
from adapterbook.common.privacy import rename_folders
from adapterbook.common.strict import read_limited
from adapterbook.pages.writing.escape import python_block, raw_html_code

ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]")
HEADING: Final = re.compile(r"^(#{1,5}) (.*[^}\s])[ \t]*$", re.MULTILINE)
FENCE: Final = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[ \t]*$)", re.MULTILINE | re.DOTALL)
# Pages link to the cell in which a run failed by this anchor.
FAILED_CELL: Final = "failed-cell"
# In characters. A page with more is slow to load, and it links to the notebook file, which has all of it.
MAX_OUTPUT: Final = 20_000
LONGER: Final = {
    "zh": "…（其餘 {n:,} 個字元請見 notebook 檔案）",
    "en": "… ({n:,} more characters are in the notebook file)",
}


def prose_of(notebook: Path) -> frozenset[str]:
    """Return the Markdown cells of the project's own notebook; empty if there is no such cell."""
    return frozenset(_source(cell) for cell in _cells(notebook) if cell.get("cell_type") == "markdown")


def notebook_body(
    notebook: Path,
    language: Language,
    *,
    trusted: Collection[str],
    hidden: Mapping[str, str],
    failed_cell: int | None = None,
) -> str | None:
    """Return an executed notebook as Pandoc Markdown, or ``None`` if it cannot be read.

    Parameters
    ----------
    trusted : collection of str
        Sources of the Markdown cells that may act as Markdown, from ``prose_of``.
    hidden : mapping of str to str
        Folders of this machine, each with the name that a reader sees instead.
    failed_cell : int, optional
        Index of the cell that gets the anchor ``FAILED_CELL``. If there are fewer cells, the anchor goes to the end.
    """
    try:
        cells = _cells(notebook)
    except RenderError:
        return None
    parts: list[str] = []
    numbers = count(1)
    for index, cell in enumerate(cells):
        source = _source(cell)
        if index == failed_cell:
            parts.append(_anchor())
        if not source.strip() or not _is_for(cell, language):
            continue
        if cell.get("cell_type") == "code":
            parts.append(python_block(rename_folders(source, hidden)))
            parts += [_output(text, language, kind) for kind, text in _outputs(cell, hidden)]
        elif cell.get("cell_type") == "markdown" and source in trusted:
            parts.append(_shift_headings(source, numbers))
        else:
            parts.append(raw_html_code(rename_folders(source, hidden), css_class="prose"))
    if failed_cell is not None and failed_cell >= len(cells):
        parts.append(_anchor())
    return "\n\n".join(parts)


def _anchor() -> str:
    return f'```{{=html}}\n<span id="{FAILED_CELL}"></span>\n```'


def _cells(notebook: Path) -> list[dict[str, Any]]:
    try:
        cells = json.loads(read_limited(notebook))["cells"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RenderError(f"{notebook.name} is not a readable notebook: {error!r}; run `make train`") from error
    return [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []


def _source(cell: Mapping[str, Any]) -> str:
    return _text(cell.get("source"))


def _text(value: object) -> str:
    """Return nbformat's text: one string, or a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _is_for(cell: Mapping[str, Any], language: Language) -> bool:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
    languages = {tag for tag in tags or () if tag in ("zh", "en")}
    return not languages or language in languages


def _outputs(cell: Mapping[str, Any], hidden: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return a cell's outputs as pairs of kind and text; neighbours of the same kind are joined."""
    shown: list[tuple[str, str]] = []
    for output in cell.get("outputs") or ():
        kind, text = _output_text(output) if isinstance(output, Mapping) else ("", "")
        if shown and shown[-1][0] == kind:
            shown[-1] = (kind, shown[-1][1] + text)
        elif text:
            shown.append((kind, text))
    cleaned = [(kind, rename_folders(_as_terminal(text), hidden)) for kind, text in shown]
    return [(kind, text) for kind, text in cleaned if text.strip()]


def _output_text(output: Mapping[str, Any]) -> tuple[str, str]:
    kind = output.get("output_type")
    if kind == "stream":
        return ("error" if output.get("name") == "stderr" else "text"), _text(output.get("text"))
    if kind == "error":
        traceback = output.get("traceback")
        lines = [str(line) for line in traceback] if isinstance(traceback, list) else []
        return "error", "\n".join(lines) or f"{output.get('ename')}: {output.get('evalue')}"
    data = output.get("data")
    return "text", _text(data.get("text/plain")) if isinstance(data, Mapping) else ""


def _as_terminal(text: str) -> str:
    """Remove colours and overwritten progress bars, so that the text is what a terminal shows at the end."""
    lines = ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines).rstrip()


def _output(text: str, language: Language, kind: str) -> str:
    if len(text) > MAX_OUTPUT:
        text = text[:MAX_OUTPUT] + "\n" + LONGER[language].format(n=len(text) - MAX_OUTPUT)
    return raw_html_code(text, css_class="cell-output" if kind == "text" else "cell-output cell-output-error")


def _shift_headings(source: str, numbers: Iterator[int]) -> str:
    """Lower each heading by one level, because only the page's title has level 1.

    Each heading's id is its number on the page. Both languages have the same numbers, so the switch leads to the same
    section.
    """

    def shift(match: re.Match[str]) -> str:
        return f"{match[1]}# {match[2]} {{#sec-notebook-{next(numbers)}}}"

    parts = FENCE.split(source)
    return "".join(part if i % 2 else HEADING.sub(shift, part) for i, part in enumerate(parts))
