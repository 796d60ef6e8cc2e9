"""Execute the due runs with Papermill, several side by side, and put their folders under ``results/``.

A run's record is written three times. This module writes a placeholder first, which says ``failed``, so a killed run
cannot look finished. The notebook's kernel replaces it with the run's own record. When the run has ended, this module
completes and seals that record, or writes why the run failed. The record decides whether a run completed, not the
notebook's status: a cell whose kernel died can be marked completed.
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
from adapterbook.execution.results_folder import hold_lock, repair_results, staging_folder, stop_kernels
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
    find_more: Callable[[], Sequence[tuple[Run, Record]]] = tuple,
) -> list[Record]:
    """Execute runs side by side; a run that fails is recorded, and the others continue.

    Parameters
    ----------
    runs : sequence of Run
        What is due, in order.
    prepare : callable
        Called while the kernels start; returns each run's placeholder record by run id.
    source : str
        The source as the notebook gets it: the name of a file of ``sources/``, or the path of a YAML file.
    executor : Executor
        Executes the runs; closed at the end.
    cell_timeout_s : float, optional
        Longest time one cell may take; None: no limit.
    find_more : callable
        Called when a run has ended; returns the runs that follow from its result, with their placeholder records.

    Returns
    -------
    list of Record
        In the order in which the runs ended.

    Raises
    ------
    RunError
        If another trainer holds the lock of these results, or the notebook lacks a parameter.
    KeyboardInterrupt
        After the kernels were stopped and unfinished runs removed.
    """
    records: list[Record] = []
    stopping = threading.Event()
    with hold_lock(paths):
        repair_results(paths, runs[0].source, due=runs)
        with closing(executor):
            check_parameters(paths)
            executor.warm_up()
            placeholders = dict(prepare())
            context = TrainingContext(placeholders, paths, source, cell_timeout_s, display.started, stopping)
            futures = {executor.submit(run, context): run for run in runs}
            try:
                with display:
                    for future in _as_completed(futures, display.refresh):
                        run = futures[future]
                        record = _move_run_into_results(executor.collect_record(future, run, context), run, paths)
                        records.append(record)
                        display.ended(record)
                        more = find_more()
                        placeholders |= {run.id: placeholder for run, placeholder in more}
                        futures |= {executor.submit(run, context): run for run, _ in more}
                        display.add(len(more))
            except BaseException:
                stopping.set()
                for future in futures:
                    future.cancel()
                while not all(future.done() for future in futures):  # a kernel may just be starting
                    executor.stop()
                    wait(futures, timeout=0.2)
                raise
        completed = {record.run_id for record in records if record.status == "completed"}
        repair_results(paths, runs[0].source, due=[run for run in futures.values() if run.id not in completed])
    return records


def check_parameters(paths: Paths) -> None:
    """Check that the notebook takes the parameters it will be given; Papermill only warns.

    Raises
    ------
    RunError
        Naming those that its cell tagged ``parameters`` lacks.
    """
    taken = papermill.inspect_notebook(_literal(paths.notebook))
    missing = [name for name in PARAMETERS if name not in taken]
    if missing:
        raise RunError(f"{paths.shown(paths.notebook)}: the cell tagged 'parameters' lacks {', '.join(missing)}.")


@dataclass(frozen=True)
class TrainingContext:
    """Hold what all runs of one call of `train_runs` share.

    Attributes
    ----------
    placeholders : mapping of run id to Record
        Each run's failed record, which stands until its notebook writes a completed one.
    source : str
        The source as the notebook gets it.
    on_start : callable
        Called with each run that starts, and its staging folder.
    stopping : Event
        No kernel starts once it is set.
    """

    placeholders: Mapping[str, Record]
    paths: Paths
    source: str
    cell_timeout_s: float | None
    on_start: Callable[[Run, Path], None]
    stopping: threading.Event


class Executor(Protocol):
    """Execute runs side by side, on this machine or elsewhere."""

    def warm_up(self) -> None:
        """Start the slow preparations that need no run, without waiting for them."""

    def submit(self, run: Run, context: TrainingContext) -> Future[Any]:
        """Execute a run as soon as there is room for it."""

    def collect_record(self, future: Future[Any], run: Run, context: TrainingContext) -> Record:
        """Return the record of a run that ended; its files are in the run's staging folder."""

    def stop(self) -> None:
        """Stop the runs that have started; called again until their futures are done."""

    def close(self) -> None:
        """Release what runs were executed with."""


@dataclass(frozen=True)
class LocalExecutor:
    """Execute runs in kernels of this machine; every kernel executes `warm_up_code` before its first run."""

    pool: KernelPool
    warm_up_code: str = ""

    def warm_up(self) -> None:
        """See `Executor`."""
        if self.warm_up_code:
            self.pool.warm_up(self.warm_up_code)

    def submit(self, run: Run, context: TrainingContext) -> Future[Record]:
        """See `Executor`."""
        return self.pool.submit(execute_run, run, context)

    def collect_record(self, future: Future[Record], run: Run, context: TrainingContext) -> Record:
        """See `Executor`.

        Raises
        ------
        RunError
            If no kernel starts on this machine, so that no other run need be tried.
        """
        record = future.result()
        if record.error is not None and record.error.type == "KernelStart" and not self.pool.has_started:
            why = record.error.message.rstrip(".")
            raise RunError(f"{why}. `python -m ipykernel_launcher`, in this environment, must be able to run.")
        return record

    def stop(self) -> None:
        """See `Executor`."""
        stop_kernels(self.pool.root)

    def close(self) -> None:
        """See `Executor`."""
        self.pool.close()


def execute_run(pool: KernelPool, run: Run, context: TrainingContext) -> Record:
    """Execute the notebook for one run in its staging folder, again with split batches if memory runs out.

    Returns
    -------
    Record
        The notebook's own, or a failed one that says what happened. Errors of the disk are recorded, not raised.
    """
    staging, placeholder = staging_folder(run, context.paths), context.placeholders[run.id]
    started_at = datetime.now(UTC)
    placeholder = placeholder.model_copy(update={"started_at": started_at, "finished_at": started_at})
    try:
        context.on_start(run, staging)
        make_run_folder(staging, placeholder)
        failure = _execute_notebook(pool, run, context, micro_batches=1)
        halved = run.training.per_device_train_batch_size % 2 == 0
        if failure is not None and failure.type == "OutOfMemory" and halved and not context.stopping.is_set():
            smaller = split_batch(run.training, 2, failure.message)
            placeholder = placeholder.model_copy(update={"smaller_batch": smaller})
            make_run_folder(staging, placeholder)
            failure = _execute_notebook(pool, run, context, micro_batches=2)
        record = _choose_final_record(staging, placeholder, failure)
        return _write_final_record(staging, record, context.paths)
    except OSError as error:
        failed = placeholder.model_copy(update={"finished_at": datetime.now(UTC), "error": describe_os_error(error)})
        return write_failed_record(staging, failed, context.paths)


def make_run_folder(staging: Path, placeholder: Record) -> None:
    """Make an empty staging folder for a run, with its placeholder record."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write_record(placeholder, staging)


def _execute_notebook(pool: KernelPool, run: Run, context: TrainingContext, *, micro_batches: int) -> Failure | None:
    """Execute the notebook, and return its failure if it failed.

    Raises
    ------
    OSError
        If the executed notebook cannot be written.
    """
    root, staging = context.paths.root, staging_folder(run, context.paths)
    output = staging / "notebook.ipynb"
    parameters = {
        "source": context.source,
        "adapter": run.adapter.id,
        "variant": run.variant,
        "seed": run.seed,
        "output": Path(os.path.relpath(staging, root)).as_posix(),
        "micro_batches": micro_batches,
    }
    for attempt in range(1, START_ATTEMPTS + 1):
        if context.stopping.is_set():
            return Failure(type="Interrupted", message="Training was stopped.", cell=None)
        try:
            with pool.kernel() as kernel:
                papermill.execute_notebook(
                    _literal(context.paths.notebook),
                    _literal(output),
                    parameters,
                    kernel_name="python3",
                    engine_name=ENGINE,
                    kernel=kernel,
                    progress_bar=False,
                    execution_timeout=context.cell_timeout_s,
                )
        except PapermillExecutionError as error:
            return describe_cell_error(error, root)
        except CellTimeoutError:
            message = f"A cell took longer than {context.cell_timeout_s:.0f} s. CELL_TIMEOUT_S= sets another limit."
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


def _literal(path: Path) -> str:
    """Return a path for Papermill, which would replace a name in braces by a parameter."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _choose_final_record(staging: Path, placeholder: Record, failure: Failure | None) -> Record:
    """Return the record of a run that ended: the notebook's own, or the placeholder with the failure."""
    try:
        record = load_record(staging)
    except RecordError as error:
        record, failure = placeholder, failure or Failure(type="RecordError", message=str(error), cell=None)
    if failure is None and record.status == "completed":
        # The kernel, which is offline, does not know why this source or this rate was chosen or why a batch was split.
        source = record.source.model_copy(update={"reason": placeholder.source.reason})
        kept = {"smaller_batch": placeholder.smaller_batch, "extends_grid": placeholder.extends_grid}
        return record.model_copy(update={"source": source, **kept})
    return placeholder.model_copy(update={"finished_at": datetime.now(UTC), "error": failure or record.error})


def _write_final_record(staging: Path, record: Record, paths: Paths) -> Record:
    """Clean a run's folder, then write its model card and its sealed record."""
    _clean_run_folder(staging, paths.root, keep_results=record.status == "completed")
    if record.status == "completed" and (staging / "adapter").is_dir():
        write_model_card(record, staging / "adapter")
    record = seal_record(record, staging)
    write_record(record, staging)
    return record


def write_failed_record(staging: Path, failed: Record, paths: Paths) -> Record:
    """Write a failed record; if the disk refuses, the placeholder stands, which is failed too."""
    try:
        return _write_final_record(staging, failed, paths)
    except OSError:
        return failed


def _move_run_into_results(record: Record, run: Run, paths: Paths) -> Record:
    """Move a run's folder under ``results/``, and return its record: a failed one if the disk refuses."""
    staging = staging_folder(run, paths)
    try:
        if staging.exists():  # a full disk may not even have taken the folder
            replace_folder(staging, run.folder(paths))
    except OSError as error:
        return record.model_copy(update={"status": "failed", "error": describe_os_error(error)})
    if record.status == "completed":
        shutil.rmtree(snapshots_folder(staging), ignore_errors=True)
    return record


def _clean_run_folder(staging: Path, root: Path, *, keep_results: bool) -> None:
    """Remove checkpoints and other files no reader needs, and this machine's paths from the notebook."""
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
    except ValueError:  # cut off by a full disk
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


def _as_completed(futures: Mapping[Future[Any], Run], tick: Callable[[], None]) -> Iterator[Future[Any]]:
    """Yield futures as they complete, also those that are added, and call `tick` often while waiting."""
    ended: set[Future[Any]] = set()
    while pending := futures.keys() - ended:
        done, _ = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
        tick()
        for future in done:
            ended.add(future)
            yield future
