"""checkpoints.py: an interrupted run goes on from its own past, whole and unchanged, or begins anew."""

import os
from pathlib import Path

import pytest

from adapterbook.training.checkpoints import (
    Snapshot,
    last_checkpoint,
    restore_snapshot,
    save_snapshot,
    snapshots_folder,
)
from tests.support.factory import make_record

STAMPS = make_record().stamps


def _train(output: Path, epoch: int, *, micro_batches: int = 1) -> Snapshot:
    """Leave behind what an epoch of training does: a new checkpoint, and its snapshot."""
    folder = output / "checkpoints" / f"checkpoint-{8 * epoch}"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_text(f"weights of epoch {epoch}")
    snapshot = Snapshot(
        stamps=STAMPS,
        micro_batches=micro_batches,
        epoch=epoch,
        train_time_s=epoch,
        peak_memory_bytes=1,
        resumed_after=(),
        files={},
    )
    return save_snapshot(output, snapshot)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A run after two epochs, and some steps of the third."""
    folder = tmp_path / "run"
    _train(folder, 1)
    _train(folder, 2)
    (folder / "checkpoints" / "checkpoint-20").mkdir()
    return folder


def test_training_goes_on_after_the_last_whole_epoch(output: Path) -> None:
    """The newest snapshot comes back, with every checkpoint of that moment and none of later."""
    snapshot = restore_snapshot(output, STAMPS, 1)
    assert snapshot is not None
    assert (snapshot.epoch, snapshot.train_time_s) == (2, 2)
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["checkpoint-16", "checkpoint-8"]
    assert last_checkpoint(output) == output / "checkpoints" / "checkpoint-16"


def test_one_snapshot_is_kept(output: Path) -> None:
    """They do not pile up."""
    assert [path.name for path in snapshots_folder(output).iterdir()] == ["epoch-2"]


def test_a_snapshot_outlives_the_run_s_folder(output: Path) -> None:
    """The folder is made anew for each attempt; and later training does not change what was kept."""
    (output / "checkpoints" / "checkpoint-16" / "adapter_model.safetensors").unlink()
    assert restore_snapshot(output, STAMPS, 1) is not None
    kept = output / "checkpoints" / "checkpoint-16" / "adapter_model.safetensors"
    assert kept.read_text() == "weights of epoch 2"


@pytest.mark.parametrize("stamp", ["config", "code", "notebook", "data", "packages"])
def test_a_changed_run_begins_anew(output: Path, stamp: str) -> None:
    """Another configuration has another past."""
    assert restore_snapshot(output, STAMPS.model_copy(update={stamp: "f" * 64}), 1) is None
    assert last_checkpoint(output) is None


def test_a_split_batch_begins_anew(output: Path) -> None:
    """What was computed whole is not gone on with in halves."""
    assert restore_snapshot(output, STAMPS, 2) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "added", "manifest", "no manifest"])
def test_a_damaged_snapshot_is_not_believed(output: Path, damage: str) -> None:
    """A power cut can leave files that were never written out; then training begins anew."""
    folder = snapshots_folder(output) / "epoch-2"
    weights = folder / "checkpoints" / "checkpoint-8" / "adapter_model.safetensors"
    match damage:
        case "cut":
            weights.write_text("")
        case "changed":
            weights.write_text("weights of epoch 9")
        case "missing":
            weights.unlink()
        case "added":
            (folder / "checkpoints" / "more.bin").touch()
        case "manifest":
            (folder / "snapshot.json").write_text('{"stamps"')
        case _:
            (folder / "snapshot.json").unlink()
    assert restore_snapshot(output, STAMPS, 1) is None
    assert not (output / "checkpoints").exists()


def test_a_snapshot_that_was_never_finished_is_not_there(output: Path) -> None:
    """Killed while the third is made, or while the second is cleared away: the newest whole one counts."""
    folder = snapshots_folder(output)
    (folder / ".epoch-3" / "checkpoints").mkdir(parents=True)
    (folder / "epoch-1").mkdir()
    snapshot = restore_snapshot(output, STAMPS, 1)
    assert snapshot is not None
    assert snapshot.epoch == 2
    _train(output, 3)
    assert [path.name for path in folder.iterdir()] == ["epoch-3"]


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some memory cards and network shares."""

    def refuse(source: str, target: str) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    _train(tmp_path / "run", 1)
    assert restore_snapshot(tmp_path / "run", STAMPS, 1) is not None
    assert last_checkpoint(tmp_path / "run") is not None


def test_without_a_snapshot_training_begins_at_the_beginning(tmp_path: Path) -> None:
    """…and no stray checkpoint is taken for one."""
    (tmp_path / "run" / "checkpoints" / "checkpoint-8").mkdir(parents=True)
    assert restore_snapshot(tmp_path / "run", STAMPS, 1) is None
    assert last_checkpoint(tmp_path / "run") is None
