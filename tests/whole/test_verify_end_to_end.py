"""`make verify` on runs that were trained for real: all is as recorded, and what is changed by hand is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import compute_stamps, plan_runs
from adapterbook.runs.record import load_record
from adapterbook.sources.resolve import resolve_source
from adapterbook.verification.audit import audit_run
from adapterbook.verification.findings import Finding
from adapterbook.verification.re_evaluation import Material, load_material
from tests.support.cheat import fit_to_test_rows
from tests.support.small_project import copy_project, cut_down, run_adapterbook
from tests.unit.verification.test_verification import WEIGHTS, change_record, with_value

ADAPTERS = ("lora_1", "head_only", "prompt")  # one of each: weights, only the head, prompts


@pytest.fixture
def copied(trained_project: Paths, tmp_path: Path) -> Paths:
    """A copy of three runs of the small project, to change."""
    return cut_down(copy_project(trained_project, tmp_path / "project"), ADAPTERS)


@pytest.fixture(scope="session")
def material(trained_project: Paths) -> Material:
    """The base model and the rows of the small project."""
    return load_material(resolve_source("embedded", trained_project), load_study(trained_project.study).data)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_real_report_is_verified(copied: Paths) -> None:
    """Exit 0; one run trained again, identical bit for bit; nothing changed, nothing left."""
    before, beside = _files(copied.results), sorted(copied.root.iterdir())
    done = run_adapterbook(copied, "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 runs verified: stamps, seals, files, metrics, data, adapters; " in done.stdout
    assert "3 of 3 runs trained again: 3 identical bit for bit." in done.stdout
    assert done.stderr == ""
    assert (_files(copied.results), sorted(copied.root.iterdir())) == (before, beside)


@pytest.mark.slow
def test_a_hand_edited_accuracy_is_named(copied: Paths) -> None:
    """Exit 1, the run, the field, both values; the other two runs are verified."""
    path = copied.results / "embedded" / "lora_1" / "submitted" / "seed-224" / "record.json"
    record = load_record(path.parent)
    assert record.test is not None
    text = path.read_text("utf-8")
    path.write_text(text.replace(f'"accuracy": {record.test.accuracy}', '"accuracy": 0.987'), "utf-8")
    done = run_adapterbook(copied, "verify", RETRAIN="none")
    assert done.returncode == 1, done.stdout + done.stderr
    shown = f"{record.test.accuracy:.10g}"
    assert f"lora_1/submitted/seed-224: test.accuracy is 0.987 in the record, {shown} from" in done.stdout
    assert "2 of 3 runs verified" in done.stdout
    assert "none trained again" in done.stdout


@pytest.mark.slow
def test_a_run_fitted_to_the_test_rows_is_found_first(trained_project: Paths, tmp_path: Path) -> None:
    """Of eight runs a forged one passes every check but one: out of line with the others, it is trained again first.

    The budget is so short that only the first runs are trained again; the default would reach all eight.
    """
    copied = copy_project(trained_project, tmp_path / "project")
    study, adapters = load_study(copied.study), load_adapters(copied.experiments / "adapters")
    runs = plan_runs(study, adapters, "embedded")
    assert len(runs) == 8
    run = next(run for run in runs if run.id == "lora_1/lr-1e-3/seed-224")
    resolved = resolve_source("embedded", copied)
    material = load_material(resolved, study.data)
    fit_to_test_rows(run, run.folder(copied), material, n_steps=40)
    stamps = compute_stamps(run, copied, resolved.data_identity()).model_dump()
    forged = audit_run(run, copied, stamps, material)
    assert forged.findings == []
    assert forged.sound is not None and forged.sound.fit is not None and forged.sound.fit.test == 1.0
    done = run_adapterbook(copied, "verify", BUDGET="1s")
    assert done.returncode == 1, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("Training ")]
    assert told[0].startswith(f"Training {run.id} again, beside the results first: it predicts 100.0% of the test rows")
    for subject in ("test.accuracy", "epochs", "learned", "predictions.parquet", WEIGHTS):
        assert f"{run.id}: {subject}" in done.stdout, subject
    assert f"not the same ({run.id})" in done.stdout


def test_an_unknown_run_to_retrain_is_told(copied: Paths) -> None:
    """Exit 2, and what could be said instead."""
    done = run_adapterbook(copied, "verify", RETRAIN="lora_9")
    assert done.returncode == 2
    assert "RETRAIN=lora_9: expected none, all, random or a run of embedded, such as " in done.stderr
    assert "Traceback" not in done.stderr


def _audit(paths: Paths, adapter: str, material: Material) -> list[Finding]:
    study, adapters = load_study(paths.study), load_adapters(paths.experiments / "adapters")
    run = next(run for run in plan_runs(study, adapters, "embedded") if run.adapter.id == adapter)
    identity = resolve_source("embedded", paths).data_identity()
    return audit_run(run, paths, compute_stamps(run, paths, identity).model_dump(), material).findings


def test_other_weights_are_found_by_what_they_predict(copied: Paths, material: Material) -> None:
    """Hashes and seal made to fit: the head of the adapter turned round."""
    folder = copied.results / "embedded" / "lora_1" / "submitted" / "seed-224"
    weights = {
        name: -array if "classifier.weight" in name else array for name, array in load_file(folder / WEIGHTS).items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    change_record(folder, with_value("adapter_file_bytes", (folder / WEIGHTS).stat().st_size))
    found = _audit(copied, "lora_1", material)
    assert {"predictions.parquet", "test.loss"} <= {finding.subject for finding in found}
    assert any("from the adapter" in finding.message for finding in found)


def test_weights_that_do_not_fit_are_found(copied: Paths, material: Material) -> None:
    """A tensor too few, which PEFT only warns of; and a file that holds none."""
    folder = copied.results / "embedded" / "lora_1" / "submitted" / "seed-224"
    weights = load_file(folder / WEIGHTS)
    removed = next(name for name in sorted(weights) if "lora_A" in name)
    del weights[removed]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    change_record(folder, with_value("adapter_file_bytes", (folder / WEIGHTS).stat().st_size))
    assert any(f"does not fit the model in 1 tensors, such as {removed}" in finding.message
               for finding in _audit(copied, "lora_1", material))  # fmt: skip
    (folder / WEIGHTS).write_bytes(b"nothing")
    change_record(folder, with_value("adapter_file_bytes", 7))
    (finding,) = _audit(copied, "lora_1", material)
    assert "cannot be loaded over the base model" in finding.message
    (folder / WEIGHTS).rename(folder / "adapter" / "adapter_model.bin")
    change_record(folder, lambda content: None)
    (finding,) = _audit(copied, "lora_1", material)
    assert finding.message == "is missing: the adapter was not evaluated"


@pytest.mark.parametrize(
    "replacement", ['"lora_alpha": 640', '"lora_alpha": 16, "peft_type": "XLORA", "adapters": {"a": "/etc"}']
)
def test_an_adapter_s_own_config_is_not_believed(copied: Paths, material: Material, replacement: str) -> None:
    """It must be what the YAML file makes it, before PEFT may read it."""
    folder = copied.results / "embedded" / "lora_1" / "submitted" / "seed-224"
    path = folder / "adapter" / "adapter_config.json"
    text = path.read_text("utf-8")
    assert '"lora_alpha": 16' in text
    text = text.replace('  "peft_type": "LORA",\n', "") if "XLORA" in replacement else text
    path.write_text(text.replace('"lora_alpha": 16', replacement), "utf-8")
    change_record(folder, lambda content: None)
    found = _audit(copied, "lora_1", material)
    assert {finding.subject for finding in found} == {"adapter/adapter_config.json"}
    assert all("not loaded" in finding.message for finding in found)


def test_counts_and_hashes_are_counted_again(copied: Paths, material: Material) -> None:
    """All parameters, the base model's hash; with another base model the adapter is not evaluated."""
    folder = copied.results / "embedded" / "head_only" / "submitted" / "seed-224"

    def move_parameters(content: dict[str, Any]) -> None:
        content["n_adapter_params"] += 5
        content["n_head_params"] -= 5

    change_record(folder, move_parameters)
    assert {finding.subject for finding in _audit(copied, "head_only", material)} == {
        "n_adapter_params",
        "n_head_params",
    }
    change_record(folder, with_value("source.base_model_sha256", "0" * 64))
    assert {finding.subject for finding in _audit(copied, "head_only", material)} == {"source.base_model_sha256"}
