"""Read the YAML files of ``templates/``: the words of pages and figures in both languages, and the works cited."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from unicodedata import east_asian_width

from pydantic import Field, field_validator, model_validator

from adapterbook.common.errors import ConfigError
from adapterbook.common.formatting import Language
from adapterbook.common.yaml_files import load_yaml, validate
from adapterbook.config.study import BilingualText, Settings

Entry = TypeVar("Entry")
PHRASE_FILES: Final = ("phrases.yaml", "glossary.yaml")
LANGUAGES: Final = {"zh", "en"}
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Phrase(BilingualText):
    """Hold a text that must be there in both languages, with the same ``{placeholders}``."""

    @model_validator(mode="after")
    def _is_whole(self) -> Phrase:
        if not (self.zh.strip() and self.en.strip()):
            raise ValueError("a phrase needs a text in both languages")
        zh, en = (set(PLACEHOLDER.findall(text)) for text in (self.zh, self.en))
        if zh != en:
            raise ValueError(f"zh has the placeholders {sorted(zh)}, en {sorted(en)}: use the same in both")
        return self


class PagePhrases(Settings):
    """Hold the title of a page, and its description for search engines."""

    title: Phrase
    description: Phrase


class TablePhrases(Settings):
    """Hold the caption of a table, and the headings that differ from the shared ones."""

    caption: Phrase
    headings: dict[str, Phrase] = Field(default_factory=dict)


class SourceReason(Settings):
    """Hold a pattern of the reason that a record gives for its source, and the pages' words for it."""

    pattern: str
    text: Phrase

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern


class Term(Settings):
    """Hold one entry of the glossary page; one with ``methods`` is shown only if the study uses one of them."""

    name: Phrase
    meaning: Phrase
    methods: tuple[str, ...] = ()


class Glossary(Settings):
    """Hold everything in ``glossary.yaml``."""

    terms: dict[str, Term]


class PhrasesFile(Settings):
    """Hold everything in ``phrases.yaml``."""

    pages: dict[str, PagePhrases]
    menus: dict[str, Phrase]
    headings: dict[str, Phrase]
    tables: dict[str, TablePhrases]
    labels: dict[str, Phrase]
    explorer: dict[str, Phrase]
    test_sentences: dict[str, Phrase]
    lab: dict[str, Phrase]
    live: dict[str, Phrase]
    states: dict[str, Phrase]
    stamps: dict[str, Phrase]
    failures: dict[str, Phrase]
    reasons: dict[str, Phrase]
    source_reasons: tuple[SourceReason, ...]
    figures: dict[str, dict[str, Phrase]]


class Phrases(PhrasesFile):
    """Hold the phrases of the pages and figures, and the terms of the glossary."""

    terms: dict[str, Term]

    def text(self, group: str, key: str | Sequence[str], language: Language) -> str:
        """Return one text of a group such as ``labels``; a template may give the key in parts.

        Raises
        ------
        LookupError
            If the group lacks the key.
        """
        texts: Mapping[str, BilingualText] = getattr(self, group)
        return _found(texts, key if isinstance(key, str) else "_".join(key), group).in_language(language)

    def heading(self, table: str, column: str, language: Language) -> str:
        """Return the heading of a column: the table's own, or else the one that all tables share.

        Raises
        ------
        LookupError
            If neither is there.
        """
        own = self.tables[table].headings if table in self.tables else {}
        return own[column].in_language(language) if column in own else self.text("headings", column, language)

    def caption(self, table: str, language: Language) -> str:
        """Return the caption of a table, its placeholders not yet filled in.

        Raises
        ------
        LookupError
            If the table has none.
        """
        return _found(self.tables, table, "tables").caption.in_language(language)

    def failure(self, kind: str, language: Language) -> str | None:
        """Return the name of a kind of failure, ``None`` if this project does not know the kind."""
        return self.failures[kind].in_language(language) if kind in self.failures else None

    def source_reason(self, reason: str, language: Language) -> str | None:
        """Return a page's words for a record's reason for its source, ``None`` if no pattern fits."""
        for known in self.source_reasons:
            if re.search(known.pattern, reason):
                return known.text.in_language(language)
        return None

    def figure(self, key: str, values: Mapping[str, str], language: Language) -> str:
        """Return a phrase of a figure, such as ``batch-size.title``, with its placeholders filled.

        Raises
        ------
        ConfigError
            If there is no such phrase, or it has other placeholders than these.
        """
        figure, _, part = key.partition(".")
        phrase = self.figures.get(figure, {}).get(part)
        if phrase is None:
            raise ConfigError("templates/phrases.yaml is not valid:", [f"figures.{key}: missing"])
        text = phrase.in_language(language)
        found, known = dict.fromkeys(PLACEHOLDER.findall(text)), ", ".join(f"{{{name}}}" for name in values) or "none"
        problems = [f"lacks the placeholder {{{name}}}" for name in values if name not in found]
        problems += [f"unknown placeholder {{{name}}}; known are {known}" for name in found if name not in values]
        if problems:
            where = f"figures.{key}.{language}"
            raise ConfigError("templates/phrases.yaml is not valid:", [f"{where}: {problem}" for problem in problems])
        return fill_placeholders(text, values, language)


def fill_placeholders(text: str, values: Mapping[str, str], language: Language) -> str:
    """Return a text with its placeholders filled; in Chinese with a space between Chinese and Latin letters.

    Examples
    --------
    >>> fill_placeholders("{name}從 {first} 開始", {"name": "LoRA 1", "first": "0.7"}, "zh")
    'LoRA 1 從 0.7 開始'
    >>> fill_placeholders("{name}從 {first} 開始", {"name": "只訓練分類頭", "first": "0.7"}, "zh")
    '只訓練分類頭從 0.7 開始'
    """
    filled = ""
    for i, piece in enumerate(PLACEHOLDER.split(text)):
        part = values[piece] if i % 2 else piece
        if language == "zh" and filled and part and _need_space(filled[-1], part[0]):
            filled += " "
        filled += part
    return filled


def load_phrases(*folders: Path) -> Phrases:
    """Read the phrases and the terms of the glossary.

    Parameters
    ----------
    folders : Path
        The first that has a phrase wins: a study's own files need to hold only what differs from the shared ones.

    Raises
    ------
    ConfigError
        Naming the file and every key that is unknown, missing, or lacks a language.
    """
    (file, content), (glossary_file, terms) = (_laid_over(folders, name) for name in PHRASE_FILES)
    return Phrases(
        **dict(validate(PhrasesFile, content, file)),
        terms=validate(Glossary, terms, glossary_file).terms,
    )


def _laid_over(folders: Sequence[Path], name: str) -> tuple[Path, dict[str, Any]]:
    """Return the content of a file, each folder's laid over the next one's, and the file that a problem is named by."""
    files = [folder / name for folder in folders if (folder / name).exists()] or [folders[0] / name]
    content = load_yaml(files[-1])
    for file in reversed(files[:-1]):
        content = _merged(content, load_yaml(file))
    return files[0], content


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return one mapping laid over another; a phrase is replaced whole, in both languages."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not LANGUAGES & {*old, *value}:
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _found(entries: Mapping[str, Entry], key: str, group: str) -> Entry:
    if key not in entries:
        raise LookupError(f"templates/phrases.yaml has no {key!r} under {group}")
    return entries[key]


def _need_space(left: str, right: str) -> bool:
    wide = [east_asian_width(letter) in "WF" for letter in (left, right)]
    chinese, other = (left, right) if wide[0] else (right, left)
    return wide[0] != wide[1] and chinese.isalnum() and not other.isspace()
