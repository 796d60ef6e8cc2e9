"""Where an interrupted run goes on from: its checkpoints, as they stood at the end of its last whole epoch.

Owns the snapshots beside a run's folder: how one is made, believed and put back. Each is a folder of its own that gets
its name when it is whole, so whoever is killed in between leaves the one before. Knows nothing of the Trainer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from adapterbook.common.files import hash_file, replace_folder
from adapterbook.runs.record import Stamps, hash_files

CHECKPOINTS = "checkpoints"  # the Trainer's own folder, within the run's
MANIFEST = "snapshot.json"


class Snapshot(BaseModel):
    """What a snapshot says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stamps: Stamps  # of the run: a run of today goes on from its own past alone
    micro_batches: PositiveInt  # how many each batch was split into
    epoch: NonNegativeInt
    train_time_s: NonNegativeFloat  # so far
    peak_memory_bytes: NonNegativeInt  # so far
    resumed_after: tuple[NonNegativeFloat, ...]  # so far
    files: dict[str, str]  # SHA-256 of each file of the checkpoints, by relative path


def snapshots_folder(output: Path) -> Path:
    """Return the folder that a run's snapshots lie in: beside the run's own, which is replaced as a whole."""
    return output.with_name(f"{output.name}.epochs")


def last_checkpoint(output: Path) -> Path | None:
    """Return the Trainer's newest checkpoint in a run's folder, None where there is none."""
    found = list((output / CHECKPOINTS).glob("checkpoint-*"))
    return max(found, key=lambda path: int(path.name.partition("-")[2]), default=None)


def save_snapshot(output: Path, snapshot: Snapshot) -> Snapshot:
    """Keep a run's checkpoints as they are now, in the place of the snapshot before.

    Files are linked where the file system can, since the Trainer never writes into a checkpoint of an earlier epoch.

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
    """Put a run's checkpoints back as they were at the end of its last whole epoch.

    A snapshot of other settings, code, data or packages is not gone on from, nor is one whose files are not, to the
    last bit, what they were. Then the run's folder holds no checkpoint, and training begins anew.

    Returns
    -------
    Snapshot or None
        The one put back.
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
    """Return the hashes of a draft's files; those of files that the snapshot before holds too are known."""
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
    """Yield the snapshots of a folder that can be read."""
    found = []
    for path in folder.glob(f"epoch-*/{MANIFEST}"):
        try:
            found.append((path.parent, Snapshot.model_validate_json(path.read_text("utf-8"))))
        except (OSError, ValueError, ValidationError):  # cut off by a power cut: as good as not there
            continue
    yield from sorted(found, key=lambda item: -item[1].epoch)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
