"""Test that a record is read as it was written, and that nothing else counts as a record."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest

from adapterbook.common.errors import ConfigError, RecordError
from adapterbook.runs.plan import read_code_cells
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import hash_files, load_record, record_schema, write_record
from tests.support.factory import PROJECT, make_failed_record, make_predictions, make_record


def _change(folder: Path, change: Any) -> None:
    """Write a completed record whose JSON `change` has altered."""
    write_record(make_record(), folder)
    path = folder / "record.json"
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_a_record_survives_writing_and_reading(tmp_path: Path) -> None:
    """A completed record and a failed one come back equal."""
    for record in (make_record(), make_failed_record()):
        write_record(record, tmp_path)
        assert record == load_record(tmp_path)


def test_published_schema_is_today_s() -> None:
    """experiments/record.schema.json is the schema that the code reads; `python -m adapterbook schema` writes it."""
    published = json.loads((PROJECT.experiments / "record.schema.json").read_text("utf-8"))
    assert record_schema() == published


def test_published_schema_accepts_a_record_and_refuses_another(tmp_path: Path) -> None:
    """A reader can check a record with the schema alone, without this program."""
    write_record(make_record(), tmp_path)
    content = json.loads((tmp_path / "record.json").read_text("utf-8"))
    jsonschema.validate(content, record_schema())
    content["test"]["accuracy"] = 1.2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, record_schema())


def test_every_field_of_the_schema_is_explained() -> None:
    """Every field states its meaning and its unit in its name or its description."""
    schema = record_schema()
    bare = {
        f"{name}.{key}"
        for name, part in {**schema["$defs"], "Record": schema}.items()
        for key, field in part.get("properties", {}).items()
        if name in ("Record", "SourceInfo", "BestCheckpoint", "EpochResult", "Stamps")
        and not {"description", "$ref", "const"} & set(field)
    }
    # Transformers' and the protocol's own names, dates, and parts that are described where they are defined.
    assert bare <= {
        "Record.status", "Record.seed", "Record.started_at", "Record.finished_at", "Record.splits",
        "Record.test", "Record.n_trainable_params", "Record.train_samples_per_s", "Record.best", "Record.latency",
        "BestCheckpoint.epoch", "SourceInfo.x",
    }, bare  # fmt: skip


@pytest.mark.parametrize("length", [0, 1, 200, -2])
def test_a_truncated_record_is_no_record(tmp_path: Path, length: int) -> None:
    """A record that is cut off anywhere is refused, and the message says to run it again."""
    write_record(make_record(), tmp_path)
    path = tmp_path / "record.json"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RecordError, match=r"truncated or not JSON.*make train"):
        load_record(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c["test"].update(accuracy=1.01), "test.accuracy"),
        (lambda c: c["test"].update(loss=float("nan")), "NaN is not a number"),
        (lambda c: c.update(note="x"), "note"),
        (lambda c: c.update(test=None), "no test"),
        (lambda c: c.update(epochs=[]), "no epochs"),
        (lambda c: c.update(status="done"), "status"),
        (lambda c: c.update(status="failed"), "error is null"),
        (lambda c: c["stamps"].update(code="123"), "stamps.code"),
        (lambda c: c.pop("seed"), "seed"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(tmp_path: Path, change: Any, problem: str) -> None:
    """A value out of range, an unknown key, a missing one and a completed record without results are refused."""
    _change(tmp_path, change)
    with pytest.raises(RecordError) as caught:
        load_record(tmp_path)
    assert problem in str(caught.value)


def test_a_missing_record_says_what_to_do(tmp_path: Path) -> None:
    """A missing record is an error that says to train."""
    with pytest.raises(RecordError, match="make train"):
        load_record(tmp_path)


def test_predictions_survive_and_are_checked(tmp_path: Path) -> None:
    """Predictions of the right columns and ranges come back equal; all others are refused."""
    path = tmp_path / "predictions.parquet"
    table = make_predictions(n=8)
    table.to_parquet(path, index=False)
    pd.testing.assert_frame_equal(table, load_predictions(tmp_path))
    for wrong in (table.drop(columns="text"), table.assign(label=2), table.assign(probability=1.5)):
        wrong.to_parquet(path, index=False)
        with pytest.raises(RecordError):
            load_predictions(tmp_path)
    path.write_bytes(b"PAR1 cut off")
    with pytest.raises(RecordError, match="truncated or not Parquet"):
        load_predictions(tmp_path)
    path.unlink()
    with pytest.raises(RecordError, match="is missing"):
        load_predictions(tmp_path)


@pytest.mark.parametrize("n", [40, 200, 600, 700, 900, 1000, 100_000])
def test_a_record_of_any_depth_is_read_or_refused(tmp_path: Path, n: int) -> None:
    """Nesting is refused with a message at every depth that Python's own functions may not survive."""
    (tmp_path / "record.json").write_text('{"status": ' + "[" * n + "]" * n + "}", "utf-8")
    with pytest.raises(RecordError, match="not a valid record" if n < 50 else "more than 50 levels"):
        load_record(tmp_path)


@pytest.mark.parametrize("name", ["record.json", "notebook.ipynb"])
def test_a_huge_file_is_refused_unread(tmp_path: Path, name: str) -> None:
    """A file of 10 GiB, which takes no room on the disk, is refused by its size."""
    with (tmp_path / name).open("wb") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises((RecordError, ConfigError), match="it has 10,240 MiB; no run writes more than 64"):
        load_record(tmp_path) if name == "record.json" else read_code_cells(tmp_path / name)


def test_hidden_files_are_no_part_of_a_run(tmp_path: Path) -> None:
    """What macOS leaves in a run's folder is not hashed, so a copied study is still what its records say."""
    for name in ("notebook.ipynb", ".DS_Store", "._notebook.ipynb", "adapter/x.json", "adapter/._x.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
    assert list(hash_files(tmp_path)) == ["adapter/x.json", "notebook.ipynb"]
