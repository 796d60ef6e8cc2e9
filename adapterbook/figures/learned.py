"""Draw the relative update of each module by training, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Learned, LearnedModule, Reason, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.findings import state_learned
from adapterbook.figures.style import (
    QUIET,
    LineStyle,
    heights_of,
    legend_above,
    mark_log_axis,
    mark_size,
    named_adapters,
    panels_of,
    style_of,
)
from adapterbook.figures.words import FigureWords, Labels, others, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class _Updates:
    """Hold one adapter's lines: by kind of module, the layers with their relative updates."""

    name: str
    style: LineStyle
    kinds: Mapping[str, Sequence[tuple[int, float]]]


def plan_learned(report: Report, words: FigureWords) -> Drawing:
    """Return ‖ΔW‖ / ‖W‖ by layer, one panel a kind of module, a line an adapter at its own best learning rate."""
    id, title = "learned", words.say("learned.title")
    found = [adapter.learned for adapter in report.adapters.values() if adapter.learned is not None]
    drawn = [learned for learned in found if learned.layers and learned.largest.relative_update > 0]
    if not drawn:
        return Drawing(id, title, title, None, reason=_why_nothing(report))
    kinds = list(dict.fromkeys(kind.name for learned in drawn for kind in learned.kinds))

    names, named = short_names(report, words), named_adapters(report)
    updates = [
        _Updates(
            names[learned.adapter] if learned.adapter in named else others(report, named, words),
            style_of(report, learned.adapter) if learned.adapter in named else QUIET,
            {kind.name: _points(learned, kind.name) for kind in learned.kinds},
        )
        for learned in drawn
    ]
    adapters = words.begin(words.joined(_describe(report, learned, words) for learned in drawn))
    alt = words.say("learned.alt", title=title, adapters=adapters)
    rows = [_row(report, learned, module) for learned in drawn for module in learned.modules]
    if all(row["scale_deviation"] is None for row in rows):
        rows = [{key: value for key, value in row.items() if key != "scale_deviation"} for row in rows]
    height, phone_height = heights_of(len(kinds), 1.1, 1.95)
    labels = words.labels("learned.layer", "learned.relative_update")
    paint = partial(_paint, kinds, updates, list(names.values()), labels)
    return Drawing(id, title, alt, paint, height=height, phone_height=phone_height,
                   finding=state_learned(drawn, names, words), rows=rows)  # fmt: skip


def _points(learned: Learned, kind: str) -> list[tuple[int, float]]:
    """Return the points of one kind of module that a logarithmic axis can show, in order of layers."""
    return sorted(
        (module.layer, module.relative_update)
        for module in learned.modules
        if module.kind == kind and module.layer is not None and module.relative_update > 0
    )


def _paint(
    kinds: Sequence[str], updates: Sequence[_Updates], names: Sequence[str], labels: Labels, canvas: Canvas
) -> None:
    from matplotlib.ticker import MaxNLocator

    panels = panels_of(canvas, len(kinds), sharey=True)
    for panel, kind in zip(panels, kinds, strict=True):
        for update in updates:
            points, style = update.kinds.get(kind, ()), update.style
            if points:
                panel.semilogy(*zip(*points, strict=True), color=style.color, linestyle=style.linestyle,
                               marker=style.marker, label=update.name, zorder=1.8 if style == QUIET else 2)  # fmt: skip
        panel.set_title(kind, loc="left")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    mark_log_axis(panels[0].yaxis, factor=100, unit="%")
    canvas.supxlabel(labels["layer"], fontsize=mark_size(canvas))
    canvas.supylabel(labels["relative_update"], fontsize=mark_size(canvas))
    legend_above(canvas, panels[: len(kinds)], first=names)


def _row(report: Report, learned: Learned, module: LearnedModule) -> dict[str, object]:
    return {
        "adapter": learned.adapter,
        "learning_rate": report.study.training_of(learned.variant).learning_rate,
        "module_kind": module.kind,
        "layer": module.layer,
        "relative_update": module.relative_update,
        "scale_deviation": module.scale_deviation,
    }


def _describe(report: Report, learned: Learned, words: FigureWords) -> str:
    def share(value: float) -> str:
        return f"{words.number(100 * value, 'norm')}%"  # three digits, also where the share is tiny

    return words.say(
        "learned.adapter",
        name=short_names(report, words)[learned.adapter],
        rate=words.number(report.study.training_of(learned.variant).learning_rate, "rate"),
        mean=share(learned.mean_relative_update),
        most_in=_place(learned.largest, words),
        most=share(learned.largest.relative_update),
        least_in=_place(learned.smallest, words),
        least=share(learned.smallest.relative_update),
    )


def _place(module: LearnedModule, words: FigureWords) -> str:
    if module.layer is None:
        return module.kind
    return words.say("learned.in_layer", layer=words.number(module.layer), module=module.kind)


def _why_nothing(report: Report) -> Reason:
    """Return why there is nothing to draw: the first reason of an adapter that is not a baseline."""
    trained = [adapter for adapter in report.adapters.values() if adapter.baseline is None]
    reasons = [adapter.learned_reason for adapter in trained]
    known = [reason for reason in reasons if reason is not None]
    return known[0] if known else "not_measured" if trained else "no_runs"
