"""What evaluating by steps, by epoch and never sees of one curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import EvalView, Report
from adapterbook.common.formatting import format_number
from adapterbook.figures.figure import Language
from adapterbook.figures.style import Drawing, both, legend_above, mark_epochs, short_names, why_nothing, word

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SEEN, KEPT = "#0072b2", "#d55e00"


def plan_eval_strategy(report: Report) -> Drawing:
    """Return one panel a strategy: the curve, the evaluations seen, and the checkpoint that would have been kept."""
    id, title = (
        "eval-strategy",
        both("同一條曲線，不同評估策略各看見什麼", "One curve, and what each evaluation strategy sees of it"),
    )
    ablation = report.ablations["eval_strategy"]
    group = None if ablation.eval_curve is None else report.group(*ablation.eval_curve)
    if group is None:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))
    steps = math.ceil(report.study.data.n_train / group.training.per_device_train_batch_size)
    curve = [(epoch, value.mean) for epoch, value in group.curve.values("validation_loss")]
    views = ablation.eval_views
    zh_name, en_name = short_names(report, "zh")[group.adapter], short_names(report, "en")[group.adapter]
    zh_rate = format_number(group.training.learning_rate, "rate", "zh")
    zh = "；".join(_describe(view, steps, "zh") for view in views)
    en = "; ".join(_describe(view, steps, "en") for view in views)
    alt = both(
        f"{title.zh}（{zh_name}，學習率 {zh_rate}）。{zh}。", f"{title.en} ({en_name}, learning rate {zh_rate}). {en}."
    )
    rows = [
        {"eval_strategy": view.strategy, "eval_steps": round(view.every * steps) if view.strategy == "steps" else None,
         "n_evaluations": view.n_evaluations, "kept_epoch": view.best_epoch,
         "kept_validation_loss": view.best_validation_loss, "regret_loss": view.regret}
        for view in views
    ]  # fmt: skip
    return Drawing(id, title, alt, partial(_paint, curve, views, steps), height=1.2 + 1.45 * len(views), rows=rows)


def _paint(
    curve: Sequence[tuple[float, float]],
    views: Sequence[EvalView],
    steps_per_epoch: int,
    canvas: Canvas,
    language: Language,
) -> None:
    panels = list(canvas.subplots(len(views), 1, sharex=True, sharey=True, squeeze=False).flat)
    for panel, view in zip(panels, views, strict=True):
        panel.plot([epoch for epoch, _ in curve], [loss for _, loss in curve], color="#b5b5b5", linewidth=1.4)
        if view.seen:
            panel.plot(*zip(*view.seen, strict=True), "o", color=SEEN, markersize=5, label=word("seen", language))
        panel.plot(view.best_epoch, view.best_validation_loss, "o", markersize=11, markerfacecolor="none",
                   markeredgewidth=2, color=KEPT, label=word("kept", language))  # fmt: skip
        panel.set_title(_label(view, steps_per_epoch, language), loc="left")
    canvas.supylabel(word("validation_loss", language), fontsize=11)
    mark_epochs(panels[-1], language)
    legend_above(canvas, panels)


def _label(view: EvalView, steps_per_epoch: int, language: Language) -> str:
    """Return a strategy as code writes it, and how often it looks."""
    if view.strategy == "no":
        return f'eval_strategy="no"（{word("never", "zh")}）' if language == "zh" else 'eval_strategy="no" (never)'
    if view.strategy == "steps":
        code = f'eval_strategy="steps", eval_steps={round(view.every * steps_per_epoch)}'
    else:
        code = 'eval_strategy="epoch"'
    return f"{code}（{view.n_evaluations} 次）" if language == "zh" else f"{code} ({view.n_evaluations} times)"


def _describe(view: EvalView, steps_per_epoch: int, language: Language) -> str:
    at, loss, regret = (
        format_number(view.best_epoch, "plain", language),
        format_number(view.best_validation_loss, "loss", language),
        format_number(view.regret, "loss", language),
    )
    label = _label(view, steps_per_epoch, language)
    if language == "zh":
        end = "與曲線最低點相同" if view.regret == 0 else f"比曲線最低點高 {regret}"
        return f"{label}：保留第 {at} 輪，驗證損失 {loss}，{end}"
    end = "the lowest of the curve" if view.regret == 0 else f"{regret} above the lowest of the curve"
    return f"{label} keeps epoch {at}, with a validation loss of {loss}, {end}"
