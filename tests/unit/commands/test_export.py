"""Exports hold every completed run's curves, results and settings, as pandas and TensorBoard read them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from adapterbook.commands.export import export_runs
from adapterbook.common.errors import AdapterBookError, RecordError
from adapterbook.config.paths import Paths
from adapterbook.runs.record import Record, load_record
from tests.support.factory import PROJECT, write_results


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return a project with two adapters' made-up runs."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"))
    shutil.copy(PROJECT.notebook, paths.notebook)
    return paths


def records_of(paths: Paths) -> list[Record]:
    """Return the records of all runs."""
    return [load_record(file.parent) for file in sorted(paths.results.glob("*/*/*/*/record.json"))]


def read_table(file: Path) -> pd.DataFrame:
    """Return a table with every float as it was written."""
    return pd.read_csv(file)


def rows_of(record: Record, table: pd.DataFrame) -> pd.DataFrame:
    """Return a run's rows."""
    same = (table["adapter"] == record.adapter.id) & (table["variant"] == record.variant)
    return table[same & (table["seed"] == record.seed)]


def test_pandas_reads_what_the_records_hold(paths: Paths) -> None:
    """A row a run, a moment and a step, with the record's own numbers and settings."""
    folder, n_runs = export_runs(paths.root, "embedded", None, "csv")
    records = records_of(paths)
    runs, epochs, steps = (read_table(folder / f"{name}.csv") for name in ("runs", "epochs", "steps"))
    assert len(runs) == n_runs == len(records)
    for record in records:
        assert record.test is not None
        row, moments, own = (rows_of(record, table) for table in (runs, epochs, steps))
        assert row["test.accuracy"].item() == record.test.accuracy
        assert row["training.learning_rate"].item() == record.training.learning_rate
        assert row["adapter.peft_type"].item() == record.adapter.peft_type
        assert moments["validation_loss"].tolist() == [point.validation_loss for point in record.curve]
        assert own["loss"].tolist() == [step.loss for step in record.steps]


def test_tensorboard_reads_what_the_records_hold(paths: Paths) -> None:
    """Its own reader finds each run's curves, final accuracy and configuration."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not part of set-up: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = export_runs(paths.root, "embedded", None, "tensorboard")
    for record in records_of(paths):
        assert record.test is not None
        events = EventAccumulator(str(folder / record.run_id)).Reload()
        losses = [event.value for event in events.Scalars("epoch/validation_loss")]
        assert losses == pytest.approx([point.validation_loss for point in record.curve])
        assert [event.value for event in events.Scalars("step/loss")] == pytest.approx([s.loss for s in record.steps])
        assert events.Scalars("final/test.accuracy")[0].value == pytest.approx(record.test.accuracy)
        text = events.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
        assert f"| training.learning_rate | {record.training.learning_rate} |" in text


def test_without_tensorboard_one_is_told_how_to_get_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package; no folder is left behind."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(AdapterBookError, match="pip install tensorboard"):
        export_runs(paths.root, "embedded", None, "tensorboard")
    assert not (paths.root / "export-tensorboard").exists()


@pytest.mark.parametrize("tool", ["", "excel"])
def test_an_unknown_tool_is_answered_with_those_that_there_are(paths: Paths, tool: str) -> None:
    """Nothing is written."""
    with pytest.raises(AdapterBookError, match="expected one of csv, tensorboard, got"):
        export_runs(paths.root, "embedded", None, tool)
    assert list(paths.root.glob("export-*")) == []


def test_without_a_completed_run_an_old_export_stays(paths: Paths) -> None:
    """The message says what to do, and what an earlier export wrote is still there."""
    folder, _ = export_runs(paths.root, "embedded", None, "csv")
    for file in paths.results.glob("*/*/*/*/record.json"):
        file.write_text("{}", "utf-8")
    with pytest.raises(RecordError, match="nothing to export: run `make train`"):
        export_runs(paths.root, "embedded", None, "csv")
    assert (folder / "runs.csv").is_file()
