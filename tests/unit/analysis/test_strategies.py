"""Test what is read from one training about evaluation strategies, and what the rule for the checkpoint cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapterbook.analysis.strategies import choose_eval_run, compare_strategies, compute_eval_views
from tests.support.factory import BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS, read_report, write_results

ABLATIONS = BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS
TITLE = {"title": "x"}
N_SPARSE = 2  # evaluations every fourth of ten epochs


def without_strategies(runs: list[str]) -> dict[str, dict[str, Any]]:
    """Return the changes that make records older: they do not say what other strategies would have kept."""
    return {run: {"strategies": (), "steps": ()} for run in runs}


def test_every_strategy_is_read_from_one_training(tmp_path: Path) -> None:
    """Epoch, losses, counts and accuracies are those of the record of the most finely evaluated run."""
    report = read_report(write_results(tmp_path, extra_variants=ABLATIONS))
    ablation = report.ablations["eval_strategy"]
    assert ablation.eval_curve == ("lora_1", "eval-steps") and ablation.eval_run is not None
    record = ablation.eval_run.record
    assert record is not None
    views = ablation.eval_views
    assert [(view.strategy, view.every, view.n_evaluations) for view in views] == [
        ("steps", 0.25, 40), ("epoch", 1.0, 10), ("no", 0.0, 0),
    ]  # fmt: skip
    results = {(result.eval_strategy, result.metric): result for result in record.strategies}
    losses = {point.epoch: point.validation_loss for point in record.curve}
    highest = max(result.test.accuracy for result in record.strategies)
    for view in views:
        result = results[view.strategy, view.metric]
        assert (view.best_epoch, view.test_accuracy, view.n_rows) == (result.epoch, result.test.accuracy, 512)
        assert view.n_correct == round(512 * result.test.accuracy)
        assert view.best_validation_loss == losses[result.epoch]
        assert view.accuracy_regret == pytest.approx(highest - result.test.accuracy)
    assert views[0].regret == 0.0 and max(view.regret or 0 for view in views) > 0.5
    case = ablation.eval_finding
    assert case is not None and case.most_accurate.test_accuracy == highest
    assert case.accuracy_range == pytest.approx(highest - min(result.test.accuracy for result in record.strategies))


def test_what_the_most_accurate_checkpoint_shows(tmp_path: Path) -> None:
    """A last epoch that nothing chose wins only if no other strategy kept it; the loss may choose another."""
    views = read_report(write_results(tmp_path, extra_variants=ABLATIONS)).ablations["eval_strategy"].eval_views
    steps, epoch, none = (
        replace(view, best_epoch=at, test_accuracy=accuracy, test_loss=loss)
        for view, at, accuracy, loss in zip(views, (3.5, 3.0, 10.0), (0.6, 0.7, 0.8), (0.5, 0.4, 0.9), strict=True)
    )
    case = compare_strategies([steps, epoch, none])
    assert case is not None and case.last_won and case.loss_chose_another
    assert (case.most_accurate.strategy, case.least_loss.strategy) == ("no", "epoch")
    assert case.accuracy_range == pytest.approx(0.2)
    case = compare_strategies([replace(epoch, test_accuracy=0.8, best_epoch=10.0), none])
    assert case is not None and not case.last_won and not case.loss_chose_another
    assert compare_strategies([none]) is None


def test_older_records_show_the_curve_alone(tmp_path: Path) -> None:
    """Without results of other strategies, the curve tells what each would have kept; ``steps`` is sparse, too."""
    runs = [run.id for run in read_report(write_results(tmp_path / "a", extra_variants=ABLATIONS)).runs]
    paths = write_results(tmp_path / "b", extra_variants=ABLATIONS, changes=without_strategies(runs))
    ablation = read_report(paths).ablations["eval_strategy"]
    assert ablation.eval_curve == ("lora_1", "eval-steps") and ablation.rule_costs == ()
    assert [(view.strategy, view.every, view.n_evaluations) for view in ablation.eval_views] == [
        ("steps", 0.25, 40), ("steps", 4.0, N_SPARSE), ("epoch", 1.0, 10), ("no", 0.0, 0),
    ]  # fmt: skip
    assert all(view.test_accuracy is None and (view.regret or 0) >= 0 for view in ablation.eval_views)
    assert ablation.eval_finding is None and ablation.eval_views[-1].best_epoch == 10.0


def test_a_record_with_results_is_preferred(tmp_path: Path) -> None:
    """A run that says what other strategies kept is taken before one that was evaluated more often."""
    changes = without_strategies(["lora_1/eval-steps/seed-224"])
    ablation = read_report(write_results(tmp_path, extra_variants=ABLATIONS, changes=changes)).ablations[
        "eval_strategy"
    ]
    assert ablation.eval_curve is not None and ablation.eval_curve[1] == "lr-1e-3" and ablation.eval_curve[0] != "ia3"
    assert [view.strategy for view in ablation.eval_views] == ["epoch", "no"]
    assert (ablation.eval_views[-1].regret or 0) > 0.5


def test_without_an_evaluation_there_is_nothing_to_read(tmp_path: Path) -> None:
    """A study without results, and a run without an evaluation, have no view."""
    empty = read_report(write_results(tmp_path), "nothing-yet").ablations["eval_strategy"]
    assert (empty.eval_curve, empty.eval_views, empty.reason) == (None, (), "not_evaluated")
    assert choose_eval_run(()) is None and compute_eval_views(None) == ()


def test_the_cost_of_the_rule_is_a_mean_over_runs(tmp_path: Path) -> None:
    """Last and lowest loss are means of the records' results, and the difference is taken run by run."""
    chosen = {"chosen": TITLE | {"training": {"learning_rate": 2.0e-4, "metric_for_best_model": "accuracy"}}}
    report = read_report(write_results(tmp_path, adapters=("lora_1", "ia3"), seeds=(1, 2, 3), extra_variants=chosen))
    costs = {cost.adapter: cost for cost in report.ablations["eval_strategy"].rule_costs}
    assert set(costs) == {"lora_1", "ia3"}
    cost, records = costs["lora_1"], [report.run(f"lora_1/chosen/seed-{seed}").record for seed in (1, 2, 3)]
    assert cost.n_runs == 3  # those that chose by the loss are left out
    found = [{(item.eval_strategy, item.metric): item.test.accuracy for item in record.strategies}
             for record in records if record is not None]  # fmt: skip
    last = [rules["no", None] for rules in found]
    by_loss = [rules["epoch", "validation_loss"] for rules in found]
    assert cost.last.mean == pytest.approx(sum(last) / 3) and cost.by_loss.mean == pytest.approx(sum(by_loss) / 3)
    differences = [a - b for a, b in zip(by_loss, last, strict=True)]
    assert cost.by_loss_difference.mean == pytest.approx(sum(differences) / 3)
    assert (cost.by_loss_difference.low, cost.by_loss_difference.high) == (min(differences), max(differences))
