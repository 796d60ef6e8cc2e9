"""Compute how far training had moved the weights at each checkpoint, and how test accuracy goes with it.

SciPy and NumPy are imported only where a statistic is not in the cache.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from adapterbook.analysis.shapes import (
    Ablation,
    AdapterReport,
    Factor,
    Gap,
    Group,
    Lever,
    LeverStep,
    RunReport,
    SharedCurve,
    TravelEnd,
    TravelFinding,
    TravelPoint,
    TravelReport,
)
from adapterbook.common.cache import Cache
from adapterbook.common.stats import Interval, wilson_interval
from adapterbook.runs.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_POINTS = 5  # for a rank correlation
MIN_SIDE = 3  # points on either side of a plateau's beginning, and of either adapter on a shared curve
LEVEL = 0.05


def steps_until(record: Record, epoch: float) -> int:
    """Return the number of the optimiser's steps up to a moment of training, 0 if the record does not list them."""
    n_steps = record.steps[-1].step if record.steps else 0
    return round(n_steps * epoch / record.epochs[-1].epoch) if n_steps else 0


def compute_travel(record: Record, epoch: float) -> float | None:
    """Return the sum of the learning rate over the steps up to a moment, None if the record does not list the steps."""
    until = steps_until(record, epoch)
    return math.fsum(step.learning_rate for step in record.steps if step.step <= until) if record.steps else None


def describe_travel(
    runs: Sequence[RunReport],
    adapters: Mapping[str, AdapterReport],
    ablations: Mapping[Factor, Ablation],
    reference: str | None,
    cache: Cache,
) -> TravelReport:
    """Return every checkpoint with its travel and test result, and what follows from them.

    Parameters
    ----------
    reference : str or None
        The adapter that the levers are shown with.
    """
    completed = [run for run in runs if run.completed and run.record is not None]
    points = tuple(point for run in completed for point in list_points(run))
    findings = {
        name: _describe_adapter([point for point in points if point.adapter == name], cache)
        for name in adapters
        if any(point.adapter == name for point in points)
    }
    trained = [name for name in findings if adapters[name].config.train_adapter]
    alike = [(a, b) for a, b in combinations(trained, 2) if _places(adapters[a]) == _places(adapters[b])]
    levers = {} if reference not in findings else _find_levers(adapters[reference], ablations, points)
    return TravelReport(
        points=points,
        findings=findings,
        curves=tuple(_compare(a, b, points, cache) for a, b in alike),
        levers=levers,
        n_runs=len({point.run for point in points}),
        n_without=sum(run.record is not None and not run.record.steps for run in completed),
    )


def list_points(run: RunReport) -> list[TravelPoint]:
    """Return a run's distinct checkpoints that were tested, by travel; none if its record lists no steps."""
    record = run.record
    if record is None or not record.steps:
        return []
    tested = {result.epoch: result.test for result in record.strategies}
    kept = record.strategies[0].epoch if record.strategies else None
    last = max((result.epoch for result in record.strategies if result.eval_strategy == "no"), default=None)
    norms = [update.update_norm / update.weight_norm if update.weight_norm else 0.0 for update in record.learned or ()]
    training, trained = record.training, run.run.adapter.train_adapter
    points = []
    for epoch, test in sorted(tested.items()):
        n_correct = round(test.accuracy * test.n)
        points.append(
            TravelPoint(
                run=run.id, adapter=run.run.adapter.id, variant=run.run.variant, seed=run.run.seed,
                kept=epoch == kept, last=epoch == last, epoch=epoch, step=steps_until(record, epoch),
                travel=compute_travel(record, epoch) or 0.0,
                head_learning_rate=(training.head_learning_rate or training.learning_rate) if trained else None,
                relative_update=fmean(norms) if norms and epoch == kept and trained else None,
                accuracy=test.accuracy, n_correct=n_correct, n_rows=test.n,
                interval=wilson_interval(n_correct, test.n),
            )
        )  # fmt: skip
    return points


def rank_correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, None with fewer than five points or where all values of one are the same.

    Notes
    -----
    Source: Spearman 1904, "The proof and measurement of association between two things", Am. J. Psychol. 15(1).

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 4, 5], [2, 1, 3, 4, 5])
    0.9
    """
    from scipy import stats

    if len(xs) < MIN_POINTS or len(set(xs)) < 2 or len(set(ys)) < 2:
        return None
    return round(float(stats.spearmanr(xs, ys).statistic), 12)


def find_plateau(travels: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Return the travel from which accuracy no longer rises, or None if the points do not show it.

    Two lines are fitted to accuracy over the logarithm of travel: a straight one, and one that rises to a bend and is
    level after it. The bend is said if the second leaves so much less variance that an F test has p < 0.05, if it
    rises, and if at least three points lie on either side. The points of one run depend on each other and the bend is
    chosen, so this is a rule for when to say it, and no test.

    Examples
    --------
    >>> find_plateau([1, 2, 4, 8, 16, 32, 64, 128], [0.5, 0.55, 0.6, 0.65, 0.65, 0.66, 0.65, 0.65])
    8.0
    >>> find_plateau([1, 2, 4, 8, 16, 32, 64, 128], [0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.62, 0.64])
    """
    import numpy as np
    from scipy import stats

    x, y = np.log(np.asarray(travels, dtype=float)), np.asarray(accuracies, dtype=float)
    bends = [bend for bend in np.unique(x) if min((x <= bend).sum(), (x > bend).sum()) >= MIN_SIDE]
    if not bends or len(x) < 2 * MIN_SIDE + 1:
        return None
    fits = {float(bend): _fit(np.column_stack([np.ones_like(x), np.minimum(x, bend)]), y) for bend in bends}
    bend, (coefficients, rest) = min(fits.items(), key=lambda item: item[1][1])
    straight = _fit(np.column_stack([np.ones_like(x), x]), y)[1]
    freedom = len(x) - 3
    if coefficients[1] <= 0 or (rest > 0 and stats.f.sf((straight - rest) / (rest / freedom), 1, freedom) >= LEVEL):
        return None
    return float(f"{math.exp(bend):.9g}")


def compute_gap(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> Gap | None:
    """Return how much more accurate ``b`` is than ``a`` at the same x, None where too few points lie side by side.

    One curve, a quadratic in the logarithm of x, is fitted to the points of both by least squares, and ``b`` may lie a
    constant above it (analysis of covariance). The constant is the gap; its interval is from Student's t. Only points
    in the range of x that both cover count.

    Parameters
    ----------
    a, b : sequence of (x, accuracy)
        With positive x.
    """
    import numpy as np
    from scipy import stats

    if not a or not b:
        return None
    low, high = (pick(own(x for x, _ in points) for points in (a, b)) for own, pick in ((min, max), (max, min)))
    inside = [[point for point in points if low <= point[0] <= high] for points in (a, b)]
    n_points = sum(map(len, inside))
    if min(map(len, inside)) < MIN_SIDE or n_points < 8:
        return None
    x, y = np.log([x for points in inside for x, _ in points]), np.array([y for points in inside for _, y in points])
    x -= x.mean()
    above = np.repeat([0.0, 1.0], [len(points) for points in inside])
    design = np.column_stack([np.ones_like(x), x, x**2, above])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    coefficients, rest = _fit(design, y)
    freedom = n_points - design.shape[1]
    error = math.sqrt(rest / freedom * float(np.linalg.inv(design.T @ design)[3, 3]))
    gap, half = float(coefficients[3]), float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    return Gap(gap, Interval(gap - half, gap + half), n_points)


def _fit(design: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return the coefficients of a least-squares fit, and the sum of the squares of what it leaves."""
    import numpy as np

    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    return coefficients, float(((y - design @ coefficients) ** 2).sum())


def _describe_adapter(points: Sequence[TravelPoint], cache: Cache) -> TravelFinding:
    travels, accuracies = [point.travel for point in points], [point.accuracy for point in points]
    rates = Counter(point.head_learning_rate for point in points)
    rate = rates.most_common(1)[0][0]
    same_head = [point for point in points if point.head_learning_rate == rate] if len(rates) > 1 else []
    of_these = [point.travel for point in same_head], [point.accuracy for point in same_head]

    def make() -> bytes:
        found = rank_correlation(travels, accuracies), rank_correlation(*of_these), find_plateau(travels, accuracies)
        return json.dumps(found).encode()

    correlation, same, stops = json.loads(cache.get("travel", [repr((travels, accuracies, of_these))], make))
    return TravelFinding(
        adapter=points[0].adapter,
        n_points=len(points),
        n_runs=len({point.run for point in points}),
        correlation=correlation,
        same_head_rate=None if same is None else rate,
        same_head_correlation=same,
        n_same_head=None if same is None else len(same_head),
        stops=stops,
        least=_end(points, min(travels)),
        most=_end(points, max(travels)),
        best=max(points, key=lambda point: point.accuracy),
    )


def _end(points: Sequence[TravelPoint], travel: float) -> TravelEnd:
    """Return one travel with the mean accuracy of the checkpoints that have it."""
    return TravelEnd(travel, fmean(point.accuracy for point in points if point.travel == travel))


def _places(adapter: AdapterReport) -> tuple[str, str]:
    """Return the method of an adapter, and the modules that it changes."""
    modules = adapter.config.settings.get("target_modules")
    return adapter.config.peft_type, repr(sorted(modules) if isinstance(modules, list) else modules)


def _compare(a: str, b: str, points: Sequence[TravelPoint], cache: Cache) -> SharedCurve:
    """Return whether the kept checkpoints of two adapters lie on one curve.

    Those whose head had the most frequent learning rate count, because the head's part in the accuracy is then the
    same; all of them, if too few have it.
    """
    kept = [point for point in points if point.kept and point.relative_update and point.adapter in (a, b)]
    rates = Counter(point.head_learning_rate for point in kept).most_common(1)
    same_head = [point for point in kept if point.head_learning_rate == rates[0][0]]

    def gap(x: str) -> Gap | None:
        sides = [
            [[(getattr(point, x), point.accuracy) for point in chosen if point.adapter == name] for name in (a, b)]
            for chosen in (same_head, kept)
        ]

        def make() -> bytes:
            found = next((found for first, second in sides if (found := compute_gap(first, second))), None)
            return json.dumps(
                found and [found.difference, found.interval.low, found.interval.high, found.n_points]
            ).encode()

        values = json.loads(cache.get("gap", [repr(sides)], make))
        return None if values is None else Gap(values[0], Interval(values[1], values[2]), values[3])

    return SharedCurve(a, b, gap("travel"), gap("relative_update"))


def _find_levers(
    adapter: AdapterReport, ablations: Mapping[Factor, Ablation], points: Sequence[TravelPoint]
) -> dict[Factor, Lever]:
    """Return what each training argument does to one adapter's travel and accuracy."""

    def of(group: Group | None) -> list[TravelPoint]:
        return [] if group is None else [point for point in points if point.run in {run.id for run in group.runs}]

    def kept(factor: Factor) -> list[LeverStep]:
        groups = [adapter.groups[name] for name in ablations[factor].variants if name in adapter.groups]
        found = [(group, [point for point in of(group) if point.kept]) for group in groups]
        return [_step(group, None, own) for group, own in found if own]

    found: dict[Factor, list[LeverStep]] = {"learning_rate": kept("learning_rate"), "batch_size": kept("batch_size")}
    group = adapter.best or adapter.submitted
    if group is not None:
        own = of(group)
        both = [("kept", [point for point in own if point.kept]), ("last", [point for point in own if point.last])]
        found["epochs"] = [_step(group, name, members) for name, members in both if members]
    run = ablations["eval_strategy"].eval_run
    if run is not None and run.run.adapter.id == adapter.id and run.record is not None:
        by_epoch = {point.epoch: point for point in points if point.run == run.id}
        found["eval_strategy"] = [
            _step(adapter.groups[run.run.variant], view.strategy, [by_epoch[view.best_epoch]])
            for view in ablations["eval_strategy"].eval_views
            if view.best_epoch in by_epoch
        ]
    return {
        factor: Lever(factor, adapter.id, tuple(sorted(steps, key=lambda step: step.travel)))
        for factor, steps in found.items()
        if len({step.travel for step in steps}) > 1
    }


def _step(group: Group, strategy: str | None, points: Sequence[TravelPoint]) -> LeverStep:
    """Return the means of some checkpoints of one group."""
    return LeverStep(
        learning_rate=group.training.learning_rate,
        batch_size=group.training.per_device_train_batch_size,
        strategy=strategy,
        epoch=fmean(point.epoch for point in points),
        travel=fmean(point.travel for point in points),
        accuracy=fmean(point.accuracy for point in points),
        n_runs=len(points),
    )
