"""Write the titles, labels and alternative texts of figures in one language, from ``templates/phrases.yaml``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapterbook.analysis.shapes import AdapterReport, Group, Report
from adapterbook.common.formatting import Language, count_columns, format_number
from adapterbook.config.phrases import Phrases

MAX_NAME: Final = 24
# FigureWords of axes and legends by the last part of their key, as a painter gets them: plain data.
Labels = Mapping[str, str]
# The separators between the items of a list.
MARKS: Final[Mapping[Language, Mapping[str, str]]] = {
    "zh": {"comma": "、", "semicolon": "；", "sentence": "", "legend": "　", "clause": "，"},
    "en": {"comma": ", ", "semicolon": "; ", "sentence": " ", "legend": "; ", "clause": "; "},
}


@dataclass(frozen=True)
class FigureWords:
    """Hold the phrases of figures in one language, and write numbers and lists as that language does."""

    phrases: Phrases
    language: Language

    def say(self, key: str, **values: str) -> str:
        """Return the phrase of a key such as ``batch-size.title`` with its placeholders filled.

        Raises
        ------
        ConfigError
            If ``phrases.yaml`` lacks the phrase, or the phrase has other placeholders than these.
        """
        return self.phrases.figure(key, values, self.language)

    def labels(self, *keys: str) -> Labels:
        """Return words that a painter needs; a key without a dot is one of the axes."""
        return {key.rpartition(".")[2]: self.say(key if "." in key else f"axes.{key}") for key in keys}

    def number(self, value: object, kind: str = "plain") -> str:
        """Return a number as a reader sees it."""
        return format_number(value, kind, self.language)

    def rate(self, group: Group) -> str:
        """Return a group's learning rate."""
        return self.number(group.training.learning_rate, "rate")

    def rate_label(self, learning_rate: float) -> str:
        """Return the label of a panel or a line of one learning rate."""
        return self.say("axes.at_rate", rate=self.number(learning_rate, "rate"))

    def joined(self, items: Iterable[str], mark: str = "semicolon") -> str:
        """Return a list with one of the ``MARKS`` between its items."""
        return MARKS[self.language][mark].join(items)

    def sentences(self, *sentences: str) -> str:
        """Return whole sentences as a text; empty ones are left out."""
        return self.joined(filter(None, sentences), "sentence")

    def begin(self, text: str) -> str:
        """Return a text that begins a sentence."""
        return text if self.language == "zh" else text[:1].upper() + text[1:]


def others(report: Report, named: Collection[str], words: FigureWords) -> str:
    """Return what a legend calls the adapters that a figure does not name."""
    return words.say("axes.others", n=words.number(len(report.adapters) - len(named)))


def short_names(report: Report, words: FigureWords) -> dict[str, str]:
    """Return a short name of each adapter: its title up to the colon where that is unique, else its id.

    A baseline is called by what it trains.
    """
    short = {name: _short_name(adapter, words) for name, adapter in report.adapters.items()}
    counts = Counter(short.values())
    return {name: title if title and counts[title] == 1 else name for name, title in short.items()}


def cut_name(name: str) -> str:
    """Return a name without its middle if it is wider than a panel: `MAX_NAME` columns, two for a wide letter.

    Examples
    --------
    >>> cut_name("lora_07_of_a_student_with_a_long_name")
    'lora_07_of_a_st…ong_name'
    """
    if count_columns(name) <= MAX_NAME:
        return name
    head = max(n for n in range(len(name)) if count_columns(name[:n]) <= MAX_NAME - 9)
    tail = min(n for n in range(len(name)) if count_columns(name[n:]) <= 8)
    return f"{name[:head]}…{name[tail:]}"


def _short_name(adapter: AdapterReport, words: FigureWords) -> str:
    if adapter.baseline is not None:
        return words.say(f"axes.{adapter.baseline}")
    return adapter.config.title.in_language(words.language).replace("：", ":").partition(":")[0].strip()


def describe_loss(group: Group, name: str, words: FigureWords) -> str:
    """Return the course of a validation loss: first, lowest and last value, as part of a sentence."""
    points = group.curve.values("validation_loss")
    first, last = points[0], points[-1]
    best = min(points, key=lambda point: point[1].mean)
    values = {"name": name, "epoch": words.number(best[0]), "low": words.number(best[1].mean, "loss_short")}
    start, end = (words.number(value.mean, "loss_short") for _, value in (first, last))
    if best[0] == first[0]:
        return words.say("curve.lowest_first", **values, last_epoch=words.number(last[0]), last=end)
    if best[0] == last[0]:
        return words.say("curve.lowest_last", **values, first=start)
    return words.say("curve.lowest_between", **values, first=start, last_epoch=words.number(last[0]), last=end)


def describe_missing(report: Report, drawn: Sequence[str], words: FigureWords) -> str:
    """Return a sentence that names the adapters without results, which a figure does not show, or nothing."""
    names = short_names(report, words)
    missing = [names[adapter] for adapter in report.adapters if adapter not in drawn]
    return words.say("not_shown.adapters", names=words.joined(missing, "comma")) if missing else ""
