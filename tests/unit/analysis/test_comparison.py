"""Compare adapters by made-up records: clear win, tie, one seed, three, failures, and what may not be compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from adapterbook.analysis.shapes import Report, Verdict
from adapterbook.common.stats import holm_correction, smallest_detectable_difference, wilson_interval
from adapterbook.runs.record import load_predictions, load_record, write_record
from tests.support.factory import make_predictions, read_report, write_results

LEVEL = {f"{adapter}/{variant}": 0.6 for adapter in ("lora_1", "lora_2", "lora_3", "ia3")
         for variant in ("submitted", "lr-2e-4", "lr-1e-3")}  # fmt: skip
WITH_BASELINE = ("lora_1", "ia3", "head_only")
IA3_WINS = LEVEL | {f"ia3/{variant}": 0.9 for variant in ("submitted", "lr-2e-4", "lr-1e-3")}


def pair_of(report: Report, a: str, b: str) -> Verdict:
    """Return the verdict of two adapters as submitted."""
    pair = report.comparisons["submitted"].pair(a, b)
    assert pair is not None
    return pair


def set_right(folder: Path, right: np.ndarray) -> None:
    """Change a run's predictions, and its record with them, so that just these rows are right."""
    table = load_predictions(folder)
    table["prediction"] = np.where(right, table["label"], 1 - table["label"])
    table["probability"] = np.where(table["prediction"] == 1, 0.9, 0.1)
    table.to_parquet(folder / "predictions.parquet")
    record = load_record(folder)
    test = record.test
    assert test is not None
    write_record(record.model_copy(update={"test": test.model_copy(update={"accuracy": float(right.mean())})}), folder)


def test_a_clear_win_is_better_and_the_other_side_worse(tmp_path: Path) -> None:
    """With 60 against 90 % on 512 rows IA³ is better, seen from either side, and the interval excludes 0."""
    report = read_report(write_results(tmp_path, accuracy=IA3_WINS))
    pair = pair_of(report, "ia3", "lora_1")
    assert (pair.kind, pair.a, pair.n_rows, pair.n_seeds) == ("better", "ia3", 512, 1)
    assert pair.interval is not None and pair.interval.low > 0 and pair.difference == pytest.approx(0.3, abs=0.002)
    head = report.headline
    assert head.b == "ia3" and head.a in ("lora_1", "lora_2", "lora_3")
    assert head.kind == "worse" and head.interval is not None and head.interval.high < 0
    assert head.difference is not None and head.difference < 0 and not head.spread_known
    assert (head.n_only_a or 0) < (head.n_only_b or 0)
    assert report.headline_submitted.kind == "worse" and report.headline_submitted.variant_a == "submitted"
    assert not report.comparisons["best"].all_alike


def test_lora_may_win_too(tmp_path: Path) -> None:
    """The headline says better if LoRA is better."""
    accuracy = LEVEL | {f"ia3/{variant}": 0.3 for variant in ("submitted", "lr-2e-4", "lr-1e-3")}
    assert read_report(write_results(tmp_path, accuracy=accuracy)).headline.kind == "better"


def test_a_tie_is_not_distinguishable(tmp_path: Path) -> None:
    """Equal accuracies give no verdict, and the report holds the smallest difference that could have been seen."""
    report = read_report(write_results(tmp_path, accuracy=LEVEL))
    comparison = report.comparisons["submitted"]
    assert report.headline.kind == "not_distinguishable" and comparison.all_alike
    assert report.headline.difference == 0.0 and report.headline.p_holm == 1.0
    detectable = [pair.smallest_detectable for pair in comparison.pairs if pair.smallest_detectable]
    assert comparison.smallest_detectable == max(detectable) and 0.02 < max(detectable) < 0.15


def test_p_values_follow_from_the_predictions_alone(tmp_path: Path) -> None:
    """The p-values equal exact McNemar tests, Holm-corrected over six pairs, counted by hand from the parquet files."""
    paths = write_results(tmp_path)
    comparison = read_report(paths).comparisons["submitted"]
    raw = []
    for pair in comparison.pairs:
        a, b = (load_predictions(paths.results / "embedded" / str(name) / "submitted" / "seed-224")
                for name in (pair.a, pair.b))  # fmt: skip
        right_a, right_b = a["label"] == a["prediction"], b["label"] == b["prediction"]
        counts = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
        assert (pair.n_only_a, pair.n_only_b) == counts
        assert pair.difference == pytest.approx((counts[0] - counts[1]) / 512)
        raw.append(float(binomtest(counts[0], sum(counts)).pvalue))  # the exact McNemar test
    assert [pair.p for pair in comparison.pairs] == pytest.approx(raw)
    assert [pair.p_holm for pair in comparison.pairs] == pytest.approx(holm_correction(raw))
    assert len(raw) == 6


def test_holm_can_take_a_verdict_back(tmp_path: Path) -> None:
    """A pair with p below 0.05 but a corrected p above it is not distinguishable."""
    paths = write_results(tmp_path)
    right = np.ones(512, dtype=bool)
    lost = {"lora_1": range(0), "ia3": range(7), "lora_2": range(100, 103), "lora_3": range(200, 203)}
    for adapter, rows in lost.items():
        folder = paths.results / "embedded" / adapter / "submitted" / "seed-224"
        set_right(folder, np.where(np.isin(np.arange(512), rows), False, right))
    pair = pair_of(read_report(paths), "ia3", "lora_1")
    assert sorted((pair.n_only_a or 0, pair.n_only_b or 0)) == [0, 7]
    assert pair.p == pytest.approx(2 * 0.5**7) == 0.015625  # exact McNemar: seven rows of seven on one side
    assert pair.p_holm == pytest.approx(6 * 2 * 0.5**7)  # the smallest of six
    assert pair.kind == "not_distinguishable"


def test_three_seeds_must_agree(tmp_path: Path) -> None:
    """A difference that all rows show but only one seed of three has is not called better."""
    accuracy = LEVEL | {"ia3/submitted/seed-1": 0.95}
    agree = LEVEL | {f"ia3/submitted/seed-{seed}": 0.85 + 0.02 * seed for seed in (1, 2, 3)}
    one = pair_of(read_report(write_results(tmp_path / "a", seeds=(1, 2, 3), accuracy=accuracy)), "ia3", "lora_1")
    three = pair_of(read_report(write_results(tmp_path / "b", seeds=(1, 2, 3), accuracy=agree)), "ia3", "lora_1")
    assert one.kind == "not_distinguishable" and one.p_holm is not None and one.p_holm < 0.05
    assert one.p_seeds_holm is not None and one.p_seeds_holm > 0.05
    assert three.kind == "better" and three.n_seeds == 3 and three.spread_known
    assert three.seeds_test is not None and three.seeds_test.mean == pytest.approx(three.difference)
    assert three.n_only_a is None


def test_three_seeds_of_the_same_difference_leave_the_rows_to_decide(tmp_path: Path) -> None:
    """Without any spread no t-test is possible, and the test over rows decides alone, in the headline too."""
    report = read_report(write_results(tmp_path, seeds=(1, 2, 3), accuracy=IA3_WINS))
    pair = pair_of(report, "ia3", "lora_1")
    assert pair.seeds_test is not None and pair.seeds_test.p is None and pair.p_seeds_holm is None
    assert pair.kind == "better"
    head = report.headline
    assert head.seeds_test is not None and head.seeds_test.mean < 0 and head.seeds_test.interval.high < 0


def test_two_seeds_use_both_and_know_no_spread(tmp_path: Path) -> None:
    """With two seeds the difference is the mean of both, tested over rows only."""
    report = read_report(write_results(tmp_path, seeds=(1, 2), accuracy=LEVEL | {"ia3/submitted/seed-1": 0.7}))
    pair = pair_of(report, "ia3", "lora_1")
    assert (pair.n_seeds, pair.seeds_test, pair.spread_known) == (2, None, False)
    assert pair.difference == pytest.approx(0.05, abs=0.002)


def test_only_common_seeds_are_compared(tmp_path: Path) -> None:
    """A seed that failed for one adapter drops out of the pair, the others stay."""
    report = read_report(write_results(tmp_path, seeds=(1, 2), failed=["ia3/submitted/seed-2"]))
    assert pair_of(report, "ia3", "lora_1").n_seeds == 1
    assert pair_of(report, "lora_1", "lora_2").n_seeds == 2


@pytest.mark.parametrize("reason", ["failed", "missing", "truncated"])
def test_a_run_without_results_is_not_comparable_and_the_rest_stands(tmp_path: Path, reason: str) -> None:
    """The pairs of that adapter say why; the other three pairs are corrected among themselves."""
    run = ["ia3/submitted/seed-224"]
    given: dict[str, Any] = {reason: run}
    paths = write_results(tmp_path, **given)
    comparison = read_report(paths).comparisons["submitted"]
    lost = [pair for pair in comparison.pairs if "ia3" in (pair.a, pair.b)]
    assert [(pair.kind, pair.p_holm) for pair in lost] == [("not_comparable", None)] * 3
    assert {pair.reason for pair in lost} == {"broken" if reason == "truncated" else reason}
    assert [pair.kind for pair in comparison.pairs if pair not in lost].count("not_comparable") == 0
    assert comparison.variants["ia3"] is None and "ia3" not in comparison.ranking


def test_a_failed_best_run_leaves_the_headline_without_verdict(tmp_path: Path) -> None:
    """With no IA³ run at all the headline names it and says why."""
    failed = [f"ia3/{variant}/seed-224" for variant in ("submitted", "lr-2e-4", "lr-1e-3")]
    report = read_report(write_results(tmp_path, failed=failed))
    assert (report.headline.kind, report.headline.b, report.headline.reason) == ("not_comparable", "ia3", "failed")
    assert report.headline_submitted.reason == "failed"


@pytest.mark.parametrize(
    ("adapters", "reason", "a", "b"),
    [
        (("lora_1", "lora_2"), None, "lora_1", "lora_2"),
        (("lora_1", "lora_2", "lora_3", "head_only"), None, "lora_2", "lora_3"),  # the two best on validation
        (("lora_2", "head_only"), None, "lora_2", "head_only"),
        (("ia3",), "no_counterpart", "ia3", None),
    ],
)
def test_a_study_of_one_method_has_a_headline(
    tmp_path: Path, adapters: tuple[str, ...], reason: str | None, a: str, b: str | None
) -> None:
    """The headline compares the method's two best adapters, or its only one with the baseline."""
    better = {f"{name}/lr-1e-3/seed-224": {"epochs__4__validation_loss": 0.02} for name in ("lora_2", "lora_3")}
    changes = better if len(adapters) == 4 else {}
    report = read_report(write_results(tmp_path, adapters=adapters, changes=changes))
    assert (report.headline.a, report.headline.b, report.headline.reason) == (a, b, reason)
    assert (report.headline.interval is None) == (b is None)
    assert (report.headline_submitted.a, report.headline_submitted.b) == (a, b)
    comparison = report.comparisons["best"]
    assert len(comparison.pairs) == len(adapters) * (len(adapters) - 1) // 2
    assert comparison.reason == ("no_counterpart" if len(adapters) == 1 else None)
    assert comparison.pair("lora_1", "ia3") is None


def test_of_three_methods_the_two_that_do_best_on_validation_are_the_headline(tmp_path: Path) -> None:
    """A third method counts like LoRA and IA³, and is named after them in any order of the files."""
    changes = {f"{name}/lr-1e-3/seed-224": {"epochs__4__validation_loss": 0.02} for name in ("a_new_one", "ia3")}
    paths = write_results(tmp_path, adapters=("a_new_one", "lora_1", "ia3"), changes=changes)
    file = paths.experiments / "adapters" / "a_new_one.yaml"
    file.write_text(file.read_text("utf-8").replace("peft_type: LORA", "peft_type: LOHA"), "utf-8")
    report = read_report(paths)
    assert (report.headline.a, report.headline.b, report.headline.reason) == ("ia3", "a_new_one", None)


def test_two_adapters_only(tmp_path: Path) -> None:
    """One pair needs no correction."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3")))
    (pair,) = report.comparisons["best"].pairs
    assert pair.p == pair.p_holm and report.headline.a == "lora_1"


def test_other_test_rows_are_not_comparable(tmp_path: Path) -> None:
    """Two adapters that predicted different rows are not comparable, even with equal accuracies."""
    paths = write_results(tmp_path)
    folder = paths.results / "embedded" / "ia3/submitted/seed-224"
    load_predictions(folder).assign(row_id=np.arange(512)).to_parquet(folder / "predictions.parquet")
    pair = pair_of(read_report(paths), "ia3", "lora_1")
    assert (pair.kind, pair.reason, pair.difference) == ("not_comparable", "different_rows", None)


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    """The same rows in another order give the same pair."""
    paths = write_results(tmp_path)
    before = pair_of(read_report(paths), "ia3", "lora_1")
    folder = paths.results / "embedded" / "ia3/submitted/seed-224"
    load_predictions(folder).iloc[::-1].to_parquet(folder / "predictions.parquet", index=False)
    assert pair_of(read_report(paths), "ia3", "lora_1") == before


def test_mixed_sources_are_not_comparable(tmp_path: Path) -> None:
    """A record of another base model is seen, and its pairs say so."""
    other = {"source__base_model_sha256": "0" * 64, "source__base_model": "other/model"}
    report = read_report(write_results(tmp_path, changes={"ia3/submitted/seed-224": other}))
    assert report.source.mixed and report.source.base_models == ("embedded/all-MiniLM-L6-v2-distilbert", "other/model")
    assert pair_of(report, "ia3", "lora_1").reason == "different_sources"
    assert report.published.reason == "published_mixed"


@pytest.mark.parametrize("n_positive", [0, 512])
def test_a_test_set_of_one_class_gives_no_verdict(tmp_path: Path, n_positive: int) -> None:
    """A test set of one class has accuracies but no verdict, and a majority baseline of 100 %, with the same reason."""
    report = read_report(write_results(tmp_path, n_positive=n_positive, accuracy=IA3_WINS))
    assert (report.headline.kind, report.headline.reason) == ("not_comparable", "one_class")
    assert report.headline.difference is not None and report.headline.p_holm is None
    majority = report.baseline("majority")
    assert (majority.accuracy, majority.reason, majority.label) == (1.0, "one_class", int(n_positive == 512))


def test_majority_and_chance_baselines(tmp_path: Path) -> None:
    """The majority class is counted from the labels, with its Wilson interval."""
    report = read_report(write_results(tmp_path))
    n_negative = int((make_predictions()["label"] == 0).sum())
    majority = report.baseline("majority")
    assert (majority.accuracy, majority.label, majority.n, majority.reason) == (n_negative / 512, 0, 512, None)
    assert majority.interval == wilson_interval(n_negative, 512)
    assert report.baseline("chance").accuracy == 0.5
    assert report.baseline("head_only").reason == "no_runs"


def test_no_predictions_no_majority(tmp_path: Path) -> None:
    """Before any training the majority class is None, because no test row is known."""
    report = read_report(write_results(tmp_path), "nothing-yet")
    assert report.baseline("majority").reason == "no_predictions"
    assert report.comparisons["best"].ranking == () and report.comparisons["best"].smallest_detectable is None


def test_the_head_only_baseline_is_no_method_and_comes_last(tmp_path: Path) -> None:
    """The baseline is never in the headline, and every adapter is compared with it, the adapter first."""
    changes = {"head_only/lr-1e-3/seed-224": {"epochs__4__validation_loss": 0.01}}  # lower than any IA³'s
    report = read_report(write_results(tmp_path, adapters=WITH_BASELINE, changes=changes))
    assert list(report.adapters) == ["ia3", "lora_1", "head_only"] and report.adapters["head_only"].head_only
    assert report.reference == "lora_1" and {report.headline.a, report.headline.b} == {"lora_1", "ia3"}
    comparison = report.comparisons["best"]
    assert comparison.baseline == "head_only" and len(comparison.pairs) == 3
    assert [(pair.a, pair.b) for pair in comparison.between] == [("ia3", "lora_1")]
    assert [(pair.a, pair.b) for pair in comparison.added] == [("ia3", "head_only"), ("lora_1", "head_only")]
    assert all(pair.p_holm is not None for pair in comparison.pairs)
    assert report.adapters["head_only"].n_adapter_params == 0 and "head_only" in comparison.ranking


def test_full_fine_tuning_is_no_adapter_and_is_compared_with_each(tmp_path: Path) -> None:
    """It is neither in the headline nor the reference, stands after the adapters, and no baseline meets another."""
    changes = {"full/lr-1e-3/seed-224": {"epochs__4__validation_loss": 0.01}}  # lower than any adapter's
    report = read_report(write_results(tmp_path, adapters=(*WITH_BASELINE, "full"), changes=changes))
    assert list(report.adapters) == ["ia3", "lora_1", "full", "head_only"]
    assert report.reference == "lora_1" and {report.headline.a, report.headline.b} == {"lora_1", "ia3"}
    comparison = report.comparisons["best"]
    assert (comparison.baseline, comparison.full_fine_tuning) == ("head_only", "full")
    assert [(pair.a, pair.b) for pair in comparison.between] == [("ia3", "lora_1")]
    assert [pair.a for pair in comparison.pairs if pair.b == "full"] == ["ia3", "lora_1"]
    assert [(pair.a, pair.b) for pair in comparison.added] == [("ia3", "head_only"), ("lora_1", "head_only")]
    baseline, group = report.baseline("full_fine_tuning"), report.adapters["full"].best
    assert group is not None and group.test_accuracy is not None
    assert (baseline.adapter, baseline.accuracy, baseline.n) == ("full", group.test_accuracy.mean, 512)
    assert report.baseline("full_fine_tuning", "batch-4").reason == "no_runs"


def test_a_study_without_baseline_has_no_added_pairs(tmp_path: Path) -> None:
    """Without a baseline all pairs are between adapters."""
    comparison = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"))).comparisons["best"]
    assert (comparison.baseline, comparison.between, comparison.added) == (None, comparison.pairs, ())


def test_a_baseline_alone_is_a_report_without_reference(tmp_path: Path) -> None:
    """With only the baseline nothing can be compared, and no adapter is the reference."""
    report = read_report(write_results(tmp_path, adapters=("head_only",)))
    assert (report.reference, report.headline.reason, report.comparisons["best"].reason) == (
        None, "no_counterpart", "no_counterpart",
    )  # fmt: skip
    assert report.planning is None


def test_the_head_only_baseline_is_reported_per_variant(tmp_path: Path) -> None:
    """Each learning rate has its own head-only accuracy; without naming one, the baseline's own best is given."""
    report = read_report(write_results(tmp_path, adapters=WITH_BASELINE, failed=["head_only/lr-2e-4/seed-224"]))
    adapter = report.adapters["head_only"]
    for variant in ("submitted", "lr-1e-3"):
        baseline, group = report.baseline("head_only", variant), adapter.groups[variant]
        assert group.test_accuracy is not None
        assert (baseline.adapter, baseline.variant, baseline.n) == ("head_only", variant, 512)
        assert (baseline.accuracy, baseline.interval) == (group.test_accuracy.mean, group.test_interval)
    assert report.baseline("head_only").variant == adapter.best_variant == "lr-1e-3"
    assert (report.baseline("head_only", "lr-2e-4").accuracy, report.baseline("head_only", "lr-2e-4").reason) == (
        None, "failed",
    )  # fmt: skip
    assert report.baseline("head_only", "batch-4").reason == "no_runs"


def test_a_head_only_baseline_that_was_never_evaluated(tmp_path: Path) -> None:
    """Without an evaluation no learning rate can be chosen: the submitted one stands, and the headline says why not."""
    variants = {"submitted": {"title": "x", "training": {
        "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}}}  # fmt: skip
    report = read_report(write_results(tmp_path, adapters=WITH_BASELINE, variants=variants))
    assert report.baseline("head_only").variant == "submitted" and report.baseline("head_only").accuracy is not None
    assert (report.headline.kind, report.headline.reason) == ("not_comparable", "not_evaluated")
    assert report.headline_submitted.kind != "not_comparable"
    none = {"submitted": {"title": "x", "adapters": ["ia3"]}}
    idle = read_report(write_results(tmp_path / "b", adapters=("ia3", "head_only"), variants=none))
    assert (idle.baseline("head_only").adapter, idle.baseline("head_only").reason) == ("head_only", "no_runs")


def test_two_that_hardly_ever_disagree_need_only_a_small_difference(tmp_path: Path) -> None:
    """The share of discordant rows and the detectable difference of a pair and of the study follow from predictions."""
    paths = write_results(tmp_path, adapters=("lora_1", "lora_2", "ia3"), accuracy=LEVEL)
    folders = [paths.results / "embedded" / name / "submitted" / "seed-224" for name in ("lora_1", "lora_2")]
    table = load_predictions(folders[0])
    table.loc[[0, 1], "prediction"] = 1 - table.loc[[0, 1], "label"]
    right = int((table["label"] == table["prediction"]).sum())
    table.to_parquet(folders[1] / "predictions.parquet", index=False)
    record = load_record(folders[1])
    assert record.test is not None
    test = record.test.model_copy(update={"accuracy": right / 512})
    write_record(record.model_copy(update={"test": test}), folders[1])
    report = read_report(paths)
    alike, apart = pair_of(report, "lora_1", "lora_2"), pair_of(report, "lora_1", "ia3")
    assert alike.discordant_share is not None and 0 < alike.discordant_share <= 2 / 512
    assert alike.few_disagreements and alike.smallest_detectable == pytest.approx(0.0152, abs=2e-4)
    assert apart.discordant_share is not None and not apart.few_disagreements
    tables = [load_predictions(folders[0]), load_predictions(paths.results / "embedded/ia3/submitted/seed-224")]
    one, other = (part["label"] == part["prediction"] for part in tables)
    assert apart.discordant_share == (one ^ other).mean()
    best = [pair.discordant_share for pair in report.comparisons["best"].pairs]
    assert report.planning is not None and report.planning.n_rows == 512
    assert report.planning.discordant_share == sorted(share for share in best if share is not None)[1]
    assert report.planning.smallest_detectable == smallest_detectable_difference(512, report.planning.discordant_share)
    assert not Verdict("not_comparable", None, None, None, None).few_disagreements


def test_a_handful_of_rows_has_no_planning_value(tmp_path: Path) -> None:
    """Three rows cannot show any difference, so the number is None."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), n_test=3))
    assert report.planning is None and report.headline.smallest_detectable is None


def test_the_ranking_is_by_test_accuracy(tmp_path: Path) -> None:
    """The highest accuracy comes first; equal ones are in the order of the adapters."""
    accuracy = LEVEL | {"lora_3/submitted": 0.8}
    assert read_report(write_results(tmp_path, accuracy=accuracy)).comparisons["submitted"].ranking == (
        "lora_3", "ia3", "lora_1", "lora_2",
    )  # fmt: skip
