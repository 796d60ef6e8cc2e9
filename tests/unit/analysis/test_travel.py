"""Test travel, its correlation with accuracy, its plateau and its shared curves against independent computations."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterbook.analysis.shapes import Gap, TravelPoint
from adapterbook.analysis.travel import compute_gap, compute_travel, find_plateau, rank_correlation, steps_until
from adapterbook.common.stats import Interval, wilson_interval
from tests.support.factory import (
    ADAPTERS,
    BATCH_SIZE_VARIANTS,
    EVAL_STRATEGY_VARIANTS,
    make_record,
    read_report,
    write_results,
)

ABLATIONS = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS


def ranks(values: list[float]) -> list[float]:
    """Return ranks with ties at their mean, counted and not sorted."""
    return [sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
            for value in values]  # fmt: skip


def test_travel_is_the_sum_of_the_linear_schedule() -> None:
    """Ten epochs of eight steps at 1e-3 travel 1e-3 (80 + 1) / 2; half of them three quarters of it, nearly."""
    record = make_record(
        "lora_1", "lr-1e-3", training=make_record().training.model_copy(update={"learning_rate": 1e-3})
    )
    assert len(record.steps) == 80 and steps_until(record, 2.25) == 18
    assert compute_travel(record, 10.0) == pytest.approx(1e-3 * 81 / 2)
    assert compute_travel(record, 5.0) == pytest.approx(sum(1e-3 * (1 - t / 80) for t in range(40)))
    assert compute_travel(record, 0.0) == 0.0
    assert compute_travel(record.model_copy(update={"steps": ()}), 5.0) is None


def test_points_are_the_distinct_checkpoints_of_the_records(tmp_path: Path) -> None:
    """Each tested checkpoint of each run is one point, kept and last are told, and only the kept one has an update."""
    report = read_report(write_results(tmp_path, adapters=(*ADAPTERS, "head_only"), extra_variants=ABLATIONS))
    travel = report.travel
    for run in report.runs:
        record, points = run.record, [point for point in travel.points if point.run == run.id]
        assert record is not None and record.best is not None
        assert {(point.epoch, point.accuracy) for point in points} == {
            (result.epoch, result.test.accuracy) for result in record.strategies
        }
        assert [point.epoch for point in points if point.kept] == [record.best.epoch]
        assert [point.epoch for point in points if point.last] == [10.0]
        for point in points:
            assert point.interval == wilson_interval(round(512 * point.accuracy), 512) and point.n_rows == 512
            assert (point.relative_update is not None) == (point.kept and run.run.adapter.id != "head_only")
        kept = next(point for point in points if point.kept)
        if kept.relative_update is not None and record.learned is not None:
            shares = [update.update_norm / update.weight_norm for update in record.learned]
            assert kept.relative_update == pytest.approx(sum(shares) / len(shares))
    assert (travel.n_runs, travel.n_without) == (len(report.runs), 0)
    assert set(travel.findings) == set(report.adapters)


def test_records_without_steps_have_no_travel(tmp_path: Path) -> None:
    """Older records are counted, and the others are shown without them."""
    changes: dict[str, Any] = {"lora_1/submitted/seed-224": {"steps": ()}}
    travel = read_report(write_results(tmp_path / "a", adapters=("lora_1",), changes=changes)).travel
    assert travel.n_without == 1 and "lora_1/submitted/seed-224" not in {point.run for point in travel.points}
    none = read_report(write_results(tmp_path / "b"), "nothing-yet").travel
    assert (none.points, dict(none.findings), none.reference, none.n_without) == ((), {}, None, 0)


def test_the_rank_correlation_is_spearmans(tmp_path: Path) -> None:
    """It is Pearson's correlation of the ranks, with ties at their mean; too few or equal values have none."""
    random = np.random.default_rng(7)
    for _ in range(20):
        xs, ys = (random.integers(0, 8, 12).astype(float).tolist() for _ in range(2))
        expected = np.corrcoef(ranks(xs), ranks(ys))[0, 1]
        assert rank_correlation(xs, ys) == pytest.approx(expected)
    assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]) is None
    report = read_report(write_results(tmp_path, adapters=("lora_1",), extra_variants=ABLATIONS))
    points, found = report.travel.points, report.travel.findings["lora_1"]
    assert found.n_points == len(points) and found.n_runs == len(report.runs)
    assert found.correlation == rank_correlation([p.travel for p in points], [p.accuracy for p in points])
    shortest = [point.accuracy for point in points if point.travel == found.least.travel]
    assert found.least.travel == min(point.travel for point in points)
    assert found.least.accuracy == pytest.approx(np.mean(shortest))


def test_a_plateau_is_found_where_there_is_one() -> None:
    """The bend of a made-up curve is found within a step of the grid; noise on a straight line has a bend rarely."""
    random = np.random.default_rng(3)
    travels = np.geomspace(0.001, 1.0, 24)
    bent = 0.5 + 0.08 * np.log10(np.minimum(travels, 0.05) / 0.001) / math.log10(50) * 3
    found = find_plateau(travels.tolist(), (bent + random.normal(0, 0.01, 24)).tolist())
    assert found is not None and 0.025 < found < 0.1
    straight = 0.5 + 0.06 * np.log10(travels / 0.001)
    said = [find_plateau(travels.tolist(), (straight + random.normal(0, 0.02, 24)).tolist()) for _ in range(200)]
    assert sum(stop is not None for stop in said) < 30
    falling = 0.8 - 0.05 * np.log10(travels / 0.001)
    assert find_plateau(travels.tolist(), falling.tolist()) is None
    assert find_plateau([1.0, 2.0, 3.0], [0.5, 0.6, 0.6]) is None


def test_a_plateau_is_the_best_of_all_bent_lines() -> None:
    """The bend leaves the least squares of all that may be chosen, as a search over a grid of lines finds it."""
    travels = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    accuracies = [0.50, 0.57, 0.60, 0.66, 0.655, 0.66, 0.665, 0.65]
    rests = {}
    for bend in travels[2:5]:
        x = np.log(np.minimum(travels, bend))
        slope, start = np.polyfit(x, accuracies, 1)
        rests[bend] = float(((np.array(accuracies) - start - slope * x) ** 2).sum())
    assert find_plateau(travels, accuracies) == min(rests, key=rests.__getitem__)


def test_the_gap_is_that_of_an_analysis_of_covariance() -> None:
    """Two curves a constant apart have this constant as their gap, and the interval covers it as often as it says."""
    random = np.random.default_rng(11)
    x = np.geomspace(0.01, 1.0, 12)

    def curve(points: np.ndarray[Any, Any], above: float) -> list[tuple[float, float]]:
        level = 0.7 + above + 0.05 * np.log(points) - 0.01 * np.log(points) ** 2
        return list(zip(points.tolist(), (level + random.normal(0, 0.02, len(points))).tolist(), strict=True))

    exact = [(value, 0.6 + 0.03 * math.log(value)) for value in x.tolist()]
    gap = compute_gap(exact, [(value, accuracy + 0.05) for value, accuracy in exact])
    assert gap is not None and gap.difference == pytest.approx(0.05) and gap.apart and gap.n_points == 24
    covered = [0.04 in gap.interval for _ in range(400) if (gap := compute_gap(curve(x, 0), curve(x, 0.04)))]
    assert len(covered) == 400 and 0.92 < sum(covered) / 400 < 0.98


def test_a_shift_along_the_axis_is_no_gap_over_the_right_axis() -> None:
    """An adapter that goes twice as far per step is above the other over travel, and level with it over the update."""
    travels = np.geomspace(0.001, 0.1, 10)
    slow, fast = 3 * travels, 6 * travels  # the sizes of the updates

    def accuracy(update: np.ndarray[Any, Any]) -> list[float]:
        return [0.5 + 0.05 * math.log(value / 0.003) for value in update.tolist()]

    by_travel = compute_gap(list(zip(travels.tolist(), accuracy(slow), strict=True)),
                            list(zip(travels.tolist(), accuracy(fast), strict=True)))  # fmt: skip
    by_update = compute_gap(list(zip(slow.tolist(), accuracy(slow), strict=True)),
                            list(zip(fast.tolist(), accuracy(fast), strict=True)))  # fmt: skip
    assert by_travel is not None and by_travel.difference == pytest.approx(0.05 * math.log(2))
    assert by_update is not None and by_update.difference == pytest.approx(0, abs=1e-9)


def test_few_points_side_by_side_have_no_gap() -> None:
    """Curves that cover different ranges, few points, or all points at one place are not compared."""
    low, high = [(x, 0.6) for x in (1.0, 2.0, 3.0, 4.0)], [(x, 0.7) for x in (5.0, 6.0, 7.0, 8.0)]
    assert compute_gap(low, high) is None and compute_gap(low[:2], low) is None
    assert compute_gap([(2.0, 0.6)] * 5, [(2.0, 0.7)] * 5) is None
    assert Gap(0.1, Interval(0.0, 0.2), 9).apart is False


def test_only_adapters_of_one_method_and_the_same_modules_share_a_curve(tmp_path: Path) -> None:
    """LoRA 1 and 3 change the same modules; LoRA 2 changes others, IA³ is another method, the head has no adapter."""
    report = read_report(write_results(tmp_path, adapters=(*ADAPTERS, "head_only"), seeds=(1, 2, 3)))
    (curve,) = report.travel.curves
    assert (curve.a, curve.b) == ("lora_1", "lora_3") and curve.by_travel is not None
    kept = {
        name: [(point.travel, point.accuracy) for point in report.travel.points if point.kept and point.adapter == name]
        for name in ("lora_1", "lora_3")
    }
    assert curve.by_travel == compute_gap(kept["lora_1"], kept["lora_3"])


def test_a_shared_curve_is_read_where_the_head_learned_alike(tmp_path: Path) -> None:
    """Checkpoints whose head had another learning rate do not count, as long as enough others are left."""
    rates = {f"lr-{rate}": {"title": "x", "training": {"learning_rate": rate, "head_learning_rate": 1e-3}}
             for rate in (1e-4, 3e-4, 1e-3, 3e-3)}  # fmt: skip
    variants = {"submitted": {"title": "x"}} | rates
    report = read_report(write_results(tmp_path, adapters=("lora_1", "lora_3"), seeds=(1, 2, 3), variants=variants))
    (curve,) = report.travel.curves
    sides = [[(point.relative_update, point.accuracy) for point in report.travel.points
              if point.kept and point.relative_update and point.adapter == name and point.variant != "submitted"]
             for name in ("lora_1", "lora_3")]  # fmt: skip
    assert curve.by_update == compute_gap(*sides) and curve.by_update is not None
    found = report.travel.findings["lora_1"]
    same = [point for point in report.travel.points if point.adapter == "lora_1" and point.variant != "submitted"]
    assert (found.same_head_rate, found.n_same_head) == (1e-3, len(same))
    assert found.same_head_correlation == rank_correlation([p.travel for p in same], [p.accuracy for p in same])


def test_each_lever_lists_its_settings_by_travel(tmp_path: Path) -> None:
    """The reference's rates, batch sizes, strategies and epochs, with the means of the checkpoints they are about."""
    report = read_report(write_results(tmp_path, extra_variants=ABLATIONS, seeds=(1, 2, 3)))
    levers = report.travel.levers
    assert set(levers) == {"learning_rate", "batch_size", "epochs", "eval_strategy"}
    for lever in levers.values():
        travels = [step.travel for step in lever.steps]
        assert lever.adapter == "lora_1" and travels == sorted(travels)
        accuracies = [step.accuracy for step in lever.steps]
        assert lever.rising == all(a < b for a, b in pairwise(accuracies))
        assert lever.level == (min(accuracies) == max(accuracies))
        assert lever.farthest_is_best == (accuracies[-1] == max(accuracies)) and lever.best.accuracy == max(accuracies)
    assert [step.batch_size for step in levers["batch_size"].steps] == [64, 16, 4]
    assert [step.learning_rate for step in levers["learning_rate"].steps] == [2e-5, 2e-4, 1e-3]
    assert [step.strategy for step in levers["epochs"].steps] == ["kept", "last"]

    def mean(points: list[TravelPoint]) -> float:
        return sum(point.travel for point in points) / len(points)

    kept = [point for point in report.travel.points if point.kept and point.adapter == "lora_1"]
    batch = [point for point in kept if point.variant == "batch-4"]
    assert len(batch) == 3 and levers["batch_size"].steps[-1].travel == pytest.approx(mean(batch))
    best = report.adapters["lora_1"].best_variant
    last = [
        point for point in report.travel.points if point.adapter == "lora_1" and point.variant == best and point.last
    ]
    assert levers["epochs"].steps[-1].travel == pytest.approx(mean(last)) and levers["epochs"].steps[-1].n_runs == 3
