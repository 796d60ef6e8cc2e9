"""``templates/glossary.yaml`` → the words that both languages share a key for.

Owns labels, names of states, reasons and the glossary's terms. Refuses a key that lacks one of the languages. Sentences
about results are not here: they stand in ``templates/<language>/sentences.j2``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from adapterbook.common.formatting import Language
from adapterbook.common.yaml_files import load_yaml, validate
from adapterbook.config.study import BilingualText, Settings, Text


class PageWords(Settings):
    """Title of a page, and what search engines say of it."""

    title: Text
    description: Text


class Term(Settings):
    """One entry of the glossary page; with methods named, only of a study that has one of them."""

    name: Text
    meaning: Text
    methods: tuple[str, ...] = Field(default=(), strict=False)


class SourceReason(Settings):
    """A reason that a record gives for its source, in English, and what the pages say instead."""

    pattern: str
    text: Text

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern


class Wording(Settings):
    """All words of ``glossary.yaml``."""

    pages: dict[str, PageWords]
    labels: dict[str, Text]
    states: dict[str, Text]
    stamps: dict[str, Text]
    reasons: dict[str, Text]
    failures: dict[str, Text]
    source_reasons: tuple[SourceReason, ...] = Field(strict=False)
    terms: dict[str, Term]

    def text(self, group: str, key: str | Sequence[str], language: Language) -> str:
        """Return one text of a group such as ``labels``; a template may give the key in parts.

        Raises
        ------
        LookupError
            If the group lacks the key.
        """
        name = key if isinstance(key, str) else "_".join(key)
        texts: dict[str, BilingualText] = getattr(self, group)
        if name not in texts:
            raise LookupError(f"templates/glossary.yaml has no {name!r} under {group}")
        return texts[name].in_language(language)

    def failure(self, kind: str, language: Language) -> str | None:
        """Return what a kind of failure is called, ``None`` for one that this project does not know."""
        return self.failures[kind].in_language(language) if kind in self.failures else None

    def source_reason(self, reason: str, language: Language) -> str | None:
        """Return what a page says about a record's reason for its source, ``None`` where nothing fits."""
        for known in self.source_reasons:
            if re.search(known.pattern, reason):
                return known.text.in_language(language)
        return None


def load_wording(path: Path) -> Wording:
    """Read ``glossary.yaml``.

    Raises
    ------
    ConfigError
        Naming every key that is unknown, missing, or lacks a language.
    """
    return validate(Wording, load_yaml(path), path)
