"""Test that `make verify` computes the linear probe again, and names what does not match."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapterbook.config.paths import Paths
from adapterbook.runs.probe import FEATURES, ProbeRecord, probe_folder, stamp_probe
from adapterbook.runs.record import load_any_record, seal_record, write_record
from adapterbook.sources.resolve import resolve_source
from adapterbook.training.probe import make_probe
from adapterbook.verification.probe import audit_probe
from adapterbook.verification.re_evaluation import Material, load_material
from tests.support.factory import PROJECT
from tests.unit.training.test_probe import DATA

SOURCE = resolve_source("embedded", PROJECT)
STAMPS = stamp_probe(DATA, SOURCE.data_identity())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small probe."""
    root = tmp_path_factory.mktemp("probe")
    make_probe(DATA, Paths(root), SOURCE)
    return root


@pytest.fixture(scope="module")
def material() -> Material:
    """Load today's base model and rows."""
    return load_material(SOURCE, DATA)


@pytest.fixture
def paths(made: Path, tmp_path: Path) -> Paths:
    """Copy the probe, to be changed."""
    return Paths(shutil.copytree(made, tmp_path / "copy"))


def subjects(paths: Paths, material: Material | None, stamps: dict[str, str] | None = None) -> set[str]:
    found = audit_probe(paths, "embedded", stamps or STAMPS, material)
    assert {finding.run_id for finding in found} <= {"linear_probe"}
    return {finding.subject for finding in found}


def change(paths: Paths, **changes: Any) -> None:
    """Edit the record by hand, and seal it again."""
    folder = probe_folder(paths, "embedded")
    record = load_any_record(ProbeRecord, folder).model_copy(update=changes)
    write_record(seal_record(record, folder), folder)


def test_a_sound_probe_has_no_findings(paths: Paths, material: Material) -> None:
    """Computed again it is what its record says; without the source its files are checked all the same."""
    assert subjects(paths, material) == subjects(paths, None) == set()


def test_what_does_not_follow_from_the_base_model_is_found(paths: Paths, material: Material) -> None:
    """Another penalty, another accuracy and other features are found although the record was sealed again."""
    record = load_any_record(ProbeRecord, probe_folder(paths, "embedded"))
    other = next(choice.C for choice in record.grid if choice.C != record.C)
    change(paths, C=other, test=record.test.model_copy(update={"accuracy": 1.0}))
    assert subjects(paths, material) == {"C", "test.accuracy"}
    file = probe_folder(paths, "embedded") / FEATURES
    features = load_file(file)
    features["test.mean"] = features["test.mean"] + np.float32(0.01)
    del features["test.head"]
    save_file(features, file)
    change(paths, C=record.C, test=record.test)
    told = [str(finding) for finding in audit_probe(paths, "embedded", STAMPS, material)]
    assert told == [
        f"linear_probe: {FEATURES} does not hold test.head as the base model gives it",
        f"linear_probe: {FEATURES} differs from the base model's vectors in test.mean",
    ]


def test_a_probe_that_is_stale_missing_or_edited_is_named(paths: Paths, material: Material) -> None:
    """A finding says which stamp differs, which file was changed, or that there is no probe; links are not followed."""
    assert subjects(paths, material, STAMPS | {"config": "0" * 64}) == {"stamps.config"}
    folder = probe_folder(paths, "embedded")
    (folder / FEATURES).write_bytes(b"x")
    assert subjects(paths, None) == {FEATURES}
    (folder / FEATURES).unlink()
    (folder / FEATURES).symlink_to("/dev/zero")
    (finding,) = audit_probe(paths, "embedded", STAMPS, material)
    assert "it is not followed" in finding.message
    shutil.rmtree(folder)
    (finding,) = audit_probe(paths, "embedded", STAMPS, material)
    assert (finding.kind, finding.message) == ("stale", "is missing: run `make train`")
