"""State what a figure shows, for the beginning of its caption: sentences without a full stop, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from adapterbook.analysis.shapes import (
    BatchSizeFinding,
    Calibration,
    Directions,
    Group,
    Learned,
    LearningRateFinding,
    Report,
    RunReport,
)
from adapterbook.figures.words import FigureWords

# A quantity of a curve, its kind of number, and which of its values is the best.
BEST: Final = {"validation_loss": ("loss_short", min), "validation_accuracy": ("percent", max)}


def one_answer_of(report: Report, found: RunReport | Group | None, words: FigureWords) -> str:
    """Return the name of the label that a run, or every seed of a group, predicted for nearly every test row."""
    if found is None or found.one_answer is None or report.source.wording is None:
        return ""
    return report.source.wording.labels[found.one_answer].in_language(words.language)


def state_one_answer(report: Report, groups: Sequence[Group], words: FigureWords) -> str:
    """Return how many of some groups' models, every seed of them, give the same answer to nearly every test row."""
    runs = [run for group in groups for run in group.runs if run.completed]
    counts = Counter(filter(None, (one_answer_of(report, run, words) for run in runs)))
    if not counts:
        return ""
    answer, collapsed = counts.most_common(1)[0]
    if collapsed == len(runs) > 1:
        return words.say("headline.all_one_answer", n=words.number(len(runs)), answer=answer)
    return words.say("headline.one_answer", n=words.number(len(runs)), collapsed=words.number(collapsed),
                     answer=answer)  # fmt: skip


def state_lowest(groups: Sequence[Group], words: FigureWords) -> str:
    """Return between which epochs the validation losses are lowest."""
    curves = [group.curve.values("validation_loss") for group in groups]
    epochs = [min(points, key=lambda point: point[1].mean)[0] for points in curves if points]
    first, last = words.number(min(epochs)), words.number(max(epochs))
    if first == last:
        return words.say("headline-best.lowest_at", epoch=first)
    return words.say("headline-best.lowest_between", first=first, last=last)


def state_best_rate(
    groups: Sequence[Group], quantity: Literal["validation_loss", "validation_accuracy"], words: FigureWords
) -> str:
    """Return the learning rate with the best value of a quantity, and where it has it."""
    kind, best_of = BEST[quantity]
    points = [(value.mean, epoch, group) for group in groups for epoch, value in group.curve.values(quantity)]
    if len(groups) < 2 or not points:
        return ""
    value, epoch, group = best_of(points, key=lambda point: point[0])
    return words.say(f"{quantity.replace('validation_', 'curves.best_')}", rate=words.rate(group),
                     epoch=words.number(epoch), value=words.number(value, kind))  # fmt: skip


def state_overfitting(report: Report, words: FigureWords) -> str:
    """Return the smallest learning rate at which an adapter overfits, or that there is none."""
    ablation = report.ablations["learning_rate"]
    found = [finding for finding in ablation.findings if isinstance(finding, LearningRateFinding)]
    rates = [ablation.values[finding.variant] for finding in found if finding.overfit]
    if rates:
        return words.say("learning-rate.overfit_from", rate=words.number(min(rates), "rate"))
    return words.say("learning-rate.no_overfit") if any(finding.level or finding.improving for finding in found) else ""


def state_batch_size(report: Report, adapter: str, words: FigureWords) -> str:
    """Return the batch size with the lowest validation loss, or nothing where that is not known."""
    findings = report.ablations["batch_size"].findings
    found = next((item for item in findings if isinstance(item, BatchSizeFinding) and item.adapter == adapter), None)
    if found is None or found.best is None:
        return ""
    loss = min(value.mean for _, value in found.best.curve.values("validation_loss"))
    size = words.number(found.best.training.per_device_train_batch_size)
    return words.say("batch-size.best", size=size, loss=words.number(loss, "loss_short"))


def state_calibration(found: Sequence[Calibration], words: FigureWords) -> str:
    """Return how many models are surer than they are right."""
    sure = sum(item.tendency == "too_sure" for item in found)
    if sure == len(found) > 1:
        return words.say("calibration.all_too_sure", n=words.number(sure))
    return words.say("calibration.too_sure", n=words.number(len(found)), sure=words.number(sure)) if sure else ""


def state_learned(learned: Sequence[Learned], names: Mapping[str, str], words: FigureWords) -> str:
    """Return which adapter's update is the largest on average."""
    most = max(learned, key=lambda item: item.mean_relative_update)
    mean = f"{words.number(100 * most.mean_relative_update, 'norm')}%"
    return words.say("learned.most", name=names[most.adapter], mean=mean) if learned[1:] else ""


def state_directions(found: Sequence[tuple[Learned, Directions]], names: Mapping[str, str], words: FigureWords) -> str:
    """Return which adapter's update uses the fewest directions."""
    item, fewest = min(found, key=lambda pair: pair[1].stable_rank)
    stable = words.number(fewest.stable_rank, "norm")
    return words.say("directions.fewest", name=names[item.adapter], stable=stable) if found[1:] else ""


def state_most_right(runs: Sequence[RunReport], of_seeds: str, words: FigureWords) -> str:
    """Return the learning rate whose model, of several seeds the first, has most test rows right."""
    found = [(run, run.confusion) for run in runs if run.confusion is not None]
    if len(found) < 2:
        return ""
    run, confusion = max(found, key=lambda pair: pair[1].n_correct)
    rate = words.number(run.run.training.learning_rate, "rate")
    n, right = (words.number(count, "count") for count in (confusion.n, confusion.n_correct))
    return words.say(f"confusion.most_right{of_seeds}", rate=rate, n=n, right=right)
