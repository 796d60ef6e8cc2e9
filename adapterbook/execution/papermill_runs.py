"""Runs that are due → Papermill, once per run, several side by side → their folders under ``results/``.

Owns how a run is executed and what becomes of one that fails. A run is judged by the record that its notebook wrote,
never by the notebook's own status: a cell whose kernel died can end up marked completed. Until the notebook overwrites
it, that record says ``failed``; so a run that is killed can not look finished.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from adapterbook.common.errors import RecordError, RunError
from adapterbook.common.files import replace_folder, write_atomically
from adapterbook.common.privacy import hide_folders, hide_machine
from adapterbook.config.paths import Paths
from adapterbook.execution.failures import describe_cell_error, describe_os_error, last_started_cell
from adapterbook.execution.kernels import ENGINE, KernelPool
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.execution.results_folder import hold_lock, recover, staging_folder, stop_kernels
from adapterbook.runs.model_card import write_model_card
from adapterbook.runs.plan import Run, split_batch
from adapterbook.runs.record import Failure, Record, load_record, seal_record, write_record
from adapterbook.training.checkpoints import CHECKPOINTS, snapshots_folder

START_ATTEMPTS = 3
PARAMETERS = ("source", "adapter", "variant", "seed", "output", "micro_batches")


def train_runs(
    runs: Sequence[Run],
    prepare: Callable[[], Mapping[str, Record]],
    paths: Paths,
    source: str,
    executor: Executor,
    *,
    cell_timeout_s: float | None = None,
    display: TrainingDisplay,
) -> list[Record]:
    """Execute runs side by side; a run that fails is recorded, and the others go on.

    Parameters
    ----------
    runs : sequence of Run
        What is due, in order.
    prepare : callable
        Called while the kernels start; returns, by run id, each run's failed record, which stands until its notebook
        writes a completed one.
    source : str
        The source as the notebook gets it: the name of a file of ``sources/``, or the path of a YAML file.
    executor : Executor
        Where the runs are executed; closed at the end.
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
    records: list[Record] = []
    stopping = threading.Event()
    with hold_lock(paths):
        recover(paths, runs[0].source, due=runs)
        with closing(executor):
            check_parameters(paths)
            executor.warm_up()
            work = Work(prepare(), paths, source, cell_timeout_s, display.started, stopping)
            futures = {executor.submit(run, work): run for run in runs}
            try:
                with display:
                    for future in _as_they_end(futures, display.refresh):
                        run = futures[future]
                        record = _put_in_place(executor.collect(future, run, work), run, paths)
                        records.append(record)
                        display.ended(record)
            except BaseException:
                stopping.set()
                for future in futures:
                    future.cancel()
                while not all(future.done() for future in futures):  # a kernel may be about to start
                    executor.stop()
                    wait(futures, timeout=0.2)
                raise
        completed = {record.run_id for record in records if record.status == "completed"}
        recover(paths, runs[0].source, due=[run for run in runs if run.id not in completed])
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


@dataclass(frozen=True)
class Work:
    """What all runs of one `train_runs` share.

    Attributes
    ----------
    skeletons : mapping of run id to Record
        Each run's failed record, which stands until its notebook writes a completed one.
    source : str
        The source as the notebook gets it.
    started : callable
        Told each run that begins and the folder that it is made in.
    stopping : Event
        Once it is set, no kernel starts.
    """

    skeletons: Mapping[str, Record]
    paths: Paths
    source: str
    cell_timeout_s: float | None
    started: Callable[[Run, Path], None]
    stopping: threading.Event


class Executor(Protocol):
    """Where runs are executed, side by side."""

    def warm_up(self) -> None:
        """Begin with what takes long and needs no run; does not wait for it."""

    def submit(self, run: Run, work: Work) -> Future[Any]:
        """Have a run executed, as soon as there is room for it."""

    def collect(self, future: Future[Any], run: Run, work: Work) -> Record:
        """Return the record of a run that ended, which lies with its other files in the run's staging folder."""

    def stop(self) -> None:
        """End the runs that have begun, now; called again until their futures are done."""

    def close(self) -> None:
        """Give back what runs were executed with."""


@dataclass(frozen=True)
class LocalExecutor:
    """Runs in kernels of this machine; `ahead` is what every kernel loads before its first run."""

    workers: KernelPool
    ahead: str = ""

    def warm_up(self) -> None:
        """See `Executor`."""
        if self.ahead:
            self.workers.warm_up(self.ahead)

    def submit(self, run: Run, work: Work) -> Future[Record]:
        """See `Executor`."""
        return self.workers.submit(execute_run, run, work)

    def collect(self, future: Future[Record], run: Run, work: Work) -> Record:
        """See `Executor`."""
        return future.result()

    def stop(self) -> None:
        """See `Executor`."""
        stop_kernels(self.workers.root)

    def close(self) -> None:
        """See `Executor`."""
        self.workers.close()


def execute_run(workers: KernelPool, run: Run, work: Work) -> Record:
    """Execute the notebook for one run, in its staging folder; once more with half the batch if memory runs out.

    Returns
    -------
    Record
        The notebook's own, or a failed one that says what happened. Nothing that the disk does is raised.
    """
    staging, skeleton = staging_folder(run, work.paths), work.skeletons[run.id]
    started_at = datetime.now(UTC)
    skeleton = skeleton.model_copy(update={"started_at": started_at, "finished_at": started_at})
    try:
        work.started(run, staging)
        begin(staging, skeleton)
        failure = _execute_notebook(workers, run, work, micro_batches=1)
        halved = run.training.per_device_train_batch_size % 2 == 0
        if failure is not None and failure.type == "OutOfMemory" and halved and not work.stopping.is_set():
            smaller = split_batch(run.training, 2, failure.message)
            skeleton = skeleton.model_copy(update={"smaller_batch": smaller})
            begin(staging, skeleton)
            failure = _execute_notebook(workers, run, work, micro_batches=2)
        record = _judge(staging, skeleton, failure)
        return _seal(staging, record, work.paths)
    except OSError as error:
        failed = skeleton.model_copy(update={"finished_at": datetime.now(UTC), "error": describe_os_error(error)})
        return save_failure(staging, failed, work.paths)


def begin(staging: Path, skeleton: Record) -> None:
    """Make the run's staging folder anew, with the record of a run that did not reach its end."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write_record(skeleton, staging)


def _execute_notebook(workers: KernelPool, run: Run, work: Work, *, micro_batches: int) -> Failure | None:
    """Execute the notebook, and return what went wrong with it, if anything.

    Raises
    ------
    OSError
        If the executed notebook cannot be written.
    """
    root, staging = work.paths.root, staging_folder(run, work.paths)
    output = staging / "notebook.ipynb"
    parameters = {
        "source": work.source,
        "adapter": run.adapter.id,
        "variant": run.variant,
        "seed": run.seed,
        "output": Path(os.path.relpath(staging, root)).as_posix(),
        "micro_batches": micro_batches,
    }
    for attempt in range(1, START_ATTEMPTS + 1):
        if work.stopping.is_set():
            return Failure(type="Interrupted", message="Training was stopped.", cell=None)
        try:
            with workers.kernel() as kernel:
                papermill.execute_notebook(
                    work.paths.notebook,
                    output,
                    parameters,
                    kernel_name="python3",
                    engine_name=ENGINE,
                    kernel=kernel,
                    progress_bar=False,
                    execution_timeout=work.cell_timeout_s,
                )
        except PapermillExecutionError as error:
            return describe_cell_error(error, root)
        except CellTimeoutError:
            message = f"A cell took longer than {work.cell_timeout_s:.0f} s. CELL_TIMEOUT_S= sets another limit."
            return Failure(type="Timeout", message=message, cell=last_started_cell(output))
        except DeadKernelError:
            message = "The kernel died: it was killed, or the machine ran out of memory. JOBS=1 needs least memory."
            return Failure(type="DeadKernel", message=message, cell=last_started_cell(output))
        except RuntimeError as error:  # the kernel did not start
            if attempt == START_ATTEMPTS:
                message = hide_machine(f"The kernel did not start: {error}", root)
                return Failure(type="KernelStart", message=message, cell=None)
        else:
            return None
    raise AssertionError("the last attempt returns")


def _judge(staging: Path, skeleton: Record, failure: Failure | None) -> Record:
    """Return the record of a run that ended: the notebook's own, or a failed one."""
    try:
        record = load_record(staging)
    except RecordError as error:
        record, failure = skeleton, failure or Failure(type="RecordError", message=str(error), cell=None)
    if failure is None and record.status == "completed":
        # Only the driver knows why this source was taken, since the kernel is offline, and why a batch was split.
        source = record.source.model_copy(update={"reason": skeleton.source.reason})
        return record.model_copy(update={"source": source, "smaller_batch": skeleton.smaller_batch})
    return skeleton.model_copy(update={"finished_at": datetime.now(UTC), "error": failure or record.error})


def _seal(staging: Path, record: Record, paths: Paths) -> Record:
    """Write the last record of a run, sealed, after taking away what no reader needs."""
    _tidy(staging, paths.root, keep_results=record.status == "completed")
    if record.status == "completed" and (staging / "adapter").is_dir():
        write_model_card(record, staging / "adapter")
    record = seal_record(record, staging)
    write_record(record, staging)
    return record


def save_failure(staging: Path, failed: Record, paths: Paths) -> Record:
    """Write a failed record where the disk lets us; else the one that the run began with stands, failed too."""
    try:
        return _seal(staging, failed, paths)
    except OSError:
        return failed


def _put_in_place(record: Record, run: Run, paths: Paths) -> Record:
    """Put a run's folder in place, and return its record: a failed one where the disk does not let us."""
    staging = staging_folder(run, paths)
    try:
        if staging.exists():  # not so where the disk did not even take the folder
            replace_folder(staging, run.folder(paths))
    except OSError as error:
        return record.model_copy(update={"status": "failed", "error": describe_os_error(error)})
    if record.status == "completed":
        shutil.rmtree(snapshots_folder(staging), ignore_errors=True)
    return record


def _tidy(staging: Path, root: Path, *, keep_results: bool) -> None:
    """Take away what no reader needs, and from the executed notebook what it tells of this machine."""
    for name in (CHECKPOINTS,) if keep_results else (CHECKPOINTS, "adapter"):
        shutil.rmtree(staging / name, ignore_errors=True)
    for path in [*staging.glob(".*"), staging / "progress.jsonl"]:
        path.unlink(missing_ok=True)
    if not keep_results:
        (staging / "predictions.parquet").unlink(missing_ok=True)
    path = staging / "notebook.ipynb"
    if not path.exists():
        return
    try:
        # Papermill's markers, in English only, would shift the cell that the record names.
        notebook = remove_error_markers(nbformat.read(path, as_version=4))
    except ValueError:  # cut off, where the disk was full
        path.unlink()
        return
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for key in ("text", "evalue"):
                if key in output:
                    output[key] = hide_machine(output[key], root)
            if "traceback" in output:
                output["traceback"] = [hide_machine(line, root) for line in output["traceback"]]
    write_atomically(path, hide_folders(nbformat.writes(notebook) + "\n", root))


def _as_they_end(futures: Mapping[Future[Any], Run], tick: Callable[[], None]) -> Iterator[Future[Any]]:
    """Yield futures as they end, calling `tick` a few times a second while waiting."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
        tick()
        yield from done
