"""Test the findings on costs, published results and ablations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapterbook.analysis.ablation import find_family
from adapterbook.analysis.costs import mark_front
from adapterbook.analysis.shapes import BatchSizeFinding, CostRow, LearningRateFinding, Measured
from adapterbook.common.stats import Interval
from tests.support.factory import BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS, read_report, write_results

ABLATIONS = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS
TITLE = {"title": "x"}


def cost(name: str, accuracy: tuple[float, float], params: int, *time: float) -> CostRow:
    """Return a row of costs with an interval of the accuracy and the lowest and the highest time."""
    low, high = accuracy
    times = Measured(3, sum(time) / 2, *time)
    return CostRow(name, "best", (low + high) / 2, Interval(low, high), params, times, None, None, 4 * params)


def test_a_mark_rests_on_a_clear_difference_from_each_other_row() -> None:
    """Who is cheaper or more accurate beyond the noise than each other row is marked, and nobody else."""
    head, twin = cost("head", (0.55, 0.60), 10, 20, 25), cost("twin", (0.58, 0.63), 10, 24, 40)
    good, slow = cost("good", (0.64, 0.70), 20, 30, 50), cost("slow", (0.66, 0.72), 30, 45, 60)
    marked = {kind: mark_front([head, twin, good, slow], kind) for kind in ("params", "time")}
    assert marked["params"] == (False, False, True, False)  # head and twin have as many; slow is not clearly better
    assert marked["time"] == (False, False, False, False)  # each one's range reaches into another's
    clear = [head, cost("fast", (0.58, 0.63), 11, 26, 30), good]
    assert mark_front(clear, "time") == (True, False, True)  # good is clearly more accurate than both
    assert mark_front([head], "params") == (False,)
    unknown = replace(good, test_interval=None)
    assert mark_front([head, unknown], "params") == (True, False)


def test_an_adapter_has_one_row_over_all_its_runs(tmp_path: Path) -> None:
    """Times are medians over seeds and learning rates, with their range; the accuracy is the best variant's."""
    report = read_report(write_results(tmp_path, seeds=(1, 2, 3), adapters=("lora_1", "ia3")))
    (table,) = report.costs
    assert ([row.adapter for row in table.rows], table.clock) == (["lora_1", "ia3"], "cpu")
    row = next(row for row in table.rows if row.adapter == "lora_1")
    best = report.adapters["lora_1"].best
    assert best is not None and best.test_accuracy is not None
    assert (row.variant, row.accuracy, row.test_interval) == (best.variant, best.test_accuracy.mean, best.test_interval)
    records = [run.record for run in report.runs if run.run.adapter.id == "lora_1" and run.record is not None]
    assert len(records) == 9
    times = sorted(record.train_cpu_s or 0.0 for record in records)
    assert row.time_s == Measured(9, times[4], times[0], times[8])
    merged = sorted(record.latency.merged_median_s or 0.0 for record in records if record.latency is not None)
    assert row.merged_latency_s == Measured(9, merged[4], merged[0], merged[8])
    assert row.n_trainable_params == 1_328_258


def test_without_cpu_seconds_in_every_run_times_are_the_clock_s(tmp_path: Path) -> None:
    """CPU seconds and seconds are never mixed in one table; a method that cannot be merged has no time merged."""
    runs = [f"ia3/{variant}/seed-224" for variant in ("submitted", "lr-2e-4", "lr-1e-3")]
    alone = {"n_rows": 20, "median_s": 0.5, "merged_median_s": None}
    changes: dict[str, Any] = {
        runs[0]: {"train_cpu_s": None, "latency": None},
        **{name: {"latency": alone} for name in runs[1:]},
    }
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), changes=changes))
    (table,) = report.costs
    assert table.clock == "wall"
    for row in table.rows:
        records = [run.record for run in report.runs if run.run.adapter.id == row.adapter and run.record is not None]
        times = [record.train_time_s or 0.0 for record in records]
        assert (row.time_s.low, row.time_s.high) == (min(times), max(times))
        if row.adapter == "ia3":
            assert (row.latency_s, row.merged_latency_s) == (Measured(2, 0.5, 0.5, 0.5), None)


def test_two_devices_are_two_tables(tmp_path: Path) -> None:
    """A run made elsewhere has its own table: times of different devices are never side by side."""
    changes = {"ia3/submitted/seed-1": {"environment__device_name": "Other GPU", "environment__device": "cuda",
                                        "train_cpu_s": None}}  # fmt: skip
    report = read_report(write_results(tmp_path, seeds=(1, 2), changes=changes))
    tables = {table.device_name: table for table in report.costs}
    assert list(tables) == ["Example CPU @ 2.00GHz", "Other GPU"]
    (only,) = tables["Other GPU"].rows
    assert (only.adapter, only.time_s.n, tables["Other GPU"].device, tables["Other GPU"].clock) == (
        "ia3", 1, "cuda", "wall")  # fmt: skip
    other = next(row for row in tables["Example CPU @ 2.00GHz"].rows if row.adapter == "ia3")
    assert other.time_s.n == 5 and report.source.device_names == ("Example CPU @ 2.00GHz", "Other GPU")


def test_costs_hold_learning_rates_only(tmp_path: Path) -> None:
    """The runs of other ablations, which cost more or less, are not among them."""
    (table,) = read_report(write_results(tmp_path, extra_variants=ABLATIONS)).costs
    assert {row.adapter: row.time_s.n for row in table.rows}["lora_1"] == 3
    assert read_report(write_results(tmp_path / "b"), "nothing-yet").costs == ()


def test_published_curves_beside_the_rerun(tmp_path: Path) -> None:
    """On the homework's own source every epoch has both values and rerun minus published."""
    report = read_report(write_results(tmp_path, source="hub"), "hub")
    assert report.published.comparable and set(report.published.runs) == {"lora_1", "lora_2", "lora_3", "ia3"}
    run = report.published.runs["lora_1"]
    record = report.run("lora_1/submitted/seed-224").record
    assert record is not None
    assert (run.variant, len(run.points), run.n_validation_rows, run.reason) == ("submitted", 10, 32, None)
    first = run.points[0]
    assert (first.epoch, first.published_loss, first.published_accuracy) == (1, 0.703758, 0.4375)
    assert first.rerun_loss is not None and first.rerun_accuracy is not None
    assert first.rerun_loss == record.epochs[0].validation_loss
    assert first.rerun_accuracy == record.epochs[0].validation_accuracy
    assert first.loss_difference == first.rerun_loss - 0.703758
    assert first.accuracy_difference == first.rerun_accuracy - 0.4375
    differences = [point.loss_difference for point in run.points if point.loss_difference is not None]
    assert run.max_loss_difference == max(abs(difference) for difference in differences)
    assert run.mean_loss_difference == pytest.approx(sum(differences) / 10)
    trained = [epoch.train_loss for epoch in record.epochs if epoch.train_loss is not None]
    assert run.rerun_train_loss == pytest.approx(sum(trained) / 10)
    assert run.published_train_loss == pytest.approx(0.690779, abs=1e-6)


def test_another_source_may_not_be_compared(tmp_path: Path) -> None:
    """The embedded source names no published results, and a name without a file has another reason."""
    report = read_report(write_results(tmp_path))
    assert (report.published.comparable, report.published.reason, dict(report.published.runs)) == (
        False, "no_published", {},
    )  # fmt: skip
    changes: dict[str, Any] = {run.id: {"source__published": "elsewhere"} for run in report.runs}
    assert read_report(write_results(tmp_path / "b", changes=changes)).published.reason == "published_unknown"


def test_published_without_a_rerun_says_why(tmp_path: Path) -> None:
    """A missing run, an adapter that is not there and another protocol each have their reason."""
    missing = ["ia3/submitted/seed-224"]
    runs = read_report(
        write_results(tmp_path, adapters=("lora_1", "ia3"), source="hub", missing=missing), "hub"
    ).published.runs
    assert (runs["ia3"].reason, runs["ia3"].variant, runs["ia3"].max_loss_difference) == ("missing", None, None)
    assert (runs["lora_2"].reason, runs["lora_2"].points[0].rerun_loss) == ("no_runs", None)
    assert (runs["ia3"].n_validation_rows, runs["ia3"].rerun_train_loss) == (None, None)
    other = {"fast": TITLE | {"training": {"learning_rate": 1.0e-3}}}
    report = read_report(write_results(tmp_path / "b", source="hub", variants=other), "hub")
    assert report.published.runs["lora_1"].reason == "published_other_protocol"


def test_variants_say_what_they_change(tmp_path: Path) -> None:
    """Every variant lists the arguments in which it differs from the submitted one, and who runs it."""
    report = read_report(write_results(tmp_path, extra_variants=ABLATIONS))
    changed = {variant.name: variant.changed for variant in report.variants}
    assert changed["submitted"] == () and changed["lr-2e-4"] == ("learning_rate",)
    assert changed["batch-4"] == ("learning_rate", "per_device_train_batch_size")
    assert "eval_strategy" in changed["eval-no"] and report.variants[-1].adapters == ("lora_1",)


def test_families_of_variants(tmp_path: Path) -> None:
    """Each factor finds the variants that differ in it alone, ordered by value."""
    ablations = read_report(write_results(tmp_path, extra_variants=ABLATIONS)).ablations
    assert ablations["learning_rate"].variants == ("submitted", "lr-2e-4", "lr-1e-3")
    assert ablations["learning_rate"].adapters == ("lora_1", "lora_2", "lora_3", "ia3")
    assert ablations["batch_size"].variants == ("batch-4", "lr-2e-4", "batch-64")
    assert ablations["batch_size"].values == {"batch-4": 4, "lr-2e-4": 16, "batch-64": 64}
    assert ablations["batch_size"].adapters == ("lora_1",)
    assert ablations["eval_strategy"].variants == () and ablations["eval_strategy"].reason is None
    assert ablations["epochs"].variants == () and ablations["epochs"].reason == "no_variants"


def test_an_ablation_at_another_learning_rate_is_found(tmp_path: Path) -> None:
    """Batch sizes that all share a higher learning rate belong together, not with the submitted variant."""
    variants = {"submitted": TITLE, "fast": TITLE | {"training": {"learning_rate": 1.0e-3}}} | {
        f"fast-{size}": TITLE | {"training": {"learning_rate": 1.0e-3, "per_device_train_batch_size": size}}
        for size in (64, 4)
    }
    report = read_report(write_results(tmp_path, adapters=("lora_1",), variants=variants))
    assert report.ablations["batch_size"].variants == ("fast-4", "fast", "fast-64")
    assert find_family((), "batch_size") == ()


def test_an_ablation_without_results_keeps_its_variants(tmp_path: Path) -> None:
    """Before training the variants of an ablation are known, and it has no groups."""
    ablation = read_report(write_results(tmp_path, extra_variants=ABLATIONS), "nothing-yet").ablations["batch_size"]
    assert len(ablation.variants) == 3 and ablation.adapters == () and ablation.groups == {}


def test_epochs_count_what_overfits(tmp_path: Path) -> None:
    """Three LoRA at 1e-3 overfit, IA³ does not; the group that ended farthest above its minimum is named."""
    report = read_report(write_results(tmp_path))
    epochs = report.ablations["epochs"].epochs
    assert epochs is not None and (epochs.n_groups, epochs.n_overfitting) == (12, 3)
    assert epochs.most is not None and epochs.most[1] == "lr-1e-3"
    best_at_end = [run for run in report.runs if run.overfitting and run.overfitting.best_epoch == 10.0]
    assert epochs.n_still_improving == len(best_at_end) > 0
    none = read_report(write_results(tmp_path / "b"), "nothing-yet").ablations["epochs"].epochs
    assert none is not None and (none.n_groups, none.most) == (0, None)


def test_variants_with_other_epochs_are_a_family(tmp_path: Path) -> None:
    """If the study varies the number of epochs, the ablation lists the variants."""
    extra = {"short": TITLE | {"training": {"num_train_epochs": 3}}}
    ablation = read_report(write_results(tmp_path, extra_variants=extra)).ablations["epochs"]
    assert (ablation.variants, ablation.reason) == (("short", "submitted"), None)


def test_a_finding_names_the_case_of_its_sentence(tmp_path: Path) -> None:
    """What the sentences on batch size, rates and strategies say follows from the groups by hand."""
    report = read_report(write_results(tmp_path, extra_variants=ABLATIONS))
    (case,) = report.ablations["batch_size"].findings
    assert isinstance(case, BatchSizeFinding)
    sizes = [group.training.per_device_train_batch_size for group in case.groups]
    assert (case.adapter, sizes) == ("lora_1", sorted(sizes))
    losses = [group.best_validation_loss.mean for group in case.groups if group.best_validation_loss is not None]
    assert case.best is not None and case.best.best_validation_loss is not None
    assert case.best.best_validation_loss.mean == min(losses)
    assert case.overfit == tuple(group.variant for group in case.groups if group.course == "overfit")
    intervals = [group.test_interval for group in case.groups if group.test_interval is not None]
    assert case.intervals_overlap == all(a.low <= b.high for a in intervals for b in intervals)
    rates = report.ablations["learning_rate"]
    assert [finding.variant for finding in rates.findings if isinstance(finding, LearningRateFinding)] == [
        *rates.variants
    ]
    for finding in rates.findings:
        assert isinstance(finding, LearningRateFinding)
        assert {*finding.overfit, *finding.improving, *finding.level} == {*rates.adapters}
        assert {*finding.better_than_guessing, *finding.guessing} == {*rates.adapters}
    best = {adapter.best_variant for adapter in report.adapters.values()}
    assert (report.best_rates.shared is not None) == (len(best) == 1)
    edges = (rates.variants[0], rates.variants[-1])
    at_edge = [name for name, adapter in report.adapters.items() if adapter.best_variant in edges]
    assert report.best_rates.at_edge == tuple(at_edge)


def test_a_group_without_result_is_named(tmp_path: Path) -> None:
    """A failed run of a variant is among the ablation's groups without result, and in none of its findings."""
    report = read_report(write_results(tmp_path, failed=["ia3/lr-1e-3/seed-224"]))
    ablation = report.ablations["learning_rate"]
    assert [(group.adapter, group.variant) for group in ablation.without_result] == [("ia3", "lr-1e-3")]
    last = ablation.findings[-1]
    assert isinstance(last, LearningRateFinding) and last.variant == "lr-1e-3"
    assert "ia3" not in (*last.overfit, *last.improving, *last.level)


def test_the_cost_of_evaluating_beside_its_formula(tmp_path: Path) -> None:
    """A step is worth two forward passes with an adapter and one for the head alone; ten evaluations of 32 rows."""
    changes = {f"{name}/submitted/seed-224": {"train_time_s": 44.0, "evaluation_time_s": 4.0}
               for name in ("lora_1", "head_only")}  # fmt: skip
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3", "head_only"), changes=changes))
    costs = {cost.run.run.adapter.id: cost for cost in report.ablations["eval_strategy"].evaluation_costs}
    assert {name: (cost.forwards, cost.expected) for name, cost in costs.items()} == {
        "lora_1": (2, 0.125), "head_only": (1, 0.25),
    }  # fmt: skip
    assert costs["lora_1"].measured == pytest.approx(0.1)


def test_adapters_that_follow_the_head_are_named(tmp_path: Path) -> None:
    """An adapter whose validation loss stays within the noise of the head's in every epoch follows it."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3", "head_only")))
    head = report.run("head_only/lr-1e-3/seed-224").record
    assert head is not None
    near = {f"epochs__{i}__validation_loss": (point.validation_loss or 0) + 0.001 * (i + 1)
            for i, point in enumerate(head.epochs)}  # fmt: skip
    changes = {"ia3/lr-1e-3/seed-224": near, "lora_1/lr-1e-3/seed-224": near | {"epochs__9__validation_loss": 3.0}}
    made = read_report(write_results(tmp_path / "b", adapters=("lora_1", "ia3", "head_only"), changes=changes))
    case = made.ablations["learning_rate"].findings[-1]
    assert isinstance(case, LearningRateFinding) and case.with_head == ("ia3",)
    assert case.largest_gap == pytest.approx(0.01)
    assert case.n_steps == 80 and case.reach == pytest.approx(1e-3 * 80 / 2)


def test_a_batch_size_below_every_learning_rate_is_said(tmp_path: Path) -> None:
    """The lowest validation loss of a batch size is compared with the best of every adapter."""
    lowest = {"lora_1/batch-4/seed-224": {"epochs__4__validation_loss": 0.01}}
    for number, (changes, expected) in enumerate(((lowest, True), ({}, False))):
        report = read_report(write_results(tmp_path / str(number), extra_variants=ABLATIONS, changes=changes))
        (case,) = report.ablations["batch_size"].findings
        assert isinstance(case, BatchSizeFinding) and case.lowest_of_all == expected


def test_the_majority_of_the_validation_rows(tmp_path: Path) -> None:
    """The baseline of validation charts is the share of the more frequent label, 18 of 32 here."""
    report = read_report(write_results(tmp_path))
    assert report.validation_majority == 18 / 32
    assert read_report(write_results(tmp_path / "b"), "nothing-yet").validation_majority is None
