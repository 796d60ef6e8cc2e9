"""Test that `make verify` finds and names every change made by hand in a run."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from rich.console import Console
from safetensors.numpy import load_file, save_file
from sklearn.metrics import log_loss

from adapterbook.common.errors import SourceError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import Run, compute_stamps, package_versions, plan_runs
from adapterbook.runs.predictions import class_probabilities, load_predictions
from adapterbook.runs.record import Record, load_record, seal_record, write_record
from adapterbook.sources.resolve import resolve_source
from adapterbook.training.reloading import OTHER_TOLERANCE, TOLERANCE
from adapterbook.verification.audit import Retraining, audit_run, audit_runs, repeat_runs
from adapterbook.verification.choice import Choice
from adapterbook.verification.comparison import compare_runs
from adapterbook.verification.findings import Finding
from adapterbook.verification.recomputation import (
    Evaluation,
    compute_loss_bounds,
    find_other_results,
    find_other_rows,
    find_other_source,
)
from adapterbook.verification.retraining import is_same_environment, other_results
from tests.support.factory import PROJECT, make_predictions, make_record, write_results

SUBMITTED = {"submitted": {"title": "As submitted"}}
WEIGHTS = "adapter/adapter_model.safetensors"
Change = Callable[[dict[str, Any]], object]


def change_record(folder: Path, change: Change, *, seal: bool = True) -> None:
    """Edit a stored record by hand, and seal it again or not."""
    record = load_record(folder)
    content = record.model_dump(mode="json")
    change(content)
    edited = Record.model_validate(content)
    write_record(seal_record(edited, folder) if seal else edited, folder)


def make_whole(run: Run, paths: Paths) -> None:
    """Make a made-up run consistent: loss, packages, weights and stamps."""
    folder = run.folder(paths)
    save_file({"a": np.arange(6, dtype=np.float32)}, folder / WEIGHTS)
    write_notebook(run, folder)
    table = load_predictions(folder)
    loss, _ = compute_loss_bounds(table["label"].to_numpy(), class_probabilities(table))

    def complete(content: dict[str, Any]) -> None:
        content["test"]["loss"] = loss
        content["environment"]["packages"] = package_versions()
        content["adapter_file_bytes"] = (folder / WEIGHTS).stat().st_size
        content["stamps"] = compute_stamps(run, paths, {}).model_dump()
        content["strategies"][0]["test"] = content["test"]

    change_record(folder, complete)


def write_notebook(run: Run, folder: Path) -> None:
    """Write the project's notebook as if it had been executed for a run."""
    notebook = nbformat.read(PROJECT.notebook, as_version=4)
    given = f'# Parameters\nadapter = "{run.adapter.id}"\nvariant = "{run.variant}"\nseed = {run.seed}\n'
    notebook.cells.insert(5, nbformat.v4.new_code_cell(given, metadata={"tags": ["injected-parameters"]}))
    for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        text = f"epoch={number} train_loss=0.6{number}1 {{'test_runtime': 1.{number}, 'test_loss': 0.{number}}}\n"
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    nbformat.write(notebook, folder / "notebook.ipynb")


class Book:
    """Hold a project with two made-up runs without any fault."""

    def __init__(self, root: Path) -> None:
        self.paths = write_results(root, adapters=["lora_1", "ia3"], variants=SUBMITTED, n_test=64)
        shutil.copy(PROJECT.notebook, self.paths.notebook)
        adapters = load_adapters(self.paths.experiments / "adapters")
        self.lora, self.ia3 = plan_runs(load_study(self.paths.study), adapters, "embedded")
        for run in (self.ia3, self.lora):
            make_whole(run, self.paths)
        self.folder = self.lora.folder(self.paths)

    def audit(self, run: Run | None = None) -> list[Finding]:
        """Check one run, lora_1 by default, without its source."""
        run = run or self.lora
        return audit_run(run, self.paths, compute_stamps(run, self.paths, {}).model_dump(), None).findings

    def subjects(self, run: Run | None = None) -> set[str]:
        """Return what the findings are about."""
        return {finding.subject for finding in self.audit(run)}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """Make two sound runs."""
    return Book(tmp_path)


def with_value(path: str, value: Any) -> Change:
    """Return the edit that sets a field, such as ``epochs.2.train_loss``."""

    def change(content: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        part: Any = content
        for name in parts:
            part = part[int(name)] if name.isdigit() else part[name]
        part[last] = value

    return change


def test_nothing_is_found_about_a_sound_run(book: Book) -> None:
    """Neither of two sound runs has a finding."""
    assert book.audit(book.ia3) == book.audit(book.lora) == []


@pytest.mark.parametrize(
    ("change", "subjects"),
    [
        (with_value("test.accuracy", 0.9), {"strategies.0", "test.accuracy"}),
        (with_value("test.f1", 0.9), {"strategies.0", "test.f1"}),
        (with_value("test.loss", 0.1), {"strategies.0", "test.loss"}),
        (with_value("test.n", 65), {"strategies.0", "test.n", "splits.test.n"}),
        (with_value("splits.test.n_by_label", [30, 34]), {"splits.test.n_by_label.0", "splits.test.n_by_label.1"}),
        (with_value("splits.validation.n", 31), {"splits.validation.n"}),
        (with_value("epochs.2.validation_accuracy", 0.987), {"epochs.2.validation_accuracy"}),
        (with_value("epochs.2.validation_loss", 0.001), {"best.epoch", "best.value"}),
        (with_value("best.value", 0.001), {"best.value"}),
        (with_value("best.epoch", 1.0), {"best.epoch", "strategies.0"}),
        (with_value("best.metric", "accuracy"), {"best.metric", "best.epoch", "best.value"}),
        (lambda content: content["epochs"].pop(0), {"epochs"}),
        (
            lambda content: content["evaluations"].append(content["epochs"][0]),
            {"evaluations", "best.epoch", "best.value"},
        ),
        (with_value("n_adapter_params", 1), {"n_trainable_params"}),
        (with_value("adapter_file_bytes", 1), {"adapter_file_bytes"}),
        (with_value("learned.0.update_norm", 1e-6), {"learned.0.update_norm"}),
        (with_value("learned.1.singular_values", [1.0, 2.0]), {"learned.1.singular_values"}),
        (with_value("train_time_s", 1.0), {"train_samples_per_s"}),
        (with_value("finished_at", "2001-01-01T00:00:00Z"), {"finished_at"}),
        (with_value("training.learning_rate", 0.5), {"training.learning_rate"}),
        (with_value("training.eval_steps", 3), {"training.eval_steps"}),
        (with_value("data.max_words", 7), {"data.max_words"}),
        (with_value("adapter.settings", {"r": 4}), {"adapter.settings"}),
        (with_value("adapter.peft_type", "LOKR"), {"adapter.peft_type"}),
        (with_value("environment.packages.torch", "9.9"), {"environment.packages.torch"}),
        (with_value("stamps.code", "0" * 64), {"stamps.code"}),
        (with_value("seed", 3), {"record.json"}),
        (with_value("source.name", "hub"), {"record.json"}),
    ],
)
def test_an_edited_field_is_found_and_named(book: Book, change: Change, subjects: set[str]) -> None:
    """An edited field is found even if the record was sealed again; otherwise the broken seal is found too."""
    change_record(book.folder, change)
    assert book.subjects() == subjects
    change_record(book.folder, lambda content: None, seal=True)
    assert book.subjects() == subjects
    content = load_record(book.folder).model_copy(update={"seal": "0" * 64})
    write_record(content, book.folder)
    assert book.subjects() - {"seal"} == subjects
    assert "record.json" in subjects or "seal" in book.subjects()


def test_an_accuracy_edited_as_text_is_told_with_both_values(book: Book) -> None:
    """The finding names the run, the field, the record's value and the value that the predictions give."""
    record = load_record(book.folder)
    assert record.test is not None
    path = book.folder / "record.json"
    path.write_text(path.read_text("utf-8").replace(f'"accuracy": {record.test.accuracy}', '"accuracy": 0.9'), "utf-8")
    told = [str(finding) for finding in book.audit()]
    expected = f"test.accuracy is 0.9 in the record, {record.test.accuracy:.10g} from predictions.parquet"
    assert f"lora_1/submitted/seed-224: {expected}" in told
    assert "lora_1/submitted/seed-224: seal does not fit record.json: it was edited after the run ended" in told


def test_an_epoch_s_value_that_nothing_else_tells_breaks_the_seal(book: Book) -> None:
    """Only the seal shows an edited training loss, because no other file holds it."""
    change_record(book.folder, with_value("epochs.3.train_loss", 0.123), seal=False)
    assert book.subjects() == {"seal"}


def test_edited_predictions_are_found_three_times(book: Book) -> None:
    """Edited predictions are found by the file's hash, by the metrics, and by the probabilities that contradict."""
    table = load_predictions(book.folder)
    table = _edit_cell(table, 0, "prediction", 1 - int(table["prediction"].iloc[0]))
    table.to_parquet(book.folder / "predictions.parquet")
    found = book.audit()
    assert {finding.subject for finding in found} >= {"predictions.parquet", "test.accuracy"}
    messages = [finding.message for finding in found if finding.subject == "predictions.parquet"]
    assert any("was changed after the run ended" in message for message in messages)
    assert any(
        f"in 1 rows, such as row_id {int(table['row_id'].iloc[0])}: prediction" in message for message in messages
    )


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 no parquet at all PAR1"])
def test_predictions_that_cannot_be_read_are_a_finding(book: Book, content: bytes) -> None:
    """Predictions that are truncated or of another format are a finding, and the other checks still run."""
    (book.folder / "predictions.parquet").write_bytes(content)
    change_record(book.folder, with_value("n_adapter_params", 1))
    assert book.subjects() == {"predictions.parquet", "n_trainable_params"}


@pytest.mark.parametrize(
    ("column", "value"), [("probability", "high"), ("probability", None), ("label", "x"), ("prediction", 2.5)]
)
def test_predictions_of_other_types_are_a_finding(book: Book, column: str, value: Any) -> None:
    """Predictions of other types are a finding, not a traceback."""
    table = load_predictions(book.folder)
    table[column] = value
    table.to_parquet(book.folder / "predictions.parquet")
    change_record(book.folder, lambda content: None)
    assert book.subjects() == {"predictions.parquet"}


def test_no_prediction_at_all_is_a_finding(book: Book) -> None:
    """An empty table is a finding, because it has no accuracy."""
    load_predictions(book.folder).iloc[:0].to_parquet(book.folder / "predictions.parquet")
    change_record(book.folder, lambda content: None)
    assert book.subjects() == {"predictions.parquet"}


def test_missing_and_added_files_are_named(book: Book) -> None:
    """A deleted adapter and an added file are both named."""
    shutil.rmtree(book.folder / "adapter")
    (book.folder / "note.txt").write_text("hello", "utf-8")
    assert book.subjects() == {WEIGHTS, "note.txt"}


def test_a_record_without_a_seal_is_a_finding(book: Book) -> None:
    """A record without a seal, from an older version or a hand edit, is a finding."""
    write_record(load_record(book.folder).model_copy(update={"seal": None}), book.folder)
    (finding,) = book.audit()
    assert (finding.subject, "was not sealed" in finding.message) == ("seal", True)


def test_runs_that_changed_places_are_found(book: Book) -> None:
    """Two records that lie in each other's folder are found."""
    other, aside = book.ia3.folder(book.paths), book.paths.root / "aside"
    other.rename(aside)
    book.folder.rename(other)
    aside.rename(book.folder)
    for run in (book.ia3, book.lora):
        (finding,) = book.audit(run)
        assert finding.subject == "record.json"
        assert "lies in the folder of" in finding.message


@pytest.mark.parametrize("name", ["record.json", WEIGHTS, "adapter", "note.txt", ""])
def test_a_symbolic_link_is_a_finding_and_is_not_followed(book: Book, name: str) -> None:
    """A link is a finding, as a file, a folder, an extra file or the run's folder; nothing behind it is read."""
    target = book.folder / name
    aside = book.paths.root / "aside"
    if target.exists():
        target.rename(aside)
    target.symlink_to(aside)
    (finding,) = book.audit()
    assert finding.subject == (name or "the run's folder")
    assert "is a symbolic link" in finding.message


def test_a_link_above_the_run_s_folder_is_found_too(book: Book) -> None:
    """A link in the place of the adapter's folder is found, because its target may lie anywhere."""
    folder = book.paths.results / "embedded" / "lora_1"
    folder.rename(book.paths.root / "aside")
    folder.symlink_to(book.paths.root / "aside")
    assert book.subjects() == {"embedded/lora_1"}


def test_a_pipe_is_not_waited_for(book: Book) -> None:
    """A record.json that is a pipe is a finding and is not opened."""
    (book.folder / "record.json").unlink()
    os.mkfifo(book.folder / "record.json")
    (finding,) = book.audit()
    assert (finding.subject, "neither a file nor a folder" in finding.message) == ("record.json", True)


def test_missing_broken_and_failed_runs_are_findings(book: Book) -> None:
    """Missing, broken and failed runs are findings, because the report is incomplete without them."""
    shutil.rmtree(book.folder)
    assert [str(finding) for finding in book.audit()] == [
        "lora_1/submitted/seed-224: record.json is missing: run `make train`"
    ]
    folder = book.ia3.folder(book.paths)
    (folder / "record.json").write_text('{"status": ', "utf-8")
    assert book.subjects(book.ia3) == {"record.json"}
    content = make_record("ia3").model_dump(mode="json") | {"status": "failed", "test": None}
    content |= {"error": {"type": "E", "message": "no \x1b[31mluck\nat all", "cell": 3}}
    content["stamps"] = compute_stamps(book.ia3, book.paths, {}).model_dump()
    write_record(seal_record(Record.model_validate(content), folder), folder)
    told = [str(finding) for finding in book.audit(book.ia3) if finding.subject == "status"]
    assert told == [r"ia3/submitted/seed-224: status is failed: no \x1b[31mluck at all"]


def test_a_changed_setting_makes_a_stale_stamp_and_no_more(book: Book) -> None:
    """After a changed setting only the stamp is stale; the record's settings are those of its time."""
    text = book.paths.study.read_text("utf-8")
    book.paths.study.write_text(text.replace("learning_rate: 2.0e-05", "learning_rate: 3.0e-05"), "utf-8")
    study, adapters = load_study(book.paths.study), load_adapters(book.paths.experiments / "adapters")
    run = plan_runs(study, adapters, "embedded")[1]
    assert run.training != book.lora.training
    assert book.subjects(run) == {"stamps.config"}


def test_certain_predictions_bound_their_loss() -> None:
    """A probability near 0 or 1 only bounds its loss, and only a loss outside these bounds is a finding."""
    labels, probabilities = np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 1e-300]])
    low, high = compute_loss_bounds(labels, probabilities)
    assert low == pytest.approx(36.04, abs=0.01)  # scikit-learn's loss, in which no probability is less than 2e-16
    assert high == np.inf
    low, high = compute_loss_bounds(np.array([0, 1]), np.array([[0.7, 0.3], [0.4, 0.6]]))
    assert low == pytest.approx(high, abs=1e-12)
    assert low == pytest.approx(-(np.log(0.7) + np.log(0.6)) / 2)


def test_a_label_without_a_training_row_bounds_the_probe_s_loss() -> None:
    """The linear probe gives such a label the probability 0, and scikit-learn's loss of it lies within the bounds."""
    labels, probabilities = np.array([0, 2]), np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0]])
    low, high = compute_loss_bounds(labels, probabilities)
    assert low <= log_loss(labels, probabilities, labels=range(3)) + 1e-9 <= high


# ---- with the source's rows, and with what the adapter gives today


def _edit_cell(table: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    values = table[column].tolist()
    values[row] = value
    return table.assign(**{column: values})


def _rows(table: pd.DataFrame) -> Dataset:
    return Dataset.from_dict({name: table[name].tolist() for name in ("row_id", "text", "label")})


def test_rows_that_are_not_the_source_s_are_found() -> None:
    """A changed text, a changed label, another row and a missing row are each found."""
    table = make_predictions(n=20)
    record, rows = make_record(predictions=table), _rows(table)
    assert find_other_rows(record, table, rows) == []
    for column, value in (("row_id", -1), ("text", "another"), ("label", 1 - int(table["label"].iloc[3]))):
        (finding,) = find_other_rows(record, _edit_cell(table, 3, column, value), rows)
        assert f"differs from the source in the {column} of 1 rows, first in row 3" in finding.message
    (finding,) = find_other_rows(record, table.iloc[1:], rows)
    assert "holds 19 rows, the source gives 20" in finding.message


def test_a_source_that_is_not_today_s_is_named() -> None:
    """Each field of the source that differs from today's is named, except the reason for its choice."""
    table = make_predictions(n=20)
    record = make_record(predictions=table)
    today = record.source.model_copy(update={"reason": "asked for"})
    assert find_other_source(record, today, {"test": _rows(table)}) == []
    moved = today.model_copy(update={"dataset_revision": "abc"})
    found = find_other_source(record, moved, {"test": _rows(table.iloc[1:])})
    assert {"source.dataset_revision", "splits.test.n"} <= {finding.subject for finding in found}


def test_an_adapter_that_gives_other_results_is_found() -> None:
    """Other test probabilities, another test accuracy or loss, or another validation result is found."""
    table, validation = make_predictions(n=64), make_predictions("x", n=32)
    loss, _ = compute_loss_bounds(table["label"].to_numpy(), class_probabilities(table))
    validation_loss, _ = compute_loss_bounds(validation["label"].to_numpy(), class_probabilities(validation))
    best = make_record(predictions=table).best
    assert best is not None
    kept = int(best.epoch) - 1
    changes: dict[str, Any] = {
        "test__loss": loss,
        f"epochs__{kept}__validation_loss": validation_loss,
        f"epochs__{kept}__validation_accuracy": float((validation["label"] == validation["prediction"]).mean()),
    }
    record = make_record(predictions=table, **changes)
    splits = {"test": _rows(table), "validation": _rows(validation)}
    same = Evaluation(class_probabilities(validation), class_probabilities(table))
    assert find_other_results(record, table, same, splits, TOLERANCE) == []
    shifted = Evaluation(same.validation + 1e-3, same.test - 1e-3)
    assert find_other_results(record, table, shifted, splits, OTHER_TOLERANCE) == []
    subjects = {finding.subject for finding in find_other_results(record, table, shifted, splits, TOLERANCE)}
    assert "predictions.parquet" in subjects
    flipped = Evaluation(1 - same.validation, 1 - same.test)
    subjects = {finding.subject for finding in find_other_results(record, table, flipped, splits, TOLERANCE)}
    assert subjects == {"predictions.parquet", "test.accuracy", "test.loss", f"epochs.{kept}.validation_accuracy",
                        f"epochs.{kept}.validation_loss"}  # fmt: skip


def test_a_source_that_cannot_be_had_is_a_finding_and_the_rest_is_checked(book: Book) -> None:
    """A source that is not available is a finding, and everything but the data stamp is still checked."""
    change_record(book.folder, with_value("test.accuracy", 0.9))
    console = Console(file=io.StringIO(), width=200)
    audit = audit_runs(
        [book.ia3, book.lora], book.paths, SourceError("it is gone"), Retraining("", 600.0), "embedded", None, console
    )
    assert [finding.subject for finding in audit.findings] == [
        "the source",
        "strategies.0",
        "test.accuracy",
        "record.json",
    ]
    assert audit.findings[-1].run_id == "linear_probe"
    assert "it is gone" in str(audit.findings[0])
    assert audit.summary.startswith("1 of 2 runs verified: stamps, seals, files, metrics; none trained again")


# ---- trained again


def test_bits_are_compared_where_the_machine_is_the_same() -> None:
    """Bits are compared on the same machine; another processor, package or a GPU gets tolerances."""
    record = make_record()
    assert is_same_environment(record, make_record())
    for change in ({"environment__device_name": "Another CPU"}, {"environment__packages": {"torch": "9"}},
                   {"environment__n_threads": 1}):  # fmt: skip
        assert not is_same_environment(record, make_record(**change))
    gpu = make_record(environment__device="cuda")
    assert not is_same_environment(gpu, gpu)


def test_a_repetition_is_compared_in_every_number(book: Book) -> None:
    """Every number is compared, bit for bit or within tolerances, and differences are named by field."""
    folder, again = book.folder, book.paths.root / "again"
    shutil.copytree(folder, again)
    record = load_record(folder)

    def subjects(exact: bool) -> set[str]:
        return {finding.subject for finding in compare_runs(record, folder, load_record(again), again, exact=exact)}

    assert subjects(True) == subjects(False) == set()
    change_record(again, with_value("epochs.4.train_loss", record.epochs[4].train_loss or 0.0 + 1e-12))
    assert subjects(True) == set()
    change_record(again, with_value("epochs.4.train_loss", (record.epochs[4].train_loss or 0.0) + 1e-3))
    assert (subjects(True), subjects(False)) == ({"epochs.4.train_loss"}, set())
    change_record(again, with_value("test.loss", 2.0))
    assert subjects(False) == {"test.loss"}
    table = load_predictions(again)
    table["probability"] = (table["probability"] * 0.99).round(6)
    table.to_parquet(again / "predictions.parquet")
    assert subjects(True) >= {"predictions.parquet"}
    assert subjects(False) == {"test.loss"}
    weights = load_file(again / WEIGHTS)
    save_file({"a": weights["a"] + 1e-3}, again / WEIGHTS)
    assert (WEIGHTS in subjects(True), WEIGHTS in subjects(False)) == (True, False)
    save_file({"a": -weights["a"]}, again / WEIGHTS)
    assert WEIGHTS in subjects(False)
    save_file({"b": weights["a"]}, again / WEIGHTS)
    assert WEIGHTS in subjects(False)
    change_record(again, lambda content: content["epochs"].pop())
    assert "epochs" in subjects(False)


def test_the_folder_of_a_repetition_is_gone_afterwards(tmp_path: Path) -> None:
    """The folder is removed after Ctrl-C too, and one that a killed process left is removed first."""
    paths = Paths(tmp_path)
    (tmp_path / ".cache" / "verify" / "old").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), other_results(paths) as other:
        assert not (other.results / "old").exists()
        other.results.mkdir()
        assert not other.results.is_relative_to(paths.results)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_repeated_is_a_finding(book: Book) -> None:
    """A run without a completed record is a finding, because nothing can be compared with it."""
    shutil.rmtree(book.folder)
    console = Console(file=io.StringIO())
    queue, source = [Choice(book.lora.id)], resolve_source("embedded", book.paths)
    found, outcome = repeat_runs(queue, 1.0, [book.ia3, book.lora], book.paths, source, "embedded", None, console)
    assert [(finding.run_id, finding.subject) for finding in found] == [(book.lora.id, "training it again")]
    assert outcome == f"1 of 2 runs trained again: 1 not the same ({book.lora.id})"
