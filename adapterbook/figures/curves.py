"""Curves by epoch: what the learning rate, the batch size and the number of epochs do, and each adapter's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import AdapterReport, Factor, Group, Report
from adapterbook.common.formatting import format_number
from adapterbook.config.study import BilingualText
from adapterbook.figures.figure import Language
from adapterbook.figures.headline import curve_rows, describe_loss, describe_missing, titled
from adapterbook.figures.style import (
    GREY,
    Drawing,
    Line,
    LineStyle,
    Words,
    both,
    capitalised,
    draw_band,
    format_percent_axis,
    legend_above,
    mark_epochs,
    names_of,
    rate_label,
    short_names,
    style_of,
    variant_style,
    why_nothing,
    word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS = 3  # panels side by side: more cannot be read at 390 px


@dataclass(frozen=True)
class _Panel:
    """The curves that share a panel, or a pair of panels."""

    title: Words
    lines: Sequence[Line]


def plan_learning_rate(report: Report) -> Drawing:
    """Return training loss above validation loss by epoch, a column a learning rate, all adapters."""
    id, title = "learning-rate", both("各學習率下的訓練損失與驗證損失",
                                      "Training and validation loss at each learning rate")  # fmt: skip
    ablation = report.ablations["learning_rate"]
    drawn = {key: group for key, group in ablation.groups.items() if group.curve.values("validation_loss")}
    variants = [name for name in ablation.variants if any(key[1] == name for key in drawn)]
    if not variants:
        return Drawing(id, title, title, None, reason=ablation.reason or why_nothing(report, "not_evaluated"))
    names = names_of(report)
    panels = [
        _Panel(
            {
                "zh": _factor_label("learning_rate", ablation.values[variant], "zh"),
                "en": _factor_label("learning_rate", ablation.values[variant], "en"),
            },
            [
                Line(drawn[adapter, variant].curve, style_of(report, adapter), names[adapter])
                for adapter in report.adapters
                if (adapter, variant) in drawn
            ],
        )
        for variant in variants
    ]
    sentences_zh, sentences_en = [], []
    for variant in variants:
        groups = [drawn[adapter, variant] for adapter in report.adapters if (adapter, variant) in drawn]
        sentences_zh.append(
            _describe_groups(report, groups, _factor_label("learning_rate", ablation.values[variant], "zh"), "zh")
        )
        sentences_en.append(
            _describe_groups(report, groups, _factor_label("learning_rate", ablation.values[variant], "en"), "en")
        )
    missing = describe_missing(report, [adapter for adapter, _ in drawn])
    alt = both(f"{title.zh}。{''.join(sentences_zh)}{missing.zh}", f"{title.en}. {' '.join(sentences_en)}{missing.en}")
    rows = [row for group in _in_order(report, drawn, variants) for row in curve_rows(group)]
    height = 1.0 + 3.6 * math.ceil(len(variants) / _columns(len(variants)))
    paint = partial(_paint_learning_rate, panels, list(names.values()))
    return Drawing(id, title, alt, paint, height=height, rows=rows)


def _paint_learning_rate(panels: Sequence[_Panel], names: Sequence[Words], canvas: Canvas, language: Language) -> None:
    grid = _paired_grid(canvas, len(panels), _columns(len(panels)), language)
    for (train, validation), panel in zip(grid, panels, strict=True):
        for line in panel.lines:
            label = line.label[language]
            # A marker every third epoch: enough to tell the lines apart in so small a panel.
            draw_band(train, line.curve, "train_loss", line.style, None, markersize=3.5, markevery=3)
            draw_band(validation, line.curve, "validation_loss", line.style, label, markersize=3.5, markevery=3)
        _chance_loss(train)
        _chance_loss(validation)
        train.set_title(panel.title[language], loc="left")
    legend_above(canvas, [axes for pair in grid for axes in pair], first=[name[language] for name in names])


def plan_curves(report: Report, adapter: AdapterReport, id: str) -> Drawing:
    """Return one adapter's train and validation loss, one panel a learning rate, one scale."""
    title = titled(report, adapter, "各學習率的訓練損失與驗證損失", "training and validation loss by learning rate")
    groups = _own_groups(report, adapter)
    if not groups:
        return Drawing(id, title, title, None, adapter=adapter.id, reason=adapter.reason or "no_runs")
    style = style_of(report, adapter.id)
    lines = [Line(group.curve, style, _rate_words(group)) for group in groups]
    alt = _describe_each(title, groups)
    rows = [row for group in groups for row in curve_rows(group)]
    height = _grid_height(len(groups), 2.9)
    return Drawing(id, title, alt, partial(_paint_curves, lines), height=height, rows=rows, adapter=adapter.id)


def _paint_curves(lines: Sequence[Line], canvas: Canvas, language: Language) -> None:
    """Draw a panel a line, under the line's label."""
    panels = _grid(canvas, len(lines), language)
    for panel, line in zip(panels, lines, strict=True):
        train = LineStyle(GREY, "--", "")
        draw_band(panel, line.curve, "train_loss", train, word("train_loss", language))
        draw_band(panel, line.curve, "validation_loss", line.style, word("validation_loss", language),
                  linestyle="-", markersize=3.5)  # fmt: skip
        _chance_loss(panel)
        panel.set_title(line.label[language], loc="left")
    legend_above(canvas, panels)


def plan_accuracy(report: Report, adapter: AdapterReport, id: str) -> Drawing:
    """Return one adapter's validation accuracy by epoch, one line a learning rate."""
    title = titled(report, adapter, "各學習率的驗證準確率", "validation accuracy at each learning rate")
    groups = [group for group in _own_groups(report, adapter) if group.curve.values("validation_accuracy")]
    if not groups:
        return Drawing(id, title, title, None, adapter=adapter.id, reason=adapter.reason or "not_evaluated")

    lines = [Line(group.curve, variant_style(i), _rate_words(group)) for i, group in enumerate(groups)]
    zh = "；".join(_describe_accuracy(group, "zh") for group in groups)
    en = "; ".join(_describe_accuracy(group, "en") for group in groups)
    rows = [
        {key: row[key] for key in ("learning_rate", "epoch", "validation_accuracy")}
        for group in groups
        for row in curve_rows(group)
        if row["validation_accuracy"] is not None
    ]
    alt = both(f"{title.zh}。{zh}。", f"{title.en}. {capitalised(en)}.")
    return Drawing(id, title, alt, partial(_paint_accuracy, lines), height=3.1, rows=rows, adapter=adapter.id)


def _paint_accuracy(lines: Sequence[Line], canvas: Canvas, language: Language) -> None:
    axes = canvas.subplots()
    for line in lines:
        draw_band(axes, line.curve, "validation_accuracy", line.style, line.label[language])
    axes.axhline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=word("chance", language))
    axes.set_ylabel(word("validation_accuracy", language))
    format_percent_axis(axes.yaxis)
    mark_epochs(axes, language)
    legend_above(canvas, axes)


def plan_batch_size(report: Report) -> Drawing:
    """Return train and validation loss of one adapter by batch size."""
    id, title = "batch-size", both("不同批次大小的訓練損失與驗證損失", "Training and validation loss by batch size")
    ablation = report.ablations["batch_size"]
    if not ablation.adapters:
        return Drawing(id, title, title, None, reason=ablation.reason or "no_runs")
    adapter = ablation.adapters[0]
    groups = [ablation.groups[adapter, name] for name in ablation.variants if (adapter, name) in ablation.groups]
    n_train = report.study.data.n_train

    def label(group: Group, language: Language) -> str:
        size = group.training.per_device_train_batch_size
        steps = math.ceil(n_train / size)
        return (
            f"批次大小 {size}（每輪 {steps} 步）" if language == "zh" else f"Batch size {size} ({steps} steps an epoch)"
        )

    lines = [
        Line(group.curve, variant_style(i), {"zh": label(group, "zh"), "en": label(group, "en")})
        for i, group in enumerate(groups)
    ]
    name_zh, name_en = short_names(report, "zh")[adapter], short_names(report, "en")[adapter]
    described = [group for group in groups if group.curve.values("validation_loss")]
    zh = "；".join(describe_loss(group, f"{label(group, 'zh')}的驗證損失", "zh") for group in described)
    en = "; ".join(
        describe_loss(group, f"with {label(group, 'en').lower()} the validation loss", "en") for group in described
    )
    alt = both(f"{title.zh}（{name_zh}）。{zh}。", f"{title.en} ({name_en}). {capitalised(en)}.")
    rows = [
        {"batch_size": group.training.per_device_train_batch_size} | row
        for group in groups
        for row in curve_rows(group)
    ]
    return Drawing(id, title, alt, partial(_paint_batch_size, lines), height=5.2, rows=rows)


def _paint_batch_size(lines: Sequence[Line], canvas: Canvas, language: Language) -> None:
    panels = list(canvas.subplots(2, 1, sharex=True))
    for panel, quantity in zip(panels, ("train_loss", "validation_loss"), strict=True):
        for line in lines:
            draw_band(panel, line.curve, quantity, line.style, line.label[language])
        _chance_loss(panel)
        panel.set_title(word(quantity, language), loc="left")
    mark_epochs(panels[-1], language)
    legend_above(canvas, panels)


def _describe_accuracy(group: Group, language: Language) -> str:
    points = group.curve.values("validation_accuracy")
    epoch, best = max(points, key=lambda point: point[1].mean)
    high, end = format_number(best.mean, "percent", language), format_number(points[-1][1].mean, "percent", language)
    at = format_number(epoch, "plain", language)
    label = rate_label(group, language).lower()
    if language == "zh":
        return f"{label} 最高 {high}（第 {at} 輪），最後 {end}"
    return f"{label}: {high} at its highest (epoch {at}), {end} at the end"


def _describe_groups(report: Report, groups: Sequence[Group], heading: str, language: Language) -> str:
    names = short_names(report, language)
    told = [describe_loss(group, names[group.adapter], language) for group in groups]
    trained = _describe_train_losses(groups, names, language)
    if language == "zh":
        return f"{heading}：{trained}驗證損失：{'；'.join(told)}。"
    return f"{heading}: {trained}Validation loss: {'; '.join(told)}."


def _describe_train_losses(groups: Sequence[Group], names: Mapping[str, str], language: Language) -> str:
    """Return between what the training losses begin and end, with who has the lowest and the highest end."""
    curves = {names[group.adapter]: group.curve.values("train_loss") for group in groups}
    ends = {name: (points[0][1].mean, points[-1][1].mean) for name, points in curves.items() if points}
    if not ends:
        return ""
    low, high = min(ends, key=lambda name: ends[name][1]), max(ends, key=lambda name: ends[name][1])
    start = format_number(max(first for first, _ in ends.values()), "loss", language)
    lowest, highest = (format_number(ends[name][1], "loss", language) for name in (low, high))
    if language == "zh":
        return f"訓練損失最高從 {start} 開始，最後介於 {lowest}（{low}）與 {highest}（{high}）之間。"
    return f"Training losses start at {start} or less and end between {lowest} ({low}) and {highest} ({high}). "


def _describe_each(title: BilingualText, groups: Sequence[Group]) -> BilingualText:
    described = [group for group in groups if group.curve.values("validation_loss")]
    zh = "；".join(describe_loss(group, f"{rate_label(group, 'zh')} 的驗證損失", "zh") for group in described)
    en = "; ".join(
        describe_loss(group, f"at {rate_label(group, 'en').lower()} the validation loss", "en") for group in described
    )
    return both(f"{title.zh}。{zh or '沒有做過評估'}。", f"{title.en}. {capitalised(en) or 'Nothing was evaluated'}.")


def _own_groups(report: Report, adapter: AdapterReport) -> list[Group]:
    """Return an adapter's groups with results, by learning rate; without other rates the submitted one's."""
    names = report.ablations["learning_rate"].variants or (report.study.submitted,)
    found = [adapter.groups[name] for name in names if name in adapter.groups]
    return [group for group in found if group.n_completed]


def _in_order(report: Report, groups: dict[tuple[str, str], Group], variants: Sequence[str]) -> list[Group]:
    return [groups[adapter, name] for name in variants for adapter in report.adapters if (adapter, name) in groups]


def _rate_words(group: Group) -> Words:
    return {"zh": rate_label(group, "zh"), "en": rate_label(group, "en")}


def _factor_label(factor: Factor, value: float, language: Language) -> str:
    kind = "rate" if factor == "learning_rate" else "plain"
    return f"{word(factor, language)} {format_number(value, kind, language)}"


def _columns(n: int) -> int:
    """Return how many panels stand beside each other: no more than can be read, in rows as even as can be."""
    return math.ceil(n / math.ceil(n / COLUMNS))


def _paired_grid(canvas: Canvas, n: int, columns: int, language: Language) -> list[tuple[Axes, Axes]]:
    """Return n pairs of panels, training loss above validation loss; each loss has one scale for all pairs."""
    blocks = math.ceil(n / columns)
    grid = canvas.subplots(2 * blocks, columns, sharex=True, squeeze=False)
    pairs: list[tuple[Axes, Axes]] = []
    for number in range(blocks * columns):
        row, column = divmod(number, columns)
        upper, lower = grid[2 * row][column], grid[2 * row + 1][column]
        if number >= n:
            upper.remove()
            lower.remove()
            continue
        pairs.append((upper, lower))
        for panel, first, quantity in zip((upper, lower), pairs[0], ("train_loss", "validation_loss"), strict=True):
            mark_epochs(panel, language, label=False)
            if panel is not first:
                panel.sharey(first)
            panel.tick_params(labelleft=column == 0, labelbottom=panel is lower and number + columns >= n)
            if column == 0:
                panel.set_ylabel(word(quantity, language))
    canvas.supxlabel(word("epoch", language), fontsize=11)
    return pairs


def _grid(canvas: Canvas, n: int, language: Language) -> list[Axes]:
    """Return n panels of one scale, a few beside each other, the lowest of each column with the axis of epochs."""
    rows = math.ceil(n / COLUMNS)
    panels = list(canvas.subplots(rows, min(n, COLUMNS), sharex=True, sharey=True, squeeze=False).flat)
    for unused in panels[n:]:
        unused.remove()
    for panel in panels[:n]:
        mark_epochs(panel, language, label=False)
    for panel in panels[max(0, n - COLUMNS) : n]:  # where the lowest row is not full, the one above needs numbers too
        panel.tick_params(labelbottom=True)
    canvas.supxlabel(word("epoch", language), fontsize=11)
    return panels[:n]


def _grid_height(n: int, height: float) -> float:
    return height + (math.ceil(n / COLUMNS) - 1) * 2.2


def _chance_loss(panel: Axes) -> None:
    """Draw the loss of a model that finds both classes equally likely."""
    panel.axhline(math.log(2), color=GREY, linewidth=0.9, linestyle=(0, (1, 3)))
