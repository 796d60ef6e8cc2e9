"""Test that an interrupted run continues from its own snapshot, whole and unchanged, or starts again."""

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
    """Leave the files that an epoch of training leaves: a new checkpoint, and its snapshot."""
    folder = output / "checkpoints" / f"checkpoint-{8 * epoch}"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_text(f"weights of epoch {epoch}")
    snapshot = Snapshot(
        stamps=STAMPS,
        micro_batches=micro_batches,
        epoch=epoch,
        train_time_s=epoch,
        train_cpu_s=2 * epoch,
        peak_memory_bytes=1,
        resumed_after=(),
        files={},
    )
    return save_snapshot(output, snapshot)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return the folder of a run after two epochs and some steps of the third."""
    folder = tmp_path / "run"
    _train(folder, 1)
    _train(folder, 2)
    (folder / "checkpoints" / "checkpoint-20").mkdir()
    return folder


def test_training_goes_on_after_the_last_whole_epoch(output: Path) -> None:
    """The newest snapshot is restored, with every checkpoint up to that moment and none after it."""
    snapshot = restore_snapshot(output, STAMPS, 1)
    assert snapshot is not None
    assert (snapshot.epoch, snapshot.train_time_s, snapshot.train_cpu_s) == (2, 2, 4)
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["checkpoint-16", "checkpoint-8"]
    assert last_checkpoint(output) == output / "checkpoints" / "checkpoint-16"


def test_one_snapshot_is_kept(output: Path) -> None:
    """A new snapshot replaces the old one, so they do not pile up."""
    assert [path.name for path in snapshots_folder(output).iterdir()] == ["epoch-2"]


def test_a_snapshot_outlives_the_run_s_folder(output: Path) -> None:
    """A snapshot survives when the run's folder is made again, and later training does not change it."""
    (output / "checkpoints" / "checkpoint-16" / "adapter_model.safetensors").unlink()
    assert restore_snapshot(output, STAMPS, 1) is not None
    kept = output / "checkpoints" / "checkpoint-16" / "adapter_model.safetensors"
    assert kept.read_text() == "weights of epoch 2"


@pytest.mark.parametrize("stamp", ["config", "code", "notebook", "data", "packages"])
def test_a_changed_run_begins_anew(output: Path, stamp: str) -> None:
    """A run with another configuration does not use the snapshot."""
    assert restore_snapshot(output, STAMPS.model_copy(update={stamp: "f" * 64}), 1) is None
    assert last_checkpoint(output) is None


def test_a_split_batch_begins_anew(output: Path) -> None:
    """A run that started with whole batches does not continue with split ones."""
    assert restore_snapshot(output, STAMPS, 2) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "added", "manifest", "no manifest"])
def test_a_damaged_snapshot_is_not_believed(output: Path, damage: str) -> None:
    """A snapshot whose files a power cut has damaged is ignored, and training starts again."""
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
    """If the process is killed while it writes or removes a snapshot, the newest whole one is used."""
    folder = snapshots_folder(output)
    (folder / ".epoch-3" / "checkpoints").mkdir(parents=True)
    (folder / "epoch-1").mkdir()
    snapshot = restore_snapshot(output, STAMPS, 1)
    assert snapshot is not None
    assert snapshot.epoch == 2
    _train(output, 3)
    assert [path.name for path in folder.iterdir()] == ["epoch-3"]


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links, such as a memory card, the snapshot holds copies."""

    def refuse(source: str, target: str) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    _train(tmp_path / "run", 1)
    assert restore_snapshot(tmp_path / "run", STAMPS, 1) is not None
    assert last_checkpoint(tmp_path / "run") is not None


def test_without_a_snapshot_training_begins_at_the_beginning(tmp_path: Path) -> None:
    """Without a snapshot training starts at the beginning, and a stray checkpoint is not used."""
    (tmp_path / "run" / "checkpoints" / "checkpoint-8").mkdir(parents=True)
    assert restore_snapshot(tmp_path / "run", STAMPS, 1) is None
    assert last_checkpoint(tmp_path / "run") is None
