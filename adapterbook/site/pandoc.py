"""Calls pandoc, as a program, and reads its answers.

The only module that knows where pandoc is and which Markdown we speak: pandoc's own, as Quarto reads it. It renders
nothing by itself and keeps no state.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from adapterbook.errors import RenderError

__all__ = ["Element", "each_element", "flatten_text", "pandoc_version", "parse_markdown", "plain_title", "run_pandoc"]

# A page takes a tenth of a second; this is for a machine that is busy with other things.
TIME_LIMIT_S: Final = 120

# Pandoc has no Chinese for "Abstract", a word that no page of ours shows.
HARMLESS: Final = re.compile(r"Could not load translations|data file translations/|has no translation defined")

# A node of pandoc's JSON: {"t": "Para", "c": [...]}.
Element = dict[str, Any]


@cache
def find_pandoc() -> str:
    """Return the path of pandoc: the one that ``pypandoc-binary`` ships, else the one on the PATH."""
    import pypandoc  # knows where its wheel put the program

    try:
        return str(pypandoc.get_pandoc_path())
    except OSError as error:
        if found := shutil.which("pandoc"):
            return found
        raise RenderError("pandoc was not found: pip install pypandoc-binary, or put pandoc 3.9 on the PATH") from error


@cache
def pandoc_version() -> str:
    """Return pandoc's version, such as ``"3.9"``."""
    answer = subprocess.run([find_pandoc(), "--version"], capture_output=True, text=True, encoding="utf-8", check=True)
    return answer.stdout.split()[1]


def run_pandoc(text: str, arguments: Sequence[str], *, page: str, reader: str = "markdown") -> str:
    """Return what pandoc writes for ``text``.

    Parameters
    ----------
    text : str
        Pandoc Markdown, with its front matter.
    arguments : sequence of str
        Beside ``--from``, ``--sandbox`` and ``--wrap=none``, which are always given.
    page : str
        How an error message calls the text.
    reader : str
        The input format.

    Raises
    ------
    RenderError
        If pandoc fails, or warns: TeX that it cannot convert, for one, would show as source code on the page.
    """
    command = [find_pandoc(), f"--from={reader}", "--sandbox", "--wrap=none", *arguments]
    try:
        answer = subprocess.run(
            command, input=text, capture_output=True, text=True, encoding="utf-8", check=False, timeout=TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise RenderError(f"{page}: pandoc was not done after {TIME_LIMIT_S} s and was stopped") from error
    complaints = [line for line in answer.stderr.splitlines() if line.strip() and not HARMLESS.search(line)]
    if answer.returncode != 0 or complaints:
        raise RenderError(
            f"{page}: pandoc could not convert it:", complaints or [f"pandoc ended with {answer.returncode}"]
        )
    return answer.stdout


@lru_cache(maxsize=1024)
def parse_markdown(text: str, *, page: str) -> Element:
    """Return pandoc's document tree of ``text``: ``{"meta": {...}, "blocks": [...]}``.

    Remembered, since the check and the rendering both need it: nobody may change it.
    """
    tree: Element = json.loads(run_pandoc(text, ["--to=json"], page=page))
    return tree


@lru_cache(maxsize=1024)
def plain_title(text: str, *, page: str) -> str:
    """Return a title as plain text: its Markdown is read, HTML in it is text."""
    if not set(text) & set("<\\*_`[&$^~@\"'"):
        return text  # most titles: nothing in it means anything to Markdown
    tree: Element = json.loads(run_pandoc(text, ["--to=json"], page=page, reader="markdown-raw_html-native_spans"))
    return flatten_text(tree["blocks"]).strip()


def flatten_text(node: object) -> str:
    """Return the plain text of a piece of pandoc's tree, as a title or a caption reads.

    Examples
    --------
    >>> flatten_text([{"t": "Str", "c": "a"}, {"t": "Space"}, {"t": "Emph", "c": [{"t": "Str", "c": "b"}]}])
    'a b'
    """
    return "".join(_text_pieces(node))


def _text_pieces(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for child in node:
            yield from _text_pieces(child)
    elif isinstance(node, dict):
        kind, content = node.get("t"), node.get("c")
        if kind in ("Space", "SoftBreak", "LineBreak"):
            yield " "
        elif kind in ("Code", "RawInline", "Math", "Link", "Image", "Span", "Quoted") and isinstance(content, list):
            # The first part is attributes, a format or a kind of quotation; a link's last is its target.
            yield from _text_pieces(content[1])
        elif kind != "Note":
            yield from _text_pieces(content)


def each_element(node: object) -> Iterable[Element]:
    """Yield every element of a tree in document order, parents first."""
    if isinstance(node, list):
        for child in node:
            yield from each_element(child)
    elif isinstance(node, dict):
        if "t" in node:
            yield node
        yield from each_element(node.get("c"))
