"""Compare published results with this study's, epoch by epoch, or say why they are not comparable."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from adapterbook.analysis.shapes import Group, PublishedPoint, PublishedReport, PublishedRun, Reason, SourceReport
from adapterbook.config.source import PublishedCurve, PublishedResults

# A variant repeats the published experiment if it has these arguments in common with it.
PROTOCOL = ("learning_rate", "per_device_train_batch_size", "num_train_epochs", "eval_strategy")


def compare_with_published(
    groups: Mapping[tuple[str, str], Group], source: SourceReport, published: Mapping[str, PublishedResults]
) -> PublishedReport:
    """Return the comparison of published and rerun curves for each published adapter.

    Parameters
    ----------
    published : mapping
        By the name that a record's ``source.published`` gives.
    """
    reason: Reason
    if source.mixed:
        reason = "published_mixed"
    elif source.published is None:
        reason = "no_published" if published else "nothing_published"
    elif source.published not in published:
        reason = "published_unknown"
    else:
        results = published[source.published]
        runs = {
            adapter: _compare_curve(adapter, curve, _rerun_of(adapter, groups, results))
            for adapter, curve in results.adapters.items()
        }
        return PublishedReport(True, None, runs)
    return PublishedReport(False, reason, {})


def _rerun_of(adapter: str, groups: Mapping[tuple[str, str], Group], results: PublishedResults) -> Group | Reason:
    """Return the group that follows the published protocol, or why there is none."""
    same = [
        group
        for (name, _), group in groups.items()
        if name == adapter
        and all(
            getattr(group.training, key) == results.protocol.get(key, getattr(group.training, key)) for key in PROTOCOL
        )
    ]
    if not same:
        return "published_other_protocol" if any(name == adapter for name, _ in groups) else "no_runs"
    with_results = [group for group in same if group.n_completed]
    return with_results[0] if with_results else same[0].reason or "missing"


def _compare_curve(adapter: str, curve: PublishedCurve, rerun: Group | Reason) -> PublishedRun:
    group = rerun if isinstance(rerun, Group) else None
    losses = {} if group is None else {epoch: value.mean for epoch, value in group.curve.values("validation_loss")}
    accuracies = (
        {} if group is None else {epoch: value.mean for epoch, value in group.curve.values("validation_accuracy")}
    )
    points = tuple(
        _point(epoch, loss, accuracy, losses.get(epoch), accuracies.get(epoch))
        for epoch, (loss, accuracy) in enumerate(
            zip(curve.validation_loss, curve.validation_accuracy, strict=False), start=1
        )
    )
    by_loss = [point.loss_difference for point in points if point.loss_difference is not None]
    by_accuracy = [point.accuracy_difference for point in points if point.accuracy_difference is not None]
    train = [] if group is None else [value.mean for _, value in group.curve.values("train_loss")]
    run = None if group is None else group.representative
    splits = None if run is None or run.record is None else run.record.splits
    return PublishedRun(
        adapter=adapter,
        variant=None if group is None else group.variant,
        points=points,
        max_loss_difference=max(map(abs, by_loss), default=None),
        mean_loss_difference=fmean(by_loss) if by_loss else None,
        max_accuracy_difference=max(map(abs, by_accuracy), default=None),
        n_validation_rows=None if splits is None else splits.validation.n,
        published_train_loss=curve.train_loss,
        rerun_train_loss=fmean(train) if train else None,
        reason=None if isinstance(rerun, Group) else rerun,
    )


def _point(
    epoch: int, loss: float, accuracy: float, rerun_loss: float | None, rerun_accuracy: float | None
) -> PublishedPoint:
    return PublishedPoint(
        epoch=epoch,
        published_loss=loss,
        rerun_loss=rerun_loss,
        loss_difference=None if rerun_loss is None else rerun_loss - loss,
        published_accuracy=accuracy,
        rerun_accuracy=rerun_accuracy,
        accuracy_difference=None if rerun_accuracy is None else rerun_accuracy - accuracy,
    )
