"""Draw the answer: every adapter's test accuracy at its best learning rate, sorted, and say what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from adapterbook.analysis.shapes import BaselineKind, Comparison, Group, Report
from adapterbook.common.formatting import keep_end
from adapterbook.common.stats import Interval
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import (
    BASELINES,
    GREY,
    LineStyle,
    format_percent_axis,
    on_phone,
    style_of,
    text_length,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, describe_missing, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MAX_ROWS = 12  # more do not fit the first screen
KINDS: Final[tuple[BaselineKind, ...]] = ("majority", "linear_probe")  # baselines that no run trained
DASHES = {"majority": (0, (1, 2)), "linear_probe": "--"}
INK = "#1d2126"


@dataclass(frozen=True)
class _Row:
    """Hold one adapter's accuracy; ``value`` is the accuracy as it is written beside the interval."""

    name: str
    value: str
    accuracy: float
    interval: Interval
    style: LineStyle


@dataclass(frozen=True)
class _Level:
    """Hold a baseline that is drawn as a line through all rows."""

    label: str
    kind: str
    accuracy: float


def plan_answer(report: Report, words: FigureWords) -> Drawing:
    """Return every adapter's test accuracy with its 95 % interval, the best first, each at its best learning rate."""
    id, title = "answer", words.say("answer.title")
    found = _results(report)
    if not found:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    names, finding = short_names(report, words), state_finding(report, words)

    def share(value: float) -> str:
        return words.number(value, "percent")

    rows = {
        group.adapter: _Row(names[group.adapter], share(accuracy), accuracy, interval, style_of(report, group.adapter))
        for group, accuracy, interval in found
    }
    levels = [
        _Level(words.say("answer.level", name=words.say(f"test-accuracy.{kind}"), accuracy=share(accuracy)),
               kind, accuracy)
        for kind in KINDS
        if (accuracy := report.baseline(kind).accuracy) is not None
    ]  # fmt: skip
    values = words.joined(
        words.say("answer.value", name=row.name, accuracy=row.value, low=share(row.interval.low),
                  high=share(row.interval.high))
        for row in rows.values()
    )  # fmt: skip
    alt = words.sentences(
        words.say("answer.alt", finding=finding, title=title, adapters=values),
        words.say("answer.levels", levels=words.joined((level.label for level in levels), "comma")) if levels else "",
        describe_missing(report, list(rows), words),
    )
    table = [
        {"adapter": group.adapter, "learning_rate": group.training.learning_rate, "test_accuracy": accuracy,
         "interval_low": interval.low, "interval_high": interval.high, "n_seeds": group.n_completed}
        for group, accuracy, interval in found
    ]  # fmt: skip
    shown = _choose(report, list(rows))
    more = words.say("answer.more", n=words.number(len(rows) - len(shown))) if len(shown) < len(rows) else ""
    paint = partial(_paint, [rows[adapter] for adapter in shown], levels, words.say("answer.axis"), more)
    height = 0.95 + 0.29 * (len(shown) + bool(more))
    return Drawing(id, title, alt, paint, height=height, phone_height=height, finding=finding, rows=table)


def _results(report: Report) -> list[tuple[Group, float, Interval]]:
    """Return each adapter's best group with its test accuracy and interval, the most accurate first."""
    groups = [report.adapters[adapter].best for adapter in report.comparisons["best"].ranking]
    return [
        (group, group.test_accuracy.mean, group.test_interval)
        for group in groups
        if group is not None and group.test_accuracy is not None and group.test_interval is not None
    ]


def _choose(report: Report, ranking: Sequence[str]) -> list[str]:
    """Return the adapters that are drawn: the baselines and the best of the others, as many as have room."""
    trained = [adapter for adapter in ranking if report.adapters[adapter].baseline is None]
    room = MAX_ROWS - (len(ranking) - len(trained))
    return [adapter for adapter in ranking if adapter not in trained[room:]]


def state_finding(report: Report, words: FigureWords) -> str:
    """Return what the comparison at the best learning rates shows, as a sentence without a full stop.

    It says which adapters are significantly better than training the head alone, and whether the adapters differ
    significantly from one another. Where neither was tested, it gives the accuracy of the only adapter, or the title.
    """
    comparison = report.comparisons["best"]
    names = {id: keep_end(name) for id, name in short_names(report, words).items()}
    clauses = [clause for clause in (_gain(comparison, names, words), _between(comparison, names, words)) if clause]
    if clauses:
        rates = "several" if report.best_rates.several_tried else "one"
        models = "adapters" if comparison.covers_seeds else "models"
        opening = words.say(f"answer.opening_{rates}_{models}")
        return words.begin(opening + words.joined(clauses, "clause"))
    trained = [adapter for adapter in comparison.ranking if report.adapters[adapter].baseline is None]
    only = report.adapters[trained[0]].best if len(trained) == 1 else None
    if only is not None and only.test_accuracy is not None:
        accuracy = words.number(only.test_accuracy.mean, "percent")
        return words.say("answer.only", name=names[trained[0]], accuracy=accuracy)
    return words.say("answer.title")


def _gain(comparison: Comparison, names: Mapping[str, str], words: FigureWords) -> str:
    """Return which adapters are better than the head alone, or nothing where none could be compared with it."""
    tested = [pair for pair in comparison.added if pair.kind != "not_comparable"]
    better = [names[pair.a] for pair in comparison.added_with("better") if pair.a is not None]
    if not tested:
        return ""
    if not better:
        return (
            words.say("answer.gain_none") if tested[1:] else words.say("answer.gain_not", name=names[str(tested[0].a)])
        )
    if len(better) == len(comparison.added) > 2:
        return words.say("answer.gain_all")
    if len(better) == 1:
        return words.say("answer.gain_one", name=better[0])
    return words.say("answer.gain_some", names=words.joined(better[:-1], "comma"), last=better[-1])


def _between(comparison: Comparison, names: Mapping[str, str], words: FigureWords) -> str:
    """Return whether the adapters differ from one another, or nothing where no two were compared."""
    tested = [pair for pair in comparison.between if pair.kind != "not_comparable"]
    if not tested:
        return ""
    apart = comparison.between_apart
    if not apart:
        same = all(pair.kind == "same" for pair in tested)
        if len(tested) == 1:
            return words.say("answer.same_two" if same else "answer.undecided_two",
                             a=names[str(tested[0].a)], b=names[str(tested[0].b)])  # fmt: skip
        return words.say("answer.same" if same else "answer.undecided")
    wins = [(pair.a, pair.b) if pair.kind == "better" else (pair.b, pair.a) for pair in apart]
    adapters = {adapter for pair in comparison.between for adapter in (pair.a, pair.b)}
    for adapter in comparison.ranking:
        if len(adapters) > 2 and {loser for winner, loser in wins if winner == adapter} == adapters - {adapter}:
            return words.say("answer.leader", name=names[adapter])
    largest = max(apart, key=lambda pair: abs(pair.difference or 0))
    winner, loser = wins[apart.index(largest)]
    return words.say("answer.apart", winner=names[str(winner)], loser=names[str(loser)])


def _paint(rows: Sequence[_Row], levels: Sequence[_Level], label: str, more: str, canvas: Canvas) -> None:
    axes = canvas.subplots()
    size = 9 if on_phone(canvas) else 11
    for level in levels:
        axes.axvline(level.accuracy, color=GREY, linewidth=1.1, linestyle=DASHES[level.kind], zorder=1)
    for place, row in enumerate(rows):
        color = row.style.color
        axes.plot([row.interval.low, row.interval.high], [place, place], color=color, linewidth=2.2)
        axes.plot(row.accuracy, place, "o", color=color, markersize=8)
        axes.annotate(row.value, (row.interval.high, place), (6, 0), textcoords="offset points", va="center",
                      fontsize=size, color=INK)  # fmt: skip
    lows, highs = [row.interval.low for row in rows], [row.interval.high for row in rows]
    low = min([*lows, *(level.accuracy for level in levels)])
    high = max([*highs, *(level.accuracy for level in levels)])
    room = max(high - low, 0.01)
    axes.set_xlim(low - 0.06 * room, high + (0.2 if on_phone(canvas) else 0.12) * room)
    _name_levels(axes, levels, size - 0.5, canvas.get_figwidth())
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=size)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(GREY if row.style in BASELINES.values() else row.style.color)
    axes.set_ylim(len(rows) - 0.4 + bool(more), -0.6)
    if more:
        axes.annotate(more, (0, len(rows)), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", fontsize=size - 0.5, color=GREY)  # fmt: skip
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
    axes.set_xlabel(label)
    format_percent_axis(axes.xaxis)


def _name_levels(axes: Axes, levels: Sequence[_Level], size: float, width: float) -> None:
    """Write above each line what it is; where two names would meet, the second stands higher."""
    low, high = axes.get_xlim()
    panel = 0.8 * width * 72  # about the width of the panel, in points
    ends: list[float] = []
    for level in sorted(levels, key=lambda level: level.accuracy):
        place = (level.accuracy - low) / (high - low)
        length = text_length(level.label, size) / panel
        start = min(max(place - length / 2, 0), 1 - length)
        row = next((row for row, end in enumerate(ends) if end + 0.02 < start), len(ends))
        ends[row : row + 1] = [start + length]
        axes.annotate(level.label, (start, 1), (0, 3 + 1.3 * size * row), xycoords="axes fraction",
                      textcoords="offset points", va="bottom", fontsize=size, color=GREY)  # fmt: skip
