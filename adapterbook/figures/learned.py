"""What training changed: the relative update of each module, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Learned, LearnedModule, Reason, Report
from adapterbook.common.formatting import format_number
from adapterbook.figures.figure import Language
from adapterbook.figures.style import (
    Drawing,
    LineStyle,
    Words,
    both,
    capitalised,
    legend_above,
    names_of,
    short_names,
    style_of,
    word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS = 3  # panels side by side: more cannot be read at 390 px


@dataclass(frozen=True)
class _Updates:
    """One adapter's lines: by kind of module, the layers with their relative updates."""

    name: Words
    style: LineStyle
    kinds: Mapping[str, Sequence[tuple[int, float]]]


def plan_learned(report: Report) -> Drawing:
    """Return ‖ΔW‖ / ‖W‖ by layer, one panel a kind of module, a line an adapter at its own best learning rate."""
    id, title = "learned", both("各模組學到的更新有多大", "How far each module moved in training")
    found = [adapter.learned for adapter in report.adapters.values() if adapter.learned is not None]
    drawn = [learned for learned in found if learned.layers and learned.largest.relative_update > 0]
    if not drawn:
        return Drawing(id, title, title, None, reason=_why_nothing(report))
    kinds = list(dict.fromkeys(kind.name for learned in drawn for kind in learned.kinds))

    names = names_of(report)
    updates = [
        _Updates(
            names[learned.adapter],
            style_of(report, learned.adapter),
            {kind.name: _points(learned, kind.name) for kind in learned.kinds},
        )
        for learned in drawn
    ]
    zh = "；".join(_describe(report, learned, "zh") for learned in drawn)
    en = "; ".join(_describe(report, learned, "en") for learned in drawn)
    alt = both(
        f"{title.zh}：更新的範數除以原權重的範數，依模組與層，各用自己最佳的學習率。{zh}。",
        f"{title.en}: norm of the update over norm of the weight, by module and layer, each adapter at its own best "
        f"learning rate. {capitalised(en)}.",
    )
    rows = [_row(report, learned, module) for learned in drawn for module in learned.modules]
    if all(row["scale_deviation"] is None for row in rows):
        rows = [{key: value for key, value in row.items() if key != "scale_deviation"} for row in rows]
    height = 1.1 + 1.95 * math.ceil(len(kinds) / COLUMNS)
    return Drawing(id, title, alt, partial(_paint, kinds, updates, list(names.values())), height=height, rows=rows)


def _points(learned: Learned, kind: str) -> list[tuple[int, float]]:
    """Return what a logarithmic axis can show of one kind of module, in order of layers."""
    return sorted(
        (module.layer, module.relative_update)
        for module in learned.modules
        if module.kind == kind and module.layer is not None and module.relative_update > 0
    )


def _paint(
    kinds: Sequence[str], updates: Sequence[_Updates], names: Sequence[Words], canvas: Canvas, language: Language
) -> None:
    from matplotlib.ticker import MaxNLocator

    n_rows = math.ceil(len(kinds) / COLUMNS)
    panels = list(canvas.subplots(n_rows, min(len(kinds), COLUMNS), sharex=True, sharey=True, squeeze=False).flat)
    for unused in panels[len(kinds) :]:
        unused.remove()
    for panel, kind in zip(panels, kinds, strict=False):
        for update in updates:
            points, style = update.kinds.get(kind, ()), update.style
            if points:
                panel.semilogy(*zip(*points, strict=True), color=style.color, linestyle=style.linestyle,
                               marker=style.marker, label=update.name[language])  # fmt: skip
        panel.set_title(kind, loc="left")
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for panel in panels[max(0, len(kinds) - COLUMNS) : len(kinds)]:
        panel.tick_params(labelbottom=True)
    _mark_log_axis(panels[0])
    canvas.supxlabel(word("layer", language), fontsize=11)
    canvas.supylabel(word("relative_update", language), fontsize=11)
    legend_above(canvas, panels[: len(kinds)], first=[name[language] for name in names])


def _mark_log_axis(panel: Axes) -> None:
    """Label the shared logarithmic axis with plain per cents."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 30 else (1.0,)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.12g}%"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def _row(report: Report, learned: Learned, module: LearnedModule) -> dict[str, object]:
    return {
        "adapter": learned.adapter,
        "learning_rate": report.study.training_of(learned.variant).learning_rate,
        "module_kind": module.kind,
        "layer": module.layer,
        "relative_update": module.relative_update,
        "scale_deviation": module.scale_deviation,
    }


def _describe(report: Report, learned: Learned, language: Language) -> str:
    name = short_names(report, language)[learned.adapter]
    rate = format_number(report.study.training_of(learned.variant).learning_rate, "rate", language)
    mean, most, least = (
        f"{format_number(100 * value, 'norm', language)}%"  # three digits, also where the share is tiny
        for value in (
            learned.mean_relative_update,
            learned.largest.relative_update,
            learned.smallest.relative_update,
        )
    )
    at_most, at_least = _place(learned.largest, language), _place(learned.smallest, language)
    if language == "zh":
        return f"{name}（學習率 {rate}）平均 {mean}，最大在{at_most}（{most}），最小在{at_least}（{least}）"
    return (
        f"{name} (learning rate {rate}): {mean} on average, most in {at_most} ({most}), least in {at_least} ({least})"
    )


def _place(module: LearnedModule, language: Language) -> str:
    if module.layer is None:
        return f" {module.kind} " if language == "zh" else module.kind
    return f"第 {module.layer} 層的 {module.kind}" if language == "zh" else f"{module.kind} of layer {module.layer}"


def _why_nothing(report: Report) -> Reason:
    """Return why there is nothing to draw: the first reason of an adapter that is no baseline."""
    trained = [adapter for adapter in report.adapters.values() if not adapter.head_only]
    reasons = [adapter.learned_reason for adapter in trained]
    known = [reason for reason in reasons if reason is not None]
    return known[0] if known else "not_measured" if trained else "no_runs"
