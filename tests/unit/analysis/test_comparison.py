"""Compare adapters by made-up records: clear win, tie, one seed, three, failures, and what may not be compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from adapterbook.analysis.shapes import Report, Verdict
from adapterbook.common.stats import estimate_difference, holm_correction, wilson_interval
from adapterbook.config.paths import Paths
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import load_record, write_record
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
    assert (pair.kind, pair.b, pair.n_rows, pair.n_seeds_a, pair.n_seeds_b) == ("worse", "ia3", 512, 1, 1)
    assert pair.interval is not None and pair.interval.high < 0 and pair.difference == pytest.approx(-0.3, abs=0.002)
    head = report.headline
    assert head.b == "ia3" and head.a in ("lora_1", "lora_2", "lora_3")
    assert head.kind == "worse" and head.interval is not None and head.interval.high < 0
    assert head.difference is not None and head.difference < 0 and not head.covers_seeds
    assert (head.n_right_a, head.n_right_b) == (307, 461)  # 60 and 90 % of 512 rows
    assert report.headline_submitted.kind == "worse" and report.headline_submitted.variant_a == "submitted"
    assert report.comparisons["best"].told_apart


def test_lora_may_win_too(tmp_path: Path) -> None:
    """The headline says better if LoRA is better."""
    accuracy = LEVEL | {f"ia3/{variant}": 0.3 for variant in ("submitted", "lr-2e-4", "lr-1e-3")}
    assert read_report(write_results(tmp_path, accuracy=accuracy)).headline.kind == "better"


def test_a_tie_on_512_rows_is_not_distinguishable(tmp_path: Path) -> None:
    """Equal accuracies on rows that differ are neither better nor the same, and a detectable difference is known."""
    paths = write_results(tmp_path, accuracy=LEVEL)
    set_margin(paths, 0.02)
    report = read_report(paths)
    comparison = report.comparisons["submitted"]
    assert report.headline.kind == "not_distinguishable" and not comparison.told_apart and not comparison.same
    assert report.headline.difference == 0.0 and report.headline.p_holm == 1.0
    detectable = sorted(pair.smallest_detectable for pair in comparison.pairs if pair.smallest_detectable)
    assert comparison.smallest_detectable == (detectable[2] + detectable[3]) / 2  # the median of six
    assert 0.05 < comparison.smallest_detectable < 0.15


def test_p_values_follow_from_the_predictions_alone(tmp_path: Path) -> None:
    """The p-values are worked out by hand from the parquet files, with both families Holm-corrected over six pairs."""
    paths = write_results(tmp_path)
    comparison = read_report(paths).comparisons["submitted"]
    raw, same = [], []
    for pair in comparison.pairs:
        a, b = (load_predictions(paths.results / "embedded" / str(name) / "submitted" / "seed-224")
                for name in (pair.a, pair.b))  # fmt: skip
        right_a, right_b = a["label"] == a["prediction"], b["label"] == b["prediction"]
        one, other = (int((right_a & ~right_b).sum()) + 1) / 514, (int((~right_a & right_b).sum()) + 1) / 514
        error = ((one + other - (one - other) ** 2) / 514) ** 0.5  # Bonett & Price 2012
        difference = right_a.mean() - right_b.mean()
        assert (pair.n_right_a, pair.n_right_b) == (right_a.sum(), right_b.sum())
        assert pair.difference == pytest.approx(difference)
        assert pair.smallest_detectable == pytest.approx((norm.isf(0.05 / 6 / 2) + norm.isf(0.2)) * error)
        raw.append(2 * norm.sf(abs(difference) / error))
        same.append(norm.cdf((abs(difference) - 0.05) / error))
    assert [pair.p for pair in comparison.pairs] == pytest.approx(raw)
    assert [pair.p_holm for pair in comparison.pairs] == pytest.approx(holm_correction(raw))
    assert [pair.p_same for pair in comparison.pairs] == pytest.approx(same)
    assert [pair.p_same_holm for pair in comparison.pairs] == pytest.approx(holm_correction(same))
    assert (len(raw), comparison.n_tested, comparison.level, comparison.power) == (6, 6, 0.05 / 6, 0.8)


def set_margin(paths: Paths, margin: float) -> None:
    """Write another margin into the study."""
    paths.study.write_text(paths.study.read_text("utf-8").replace("margin: 0.05", f"margin: {margin}"), "utf-8")


def write_lost(root: Path, lost: dict[str, range], margin: float) -> Report:
    """Return the report on adapters that are right on all rows but these, with a margin."""
    paths = write_results(root)
    for adapter, rows in lost.items():
        set_right(paths.results / "embedded" / adapter / "submitted" / "seed-224", ~np.isin(np.arange(512), rows))
    set_margin(paths, margin)
    return read_report(paths)


LOST = {"lora_1": range(0), "ia3": range(8), "lora_2": range(100, 103), "lora_3": range(200, 203)}


def test_holm_can_take_a_verdict_back(tmp_path: Path) -> None:
    """A pair with p below 0.05 but a corrected p above it is not distinguishable, and its interval leaves zero out."""
    pair = pair_of(write_lost(tmp_path, LOST, 0.001), "ia3", "lora_1")
    assert sorted((pair.n_right_a or 0, pair.n_right_b or 0)) == [504, 512]
    assert pair.p is not None and 0.0125 > pair.p > 0.05 / 6
    assert pair.p_holm == pytest.approx(6 * pair.p)  # the smallest of six
    assert pair.kind == "not_distinguishable" and pair.only_uncorrected


def test_a_difference_within_the_margin_is_the_same(tmp_path: Path) -> None:
    """The same 8 rows are the same within 5 points, and nothing is left undecided."""
    report = write_lost(tmp_path, LOST, 0.05)
    pair = pair_of(report, "ia3", "lora_1")
    assert pair.kind == "same" and pair.p_same_holm is not None and pair.p_same_holm < 0.001
    assert not pair.same_but_different and pair.few_disagreements
    assert len(report.comparisons["submitted"].same) == 6
    assert [p.kind for p in report.comparisons["submitted"].agreeing] == ["same"] * 6


def test_a_difference_that_is_real_but_within_the_margin_is_the_same(tmp_path: Path) -> None:
    """12 rows of 512, all on one side, are significantly different from zero and the same within 5 points: the same."""
    pair = pair_of(write_lost(tmp_path / "a", LOST | {"ia3": range(12)}, 0.05), "ia3", "lora_1")
    assert pair.p_holm is not None and pair.p_holm < 0.05
    assert pair.kind == "same" and pair.same_but_different
    sharper = pair_of(write_lost(tmp_path / "b", LOST | {"ia3": range(12)}, 0.02), "ia3", "lora_1")
    assert sharper.kind == ("worse" if sharper.a == "ia3" else "better") and not sharper.same_but_different


def test_seeds_that_disagree_are_not_called_better(tmp_path: Path) -> None:
    """A difference that only one seed of three has is not significant; one that all have is."""
    accuracy = LEVEL | {"ia3/submitted/seed-1": 0.95}
    agree = LEVEL | {f"ia3/submitted/seed-{seed}": 0.85 + 0.02 * seed for seed in (1, 2, 3)}
    one = pair_of(read_report(write_results(tmp_path / "a", seeds=(1, 2, 3), accuracy=accuracy)), "ia3", "lora_1")
    three = pair_of(read_report(write_results(tmp_path / "b", seeds=(1, 2, 3), accuracy=agree)), "ia3", "lora_1")
    assert one.kind == "not_distinguishable" and one.interval is not None and one.interval.high > 0
    assert one.difference == pytest.approx(-0.35 / 3, abs=0.001)
    assert three.kind == "worse" and (three.n_seeds_a, three.n_seeds_b, three.covers_seeds) == (3, 3, True)
    assert (three.n_right_a, three.n_right_b) == (None, None)


def test_the_estimate_of_several_seeds_is_that_of_their_rows(tmp_path: Path) -> None:
    """Interval and p-value are those of estimate_difference on the seeds' rows, read from the parquet files."""
    paths = write_results(tmp_path, seeds=(1, 2, 3), adapters=("lora_1", "ia3"), missing=["ia3/submitted/seed-2"])
    pair = pair_of(read_report(paths), "ia3", "lora_1")
    rows = []
    for name, seeds in (("lora_1", (1, 2, 3)), ("ia3", (1, 3))):
        tables = [load_predictions(paths.results / "embedded" / name / "submitted" / f"seed-{seed}") for seed in seeds]
        rows.append([(table["label"] == table["prediction"]).tolist() for table in tables])
    expected = estimate_difference(*rows)
    assert (pair.a, pair.n_seeds_a, pair.n_seeds_b) == ("lora_1", 3, 2)
    assert (pair.difference, pair.interval, pair.p) == (expected.value, expected.interval(), expected.p_different())
    right_a, right_b = (np.array(correct) for correct in rows)
    shares = [(one != other).mean() for one in right_a for other in right_b]
    assert pair.discordant_share == pytest.approx(np.mean(shares))


def test_seeds_are_not_paired_and_one_seed_on_either_side_covers_none(tmp_path: Path) -> None:
    """Other seed numbers count as well; with one seed left on one side the verdict is about trained models."""
    paths = write_results(tmp_path, seeds=(1, 2), failed=["ia3/submitted/seed-2", "lora_2/submitted/seed-1"])
    report = read_report(paths)
    pair = pair_of(report, "ia3", "lora_2")  # seed 1 against seed 2
    assert (pair.n_seeds_a, pair.n_seeds_b, pair.covers_seeds) == (1, 1, False) and pair.n_right_a is not None
    mixed = pair_of(report, "ia3", "lora_1")
    assert (mixed.n_seeds_a, mixed.n_seeds_b, mixed.covers_seeds, mixed.n_right_a) == (2, 1, False, None)
    assert not report.comparisons["submitted"].covers_seeds and report.comparisons["best"].covers_seeds


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
    """A test set of one class has no verdict, and a majority baseline of 100 %, with the same reason."""
    report = read_report(write_results(tmp_path, n_positive=n_positive, accuracy=IA3_WINS))
    assert (report.headline.kind, report.headline.reason) == ("not_comparable", "one_class")
    assert report.headline.difference is None and report.headline.p_holm is None
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
    best = report.comparisons["best"]
    assert (best.ranking, best.smallest_detectable, best.level, best.n_tested) == ((), None, None, 0)


def test_the_head_only_baseline_is_no_method_and_comes_last(tmp_path: Path) -> None:
    """The baseline is never in the headline, and every adapter is compared with it, the adapter first."""
    changes = {"head_only/lr-1e-3/seed-224": {"epochs__4__validation_loss": 0.01}}  # lower than any IA³'s
    report = read_report(write_results(tmp_path, adapters=WITH_BASELINE, changes=changes))
    assert list(report.adapters) == ["lora_1", "ia3", "head_only"] and report.adapters["head_only"].head_only
    assert report.reference == "lora_1" and {report.headline.a, report.headline.b} == {"lora_1", "ia3"}
    comparison = report.comparisons["best"]
    assert comparison.baseline == "head_only" and len(comparison.pairs) == 3
    assert [(pair.a, pair.b) for pair in comparison.between] == [("lora_1", "ia3")]
    assert [(pair.a, pair.b) for pair in comparison.added] == [("lora_1", "head_only"), ("ia3", "head_only")]
    assert all(pair.p_holm is not None for pair in comparison.pairs)
    assert report.adapters["head_only"].n_adapter_params == 0 and "head_only" in comparison.ranking


def test_full_fine_tuning_is_no_adapter_and_is_compared_with_each(tmp_path: Path) -> None:
    """It is neither in the headline nor the reference, stands after the adapters, and no baseline meets another."""
    changes = {"full/lr-1e-3/seed-224": {"epochs__4__validation_loss": 0.01}}  # lower than any adapter's
    report = read_report(write_results(tmp_path, adapters=(*WITH_BASELINE, "full"), changes=changes))
    assert list(report.adapters) == ["lora_1", "ia3", "full", "head_only"]
    assert report.reference == "lora_1" and {report.headline.a, report.headline.b} == {"lora_1", "ia3"}
    comparison = report.comparisons["best"]
    assert (comparison.baseline, comparison.full_fine_tuning) == ("head_only", "full")
    assert [(pair.a, pair.b) for pair in comparison.between] == [("lora_1", "ia3")]
    assert [pair.a for pair in comparison.pairs if pair.b == "full"] == ["lora_1", "ia3"]
    assert [(pair.a, pair.b) for pair in comparison.added] == [("lora_1", "head_only"), ("ia3", "head_only")]
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
    assert report.comparisons["best"].smallest_detectable is None


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


def test_few_rows_find_only_large_differences(tmp_path: Path) -> None:
    """Three rows find a difference of more than half, and nothing is decided on them."""
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), n_test=3))
    assert report.headline.smallest_detectable is not None and report.headline.smallest_detectable > 0.5
    assert report.headline.kind == "not_distinguishable"


def test_the_ranking_is_by_test_accuracy(tmp_path: Path) -> None:
    """The highest accuracy comes first; equal ones are in the order of the adapters."""
    accuracy = LEVEL | {"lora_3/submitted": 0.8}
    assert read_report(write_results(tmp_path, accuracy=accuracy)).comparisons["submitted"].ranking == (
        "lora_3", "lora_1", "lora_2", "ia3",
    )  # fmt: skip
