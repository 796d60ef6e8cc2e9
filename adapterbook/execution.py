"""Runs that are due → Papermill, once per run, several side by side → their folders under ``results/``.

Owns the lock, the staging folders and what becomes of a run that fails. A run is judged by the record
that its notebook wrote, never by the notebook's own status: a cell whose kernel died can end up marked completed.
Until the notebook overwrites it, that record says ``failed``; so a run that is killed can not look finished.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
import psutil
from filelock import FileLock, Timeout
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from adapterbook.config import Paths
from adapterbook.display import TrainingDisplay
from adapterbook.errors import RecordError, RunError
from adapterbook.kernels import ENGINE, remove_sockets, start_kernel, stop_kernels
from adapterbook.records import Failure, Record, load_record, write_record
from adapterbook.runs import Run

__all__ = ["count_workers", "execute_run", "train_runs"]

MEMORY_PER_WORKER_BYTES = 2 * 1024**3
START_ATTEMPTS = 3
PARAMETERS = ("source", "adapter", "variant", "seed", "output")


def count_workers(jobs: int | None, *, n_runs: int, n_gpus: int) -> int:
    """Return how many runs go side by side.

    Parameters
    ----------
    jobs : int or None
        What the user asked for; None: one per GPU, else one per core that 2 GiB of free memory go with.

    Raises
    ------
    RunError
        If `jobs` is less than 1.
    """
    if jobs is not None and jobs < 1:
        raise RunError(f"JOBS={jobs}: expected 1 or more, or nothing for as many as this machine has cores for.")
    if jobs is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jobs = n_gpus or min(cores, psutil.virtual_memory().available // MEMORY_PER_WORKER_BYTES)
    return max(1, min(jobs, n_runs))


def train_runs(
    runs: Sequence[Run],
    skeletons: Mapping[str, Record],
    paths: Paths,
    source: str,
    *,
    n_workers: int,
    cell_timeout_s: float | None = None,
    display: TrainingDisplay,
) -> list[Record]:
    """Execute runs side by side; a run that fails is recorded, and the others go on.

    Parameters
    ----------
    runs : sequence of Run
        What is due, in order.
    skeletons : mapping of run id to Record
        Each run's failed record, which stands until its notebook writes a completed one.
    source : str
        The source as the notebook gets it: the name of a file of ``sources/``, or the path of a YAML file.
    cell_timeout_s : float, optional
        Longest time one cell may take; None: no limit.

    Returns
    -------
    list of Record
        In the order in which the runs ended.

    Raises
    ------
    RunError
        If another trainer holds the lock of these results, or the notebook lacks a parameter.
    KeyboardInterrupt
        After the kernels were stopped. Unfinished runs leave nothing behind.
    """
    check_parameters(paths)
    records: list[Record] = []
    stopping = threading.Event()
    with hold_lock(paths), display, ThreadPoolExecutor(n_workers) as pool:
        recover(paths)
        futures = {
            pool.submit(execute_run, run, skeletons[run.id], paths, source, cell_timeout_s, display, stopping): run
            for run in runs
        }
        try:
            for future in _as_they_end(futures, display.refresh):
                record, run = future.result(), futures[future]
                publish(staging_folder(run, paths), run.folder(paths))
                records.append(record)
                display.ended(record)
        except BaseException:
            stopping.set()
            for future in futures:
                future.cancel()
            while not all(future.done() for future in futures):  # a kernel may be about to start
                stop_kernels()
                wait(futures, timeout=0.2)
            raise
    return records


def check_parameters(paths: Paths) -> None:
    """Check that the notebook takes the parameters it will be given: Papermill itself only warns.

    Raises
    ------
    RunError
        Naming those that it lacks, in the cell that is tagged ``parameters``.
    """
    taken = papermill.inspect_notebook(paths.notebook)
    missing = [name for name in PARAMETERS if name not in taken]
    if missing:
        raise RunError(f"{paths.shown(paths.notebook)}: the cell tagged 'parameters' lacks {', '.join(missing)}.")


def execute_run(
    run: Run,
    skeleton: Record,
    paths: Paths,
    source: str,
    cell_timeout_s: float | None,
    display: TrainingDisplay,
    stopping: threading.Event,
) -> Record:
    """Execute the notebook for one run, in its staging folder; start no kernel once `stopping` is set.

    Returns
    -------
    Record
        The notebook's own, or a failed one that says what happened.
    """
    staging = staging_folder(run, paths)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write_record(skeleton.model_copy(update={"started_at": datetime.now(UTC)}), staging)
    display.started(run, staging)
    parameters: dict[str, object] = {
        "source": source,
        "adapter": run.adapter.id,
        "variant": run.variant,
        "seed": run.seed,
        "output": Path(os.path.relpath(staging, paths.root)).as_posix(),
    }
    failure = _execute_notebook(paths, staging / "notebook.ipynb", parameters, cell_timeout_s, stopping)
    record = _judge(staging, skeleton, failure)
    _tidy(staging, paths.root, keep_results=record.status == "completed")
    return record


def _execute_notebook(
    paths: Paths,
    output: Path,
    parameters: Mapping[str, object],
    cell_timeout_s: float | None,
    stopping: threading.Event,
) -> Failure | None:
    """Execute the notebook, and return what went wrong with it, if anything."""
    for attempt in range(1, START_ATTEMPTS + 1):
        if stopping.is_set():
            return Failure(type="Interrupted", message="Training was stopped.", cell=None)
        try:
            with start_kernel(paths.root) as kernel:
                papermill.execute_notebook(
                    paths.notebook,
                    output,
                    dict(parameters),
                    kernel_name="python3",
                    engine_name=ENGINE,
                    kernel=kernel,
                    progress_bar=False,
                    execution_timeout=cell_timeout_s,
                )
        except PapermillExecutionError as error:
            return Failure(type=error.ename, message=str(error.evalue)[:2000], cell=error.cell_index)
        except CellTimeoutError:
            message = f"A cell took longer than {cell_timeout_s:.0f} s. CELL_TIMEOUT_S= sets another limit."
            return Failure(type="Timeout", message=message, cell=_last_started_cell(output))
        except DeadKernelError:
            message = "The kernel died: it was killed, or the machine ran out of memory. JOBS=1 needs least memory."
            return Failure(type="DeadKernel", message=message, cell=_last_started_cell(output))
        except RuntimeError as error:  # the kernel did not start
            if attempt == START_ATTEMPTS:
                return Failure(type="KernelStart", message=f"The kernel did not start: {error}", cell=None)
        else:
            return None
    raise AssertionError("the last attempt returns")


def _judge(staging: Path, skeleton: Record, failure: Failure | None) -> Record:
    """Return the record of a run that ended, having written a failed one where it did not complete."""
    try:
        record = load_record(staging)
    except RecordError as error:
        record, failure = skeleton, failure or Failure(type="RecordError", message=str(error), cell=None)
    if failure is None and record.status == "completed":
        # Only the driver knows why this source was taken: the kernel is offline and gets its name.
        source = record.source.model_copy(update={"reason": skeleton.source.reason})
        record = record.model_copy(update={"source": source})
        write_record(record, staging)
        return record
    failed = skeleton.model_copy(
        update={"started_at": record.started_at, "finished_at": datetime.now(UTC), "error": failure or record.error}
    )
    write_record(failed, staging)
    return failed


def _last_started_cell(notebook: Path) -> int | None:
    """Return the index of the last cell that Papermill started, or None where none was."""
    if not notebook.exists():
        return None
    cells = nbformat.read(notebook, as_version=4).cells
    started = [i for i, cell in enumerate(cells) if cell.metadata.get("papermill", {}).get("start_time")]
    return started[-1] if started else None


def _tidy(staging: Path, root: Path, *, keep_results: bool) -> None:
    """Take away what no reader needs, and the machine's own paths from the executed notebook."""
    shutil.rmtree(staging / "checkpoints", ignore_errors=True)
    for name in ["progress.jsonl"] if keep_results else ["progress.jsonl", "predictions.parquet"]:
        (staging / name).unlink(missing_ok=True)
    if not keep_results:
        shutil.rmtree(staging / "adapter", ignore_errors=True)
    path = staging / "notebook.ipynb"
    if path.exists():
        # Papermill's markers, in English only, would shift the cell that the record names.
        notebook = remove_error_markers(nbformat.read(path, as_version=4))
        path.write_text(hide_paths(nbformat.writes(notebook) + "\n", root), "utf-8")


def hide_paths(text: str, root: Path) -> str:
    """Return a text without the folders of this machine: what is published must not tell whose machine it was.

    Examples
    --------
    >>> hide_paths("File /home/me/book/adapterbook/data.py, line 3", Path("/home/me/book"))
    'File adapterbook/data.py, line 3'
    """
    folders = {f"{root}{os.sep}": "", str(root): ".", sys.prefix: "<python>", sys.base_prefix: "<python>",
               tempfile.gettempdir(): "<tmp>", str(Path.home()): "~"}  # fmt: skip
    for folder in sorted(folders, key=len, reverse=True):
        if folder != os.sep:
            text = text.replace(folder, folders[folder])
    return text


def staging_folder(run: Run, paths: Paths) -> Path:
    """Return the folder that a run is made in before it is put in place, on the same file system."""
    return paths.results / ".staging" / run.source / run.id.replace("/", "--")


def publish(staging: Path, final: Path) -> None:
    """Put a finished folder in the place of the one before it.

    Two renames: a crash between them leaves the old folder beside the new one, and `recover` puts it back.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    old = final.with_name(f".{final.name}.old")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    staging.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def recover(paths: Paths) -> None:
    """Clear away what a trainer that was killed left behind; the caller holds the lock."""
    shutil.rmtree(paths.results / ".staging", ignore_errors=True)
    remove_sockets(paths.root)
    for old in paths.results.glob("*/*/*/.*.old"):
        final = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
        if final.exists():
            shutil.rmtree(old)
        else:
            old.rename(final)


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


def _as_they_end(futures: Mapping[Future[Record], Run], tick: Callable[[], None]) -> Iterator[Future[Record]]:
    """Yield futures as they end, calling `tick` a few times a second while waiting."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
        tick()
        yield from done
