"""Calls pandoc, as a program, and reads its answers.

The only module that knows where pandoc is and which Markdown we speak: pandoc's own, as Quarto reads it. It renders
nothing by itself, and remembers nothing but the trees of the texts that it read.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from adapterbook.errors import RenderError

__all__ = [
    "Element",
    "Job",
    "convert_all",
    "each_element",
    "flatten_text",
    "pandoc_version",
    "parse_all",
    "plain_title",
    "run_pandoc",
]

# A whole report takes seconds; this is for a machine that is busy with other things.
TIME_LIMIT_S: Final = 120

# Pandoc has no Chinese for "Abstract", a word that no page of ours shows; and what is raw for one format is left out
# of others on purpose.
HARMLESS: Final = re.compile(
    r"Could not load translations|data file translations/|has no translation defined|^Not rendering Raw(Block|Inline) "
)
# What stands before the words of a filter.
ORIGIN: Final = re.compile(r"^(\[WARNING\] )?(Scripting warning at .*? line \d+ column \d+: )?")

# Runs many conversions in one process.
CONVERTER: Final = Path(__file__).with_name("convert.lua")
N_REMEMBERED: Final = 1024
N_PROCESSES: Final = min(4, os.cpu_count() or 1)
NUMERIC_ENTITY: Final = re.compile(r"&#\d+;")

# A node of pandoc's JSON: {"t": "Para", "c": [...]}.
Element = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One document to convert: ``name`` is how an error calls it, the rest what pandoc is told."""

    name: str
    text: str
    reader: str = "markdown"
    writer: str = "json"
    filter: Path | None = None
    template: str | None = None
    toc_depth: int | None = None
    metadata: Mapping[str, str | bool] = field(default_factory=dict)


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
    answer = _run(command, text, name=page)
    complaints = _complaints(answer.stderr)
    if answer.returncode != 0 or complaints:
        raise RenderError(
            f"{page}: pandoc could not convert it:", complaints or [f"pandoc ended with {answer.returncode}"]
        )
    return answer.stdout


def convert_all(jobs: Sequence[Job]) -> list[str]:
    """Return what pandoc writes for each job, many in one process.

    Raises
    ------
    RenderError
        With the problems of all documents: what pandoc or a filter refuses or warns of.
    """
    # The longest first, dealt out in turn: no process is left with all the long ones.
    order = sorted(range(len(jobs)), key=lambda number: -len(jobs[number].text))
    hands = [order[first::N_PROCESSES] for first in range(min(N_PROCESSES, len(jobs)))]
    answers: dict[int, dict[str, str]] = {}
    with ThreadPoolExecutor(N_PROCESSES) as pool:
        for hand, answered in zip(hands, pool.map(lambda hand: _convert([jobs[n] for n in hand]), hands), strict=True):
            answers.update(zip(hand, answered, strict=True))
    problems = []
    for number, job in enumerate(jobs):
        lines = _complaints(answers[number]["messages"])
        if lines:
            problems.append("\n    ".join([f"{job.name}: pandoc could not convert it:", *lines]))
    if problems:
        raise RenderError(f"{len(problems)} of {len(jobs)} pages cannot be converted:", problems)
    return [answers[number]["text"] for number in range(len(jobs))]


def _convert(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """Run one process of pandoc, which is its own Lua interpreter, over some jobs."""
    asked = [
        {
            "text": job.text,
            "from": job.reader,
            "to": job.writer,
            "metadata": job.metadata,
            **({"filter": str(job.filter)} if job.filter else {}),
            **({"template": job.template} if job.template else {}),
            **({"toc_depth": job.toc_depth} if job.toc_depth else {}),
        }
        for job in jobs
    ]
    names = ", ".join(job.name for job in jobs[:3])
    answer = _run([find_pandoc(), "lua", str(CONVERTER)], json.dumps(asked), name=names)
    if answer.returncode != 0:
        raise RenderError(f"{names} …: pandoc ended with {answer.returncode}:", answer.stderr.splitlines())
    answers: list[dict[str, str]] = json.loads(answer.stdout)
    return answers


def _complaints(messages: str) -> list[str]:
    lines = (ORIGIN.sub("", line) for line in messages.splitlines())
    return [line for line in lines if line.strip() and not HARMLESS.search(line)]


def _run(command: Sequence[str], text: str, *, name: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, encoding="utf-8", check=False, timeout=TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise RenderError(f"{name}: pandoc was not done after {TIME_LIMIT_S} s and was stopped") from error


def parse_all(texts: Mapping[str, str]) -> dict[str, Element]:
    """Return pandoc's document trees, ``{"meta": {...}, "blocks": [...]}``, of texts by name.

    They are remembered, since the checks and the rendering both need them: nobody may change one.
    """
    jobs = {text: Job(name, text) for name, text in texts.items() if text not in _remembered}
    trees = {text: json.loads(tree) for text, tree in zip(jobs, convert_all(list(jobs.values())), strict=True)}
    found = {name: trees[text] if text in trees else _remembered[text] for name, text in texts.items()}
    _remembered.update(trees)
    for text in list(_remembered)[:-N_REMEMBERED]:
        del _remembered[text]
    return found


_remembered: dict[str, Element] = {}


@lru_cache(maxsize=1024)
def plain_title(text: str, *, page: str) -> str:
    """Return a title as plain text: its Markdown is read, HTML in it is text.

    Examples
    --------
    >>> plain_title("r &#42; 2", page="a.qmd")
    'r * 2'
    """
    if not set(NUMERIC_ENTITY.sub("", text)) & set("<\\*_`[&$^~@\"'"):
        return html.unescape(text)  # most titles: nothing in it means anything to Markdown
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
