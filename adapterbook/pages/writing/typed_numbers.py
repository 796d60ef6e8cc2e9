"""Find numbers that are typed into the prose of templates: a number on a page comes from a record.

A number that is meant, such as a year or the level of an interval, is named in a comment of its file:
``{# meant: 95, 1998 #}`` in a template, ``# meant: 95`` in a YAML file. Formulas, code, addresses and the years of
cited works, as in (Wilson, 1927), need no comment, nor does what belongs to a name, such as F1 and SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapterbook.common.errors import RenderError
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import PHRASE_FILES

NUMBER: Final = re.compile(r"(?<![A-Za-z_\d.])(?<![A-Za-z]-)\d+(?:[.,]\d+)*")
TAG: Final = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
# A text in quotes, or a number that is written as it stands.
LITERAL: Final = re.compile(r""""(?P<text>[^"\n]*)"|'(?P<other>[^'\n]*)'|\A\{\{[-+]?\s*(?P<number>\d[\d.]*)\s*[|}-]""")
MEANT: Final = re.compile(r"\bmeant:([^#}\n]*)")
NOT_PROSE: Final = tuple(
    re.compile(pattern, re.DOTALL | re.MULTILINE)
    for pattern in (
        r"^ *(```|~~~).*?^ *\1",  # code, then formulas
        r"`[^`\n]*`",
        r"\$\$.*?\$\$",
        r"\$[^$\n]+\$",
        r"</?[A-Za-z][^<>]*>",
        r"\]\([^)\n]*\)",  # the target of a link
        r"\{[#.][^}\n]*\}",  # attributes
        r"https?://[^\s<>）]+",
        r"&#?\w+;",
        r"^ *\d+[.)] ",  # the number of an item in a list
        r"[,，]\s?(?:19|20)\d\d(?=[)）;；])",  # the year of a cited work
        r"\\u[0-9a-fA-F]{4}",
    )
)


@dataclass(frozen=True)
class TypedNumber:
    """Hold a number in a template's prose, with its place."""

    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """Return file and line."""
        return f"{self.file}, line {self.line}"

    @property
    def message(self) -> str:
        """Return what is wrong and what to do; continues the place."""
        mark = f"# meant: {self.text}" if self.file.endswith(".yaml") else f"{{# meant: {self.text} #}}"
        return (
            f"types {self.text}, but a number on a page comes from a record: show it by its name, as in "
            f"{{{{ … }}}}. If it is meant as it stands, such as a year, add the comment {mark}"
        )


def find_typed_numbers(paths: Paths) -> list[TypedNumber]:
    """Return every number typed into the templates and phrases of a project, the study's own and the shared ones."""
    files: dict[str, Path] = {}  # by name: the study's own lies over the shared one
    for folder in reversed(paths.template_folders):
        templates = [path for path in folder.rglob("*.j2") if path.is_file() and not path.name.startswith(".")]
        phrases = [folder / name for name in PHRASE_FILES if (folder / name).is_file()]
        files |= {path.relative_to(folder).as_posix(): path for path in templates}
        # Phrases of a study are laid over the shared ones one by one, templates file by file.
        files |= {f"{path.name} {folder == paths.templates}": path for path in phrases}
    return [found for _, path in sorted(files.items()) for found in numbers_of(path, paths)]


def check_typed_numbers(paths: Paths) -> None:
    """Refuse templates with typed numbers.

    Raises
    ------
    RenderError
        Naming each number, with file and line.
    """
    found = find_typed_numbers(paths)
    if found:
        problems = [f"{number.place} {number.message}" for number in found]
        raise RenderError("The texts of the pages hold numbers that no record gives:", problems)


def numbers_of(path: Path, paths: Paths) -> Iterator[TypedNumber]:
    """Yield the numbers typed into one file."""
    try:
        text = path.read_text("utf-8")
        prose = _prose_of_yaml(text) if path.suffix == ".yaml" else _prose_of_template(text)
    except (OSError, UnicodeDecodeError):
        return  # reading or rendering it says what is wrong
    meant = {word.strip("%.") for marked in MEANT.findall(text) for word in re.split(r"[,\s]+", marked)}
    for pattern in NOT_PROSE:
        prose = pattern.sub(_blank, prose)
    shared = f"templates/{path.as_posix().rpartition('/templates/')[2]}"
    shown = paths.shown(path) if path.is_relative_to(paths.root) else shared
    for number, line in enumerate(prose.split("\n"), start=1):
        for found in NUMBER.finditer(line):
            if found[0] not in meant:
                percent = "%" if line[found.end() :].lstrip()[:1] in ("%", "％") else ""
                yield TypedNumber(shown, number, found[0] + percent)


def _prose_of_template(text: str) -> str:
    """Return a template with everything blank but its own text, and the texts and numbers its expressions write."""
    return TAG.sub(_blank_tag, text)


def _blank_tag(tag: re.Match[str]) -> str:
    literals = [] if tag[0].startswith("{#") else LITERAL.finditer(tag[0])
    kept = [found.span(found.lastgroup or 0) for found in literals]
    ends = [0, *(end for _, end in kept)]
    starts = [*(start for start, _ in kept), len(tag[0])]
    blank = [_blank(tag[0][end:start]) for end, start in zip(ends, starts, strict=True)]
    texts = [*(tag[0][start:end] for start, end in kept), ""]
    return "".join(part for pair in zip(blank, texts, strict=True) for part in pair)


def _prose_of_yaml(text: str) -> str:
    """Return a YAML file without its comments."""
    return re.sub(r"(^|\s)#.*", _blank, text)


def _blank(found: re.Match[str] | str) -> str:
    """Return as many blanks as there are characters, and every line break."""
    return re.sub(r"[^\n]", " ", found if isinstance(found, str) else found[0])
