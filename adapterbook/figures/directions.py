"""Draw the singular values of the updates: how many directions of its rank an adapter uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Directions, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import state_directions
from adapterbook.figures.style import (
    QUIET,
    End,
    LineStyle,
    legend_above,
    mark_log_axis,
    name_ends,
    named_adapters,
    style_of,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, others, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class _Values:
    """Hold one adapter's singular values relative to the first, falling and above zero."""

    name: str
    style: LineStyle
    values: Sequence[float]


def plan_directions(report: Report, words: FigureWords) -> Drawing:
    """Return singular values by rank, means over modules, a line an adapter at its own best learning rate."""
    id, title = "directions", words.say("directions.title")
    learned = [adapter.learned for adapter in report.adapters.values() if adapter.learned is not None]
    found = [(item, item.directions) for item in learned if item.directions is not None]
    if not found:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_measured"))
    names, named = short_names(report, words), named_adapters(report)
    lines = [
        _Values(names[item.adapter], style_of(report, item.adapter), directions.relative_values)
        if item.adapter in named
        else _Values(others(report, named, words), QUIET, directions.relative_values)
        for item, directions in found
    ]
    rows = [
        {"adapter": item.adapter, "learning_rate": report.study.training_of(item.variant).learning_rate,
         "direction": number, "relative_singular_value": value}
        for item, directions in found for number, value in enumerate(directions.relative_values, 1)
    ]  # fmt: skip
    described = [_describe(directions, names[item.adapter], words) for item, directions in found]
    alt = words.say("directions.alt", title=title, adapters=words.joined(described))
    labels = words.labels("directions.direction", "directions.relative_value")
    return Drawing(id, title, alt, partial(_paint, lines, list(names.values()), labels), height=4.2, phone_height=3.8,
                   finding=state_directions(found, names, words), rows=rows)  # fmt: skip


def _paint(lines: Sequence[_Values], names: Sequence[str], labels: Labels, canvas: Canvas) -> None:
    axes = canvas.subplots()
    for line in lines:
        axes.semilogy(range(1, len(line.values) + 1), line.values, color=line.style.color,
                      linestyle=line.style.linestyle, label=line.name,
                      zorder=1.8 if line.style == QUIET else 2)  # fmt: skip
    mark_log_axis(axes.yaxis)
    axes.set_xlabel(labels["direction"])
    axes.set_ylabel(labels["relative_value"])
    ends = [
        End(len(line.values), line.values[-1], line.name, line.style.color) for line in lines if line.style != QUIET
    ]
    named = name_ends(axes, ends, canvas.get_figheight() - 0.7)
    only = [line.name for line in lines if line.style == QUIET] if named else None
    legend_above(canvas, axes, first=names, only=only)


def _describe(directions: Directions, name: str, words: FigureWords) -> str:
    stable = words.number(directions.stable_rank, "norm")
    if directions.n_for_90 is None or directions.n_for_99 is None:
        return words.say("directions.adapter_beyond", name=name, stable=stable)
    n_for_90, n_for_99 = (words.number(n, "norm") for n in (directions.n_for_90, directions.n_for_99))
    return words.say("directions.adapter", name=name, stable=stable, n_for_90=n_for_90, n_for_99=n_for_99)
