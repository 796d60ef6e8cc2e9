"""Hash everything that the text of a page depends on, so that an unchanged text is taken from the cache.

A template can see the whole report, so all of it is in every page's hash. So are the page's templates and all templates
that they name, the words, the book, the figures, and the files in runs' folders.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from adapterbook.analysis.shapes import Group, Report, RunReport
from adapterbook.common.files import is_plain_file
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import PHRASE_FILES
from adapterbook.figures import Figure
from adapterbook.pages.citations import BIBLIOGRAPHY

# Of a run's folder: what pages link to, and the notebook, which they show.
SHOWN_FILES: Final = ("record.json", "predictions.parquet", "notebook.ipynb")
NAME_OF_TEMPLATE: Final = re.compile(r"""["']([^"'\s]+\.j2)["']""")


def hash_page_inputs(report: Report, figures: Mapping[str, Figure], paths: Paths, hidden: Mapping[str, str]) -> str:
    """Return the SHA-256 of everything that a page can show besides its templates.

    Parameters
    ----------
    hidden : mapping of str to str
        Folders of this machine, and what a reader sees in their place.
    """
    digest = hashlib.sha256()
    for part in _inputs(report, figures, paths, hidden):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def hash_templates(folders: Sequence[Path], name: str) -> str:
    """Return the SHA-256 of a template and of all that it leads to; a name without a file counts, too.

    Parameters
    ----------
    folders : sequence of Path
        Where templates are looked up; the first folder that has one wins.
    """
    digest = hashlib.sha256()
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop()
        file = next((folder / current for folder in folders if (folder / current).is_file()), None)
        content = file.read_bytes() if file else b""
        digest.update(f"{current} {len(content)}\n".encode() + content)
        for found in sorted(set(NAME_OF_TEMPLATE.findall(content.decode("utf-8", "replace"))) - seen):
            seen.add(found)
            waiting.append(found)
    return digest.hexdigest()


def _inputs(report: Report, figures: Mapping[str, Figure], paths: Paths, hidden: Mapping[str, str]) -> Iterator[bytes]:
    writer = _Writer()
    for run in report.runs:
        yield writer.written(run)
        for name in SHOWN_FILES:
            yield _content_of(run.run.folder(paths) / name, paths, whole=name == "notebook.ipynb")
    yield writer.written(report)
    for figure in figures.values():
        shown = [str(path.relative_to(paths.root)) for path in (*figure.paths.values(), *figure.phone_paths.values())]
        words = [figure.title, figure.alt, figure.finding]
        yield writer.written([figure.id, shown, figure.rows, figure.adapter, figure.reason, words])
    yield writer.written(list(hidden.items()))
    names = (*PHRASE_FILES, BIBLIOGRAPHY)
    phrases = (folder / name for folder in paths.template_folders for name in names)
    for file in (paths.book, *phrases, paths.notebook):
        yield file.read_bytes() if file.is_file() else b"-"


def _content_of(file: Path, paths: Paths, *, whole: bool) -> bytes:
    if not is_plain_file(file, paths.results):
        return b"-"
    return hashlib.sha256(file.read_bytes()).digest() if whole else b"+"


class _Writer:
    """Write parts of a report as JSON; a run or group that occurs again is written as its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def written(self, value: object) -> bytes:
        return json.dumps(self._as_data(value), default=self._as_data).encode()

    def _as_data(self, value: object) -> Any:
        """Return one level of a value that JSON cannot write."""
        match value:
            case RunReport() | Group() if id(value) in self._numbers:
                return {"number": self._numbers[id(value)]}
            case RunReport() | Group():
                self._numbers[id(value)] = len(self._numbers)
            case BaseModel():
                return [type(value).__name__, value.model_dump_json()]
            case bytes():
                return value.hex()
            case list():
                return value
        if not is_dataclass(value) or isinstance(value, type):
            raise TypeError(f"a page's identity knows nothing of {type(value).__name__}")
        content = {item.name: getattr(value, item.name) for item in fields(value)}
        # JSON has no place for keys such as (adapter, variant).
        pairs = {key: list(map(list, item.items())) for key, item in content.items() if isinstance(item, Mapping)}
        return {"": type(value).__name__} | content | pairs
