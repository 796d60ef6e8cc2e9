"""The folder of results as a place of work: its lock, the folders that runs are made in, and what a crash left there.

Owns every step by which a run's folder changes. A run is made in a staging folder and put in place as a whole, so a
reader finds the old run or the new one. Loads nothing heavy: every ``make`` looks for leftovers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from adapterbook.common.errors import RunError
from adapterbook.common.workdir import temporary_folders, temporary_prefix
from adapterbook.config.paths import Paths
from adapterbook.runs.plan import Run
from adapterbook.training.checkpoints import snapshots_folder


@contextmanager
def hold_lock(paths: Paths) -> Iterator[None]:
    """Hold the lock of a project's results; a lock whose holder died is free.

    Raises
    ------
    RunError
        If another process holds it.
    """
    paths.results.mkdir(parents=True, exist_ok=True)
    note = paths.results / ".trainer"
    lock = FileLock(paths.results / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = note.read_text("utf-8").strip() if note.exists() else "another process"
        raise RunError(f"{holder} is training into {paths.shown(paths.results)}: wait until it ends.") from None
    try:
        note.write_text(f"process {os.getpid()}\n", "utf-8")
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def staging_folder(run: Run, paths: Paths) -> Path:
    """Return the folder that a run is made in before it is put in place, on the same file system."""
    return paths.results / ".staging" / run.source / run.id.replace("/", "+")  # in no identifier there is a +


def clear_leftovers(paths: Paths, source: str) -> None:
    """Clear away what a killed trainer left behind where nothing is left to train; a trainer at work is left alone."""
    if (paths.results / ".staging" / source).exists() or _old_folders(paths) or temporary_folders(paths.root, "kernel"):
        with suppress(RunError), hold_lock(paths):
            recover(paths, source, due=())


def recover(paths: Paths, source: str, due: Collection[Run]) -> None:
    """Clear away what a trainer that was killed left behind; the caller holds the lock.

    Parameters
    ----------
    source : str
        Whose unfinished runs are looked at. Those of another source may still go on some day.
    due : collection of Run
        Runs whose last whole epochs are kept, because training will go on from there.
    """
    stop_kernels(paths.root)
    for folder in temporary_folders(paths.root, "kernel"):
        shutil.rmtree(folder, ignore_errors=True)
    kept = {snapshots_folder(staging_folder(run, paths)) for run in due}
    staging = paths.results / ".staging"
    for folder in (staging / source).glob("*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (staging / source, staging):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    for old in _old_folders(paths):
        final = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
        if final.exists():
            shutil.rmtree(old)
        else:
            old.rename(final)


def _old_folders(paths: Paths) -> list[Path]:
    return list(paths.results.glob("*/*/*/.*.old"))


def stop_kernels(root: Path) -> None:
    """Kill a project's kernels and all that they started, and wait until they are gone.

    Those of a trainer that is gone are among them: they notice it themselves, but not at once.
    """
    prefix = temporary_prefix(root, "kernel")
    kernels = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(prefix in part for part in process.info["cmdline"] or ())
    ]
    processes = set(kernels)
    for kernel in kernels:
        with suppress(psutil.NoSuchProcess):
            processes.update(kernel.children(recursive=True))
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=10)
