"""The headline: every adapter by epoch, as submitted and each at its own best learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from adapterbook.analysis.shapes import AdapterReport, Basis, Group, Report
from adapterbook.common.formatting import format_number
from adapterbook.config.study import BilingualText
from adapterbook.figures.figure import Language
from adapterbook.figures.style import (
    GREY,
    Drawing,
    Line,
    both,
    draw_band,
    format_percent_axis,
    legend_above,
    mark_epochs,
    names_of,
    short_names,
    style_of,
    why_nothing,
    word,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

TITLES: dict[Basis, tuple[str, BilingualText]] = {
    "submitted": (
        "headline",
        both("各轉接器在原設定下的驗證損失與驗證準確率",
             "Every adapter as submitted: validation loss and accuracy by epoch"),
    ),
    "best": (
        "headline-best",
        both("各轉接器用自己最佳學習率時的驗證損失與驗證準確率",
             "Every adapter at its own best learning rate: validation loss and accuracy by epoch"),
    ),
}  # fmt: skip


def plan_headline(report: Report, basis: Basis) -> Drawing:
    """Return the headline figure of one basis: two panels, a line an adapter, with what guessing gives."""
    id, title = TITLES[basis]
    groups = _groups(report, basis)
    if not groups:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))
    lines = headline_lines(report, basis)
    rows = [row for group in groups for row in curve_rows(group)]
    return Drawing(id, title, _alt(report, title, groups), partial(_paint, lines), height=5.4, rows=rows)


def headline_lines(report: Report, basis: Basis) -> list[Line]:
    """Return the lines of the headline figure of one basis, one an adapter that has a curve."""
    names = names_of(report)

    def label(group: Group, language: Language) -> str:
        rate = _rate(group, language) if basis == "best" else ""
        return names[group.adapter][language] + (rate and (f"（{rate}）" if language == "zh" else f" ({rate})"))

    return [
        Line(group.curve, style_of(report, group.adapter), {"zh": label(group, "zh"), "en": label(group, "en")})
        for group in _groups(report, basis)
    ]


def _groups(report: Report, basis: Basis) -> list[Group]:
    groups = [adapter.submitted if basis == "submitted" else adapter.best for adapter in report.adapters.values()]
    return [group for group in groups if group is not None and group.curve.values("validation_loss")]


def _paint(lines: Sequence[Line], canvas: Canvas, language: Language) -> None:
    loss, accuracy = canvas.subplots(2, 1, sharex=True)
    for line in lines:
        draw_band(loss, line.curve, "validation_loss", line.style, line.label[language])
        draw_band(accuracy, line.curve, "validation_accuracy", line.style, line.label[language])
    loss.axhline(math.log(2), color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=word("chance", language))
    accuracy.axhline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 3)))
    loss.set_title(word("validation_loss", language), loc="left")
    accuracy.set_title(word("validation_accuracy", language), loc="left")
    format_percent_axis(accuracy.yaxis)
    mark_epochs(accuracy, language)
    legend_above(canvas, loss)


def curve_rows(group: Group) -> list[dict[str, object]]:
    """Return the numbers of a curve, one row an epoch: means over the seeds."""
    return [
        {
            "adapter": group.adapter,
            "learning_rate": group.training.learning_rate,
            "epoch": point.epoch,
            "train_loss": None if point.train_loss is None else point.train_loss.mean,
            "validation_loss": None if point.validation_loss is None else point.validation_loss.mean,
            "validation_accuracy": None if point.validation_accuracy is None else point.validation_accuracy.mean,
        }
        for point in group.curve.points
    ]


def describe_loss(group: Group, name: str, language: Language) -> str:
    """Return what a validation loss did: first, lowest and last value, as part of a sentence."""
    points = group.curve.values("validation_loss")
    first, last = points[0], points[-1]
    epoch, lowest = min(points, key=lambda point: point[1].mean)
    start, low, end = (format_number(value.mean, "loss", language) for value in (first[1], lowest, last[1]))
    at, final = (format_number(value, "plain", language) for value in (epoch, last[0]))
    if language == "zh":
        before = name if east_asian_width(name[-1]) in "WF" else f"{name} "
        if epoch == first[0]:
            return f"{before}在第 {at} 輪最低（{low}），到第 {final} 輪為 {end}"
        tail = "" if epoch == last[0] else f"，到第 {final} 輪回升至 {end}"
        return f"{before}從 {start} 降到第 {at} 輪的 {low}{tail}"
    if epoch == first[0]:
        return f"{name} is lowest in epoch {at} ({low}) and {end} in epoch {final}"
    tail = "" if epoch == last[0] else f" and rises to {end} by epoch {final}"
    return f"{name} falls from {start} to {low} in epoch {at}{tail}"


def _alt(report: Report, title: BilingualText, groups: Sequence[Group]) -> BilingualText:
    zh_names, en_names = short_names(report, "zh"), short_names(report, "en")
    zh = "；".join(describe_loss(group, zh_names[group.adapter], "zh") for group in groups)
    en = "; ".join(describe_loss(group, en_names[group.adapter], "en") for group in groups)
    last = {group.adapter: group.curve.values("validation_accuracy") for group in groups}
    shown = {name: points[-1][1].mean for name, points in last.items() if points}
    zh_accuracy = "、".join(
        f"{zh_names[name]} {format_number(value, 'percent', 'zh')}" for name, value in shown.items()
    )
    en_accuracy = ", ".join(
        f"{en_names[name]} {format_number(value, 'percent', 'en')}" for name, value in shown.items()
    )
    if shown:
        zh += f"。最後一輪的驗證準確率：{zh_accuracy}；隨機猜測為 50%"
        en += f". Validation accuracy in the last epoch: {en_accuracy}; chance is 50%"
    missing = describe_missing(report, [group.adapter for group in groups])
    return both(
        f"{title.zh}。驗證損失：{zh}。{missing.zh}",
        f"{title.en}. Validation loss: {en}.{missing.en}",
    )


def describe_missing(report: Report, drawn: Sequence[str]) -> BilingualText:
    """Return a sentence that names the adapters that a figure does not show for want of results, or nothing."""
    missing = [adapter for adapter in report.adapters if adapter not in drawn]
    if not missing:
        return both("", "")
    zh_names, en_names = short_names(report, "zh"), short_names(report, "en")
    zh = "、".join(zh_names[adapter] for adapter in missing)
    en = ", ".join(en_names[adapter] for adapter in missing)
    return both(f"圖中沒有 {zh}：還沒有可用的結果。", f" Not shown, for want of results: {en}.")


def titled(report: Report, adapter: AdapterReport, zh: str, en: str) -> BilingualText:
    """Return a title that begins with an adapter's short name."""
    return both(f"{short_names(report, 'zh')[adapter.id]}：{zh}", f"{short_names(report, 'en')[adapter.id]}: {en}")


def _rate(group: Group, language: Language) -> str:
    return format_number(group.training.learning_rate, "rate", language)
