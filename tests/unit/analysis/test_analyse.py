"""Analyse one run, its group and its adapter, in every state of the run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adapterbook.analysis import single_run
from adapterbook.analysis.groups import compare_settings, compute_spread
from adapterbook.analysis.shapes import Overfitting, Spread
from adapterbook.analysis.single_run import compute_overfitting, describe_run, select_examples
from adapterbook.common.stats import accuracy_interval, wilson_interval
from adapterbook.config.study import AdapterConfig, BilingualText, load_adapters, load_study
from adapterbook.figures.findings import state_one_answer
from adapterbook.runs.plan import RunStatus, plan_runs
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import EpochResult, write_record
from tests.support.factory import (
    BATCH_SIZE_VARIANTS,
    EVAL_STRATEGY_VARIANTS,
    FIGURE_WORDS,
    PROJECT,
    make_predictions,
    make_record,
    read_report,
    read_statuses,
    write_results,
)

TITLE = BilingualText(zh="甲", en="A")
SUBMITTED = "lora_1/submitted/seed-224"
NOISE = 0.02  # two standard errors of a validation loss


def curve(
    validation: Sequence[float | None], train: Sequence[float | None] | None = None, every: float = 1.0
) -> list[EpochResult]:
    """Return a curve with one evaluation every so many epochs; train loss falls by default."""
    return [
        EpochResult(
            epoch=(i + 1) * every,
            train_loss=(0.7 - 0.05 * i) if train is None else train[i],
            validation_loss=loss,
            validation_accuracy=None if loss is None else 0.5,
            learning_rate=None,
        )
        for i, loss in enumerate(validation)
    ]


def test_overfitting_begins_where_validation_rises_for_good() -> None:
    """With the best loss at epoch 2, a dip near it at 4 and a rise from 5 on, the onset is 5."""
    found = compute_overfitting(curve([0.70, 0.60, 0.63, 0.602, 0.65, 0.9]), NOISE)
    assert found == Overfitting(6.0, 2.0, 0.60, 0.9, 5.0, NOISE)


def test_no_overfitting_while_the_loss_still_falls() -> None:
    """A curve that is best at its end does not overfit."""
    found = compute_overfitting(curve([0.7, 0.69, 0.68]), NOISE)
    assert (found.best_epoch, found.onset_epoch, found.course) == (3.0, None, "improving")


def test_a_rise_within_the_noise_is_level() -> None:
    """A validation loss that stays within two standard errors of its minimum is not an onset."""
    assert compute_overfitting(curve([0.600, 0.619]), NOISE).course == "level"
    assert compute_overfitting(curve([0.600, 0.621]), NOISE).onset_epoch == 2.0


def test_the_noise_is_two_standard_errors_of_the_validation_loss(tmp_path: Path) -> None:
    """The spread between rows is that of the test rows; without their predictions it is ln 2."""
    paths = write_results(tmp_path)
    run = read_report(paths).run(SUBMITTED)
    table = pd.read_parquet(run.run.folder(paths) / "predictions.parquet")
    of_label = np.where(table["label"] == 1, table["probability"], 1 - table["probability"])
    assert run.overfitting is not None
    assert run.overfitting.noise == pytest.approx(2 * np.std(-np.log(of_label)) / np.sqrt(32))
    (run.run.folder(paths) / "predictions.parquet").unlink()
    without = read_report(paths).run(SUBMITTED).overfitting
    assert without is not None and without.noise == pytest.approx(2 * np.log(2) / np.sqrt(32))


def test_a_model_with_one_answer_is_found(tmp_path: Path) -> None:
    """A run whose predictions are nearly all positive says so, with what always answering so would get."""
    paths = write_results(tmp_path)
    file = read_report(paths).run(SUBMITTED).run.folder(paths) / "predictions.parquet"
    table = pd.read_parquet(file)
    table["prediction"], table["probability"] = 1, 0.95
    table.loc[:19, ["prediction", "probability"]] = [0, 0.3]
    table.to_parquet(file)
    record = make_record("lora_1", predictions=table)
    write_record(record, file.parent)
    run = read_report(paths).run(SUBMITTED)
    assert (run.one_answer, run.n_one_answer) == (1, 492)
    n_positive = int(table["label"].sum())
    assert run.always is not None and run.always.f1 == pytest.approx(2 * n_positive / (512 + n_positive))
    assert read_report(paths).run("ia3/lr-1e-3/seed-224").one_answer is None


def test_a_setting_has_one_answer_if_every_seed_has(tmp_path: Path) -> None:
    """One seed's answer is not that of the setting, and the caption counts the models that have it."""
    paths = write_results(tmp_path, seeds=(224, 225))
    for seed, found, said in ((224, None, "1 of 8 models"), (225, 1, "2 of 8 models")):
        file = read_report(paths).run(f"lora_1/submitted/seed-{seed}").run.folder(paths) / "predictions.parquet"
        table = pd.read_parquet(file)
        table["prediction"], table["probability"] = 1, 0.95
        table.to_parquet(file)
        write_record(make_record("lora_1", seed=seed, predictions=table), file.parent)
        report = read_report(paths)
        group = report.group("lora_1", "submitted")
        assert group is not None and group.one_answer == found
        groups = [adapter.submitted for adapter in report.adapters.values() if adapter.submitted is not None]
        assert state_one_answer(report, groups, FIGURE_WORDS["en"]).startswith(said)


def test_a_rise_without_a_falling_train_loss_is_no_overfitting() -> None:
    """Both losses rising is divergence; an unknown train loss proves nothing."""
    assert compute_overfitting(curve([0.6, 0.9, 0.9], [0.5, 0.6, 0.7]), NOISE).onset_epoch is None
    assert compute_overfitting(curve([0.6, 0.9], [None, None]), NOISE).onset_epoch is None


def test_an_evaluation_within_an_epoch_has_the_last_train_loss() -> None:
    """Between two epochs the last train loss counts, so 1.5 is not an onset and 2 is."""
    found = compute_overfitting(curve([0.65, 0.6, 0.7, 0.8], [None, 0.6, None, 0.5], every=0.5), NOISE)
    assert (found.best_epoch, found.onset_epoch, found.n_epochs) == (1.0, 2.0, 2.0)


def test_of_two_lowest_losses_the_first_is_best() -> None:
    """Ties go to the earlier epoch: it costs less."""
    assert compute_overfitting(curve([0.7, 0.6, 0.6]), NOISE).best_epoch == 2.0


def test_nothing_evaluated_has_a_reason() -> None:
    """Without an evaluation the best epoch is None, and the reason says so."""
    assert compute_overfitting(curve([None, None]), NOISE) == Overfitting(
        2.0, None, None, None, None, NOISE, "not_evaluated"
    )


def test_examples_are_the_extremes_in_a_fixed_order() -> None:
    """Examples are the most confident right and wrong rows and those closest to one half, ties in order of row id."""
    table = pd.DataFrame(
        {
            "row_id": [5, 4, 3, 2, 1],
            "text": list("edcba"),
            "label": [1, 1, 0, 0, 1],
            "prediction": [1, 1, 0, 1, 0],
            "probability": [0.9, 0.9, 0.05, 0.8, 0.45],
        }
    )
    examples = select_examples(table)
    assert [row.row_id for row in examples.right] == [3, 4, 5]
    assert [row.row_id for row in examples.wrong] == [2, 1]
    assert [row.row_id for row in examples.uncertain] == [1, 2, 4]
    assert examples.right[0].confidence == pytest.approx(0.95)
    assert examples.right[0].correct and not examples.wrong[0].correct


def test_a_completed_run_agrees_with_its_record(tmp_path: Path) -> None:
    """Confusion matrix and intervals are those of the record's own counts."""
    report = read_report(write_results(tmp_path))
    run = report.run(SUBMITTED)
    assert run.record is not None and run.record.test is not None and run.confusion is not None
    assert run.confusion.accuracy == run.record.test.accuracy
    assert run.confusion.f1 == pytest.approx(run.record.test.f1)
    assert run.test_interval == wilson_interval(run.confusion.n_correct, 512)
    assert run.validation_accuracy is not None and run.record.best is not None
    assert run.validation_interval == wilson_interval(round(run.validation_accuracy * 32), 32)
    kept = next(point for point in run.record.epochs if point.epoch == run.record.best.epoch)
    assert (run.validation_accuracy, run.reason, run.completed) == (kept.validation_accuracy, None, True)


def test_the_notebook_decides_nothing(tmp_path: Path) -> None:
    """A run is judged by its record and predictions alone, so it is completed without its notebook too."""
    paths = write_results(tmp_path)
    (paths.results / "embedded" / SUBMITTED / "notebook.ipynb").unlink()
    assert read_report(paths).run(SUBMITTED).reason is None


def test_missing_failed_and_broken_runs_are_shown_as_what_they_are(tmp_path: Path) -> None:
    """Each keeps its state, a reason and, where there is one, the message; none of them raises."""
    paths = write_results(
        tmp_path,
        missing=["ia3/submitted/seed-224"],
        failed=["lora_1/submitted/seed-224"],
        truncated=["lora_2/submitted/seed-224"],
    )
    report = read_report(paths)
    assert report.n_by_state == {"completed": 9, "failed": 1, "missing": 1, "broken": 1}
    states = {name: report.run(f"{name}/submitted/seed-224") for name in ("ia3", "lora_1", "lora_2")}
    assert {name: run.reason for name, run in states.items()} == {
        "ia3": "missing", "lora_1": "failed", "lora_2": "broken",
    }  # fmt: skip
    assert "loss is nan" in str(states["lora_1"].problem)
    assert "truncated" in str(states["lora_2"].problem)
    assert states["lora_1"].record is not None and states["lora_1"].overfitting is None
    assert (states["lora_1"].confusion, states["lora_1"].validation_accuracy) == (None, None)
    group = report.group("lora_1", "submitted")
    assert group is not None
    assert (group.n_completed, group.reason, group.representative, group.test_accuracy) == (0, "failed", None, None)
    assert group.curve.points == () and group.overfitting is None and group.test_interval is None


def test_a_stale_run_keeps_its_results_and_is_counted(tmp_path: Path) -> None:
    """A record made by older code is shown, with the stamps that disagree."""
    paths = write_results(tmp_path)
    status = dataclasses.replace(read_statuses(paths)[0], stale=("code", "packages"))
    run = describe_run(status, status.run.folder(paths))
    assert (run.stale, run.completed, run.reason) == (("code", "packages"), True, None)
    assert read_report(paths).n_stale == 0


def test_predictions_that_are_gone_or_truncated_have_a_reason(tmp_path: Path) -> None:
    """The record stays; what needs the predictions is None and says why."""
    paths = write_results(tmp_path)
    folder = paths.results / "embedded" / SUBMITTED
    (folder / "predictions.parquet").write_bytes(b"PAR1")
    run = read_report(paths).run(SUBMITTED)
    assert (run.reason, run.confusion, run.examples, run.completed) == ("no_predictions", None, None, True)
    assert "truncated" in str(run.problem) and run.test_interval is not None


@pytest.mark.parametrize("rows", ["none", "fewer", "twice"])
def test_predictions_of_another_run_are_refused(tmp_path: Path, rows: str) -> None:
    """Predictions that do not give the record's accuracy and number of rows are not shown beside it."""
    paths = write_results(tmp_path)
    folder = paths.results / "embedded" / SUBMITTED
    table = load_predictions(folder)
    changed = {"none": table.head(0), "fewer": table.head(511), "twice": pd.concat([table, table])}[rows]
    changed.to_parquet(folder / "predictions.parquet", index=False)
    run = read_report(paths).run(SUBMITTED)
    assert (run.reason, run.predictions) == ("predictions_disagree", None)
    assert "make train" in str(run.problem)


def test_a_kept_checkpoint_without_evaluation_has_no_validation_accuracy(tmp_path: Path) -> None:
    """With eval_strategy no there is a test result, but no validation accuracy and no best epoch."""
    paths = write_results(tmp_path, extra_variants=EVAL_STRATEGY_VARIANTS)
    run = read_report(paths).run("lora_1/eval-no/seed-224")
    assert run.overfitting is not None and run.test_interval is not None
    assert (run.validation_accuracy, run.validation_interval, run.overfitting.reason) == (None, None, "not_evaluated")
    changed = write_results(tmp_path / "b", changes={SUBMITTED: {"best__epoch": 99.0}})
    assert read_report(changed).run(SUBMITTED).validation_accuracy is None


def test_spread_is_known_from_three_seeds_on() -> None:
    """Two seeds give mean and extremes, three a standard deviation too, none nothing."""
    assert compute_spread([]) is None
    assert compute_spread([0.5, 0.7]) == Spread(2, 0.6, 0.5, 0.7, None, False)
    three = compute_spread([0.5, 0.7, 0.6])
    assert three is not None
    assert (three.n, three.known, three.low, three.high) == (3, True, 0.5, 0.7)
    assert three.sd == pytest.approx(0.1)


def test_groups_over_seeds_have_means_and_bands(tmp_path: Path) -> None:
    """Curve and test accuracy of a group are means over its seeds, with the lowest and highest as band."""
    seeds = (1, 2, 3)
    report = read_report(write_results(tmp_path, seeds=seeds))
    group = report.group("lora_1", "submitted")
    assert group is not None and group.test_accuracy is not None and report.spread_known and report.n_seeds == 3
    runs = [report.run(f"lora_1/submitted/seed-{seed}") for seed in seeds]
    accuracies = [run.record.test.accuracy for run in runs if run.record and run.record.test]
    assert group.test_accuracy.mean == pytest.approx(sum(accuracies) / 3)
    assert (group.test_accuracy.low, group.test_accuracy.high) == (min(accuracies), max(accuracies))
    rows = [list(run.predictions.correct) for run in runs if run.predictions]
    assert group.test_interval == accuracy_interval(rows) and len(rows) == 3
    losses = [run.record.epochs[0].validation_loss for run in runs if run.record]
    first = group.curve.values("validation_loss")[0]
    assert first[0] == 1.0 and first[1].known
    assert (first[1].low, first[1].high) == (min(filter(None, losses)), max(filter(None, losses)))


def test_without_the_predictions_of_a_seed_the_interval_is_over_rows_alone(tmp_path: Path) -> None:
    """Where one seed's rows cannot be read, the interval is Wilson's around the records' mean."""
    paths = write_results(tmp_path, seeds=(1, 2, 3))
    (paths.results / "embedded/lora_1/submitted/seed-2/predictions.parquet").unlink()
    group = read_report(paths).group("lora_1", "submitted")
    assert group is not None and group.test_accuracy is not None and group.n_completed == 3
    assert group.test_interval == wilson_interval(round(group.test_accuracy.mean * 512), 512)


def test_one_seed_knows_no_spread(tmp_path: Path) -> None:
    """With one seed the report says that the spread is not known."""
    report = read_report(write_results(tmp_path))
    group = report.group("ia3", "submitted")
    assert group is not None and not group.spread_known and not report.spread_known and report.n_seeds == 1
    assert group.overfitting == report.run("ia3/submitted/seed-224").overfitting


def test_differences_are_told_key_by_key() -> None:
    """The four homework adapters differ from lora_1 in the settings that the assignment names."""
    adapters = load_adapters(PROJECT.experiments / "adapters")
    reference = adapters["lora_1"]
    found = {name: compare_settings(reference, adapters[name]) for name in ("lora_2", "lora_3", "ia3")}
    (only,) = found["lora_2"]
    assert (only.key, only.kind, only.added, only.removed) == (
        "target_modules",
        "changed",
        ("ffn.lin1", "ffn.lin2"),
        (),
    )
    assert [(item.key, item.reference, item.value) for item in found["lora_3"]] == [
        ("r", 64, 32), ("lora_alpha", 16, 32), ("lora_dropout", 0.1, 0.2),
    ]  # fmt: skip
    kinds = {item.key: item.kind for item in found["ia3"]}
    assert kinds["peft_type"] == "changed" and kinds["r"] == "removed" and kinds["feedforward_modules"] == "added"


def test_the_order_of_a_list_is_no_difference() -> None:
    """target_modules in another order are the same modules; a missing module is listed as removed."""
    a = AdapterConfig(id="a", peft_type="LORA", title=TITLE, settings={"target_modules": ["q", "v"]})
    b = AdapterConfig(id="b", peft_type="LORA", title=TITLE, settings={"target_modules": ["v", "q"]})
    c = AdapterConfig(id="c", peft_type="LORA", title=TITLE, settings={"target_modules": ["q"]})
    assert compare_settings(a, b) == ()
    assert compare_settings(a, c)[0].removed == ("v",)


def test_the_best_learning_rate_is_chosen_on_validation(tmp_path: Path) -> None:
    """The variant with the lowest validation loss is taken, also where another has the higher test accuracy."""
    changes = {"lora_1/lr-2e-4/seed-224": {"epochs__4__validation_loss": 0.1}}
    report = read_report(write_results(tmp_path, changes=changes, accuracy={"lora_1/lr-2e-4": 0.5}))
    adapter = report.adapters["lora_1"]
    assert adapter.best_variant == "lr-2e-4" and adapter.best is not None and adapter.best.test_accuracy is not None
    assert adapter.best.test_accuracy.mean == 0.5
    assert (adapter.reference, report.reference, report.adapters["ia3"].reference) == (None, "lora_1", "lora_1")


def test_the_best_learning_rate_is_none_of_another_ablation(tmp_path: Path) -> None:
    """A batch size with a lower loss is not an own best learning rate."""
    changes = {"lora_1/batch-4/seed-224": {"epochs__4__validation_loss": 0.1}}
    report = read_report(write_results(tmp_path, extra_variants=BATCH_SIZE_VARIANTS, changes=changes))
    assert report.adapters["lora_1"].best_variant in ("submitted", "lr-2e-4", "lr-1e-3")


def test_parameters_come_from_the_records(tmp_path: Path) -> None:
    """An adapter's counts are its records'; without any record they are None with the reason."""
    report = read_report(
        write_results(tmp_path, missing=[f"ia3/{v}/seed-224" for v in ("submitted", "lr-2e-4", "lr-1e-3")])
    )
    lora, ia3 = report.adapters["lora_1"], report.adapters["ia3"]
    assert lora.n_trainable_params == 1_179_648 + 148_610 and lora.n_adapter_params == 1_179_648
    assert (ia3.n_total_params, ia3.best, ia3.reason, ia3.head_only) == (None, None, "missing", False)


def test_a_study_without_lora_1_takes_the_first_adapter_as_reference(tmp_path: Path) -> None:
    """Without lora_1 the differences are from the first adapter."""
    report = read_report(write_results(tmp_path, adapters=("lora_2", "ia3")))
    assert report.reference == "lora_2" and report.adapters["ia3"].reference == "lora_2"


def test_an_adapter_without_a_run_is_in_the_report_too(tmp_path: Path) -> None:
    """An adapter that no variant runs has a reason and no group; unknown ids are told apart from empty ones."""
    report = read_report(write_results(tmp_path, adapters=("ia3", "lora_1"), variants={
        "submitted": {"title": "As submitted", "adapters": ["lora_1"]}}))  # fmt: skip
    assert {run.run.adapter.id for run in report.runs} == {"lora_1"}
    assert report.group("ia3", "submitted") is None and report.group("nobody", "submitted") is None
    assert report.adapters["ia3"].reason == "no_runs"
    with pytest.raises(KeyError, match="nobody"):
        report.run("nobody")


def test_every_planned_run_is_in_the_report(tmp_path: Path) -> None:
    """Before training the report lists all twelve runs as missing."""
    paths = write_results(tmp_path)
    study = load_study(paths.study)
    runs = plan_runs(study, load_adapters(paths.experiments / "adapters"), "other")
    report = read_report(paths, "other")
    assert [run.id for run in report.runs] == [run.id for run in runs]
    assert report.n_by_state["missing"] == 12
    assert report.source.names == () and report.source.reason_taken is None and report.source.published is None
    assert single_run.describe_run(RunStatus(runs[0], "missing"), tmp_path).reason == "missing"


def test_made_up_runs_differ(tmp_path: Path) -> None:
    """The factory gives every run of the study its own test accuracy, so that a mix-up is seen."""
    report = read_report(write_results(tmp_path))
    accuracies = [run.record.test.accuracy for run in report.runs if run.record and run.record.test]
    assert len(set(accuracies)) == len(accuracies) == 12
    assert make_predictions().equals(make_predictions())
