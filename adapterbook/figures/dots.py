"""Points: test accuracy with its intervals, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import CostRow, CostTable, Report
from adapterbook.common.formatting import format_number
from adapterbook.common.stats import Interval
from adapterbook.config.study import BilingualText
from adapterbook.figures.figure import Language
from adapterbook.figures.headline import describe_missing
from adapterbook.figures.style import (
    GREY,
    Drawing,
    LineStyle,
    Words,
    both,
    format_percent_axis,
    legend_above,
    names_of,
    short_names,
    style_of,
    variant_style,
    why_nothing,
    word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PANELS = (("params", "n_trainable_params", 1.0), ("time", "train_time_s", 1.0), ("size", "adapter_file_bytes", 1e6))

COST_NAMES = {
    "params": ("可訓練參數", "trainable parameters"),
    "time": ("訓練時間", "training time"),
    "size": ("轉接器大小", "adapter size"),
}


def plan_test_accuracy(report: Report) -> Drawing:
    """Return test accuracy with 95 % Wilson intervals, a row an adapter and learning rate."""
    id = "test-accuracy"
    title = both("測試準確率與 95% 信賴區間", "Test accuracy with 95% confidence intervals")
    names = report.ablations["learning_rate"].variants or (report.study.submitted,)
    dots = _dots_of(report, names)
    if not dots:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    adapters = list(dict.fromkeys(dot.adapter for dot in dots))
    majority = report.baseline("majority").accuracy

    shown = {name: words for name, words in names_of(report).items() if name in adapters}
    paint = partial(_paint_test_accuracy, dots, {name: shown[name] for name in adapters}, len(names), majority)
    rows = [
        {"adapter": dot.adapter, "learning_rate": dot.learning_rate, "test_accuracy": dot.mean,
         "interval_low": dot.interval.low, "interval_high": dot.interval.high, "n_seeds": dot.n_seeds}
        for dot in dots
    ]  # fmt: skip
    alt = _describe_accuracies(report, title, dots, adapters)
    return Drawing(id, title, alt, paint, height=1.5 + 0.62 * len(adapters), rows=rows)


def _paint_test_accuracy(
    dots: Sequence[_Dot],
    names: Mapping[str, Words],
    n_positions: int,
    majority: float | None,
    canvas: Canvas,
    language: Language,
) -> None:
    axes = canvas.subplots()
    rows = {adapter: row for row, adapter in enumerate(names)}
    shown: set[str] = set()
    for dot in dots:
        style = variant_style(dot.position)
        height = rows[dot.adapter] + (dot.position - (n_positions - 1) / 2) * 0.22
        label = f"{word('learning_rate', language)} {format_number(dot.learning_rate, 'rate', language)}"
        axes.plot([dot.interval.low, dot.interval.high], [height, height], color=style.color, linewidth=1.6)
        axes.plot(dot.mean, height, style.marker, color=style.color, markersize=7,
                  label=None if label in shown else label)  # fmt: skip
        shown.add(label)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 3)), label=word("chance", language))
    if majority is not None:
        axes.axvline(majority, color=GREY, linewidth=1, linestyle="--", label=word("majority", language))
    axes.set_yticks(range(len(names)), [name[language] for name in names.values()])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.set_xlabel(word("test_accuracy", language))
    format_percent_axis(axes.xaxis)
    legend_above(canvas, axes)


def plan_costs(report: Report, table: CostTable | None, id: str) -> Drawing:
    """Return accuracy against trainable parameters, training time and adapter size, with the Pareto front of each."""
    title = both("測試準確率與成本：可訓練參數、訓練時間、轉接器大小",
                 "Test accuracy against trainable parameters, training time and adapter size")  # fmt: skip
    if table is None:
        return Drawing(id, title, title, None, reason=why_nothing(report, "missing"))
    rows = table.rows
    best = {adapter.id: adapter.best_variant for adapter in report.adapters.values()}

    names = names_of(report)
    points = [
        _Point(row, style_of(report, row.adapter), names[row.adapter], best[row.adapter] == row.variant) for row in rows
    ]
    note = both("實心為該轉接器自己最佳的學習率", "Filled: the adapter at its own best learning rate")
    alt = both(
        f"{title.zh}（{table.device_name}）。{note.zh}。{_describe_fronts(report, rows, 'zh')}",
        f"{title.en} ({table.device_name}). {note.en}. {_describe_fronts(report, rows, 'en')}",
    )
    paint = partial(_paint_costs, points, list(names.values()))
    return Drawing(id, title, alt, paint, height=7.0, rows=[_cost_row(report, row, table) for row in rows])


def _paint_costs(points: Sequence[_Point], names: Sequence[Words], canvas: Canvas, language: Language) -> None:
    panels = list(canvas.subplots(3, 1, sharey=True))
    for panel, (cost, field, unit) in zip(panels, PANELS, strict=True):
        rows = [point.row for point in points]
        front = sorted((getattr(row, field) / unit, row.accuracy) for row in rows if cost in row.pareto)
        panel.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=1, label=word("pareto", language))
        for point in points:
            color = point.style.color
            panel.plot(getattr(point.row, field) / unit, point.row.accuracy, point.style.marker, color=color,
                       markersize=8, markeredgewidth=1.6, markerfacecolor=color if point.filled else "none",
                       label=point.name[language] if point.filled else None)  # fmt: skip
        panel.set_xscale("log")
        _mark_log_axis(panel)
        panel.set_xlabel(word(cost, language))
        format_percent_axis(panel.yaxis)
    canvas.supylabel(word("test_accuracy", language), fontsize=11)
    legend_above(canvas, panels, first=[name[language] for name in names])


@dataclass(frozen=True)
class _Point:
    """One adapter at one learning rate; filled where that is its own best."""

    row: CostRow
    style: LineStyle
    name: Words
    filled: bool


@dataclass(frozen=True)
class _Dot:
    """One test accuracy with its interval; ``position`` is its learning rate's place among all."""

    adapter: str
    position: int
    learning_rate: float
    mean: float
    interval: Interval
    n_seeds: int


def _dots_of(report: Report, names: Sequence[str]) -> list[_Dot]:
    found = [
        (position, report.group(adapter, name)) for adapter in report.adapters for position, name in enumerate(names)
    ]
    return [
        _Dot(group.adapter, position, group.training.learning_rate, group.test_accuracy.mean, group.test_interval,
             group.n_completed)
        for position, group in found
        if group is not None and group.test_accuracy is not None and group.test_interval is not None
    ]  # fmt: skip


def _cost_row(report: Report, row: CostRow, table: CostTable) -> dict[str, object]:
    return {
        "adapter": row.adapter,
        "learning_rate": report.study.training_of(row.variant).learning_rate,
        "test_accuracy": row.accuracy,
        "n_trainable_params": row.n_trainable_params,
        "train_time_s": row.train_time_s,
        "adapter_file_bytes": row.adapter_file_bytes,
        "pareto": ", ".join(row.pareto),
        "device_name": table.device_name,
    }


def _describe_accuracies(
    report: Report, title: BilingualText, dots: Sequence[_Dot], adapters: Sequence[str]
) -> BilingualText:
    texts: dict[Language, str] = {}
    for language in ("zh", "en"):
        names, comma = short_names(report, language), "、" if language == "zh" else ", "
        parts = []
        for adapter in adapters:
            values = [_with_interval(dot, language) for dot in dots if dot.adapter == adapter]
            parts.append(f"{names[adapter]}{'：' if language == 'zh' else ': '}{comma.join(values)}")
        texts[language] = ("；" if language == "zh" else "; ").join(parts)
    missing = describe_missing(report, adapters)
    return both(
        f"{title.zh}，依轉接器與學習率。{texts['zh']}。{missing.zh}",
        f"{title.en}, by adapter and learning rate. {texts['en']}.{missing.en}",
    )


def _with_interval(dot: _Dot, language: Language) -> str:
    rate = format_number(dot.learning_rate, "rate", language)
    shares = (dot.mean, dot.interval.low, dot.interval.high)
    mean, low, high = (format_number(share, "percent", language) for share in shares)
    return f"{rate} {mean}（{low} 至 {high}）" if language == "zh" else f"{rate} {mean} ({low} to {high})"


def _describe_fronts(report: Report, rows: tuple[CostRow, ...], language: Language) -> str:
    names, sentences = short_names(report, language), []
    for cost, _, _ in PANELS:
        on_front = [f"{names[row.adapter]} ({_rate(report, row)})" for row in rows if cost in row.pareto]
        listed = ("、" if language == "zh" else ", ").join(on_front)
        zh, en = COST_NAMES[cost]
        sentences.append(
            f"{zh}的 Pareto 前緣：{listed}。" if language == "zh" else
            f"On the Pareto front of {en}: {listed}."
        )  # fmt: skip
    return ("" if language == "zh" else " ").join(sentences)


def _rate(report: Report, row: CostRow) -> str:
    return format_number(report.study.training_of(row.variant).learning_rate, "rate", "en")


def _mark_log_axis(panel: Axes) -> None:
    """Label a logarithmic axis with plain numbers, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_xlim()
    narrow = high / low < 30
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
