"""Read from one training what each evaluation strategy would have seen and kept, and what its choice cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from adapterbook.analysis.groups import compute_spread
from adapterbook.analysis.shapes import (
    AdapterReport,
    EvalStrategy,
    EvalView,
    RuleCost,
    RunReport,
    Spread,
    StrategyFinding,
)
from adapterbook.common.stats import wilson_interval
from adapterbook.runs.record import Record, StrategyResult

FEW_EVALUATIONS = 4  # epochs between two evaluations of the sparse ``steps`` view
ORDER = ("steps", "epoch", "no")  # from the finest to none
Points = Sequence[tuple[float, float]]  # epoch, validation loss


def choose_eval_run(runs: Iterable[RunReport]) -> RunReport | None:
    """Return the run that tells most about strategies, None if nothing was evaluated.

    It is one whose record says what other strategies would have kept, if there is any. Of these it is the one with the
    most evaluations; among equals, the one whose validation loss ended farthest above its lowest, because there the
    strategy matters most.
    """

    def interest(run: RunReport) -> tuple[bool, int, float]:
        losses = [loss for _, loss in _curve(run)]
        tested = run.record is not None and bool(run.record.strategies)
        return tested, len(losses), losses[-1] - min(losses)

    return max((run for run in runs if _curve(run)), key=interest, default=None)


def compute_eval_views(run: RunReport | None) -> tuple[EvalView, ...]:
    """Return what each strategy would have seen and kept of a run's training, from the finest strategy to none.

    The record says which checkpoint each strategy kept and what that scores on the test rows. An older record does not;
    what each strategy would have kept then follows from the curve, and ``steps`` is also shown with one evaluation
    every fourth epoch.
    """
    if run is None or run.record is None:
        return ()
    curve = _curve(run)
    views = [_tested_view(result, run.record, curve) for result in run.record.strategies] or _untested_views(curve)
    highest = max((view.test_accuracy for view in views if view.test_accuracy is not None), default=None)
    return tuple(
        replace(view, accuracy_regret=highest - view.test_accuracy) if highest and view.test_accuracy else view
        for view in sorted(views, key=lambda view: ORDER.index(view.strategy))  # sorted is stable
    )


def compare_strategies(views: Sequence[EvalView]) -> StrategyFinding | None:
    """Return which strategy kept the most accurate checkpoint, and which one the lowest test loss."""
    tested = {view: view.test_accuracy for view in views if view.test_accuracy is not None}
    if len(tested) < 2:
        return None
    losses = {view: view.test_loss for view in tested if view.test_loss is not None}
    return StrategyFinding(
        most_accurate=max(tested, key=tested.__getitem__),
        least_loss=min(losses, key=losses.__getitem__),
        accuracy_range=max(tested.values()) - min(tested.values()),
    )


def compute_rule_costs(adapters: Mapping[str, AdapterReport]) -> tuple[RuleCost, ...]:
    """Return, by adapter, how the epoch with the lowest validation loss compares with the last one, over its runs.

    Runs that chose by the validation loss are left out where there are others.
    """
    found = []
    for name, adapter in adapters.items():
        records = [run.record for group in adapter.groups.values() for run in group.runs if run.completed]
        tested = [record for record in records if record is not None and record.strategies]
        others = [record for record in tested if record.strategies[0].metric != "validation_loss"] or tested
        pairs = [pair for record in others if (pair := _last_and_lowest(record)) is not None]
        if pairs:
            found.append(
                RuleCost(
                    adapter=name,
                    n_runs=len(pairs),
                    last=_spread(last for last, _ in pairs),
                    by_loss=_spread(by_loss for _, by_loss in pairs),
                    by_loss_difference=_spread(by_loss - last for last, by_loss in pairs),
                )
            )
    return tuple(found)


def _last_and_lowest(record: Record) -> tuple[float, float] | None:
    """Return the test accuracy of a run's last epoch and of the one with the lowest validation loss."""
    by_rule = {(result.eval_strategy, result.metric): result.test.accuracy for result in record.strategies}
    last, by_loss = by_rule.get(("no", None)), by_rule.get(("epoch", "validation_loss"))
    return None if last is None or by_loss is None else (last, by_loss)


def _spread(values: Iterable[float]) -> Spread:
    return cast(Spread, compute_spread(list(values)))  # of at least one run


def _curve(run: RunReport) -> Points:
    if run.record is None or not run.completed:
        return ()
    return [(point.epoch, point.validation_loss) for point in run.record.curve if point.validation_loss is not None]


def _tested_view(result: StrategyResult, record: Record, curve: Points) -> EvalView:
    """Return the view of one strategy from what the record says about it."""
    seen = _seen(result.eval_strategy, curve)
    loss = dict(curve).get(result.epoch)
    n_correct = round(result.test.accuracy * result.test.n)
    return EvalView(
        strategy=result.eval_strategy,
        metric=result.metric,
        every=_every(result.eval_strategy, curve),
        seen=tuple(seen),
        n_evaluations=len(seen),
        best_epoch=result.epoch,
        best_validation_loss=loss,
        regret=None if loss is None else loss - min(value for _, value in curve),
        test_accuracy=result.test.accuracy,
        test_loss=result.test.loss,
        n_correct=n_correct,
        n_rows=result.test.n,
        test_interval=wilson_interval(n_correct, result.test.n),
    )


def _untested_views(curve: Points) -> list[EvalView]:
    """Return the views of a curve alone; a strategy with more evaluations than the curve has is left out."""
    by_four = [point for point in _seen("epoch", curve) if point[0] % FEW_EVALUATIONS == 0]
    strategies: list[tuple[EvalStrategy, float, Points]] = [
        ("epoch", 1.0, _seen("epoch", curve)),
        ("steps", float(FEW_EVALUATIONS), by_four),
        ("no", 0.0, ()),
    ]
    if len(curve) > len(_seen("epoch", curve)):
        strategies.insert(0, ("steps", _every("steps", curve), curve))
    views = []
    for strategy, every, seen in strategies:
        if seen or strategy == "no":
            epoch, loss = min(seen, key=lambda point: point[1]) if seen else curve[-1]
            metric = None if strategy == "no" else "validation_loss"
            regret = loss - min(value for _, value in curve)
            views.append(EvalView(strategy, metric, every, tuple(seen), len(seen), epoch, loss, regret))
    return views


def _seen(strategy: EvalStrategy, curve: Points) -> Points:
    """Return the evaluations that a strategy makes: all, those at the end of an epoch, or none."""
    return {"steps": curve, "epoch": [point for point in curve if point[0].is_integer()], "no": ()}[strategy]


def _every(strategy: EvalStrategy, curve: Points) -> float:
    return {"steps": curve[0][0], "epoch": 1.0, "no": 0.0}[strategy]
