"""Draw which epochs of a curve matter: those that a strategy sees and keeps, the best, the onset of overfitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import EvalView, Group, Report
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import (
    GREY,
    Line,
    LineStyle,
    draw_band,
    heights_of,
    legend_above,
    mark_epochs,
    mark_size,
    named_adapters,
    on_phone,
    panels_of,
    style_of,
    text_length,
    why_nothing,
)
from adapterbook.figures.words import FigureWords, Labels, describe_loss, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SEEN, KEPT = "#56606a", "#a01c4c"  # no adapter's colours
MAX_PANELS = 12  # of curves that overfit; the table behind the figure has all


@dataclass(frozen=True)
class _Course:
    """Hold one adapter's curve, its lowest point, what that is called, and where overfitting begins."""

    line: Line
    best: tuple[float, float] | None
    onset: float | None
    name: str


@dataclass(frozen=True)
class _View:
    """Hold what one strategy sees, with the strategy as code writes it, and the test result of what it keeps."""

    title: str
    result: str
    view: EvalView


def plan_eval_strategy(report: Report, words: FigureWords) -> Drawing:
    """Return one panel a strategy: the curve, the evaluations seen, the checkpoint kept, and its test accuracy."""
    id, title = "eval-strategy", words.say("eval-strategy.title")
    ablation = report.ablations["eval_strategy"]
    run = ablation.eval_run
    if run is None or run.record is None:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))
    steps = math.ceil(report.study.data.n_train / run.run.training.per_device_train_batch_size)
    curve = [(point.epoch, point.validation_loss) for point in run.record.curve if point.validation_loss is not None]
    views = [_View(_title_of(view, steps, words), _result_of(view, words), view) for view in ablation.eval_views]
    alt = words.say(
        "eval-strategy.alt",
        title=title,
        name=short_names(report, words)[run.run.adapter.id],
        rate=words.number(run.run.training.learning_rate, "rate"),
        strategies=words.joined(_describe_view(view, words) for view in views),
    )
    rows = [
        {"eval_strategy": view.strategy, "eval_steps": round(view.every * steps) if view.strategy == "steps" else None,
         "n_evaluations": view.n_evaluations, "kept_epoch": view.best_epoch,
         "kept_validation_loss": view.best_validation_loss, "regret_loss": view.regret}
        | ({} if view.test_accuracy is None else {"n_correct": view.n_correct, "test_accuracy": view.test_accuracy})
        for view in ablation.eval_views
    ]  # fmt: skip
    labels = words.labels("eval-strategy.seen", "eval-strategy.kept", "validation_loss", "epoch")
    paint = partial(_paint_eval_strategy, curve, views, labels)
    tested = [view.test_accuracy for view in ablation.eval_views if view.test_accuracy is not None]
    finding = ""
    if tested:
        low, high = (words.number(share, "percent") for share in (min(tested), max(tested)))
        finding = words.say("eval-strategy.finding", low=low, high=high)
    return Drawing(id, title, alt, paint, height=1.2 + 1.45 * len(views), phone_height=1.2 + 1.6 * len(views),
                   finding=finding, rows=rows)  # fmt: skip


def _paint_eval_strategy(
    curve: Sequence[tuple[float, float]], views: Sequence[_View], labels: Labels, canvas: Canvas
) -> None:
    panels = list(canvas.subplots(len(views), 1, sharex=True, sharey=True, squeeze=False).flat)
    for panel, item in zip(panels, views, strict=True):
        view = item.view
        panel.plot([epoch for epoch, _ in curve], [loss for _, loss in curve], color="#b5b5b5", linewidth=1.4)
        if view.seen:
            panel.plot(*zip(*view.seen, strict=True), "o", color=SEEN, markersize=5, label=labels["seen"])
        if view.best_validation_loss is not None:
            panel.plot(view.best_epoch, view.best_validation_loss, "o", markersize=11, markerfacecolor="none",
                       markeredgewidth=2, color=KEPT, label=labels["kept"])  # fmt: skip
        if on_phone(canvas):  # both on one line would meet
            panel.set_title(f"{item.title}\n{item.result}".rstrip(), loc="left")
        else:
            panel.set_title(item.title, loc="left")
            panel.set_title(item.result, loc="right", color=KEPT)
    canvas.supylabel(labels["validation_loss"], fontsize=mark_size(canvas))
    mark_epochs(panels[-1], labels["epoch"])
    legend_above(canvas, panels)


def _title_of(view: EvalView, steps_per_epoch: int, words: FigureWords) -> str:
    if view.strategy == "no":
        return words.say("eval-strategy.never")
    n = words.number(view.n_evaluations)
    if view.strategy == "epoch":
        title = words.say("eval-strategy.by_epoch", n=n)
    else:
        title = words.say("eval-strategy.by_steps", n=n, every=words.number(round(view.every * steps_per_epoch)))
    if view.metric in (None, "validation_loss"):
        return title
    return words.joined([title, view.metric], "comma")


def _result_of(view: EvalView, words: FigureWords) -> str:
    """Return the test result of the checkpoint kept, or nothing where it is not known."""
    if view.test_accuracy is None:
        return ""
    return words.say("eval-strategy.tested", accuracy=words.number(view.test_accuracy, "percent"))


def _describe_view(item: _View, words: FigureWords) -> str:
    view = item.view
    values = {"strategy": item.title, "epoch": words.number(view.best_epoch)}
    if view.best_validation_loss is None:
        kept = words.say("eval-strategy.unknown", **values)
    else:
        values |= {"loss": words.number(view.best_validation_loss, "loss_short")}
        kept = (
            words.say("eval-strategy.lowest", **values)
            if view.regret == 0
            else words.say("eval-strategy.higher", **values, regret=words.number(view.regret, "loss_short"))
        )
    if view.test_accuracy is None:
        return kept
    counts = {"correct": words.number(view.n_correct, "count"), "n": words.number(view.n_rows, "count")}
    accuracy = words.number(view.test_accuracy, "percent")
    return words.say("eval-strategy.and_test", kept=kept, accuracy=accuracy, **counts)


def plan_epochs(report: Report, words: FigureWords) -> Drawing:
    """Return the curves in which most adapters overfit, with best epoch and onset of overfitting marked."""
    id, title = "epochs", words.say("epochs.title")
    groups = _most_overfitting(report)
    if not groups:
        return Drawing(id, title, title, None, reason=why_nothing(report, "not_evaluated"))

    named = named_adapters(report)
    names, overfit = short_names(report, words), [group for group in groups if _onset(group) is not None]
    panels = [
        _Course(Line(group.curve, style_of(report, group.adapter), names[group.adapter]),
                _best(group), _onset(group), _name_best(group, words))
        for group in sorted(groups, key=lambda group: group.adapter not in named)[:MAX_PANELS]
    ]  # fmt: skip
    described = words.joined(_describe_onset(group, names[group.adapter], words) for group in groups)
    counts = {"rate": words.rate(groups[0]), "overfit": words.number(len(overfit)), "n": words.number(len(groups))}
    alt = words.say("epochs.alt", title=title, rate=words.rate(groups[0]), curves=described)
    rows = [_onset_row(group) for group in groups]
    labels = words.labels("epochs.best_epoch", "epochs.onset", "train_loss", "validation_loss", "loss", "epoch")
    height, phone_height = heights_of(len(panels), 1.1, 1.9)
    return Drawing(id, title, alt, partial(_paint_epochs, panels, labels), height=height, phone_height=phone_height,
                   finding=words.say("epochs.finding", **counts), rows=rows)  # fmt: skip


def _onset(group: Group) -> float | None:
    return None if group.overfitting is None else group.overfitting.onset_epoch


def _best(group: Group) -> tuple[float, float] | None:
    """Return the epoch with the lowest validation loss, and this loss."""
    found = group.overfitting
    if found is None or found.best_epoch is None:
        return None
    return found.best_epoch, dict(group.curve.values("validation_loss"))[found.best_epoch].mean


def _name_best(group: Group, words: FigureWords) -> str:
    best = _best(group)
    if best is None:
        return ""
    return words.say("epochs.lowest", epoch=words.number(best[0]), loss=words.number(round(best[1], 2)))


def _paint_epochs(panels: Sequence[_Course], labels: Labels, canvas: Canvas) -> None:
    all_axes = panels_of(canvas, len(panels))
    # Both texts stand above a panel, which is about two thirds of the figure's column wide.
    long = any(text_length(panel.line.label, 11) + text_length(panel.name, 9) > 124 for panel in panels)
    last = max(epoch for panel in panels for epoch, _ in panel.line.curve.values("validation_loss"))
    for axes, panel in zip(all_axes, panels, strict=True):
        style = panel.line.style
        draw_band(axes, panel.line.curve, "train_loss", LineStyle(GREY, "--", ""), labels["train_loss"], linewidth=1.2)
        draw_band(axes, panel.line.curve, "validation_loss", style, labels["validation_loss"], linestyle="-", marker="")
        if panel.onset is not None:
            axes.axvspan(panel.onset, last, color=GREY, alpha=0.14, linewidth=0, label=labels["onset"])
        if panel.best is not None:
            axes.plot(*panel.best, "o", markersize=8, markerfacecolor="none", markeredgewidth=1.8, color=style.color,
                      label=labels["best_epoch"])  # fmt: skip
        if on_phone(canvas) or long:
            axes.set_title(f"{panel.line.label}\n{panel.name}".rstrip(), loc="left")
        else:
            axes.set_title(panel.line.label, loc="left")
            axes.set_title(panel.name, loc="right", fontsize=9, color=GREY)
        mark_epochs(axes)
    canvas.supxlabel(labels["epoch"], fontsize=mark_size(canvas))
    canvas.supylabel(labels["loss"], fontsize=mark_size(canvas))
    legend_above(canvas, all_axes)


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


def _describe_onset(group: Group, name: str, words: FigureWords) -> str:
    curve = describe_loss(group, name, words)
    onset = None if group.overfitting is None else group.overfitting.onset_epoch
    if onset is None:
        return words.say("epochs.does_not", curve=curve)
    return words.say("epochs.overfits", curve=curve, epoch=words.number(onset))
