"""Convert documents with the pandoc program.

The Markdown is pandoc's own, as Quarto reads it. Answers are cached; where all of them are, pandoc is not started.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapterbook.common.cache import NO_CACHE, Cache, Part
from adapterbook.common.errors import RenderError
from adapterbook.common.progress import watch

# A report of 44 adapters takes 30 s of a processor; a busy or slow machine needs much longer.
TIME_LIMIT_S: Final = 900

# Pandoc lacks a Chinese word for "Abstract", which no page shows; raw content of one format is meant to be left out of
# the others; and pandoc reports each part of a template, and each style of citations, that it loads.
HARMLESS: Final = re.compile(
    r"Could not load translations|data file translations/|has no translation defined|^Not rendering Raw(Block|Inline) |"
    r"^Loaded .*\.(typ|csl) from "
)
# Pandoc's prefix of a filter's message.
ORIGIN: Final = re.compile(r"^(\[WARNING\] )?(Scripting warning at .*? line \d+ column \d+: )?")

CONVERTER: Final = Path(__file__).with_name("convert.lua")
N_PROCESSES: Final = min(4, os.cpu_count() or 1)
# The most text for one process: a tree takes ten times the memory of its text.
N_BATCH_CHARACTERS: Final = 1_000_000
NUMERIC_ENTITY: Final = re.compile(r"&#\d+;")

# A node of pandoc's JSON: {"t": "Para", "c": [...]}.
Element = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Describe one document to convert.

    ``name`` names it in errors. ``distil``, a function of a module, turns pandoc's answer into the one that is returned
    and cached. ``bibliography`` is BibTeX, for the works that the text cites. The rest are pandoc's options.
    """

    name: str
    text: str
    reader: str = "markdown"
    writer: str = "json"
    filter: Path | None = None
    template: Path | None = None
    toc_depth: int | None = None
    metadata: Mapping[str, str | bool] = field(default_factory=dict)
    bibliography: str = ""
    citation_style: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    distil: Callable[[str], str] | None = None

    def parts(self) -> list[Part]:
        """Return what the answer depends on; files are named only, as the cache's stamp covers their contents."""
        settings = [
            self.reader,
            self.writer,
            self.filter and self.filter.name,
            self.template and self.template.name,
            self.toc_depth,
            dict(self.metadata),
            dict(self.variables),
            self.distil and f"{self.distil.__module__}.{self.distil.__qualname__}",
        ]
        style = self.citation_style.read_text("utf-8") if self.citation_style else ""
        return [self.text, json.dumps(settings, sort_keys=True), self.bibliography, style]

    def output(self) -> dict[str, Any]:
        """Return the options that convert.lua takes beside the text."""
        template = self.template
        return {
            "to": self.writer,
            "metadata": self.metadata,
            "variables": self.variables,
            **({"filter": str(self.filter)} if self.filter else {}),
            **({"bibliography": self.bibliography} if self.bibliography else {}),
            **({"citation_style": str(self.citation_style)} if self.citation_style else {}),
            **({"template": template.read_text("utf-8"), "template_path": str(template)} if template else {}),
            **({"toc_depth": self.toc_depth} if self.toc_depth else {}),
        }


@dataclass(frozen=True)
class _Answer:
    """Hold the answer to a job: its text, or the complaints of pandoc or a filter."""

    text: str
    complaints: Sequence[str] = ()


@functools.cache
def find_pandoc() -> str:
    """Return the path of pandoc: the one in ``pypandoc-binary``, else the one on the PATH."""
    import pypandoc  # knows where its wheel put the program

    try:
        return str(pypandoc.get_pandoc_path())
    except OSError as error:
        if found := shutil.which("pandoc"):
            return found
        raise RenderError("pandoc was not found: pip install pypandoc-binary, or put pandoc 3.9 on the PATH") from error


@functools.cache
def pandoc_version() -> str:
    """Return pandoc's version, such as ``"3.9"``."""
    answer = subprocess.run([find_pandoc(), "--version"], capture_output=True, text=True, encoding="utf-8", check=True)
    return answer.stdout.split()[1]


def convert_all(jobs: Sequence[Job], cache: Cache = NO_CACHE) -> list[str]:
    """Return pandoc's answer to each job, after its ``distil``.

    Raises
    ------
    RenderError
        With the problems of all documents. A warning of pandoc or a filter counts: TeX that pandoc cannot convert,
        for example, would show as source code on the page.
    """
    answers = _answer_all(jobs, cache)
    problems = [
        "\n    ".join([f"{job.name}: pandoc could not convert it:", *answer.complaints])
        for job, answer in zip(jobs, answers, strict=True)
        if answer.complaints
    ]
    if problems:
        raise RenderError(f"{len(problems)} of {len(jobs)} pages cannot be converted:", problems)
    return [answer.text for answer in answers]


def convert_ahead(jobs: Sequence[Job], cache: Cache) -> None:
    """Fill the cache with answers that are needed later; pandoc reads a text once for all its jobs.

    Failures are ignored here: :func:`convert_all` meets and reports them.
    """
    if cache.folder is not None:
        _answer_all(jobs, cache)


def _answer_all(jobs: Sequence[Job], cache: Cache) -> list[_Answer]:
    answers: dict[int, _Answer] = {}
    for number, job in enumerate(jobs):
        if (kept := cache.find("pandoc", job.parts())) is not None:
            answers[number] = _Answer(kept.decode("utf-8"))

    def convert(numbers: Sequence[int]) -> None:
        for number, answer in zip(numbers, _convert([jobs[number] for number in numbers]), strict=True):
            answers[number] = answer
            if not answer.complaints:
                cache.store("pandoc", jobs[number].parts(), answer.text.encode("utf-8"))

    missing = [number for number in range(len(jobs)) if number not in answers]
    if missing:
        with ThreadPoolExecutor(N_PROCESSES) as pool:
            batches = _batches(jobs, missing)
            for _ in watch(pool.map(convert, batches), "pages by pandoc", len(batches)):
                pass
    return [answers[number] for number in range(len(jobs))]


def _batches(jobs: Sequence[Job], numbers: Sequence[int]) -> list[list[int]]:
    """Divide jobs, by number, among processes: those of one text together, the longest texts first, in turn."""
    by_text: dict[tuple[str, str], list[int]] = {}
    for number in numbers:
        by_text.setdefault((jobs[number].reader, jobs[number].text), []).append(number)
    groups = sorted(by_text.values(), key=lambda group: -len(jobs[group[0]].text))
    batches = []
    for first in range(min(N_PROCESSES, len(groups))):
        batch: list[int] = []
        length = 0
        for group in groups[first::N_PROCESSES]:
            if batch and length + len(jobs[group[0]].text) > N_BATCH_CHARACTERS:
                batches.append(batch)
                batch, length = [], 0
            batch += group
            length += len(jobs[group[0]].text)
        batches.append(batch)
    return batches


def _convert(jobs: Sequence[Job]) -> list[_Answer]:
    """Run some jobs, those of one text side by side, in one process: pandoc as the Lua interpreter of convert.lua."""
    asked: list[dict[str, Any]] = []
    for number, job in enumerate(jobs):
        if number == 0 or (job.text, job.reader) != (jobs[number - 1].text, jobs[number - 1].reader):
            asked.append({"text": job.text, "from": job.reader, "outputs": []})
        asked[-1]["outputs"].append(job.output())
    names = ", ".join(job.name for job in jobs[:3])
    answer = _run([find_pandoc(), "lua", str(CONVERTER)], json.dumps(asked), name=names)
    if answer.returncode != 0:
        raise RenderError(f"{names} …: pandoc ended with {answer.returncode}:", answer.stderr.splitlines())
    answers = []
    for job, answered in zip(jobs, json.loads(answer.stdout), strict=True):
        complaints = _complaints(answered["messages"])
        text = answered["text"]
        answers.append(_Answer(job.distil(text) if job.distil and not complaints else text, complaints))
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
        raise RenderError(
            f"{name}: pandoc was not done after {TIME_LIMIT_S} s and was stopped. Other pages are kept: run the "
            "same command again when the machine is less busy, and only what is missing is converted."
        ) from error


@functools.lru_cache(maxsize=1024)
def plain_title(text: str, *, page: str, cache: Cache = NO_CACHE) -> str:
    """Return a title as plain text; its Markdown is interpreted, HTML in it is text.

    Examples
    --------
    >>> plain_title("r &#42; 2", page="a.qmd")
    'r * 2'
    """
    if not set(NUMERIC_ENTITY.sub("", text)) & set("<\\*_`[&$^~@\"'"):
        return html.unescape(text)  # most titles hold no Markdown
    job = Job(page, text, reader="markdown-raw_html-native_spans", distil=_flatten_tree)
    return convert_all([job], cache)[0]


def _flatten_tree(answer: str) -> str:
    return flatten_text(json.loads(answer)["blocks"]).strip()


def flatten_text(node: object) -> str:
    """Return the plain text of a piece of pandoc's tree.

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
            # The first part is the attributes, the format or the kind of quotation; the last of a link is its target.
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
