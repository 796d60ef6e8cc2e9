"""Find what was changed in the adapters that readers can try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save

from adapterbook.config.paths import Paths
from adapterbook.runs.live import make
from adapterbook.runs.live.record import ANSWERS, LiveRecord, live_folder
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import TokenInfo, load_any_record, load_record, seal_record, write_record
from adapterbook.runs.select import load_live
from adapterbook.verification.live import audit_live
from tests.support.factory import write_results
from tests.support.live import prepare_live, seal_runs, write_base_model

SUBMITTED = {"submitted": {"title": "As submitted"}}


@pytest.fixture
def prepared(tmp_path: Path) -> Paths:
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"), variants=SUBMITTED, n_test=12)
    seal_runs(paths)
    prepare_live(paths, write_base_model(tmp_path / "base"))
    return paths


def _findings(paths: Paths) -> list[str]:
    status = load_live(paths, "embedded")[1]
    return [str(finding) for finding in audit_live(paths, "embedded", status, paths.root / "base")]


def _seal_again(paths: Paths, **changes: Any) -> None:
    folder = live_folder(paths, "embedded")
    record = load_any_record(LiveRecord, folder).model_copy(update=changes)
    write_record(seal_record(record, folder), folder)


def test_what_was_prepared_has_no_finding(prepared: Paths) -> None:
    """Files as they were made pass; where none were made there is nothing to find."""
    assert _findings(prepared) == []
    assert audit_live(prepared, "embedded", None, None) == []


def test_of_many_test_rows_some_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, the last and rows between them are answered, each compared with its own prediction."""
    monkeypatch.setattr(make, "N_COMPARED", 3)
    paths = write_results(tmp_path, adapters=("lora_1",), variants=SUBMITTED, n_test=21)
    seal_runs(paths)
    prepare_live(paths, write_base_model(tmp_path / "base"))
    folder = live_folder(paths, "embedded")
    record = load_any_record(LiveRecord, folder)
    assert (record.n_test, _findings(paths)) == (3, [])
    table = load_predictions(paths.results / "embedded" / record.adapters[0].run_id).iloc[[0, 10, 20]]
    (answers,) = load_file(folder / ANSWERS).values()
    assert make.compare_answers(answers, table)["mean_difference"] == pytest.approx(record.mean_difference)


def test_a_changed_file_is_found_by_its_hash(prepared: Paths) -> None:
    """A byte more in a file does not fit the record."""
    with (live_folder(prepared, "embedded") / "tokenizer.json").open("a") as file:
        file.write(" ")
    assert ["tokenizer.json" in finding for finding in _findings(prepared)] == [True]


@pytest.mark.parametrize("name", ["encoder.safetensors", "words-00.safetensors", "ia3-submitted.safetensors"])
def test_other_weights_are_found_though_they_are_sealed(prepared: Paths, name: str) -> None:
    """A file with another weight and a new seal is not what the base model and the runs give."""
    file = live_folder(prepared, "embedded") / name
    tensors = {key: weight.copy() for key, weight in load(file.read_bytes()).items()}
    next(weight for weight in tensors.values() if weight.dtype == np.int8)[0, 0] ^= 1
    file.write_bytes(save(tensors))
    _seal_again(prepared)
    assert [name in finding for finding in _findings(prepared)] == [True]


def test_another_tokenizer_is_found_though_it_is_sealed(prepared: Paths) -> None:
    """A tokenizer that keeps capitals is not the base model's."""
    file = live_folder(prepared, "embedded") / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"lower":true', '"lower":false'), "utf-8")
    folder = live_folder(prepared, "embedded")
    sizes = load_any_record(LiveRecord, folder).sizes | {"tokenizer.json": file.stat().st_size}
    _seal_again(prepared, sizes=sizes)
    (finding,) = _findings(prepared)
    assert "tokenizer.json does not hold the base model's tokenizer" in finding


def test_texts_are_cut_as_the_runs_cut_them(tmp_path: Path) -> None:
    """Where the model takes few tokens, the answers are computed again from as many."""
    paths = write_results(tmp_path, adapters=("lora_1",), variants=SUBMITTED, n_test=12)
    seal_runs(paths)
    (folder,) = (file.parent for file in paths.results.glob("*/lora_1/*/*/record.json"))
    record = load_record(folder)
    cut = record.model_copy(update={"tokens": TokenInfo(max_tokens=4, n_truncated=12, pad_token="[PAD]")})
    write_record(seal_record(cut, folder), folder)
    prepare_live(paths, write_base_model(tmp_path / "base"))
    assert _findings(paths) == []


def test_other_numbers_and_answers_are_found_though_they_are_sealed(prepared: Paths) -> None:
    """A smaller difference does not follow from the answers, and better answers do not follow from the model."""
    folder = live_folder(prepared, "embedded")
    record = load_any_record(LiveRecord, folder)
    first = record.adapters[0]
    better = first.model_copy(update={"mean_difference": first.mean_difference / 2})
    _seal_again(prepared, adapters=(better, *record.adapters[1:]))
    assert ["lora_1-submitted.mean_difference" in finding for finding in _findings(prepared)] == [True]
    answers = load((folder / ANSWERS).read_bytes())
    (folder / ANSWERS).write_bytes(save({name: rows[:, ::-1].copy() for name, rows in answers.items()}))
    _seal_again(prepared, adapters=record.adapters)
    assert sum("does not hold the answers" in finding for finding in _findings(prepared)) == 2


def test_without_the_base_model_the_record_is_still_checked(prepared: Paths) -> None:
    """On a machine that has only the records, what they say is compared with the stored answers."""
    status = load_live(prepared, "embedded")[1]
    assert audit_live(prepared, "embedded", status, None) == []
