"""Keep a snapshot of a run's checkpoints after each epoch, to continue an interrupted run after its last whole epoch.

Snapshots lie beside the run's folder. Each is a folder that gets its final name when it is complete, so a process that
is killed in between leaves the snapshot before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from adapterbook.common.files import hash_file, replace_folder
from adapterbook.runs.record import Stamps, hash_files

CHECKPOINTS = "checkpoints"  # the Trainer's folder, inside the run's
MANIFEST = "snapshot.json"


class Snapshot(BaseModel):
    """Hold the facts that a snapshot records about its run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stamps: Stamps  # of the run: it continues only if its settings, code, data and packages are the same
    micro_batches: PositiveInt  # parts of each batch
    epoch: NonNegativeInt
    train_time_s: NonNegativeFloat  # so far
    train_cpu_s: NonNegativeFloat  # so far
    peak_memory_bytes: NonNegativeInt  # so far
    resumed_after: tuple[NonNegativeFloat, ...]  # so far
    files: dict[str, str]  # SHA-256 of each file of the checkpoints, by relative path


def snapshots_folder(output: Path) -> Path:
    """Return the folder of a run's snapshots, beside the run's folder, which is replaced as a whole."""
    return output.with_name(f"{output.name}.epochs")


def last_checkpoint(output: Path) -> Path | None:
    """Return the Trainer's newest checkpoint in a run's folder, or None."""
    found = list((output / CHECKPOINTS).glob("checkpoint-*"))
    return max(found, key=lambda path: int(path.name.partition("-")[2]), default=None)


def save_snapshot(output: Path, snapshot: Snapshot) -> Snapshot:
    """Replace a run's snapshot by its checkpoints as they are now.

    Files are hard links if the file system has them; the Trainer never changes a checkpoint of an earlier epoch.

    Returns
    -------
    Snapshot
        The one given, with the files' hashes.
    """
    folder = snapshots_folder(output)
    new = folder / f"epoch-{snapshot.epoch}"
    draft = folder / f".{new.name}"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(output / CHECKPOINTS, draft / CHECKPOINTS, copy_function=_link)
    snapshot = snapshot.model_copy(update={"files": _hash_new_files(folder, draft / CHECKPOINTS)})
    (draft / MANIFEST).write_text(snapshot.model_dump_json(), "utf-8")
    replace_folder(draft, new)
    for old in folder.iterdir():
        if old != new:
            shutil.rmtree(old)
    return snapshot


def restore_snapshot(output: Path, stamps: Stamps, micro_batches: int) -> Snapshot | None:
    """Restore a run's checkpoints as they were at the end of its last whole epoch.

    A snapshot is used only if settings, code, data and packages are the same and its files have their recorded hashes.
    Otherwise the run's folder holds no checkpoint, and training starts from the beginning.

    Returns
    -------
    Snapshot or None
        The one restored.
    """
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    for folder, snapshot in _newest_first(snapshots_folder(output)):
        if snapshot.stamps != stamps or snapshot.micro_batches != micro_batches:
            continue
        if snapshot.files and hash_files(folder / CHECKPOINTS) == snapshot.files:
            shutil.copytree(folder / CHECKPOINTS, output / CHECKPOINTS, copy_function=_link)
            return snapshot
    return None


def _hash_new_files(folder: Path, checkpoints: Path) -> dict[str, str]:
    """Return the hashes of a draft's files, reusing those of files that the snapshot before holds too."""
    known = next(_newest_first(folder), None)
    hashes = {}
    for path in sorted(path for path in checkpoints.rglob("*") if path.is_file()):
        name = path.relative_to(checkpoints).as_posix()
        if known and name in known[1].files and path.samefile(known[0] / CHECKPOINTS / name):
            hashes[name] = known[1].files[name]
        else:
            hashes[name] = hash_file(path)
    return hashes


def _newest_first(folder: Path) -> Iterator[tuple[Path, Snapshot]]:
    """Yield the readable snapshots of a folder, the newest first."""
    found = []
    for path in folder.glob(f"epoch-*/{MANIFEST}"):
        try:
            found.append((path.parent, Snapshot.model_validate_json(path.read_text("utf-8"))))
        except (OSError, ValueError, ValidationError):  # cut off by a power cut
            continue
    yield from sorted(found, key=lambda item: -item[1].epoch)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
