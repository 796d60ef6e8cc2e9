"""Where each curve was best, and where overfitting began."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from adapterbook.analysis.shapes import Group, Overfitting, Report
from adapterbook.common.formatting import format_number
from adapterbook.figures.figure import Language
from adapterbook.figures.headline import describe_loss
from adapterbook.figures.style import (
    GREY,
    Drawing,
    Line,
    Words,
    both,
    draw_band,
    legend_above,
    mark_epochs,
    names_of,
    rate_label,
    short_names,
    style_of,
    why_nothing,
    word,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MARKS: dict[str, dict[str, Any]] = {
    "best_epoch": {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.8},
    "onset_epoch": {"marker": "x", "markersize": 9, "markeredgewidth": 2.2},
}


def plan_epochs(report: Report) -> Drawing:
    """Return the curves in which most adapters overfit, with best epoch and onset of overfitting marked."""
    id, title = "epochs", both("最佳輪數與過擬合的起點", "Best epoch and onset of overfitting")
    groups = _most_overfitting(report)
    if not groups:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))

    names = names_of(report)
    curves = [
        (Line(group.curve, style_of(report, group.adapter), names[group.adapter]), group.overfitting)
        for group in groups
    ]
    heading: Words = {"zh": rate_label(groups[0], "zh"), "en": rate_label(groups[0], "en")}
    zh = "；".join(_describe_onset(group, short_names(report, "zh")[group.adapter], "zh") for group in groups)
    en = "; ".join(_describe_onset(group, short_names(report, "en")[group.adapter], "en") for group in groups)
    rate_zh, rate_en = rate_label(groups[0], "zh"), rate_label(groups[0], "en").lower()
    alt = both(f"{title.zh}，{rate_zh}。{zh}。", f"{title.en}, {rate_en}. {en}.")
    rows = [_onset_row(group) for group in groups]
    return Drawing(id, title, alt, partial(_paint, curves, heading), height=3.9, rows=rows)


def _paint(
    curves: Sequence[tuple[Line, Overfitting | None]], heading: Words, canvas: Canvas, language: Language
) -> None:
    axes = canvas.subplots()
    for line, overfitting in curves:
        draw_band(axes, line.curve, "train_loss", line.style, None, linewidth=1, alpha=0.45, marker="")
        draw_band(axes, line.curve, "validation_loss", line.style, line.label[language], marker="")
        losses = {epoch: value.mean for epoch, value in line.curve.values("validation_loss")}
        for moment, mark in MARKS.items():
            epoch = getattr(overfitting, moment, None)
            if epoch is not None:
                axes.plot(epoch, losses[epoch], color=line.style.color, **mark)
    axes.plot([], [], "o", markersize=8, markerfacecolor="none", color=GREY, label=word("best_epoch", language))
    axes.plot([], [], "x", markersize=8, markeredgewidth=2, color=GREY, label=word("onset", language))
    axes.plot([], [], color=GREY, linewidth=1, alpha=0.6, label=word("train_loss", language))
    axes.set_ylabel(word("loss", language))
    axes.set_title(heading[language], loc="left")
    mark_epochs(axes, language)
    legend_above(canvas, axes)


def _most_overfitting(report: Report) -> list[Group]:
    """Return the groups of the learning rate at which most adapters overfit; of equals the highest one's."""
    ablation = report.ablations["learning_rate"]
    variants = ablation.variants or (report.study.submitted,)
    by_variant: dict[str, list[Group]] = {}
    for name in variants:
        found = [report.group(adapter, name) for adapter in report.adapters]
        by_variant[name] = [group for group in found if group is not None and group.curve.values("validation_loss")]

    def rank(name: str) -> tuple[bool, int, int]:
        onsets = [
            group.overfitting is not None and group.overfitting.onset_epoch is not None for group in by_variant[name]
        ]
        return bool(onsets), sum(onsets), list(variants).index(name)

    return by_variant[max(variants, key=rank)]


def _onset_row(group: Group) -> dict[str, object]:
    found = group.overfitting
    return {
        "adapter": group.adapter,
        "learning_rate": group.training.learning_rate,
        "best_epoch": None if found is None else found.best_epoch,
        "best_validation_loss": None if found is None else found.best_validation_loss,
        "onset_epoch": None if found is None else found.onset_epoch,
        "final_validation_loss": None if found is None else found.final_validation_loss,
    }


def _describe_onset(group: Group, name: str, language: Language) -> str:
    sentence = describe_loss(group, name, language)
    onset = None if group.overfitting is None else group.overfitting.onset_epoch
    if onset is None:
        return sentence + ("，沒有過擬合" if language == "zh" else ", without overfitting")
    shown = format_number(onset, "plain", language)
    return sentence + (f"，第 {shown} 輪開始過擬合" if language == "zh" else f", overfitting from epoch {shown} on")
