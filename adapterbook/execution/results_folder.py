"""Change the folder of results: its lock, the staging folders of runs, and the repair after a crash.

A run is made in a staging folder and moved into ``results/`` as a whole, so a reader finds the old run or the new one.
Imports nothing heavy, because every ``make`` looks for leftovers.
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
    """Hold the lock of a project's results; the lock of a dead process is free.

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
    """Return the folder that a run is made in, on the same file system as its final folder."""
    return paths.results / ".staging" / run.source / run.id.replace("/", "+")  # no identifier has a +


def clear_leftovers(paths: Paths, source: str) -> None:
    """Remove what a killed trainer left behind, when no run is due; does nothing while a trainer is at work."""
    if (paths.results / ".staging" / source).exists() or _old_folders(paths) or temporary_folders(paths.root, "kernel"):
        with suppress(RunError), hold_lock(paths):
            repair_results(paths, source, due=())


def repair_results(paths: Paths, source: str, due: Collection[Run]) -> None:
    """Remove what a killed trainer left behind, and restore replaced folders; the caller holds the lock.

    Parameters
    ----------
    source : str
        Its unfinished runs are removed. Those of other sources stay, to be continued later.
    due : collection of Run
        Runs whose snapshots are kept, because training will continue from them.
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
    """Kill a project's kernels and their children, and wait until they are gone.

    This includes the kernels of a dead trainer, which end by themselves only after a while.
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
