"""Give templates and tables the words of one language: labels, states, reasons, names of adapters, quotations."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from adapterbook.analysis.shapes import AdapterReport, Report
from adapterbook.common.formatting import Language, keep_end
from adapterbook.common.privacy import rename_folders
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import BilingualText, StudyConfig
from adapterbook.pages.numbers.number import plain
from adapterbook.pages.numbers.provenance import format_moment
from adapterbook.pages.writing.escape import escape_text, inline_code, python_literal
from adapterbook.pages.writing.markdown import mark_edges

MAX_QUOTED: Final = 600  # characters


@dataclass(frozen=True)
class Words:
    """Hold the words of one language.

    Parameters
    ----------
    short_names : mapping
        Of adapters, by id, in this language.
    hidden : mapping
        Folders of this machine, each with the name that a reader sees instead.
    """

    language: Language
    report: Report
    phrases: Phrases
    short_names: Mapping[str, str]
    hidden: Mapping[str, str]

    def names(self) -> dict[str, Any]:
        """Return the names that every template gets from this object."""
        return {
            "label": self.label,
            "two_labels": self.two_labels,
            "task": self.task,
            "warms_up": _warms_up(self.report.study),
            "class_name": self.class_name,
            "state": self.state,
            "stamp": lambda key: self.phrases.text("stamps", key, self.language),
            "reason": self.reason,
            "failure": lambda kind: self.phrases.failure(kind, self.language),
            "source_reason": lambda reason: self.phrases.source_reason(reason, self.language),
            "literal": self.literal,
            "quoted": self.quoted,
            "text": self.text,
            "name": self.name,
            "variant_title": self.variant_title,
            "every_adapter": mark_edges("每一個") if self.language == "zh" else "all of them",
            "moment": self.moment,
        }

    def label(self, key: str | Sequence[str]) -> str:
        """Return a label of ``phrases.yaml``; its key may come in parts."""
        return self.phrases.text("labels", key, self.language)

    @property
    def task(self) -> str | None:
        """Return what the classifier learns, as part of a sentence; None where the source's file does not say it."""
        wording = self.report.source.wording
        return None if wording is None or wording.task is None else self.text(wording.task)

    @property
    def two_labels(self) -> bool:
        """Tell whether the data set has two labels."""
        return self.report.source.n_labels == 2

    def class_name(self, label: int) -> str:
        """Return the name of a label of the data set; in a Chinese sentence it may need spaces around it, or none."""
        wording = self.report.source.wording
        name = str(plain(label)) if wording is None else self.text(wording.labels[plain(label)])
        return mark_edges(name) if self.language == "zh" else name

    def heading(self, key: str, table: str = "") -> str:
        """Return the heading of a column, or of a row that holds one fact."""
        return self.phrases.heading(table, key, self.language)

    def state(self, key: str) -> str:
        """Return the name of a run's state."""
        return self.phrases.text("states", key, self.language)

    def reason(self, key: str) -> str:
        """Return the sentence of a reason code."""
        return self.phrases.text("reasons", key, self.language)

    def text(self, text: BilingualText) -> str:
        """Return a text of a configuration file in this language."""
        return text.in_language(self.language)

    def name(self, adapter: AdapterReport | str) -> str:
        """Return an adapter's short name; in a Chinese sentence it may need spaces around it, or none."""
        name = keep_end(self.short_names[adapter if isinstance(adapter, str) else adapter.id])
        return mark_edges(name) if self.language == "zh" else name

    def variant_title(self, name: str) -> str:
        """Return the title of one of the study's variants."""
        return self.text(self.report.study.variants[name].title)

    def moment(self, moment: datetime) -> str:
        """Return a day and a time, in UTC."""
        return format_moment(moment, self.language)

    def literal(self, value: object) -> Markup:
        """Return a value of a YAML file as Python code."""
        return inline_code(python_literal(plain(value)))

    def quoted(self, text: str) -> Markup:
        """Return a sentence of the data set."""
        shown = self.shortened(text)
        return Markup('[{}]{{.sentence lang="{}"}}').format(escape_text(shown), language_of(shown))

    def shortened(self, text: str) -> str:
        """Return a sentence of the data set as plain text, cut if it is very long."""
        whole = rename_folders(text, self.hidden)
        return whole if len(whole) <= MAX_QUOTED else f"{whole[:MAX_QUOTED]} …"


def language_of(text: str) -> str:
    """Return the language of a text by its script, for screen readers: English unless it is East Asian."""
    names = [unicodedata.name(char, "") for char in text if not char.isascii()]
    if any(name.startswith(("HIRAGANA", "KATAKANA")) for name in names):
        return "ja"
    if any(name.startswith("HANGUL") for name in names):
        return "ko"
    return "zh" if sum(name.startswith("CJK UNIFIED") for name in names) * 2 > len(text.replace(" ", "")) else "en"


def _warms_up(study: StudyConfig) -> bool:
    """Tell whether a variant of a study begins with a warm-up."""
    each = [study.training_of(name) for name in study.variants]
    return any(training.warmup_steps or training.warmup_ratio for training in each)
