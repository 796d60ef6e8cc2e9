"""Write a study of your own base model and data: `make new-study NAME=mine BASE_MODEL=… DATASET=…`.

It lies in ``studies/<name>/`` and holds what differs from the project: title, source, protocol and adapters. Protocol
and adapters begin as copies of another study's. The data set is read before anything is put in place.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from adapterbook.common.errors import AdapterBookError, ConfigError
from adapterbook.common.workdir import fresh_folder
from adapterbook.common.yaml_files import shown_text
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.config.study import IDENTIFIER, NAMING_RULE, load_adapters, load_study
from adapterbook.sources.resolve import fetch_source, resolve_source

FOLDER: Final = "studies"
# A key of a source's file in a message; the person knows it as a setting, in capitals.
KEY: Final = re.compile(r"^[a-z_]+(?=:)|(?<=: mend )[a-z_]+$")
MAKEFILE: Final = """# The commands of this study are those of ../../examples/study.mk, with this source.

ROOT ?= $(abspath ../..)
SOURCE ?= {name}
include $(ROOT)/examples/study.mk
"""


@dataclass(frozen=True)
class Answers:
    """Hold what a new study is about. A text is one for both languages, or Chinese and English with | between them.

    Attributes
    ----------
    base_model, dataset : str
        Names on the Hub, folders, or names under ``embedded/``.
    labels : str
        Each label as the data set writes it, with its name: ``0=負面|negative, 1=正面|positive``. Empty: its own names.
    model : str
        Folder of the study that protocol and adapters are copied from, relative to the project.
    """

    name: str
    base_model: str
    dataset: str
    text_column: str = "text"
    label_column: str = "label"
    labels: str = ""
    title: str = ""
    author: str = ""
    model: str = "."


def create_study(answers: Answers, root: Path) -> Path:
    """Write a study and return its folder.

    Raises
    ------
    ConfigError
        If the name is not valid or taken, an answer is missing or not valid, or the other study does not exist.
    SourceError
        If base model or data set are not available, or the data set has no such column or label.
    """
    folder, model = root / FOLDER / answers.name, Paths(root / answers.model)
    problems = [f"{key}: expected a name on the Hub, a folder or an embedded/ name, got nothing"
                for key in ("BASE_MODEL", "DATASET") if not getattr(answers, key.lower())]  # fmt: skip
    if not IDENTIFIER.fullmatch(answers.name):
        got = shown_text(answers.name) if answers.name else "nothing"
        problems.append(f"NAME: expected the name of the new study ({NAMING_RULE}), got {got}")
    elif any(other.name.lower() == answers.name.lower() for other in (root / FOLDER).glob("*")):
        problems.append(f"NAME: {FOLDER}/{answers.name} exists: take another name")
    if not model.study.is_file():
        problems.append(f"FROM: expected the folder of a study, such as examples/bert-products, got {answers.model}")
    if problems:
        raise ConfigError("No study was made:", problems)
    source = {"name": answers.name, "base_model": _place(answers.base_model), "dataset": _place(answers.dataset),
              "text_column": answers.text_column, "label_column": answers.label_column,
              "labels": _parse_labels(answers.labels)}  # fmt: skip
    title = answers.title or answers.name
    book = {"title": _both(title), "subtitle": {"zh": "轉接器的比較", "en": "A comparison of adapters"},
            "author": _both(answers.author) if answers.author else None}  # fmt: skip
    with fresh_folder(folder) as new:
        made = Paths(new)
        (made.experiments / "sources").mkdir(parents=True)
        shutil.copy(model.study, made.study)
        shutil.copytree(model.experiments / "adapters", made.experiments / "adapters")
        file = made.experiments / "sources" / f"{answers.name}.yaml"
        _write(file, {key: value for key, value in source.items() if value is not None})
        _write(made.book, book)
        (new / "Makefile").write_text(MAKEFILE.format(name=answers.name), "utf-8")
        try:
            _check(made, file)
        except AdapterBookError as error:  # it names a file that is removed again, and the file's keys
            problems = [KEY.sub(lambda key: key[0].upper(), problem) for problem in error.problems or [error.summary]]
            raise type(error)("No study was made:", problems) from error
    return folder


def _check(made: Paths, file: Path) -> None:
    """Read every file back, and the rows of the data set as a run would."""
    from adapterbook.training.data import load_splits  # imported here: it loads torch

    load_book(made.book)
    load_adapters(made.experiments / "adapters")
    source, study = load_source(file), load_study(made.study)
    load_splits(fetch_source(resolve_source(str(file), made)).dataset, source, study.data)


def _place(name: str) -> str:
    """Return a folder with its whole path, because the study lies elsewhere; any other name as it is."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _both(text: str) -> str | dict[str, str]:
    chinese, bar, english = (part.strip() for part in text.partition("|"))
    return {"zh": chinese, "en": english} if bar else chinese


def _parse_labels(text: str) -> dict[str, str | dict[str, str]] | None:
    """Return each label's name by how the data set writes it; None for an empty text."""
    if not text.strip():
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(label.strip() and name.strip() for label, _, name in pairs):
        expected = "0=負面|negative, 1=正面|positive"
        raise ConfigError("No study was made:", [f"LABELS: expected a list such as {expected}, got {shown_text(text)}"])
    return {label.strip(): _both(name) for label, _, name in pairs}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=False, width=120), "utf-8")
