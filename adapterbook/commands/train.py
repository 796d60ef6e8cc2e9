"""Train every run that is due: `make train`."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from adapterbook.common.errors import RunError
from adapterbook.common.formatting import format_duration, format_number, say
from adapterbook.config.paths import Paths
from adapterbook.config.study import DataConfig
from adapterbook.execution.kernels import count_parallel_runs, list_devices
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.execution.results_folder import clear_leftovers, hold_lock
from adapterbook.runs.plan import Run
from adapterbook.runs.probe import probe_status, stamp_probe
from adapterbook.runs.select import compute_statuses, default_seeds, load_project, name_source
from adapterbook.sources.resolve import ResolvedSource, resolve_source

if TYPE_CHECKING:
    from distributed import Client

    from adapterbook.execution.cluster.driver import ClusterExecutor
    from adapterbook.execution.papermill_runs import Executor
    from adapterbook.runs.record import Record


@dataclass(frozen=True)
class TrainOutcome:
    """Report what `train` did.

    Attributes
    ----------
    source : str
        Name of the source and of its folder under ``results/``.
    exit_code : int
        1 if a run failed, else 0.
    """

    source: str
    exit_code: int


def train(
    root: Path,
    source: str,
    seeds: Sequence[int] | None,
    jobs: int | None,
    cell_timeout_s: float,
    console: Console,
    scheduler: str | None = None,
) -> TrainOutcome:
    """Train every run that is missing, failed or stale.

    Parameters
    ----------
    scheduler : str, optional
        Address of the Dask cluster that executes the runs; None: this machine does.
    """
    paths = Paths(root)
    study, adapters = load_project(paths)
    resolved = resolve_source(source, paths)
    say(console, f"Source {resolved.config.name}: {resolved.reason}")
    seeds, exit_code, tried = seeds or default_seeds(study), 0, set[str]()
    while True:  # what the search for learning rates runs next depends on what it found
        _, statuses = compute_statuses(paths, study, adapters, resolved.config.name, seeds, resolved)
        due = [status.run for status in statuses if not status.up_to_date and status.run.id not in tried]
        if not due:
            break
        _announce(due, len(statuses), tried, console)
        exit_code |= _train(due, paths, source, resolved, jobs, cell_timeout_s, console, scheduler)
        tried |= {run.id for run in due}
    if not tried:
        clear_leftovers(paths, resolved.config.name)
        say(console, f"All {len(statuses)} runs are up to date: nothing to train.")
    exit_code |= _update_probe(study.data, paths, resolved, console)
    return TrainOutcome(resolved.config.name, exit_code)


def _update_probe(data: DataConfig, paths: Paths, resolved: ResolvedSource, console: Console) -> int:
    """Make the linear probe if it is missing or stale; return 1 if it cannot be fitted, else 0."""
    if probe_status(paths, resolved.config.name, stamp_probe(data, resolved.data_identity())).up_to_date:
        return 0
    with hold_lock(paths), console.status("Computing the features of the base model, fitting the linear probe …"):
        from adapterbook.training import load_training

        load_training()
        from adapterbook.training.probe import make_probe

        try:
            record = make_probe(data, paths, resolved)
        except RunError as error:
            say(console, str(error))
            return 1
    accuracy = format_number(record.test.accuracy, "percent", "en")
    say(console, f"The linear probe predicts {accuracy} of the test rows; {format_duration(record.time_s)} of work.")
    return 0


def _announce(due: Sequence[Run], n_planned: int, tried: Collection[str], console: Console) -> None:
    """Say what is trained next, and why, if the search added it."""
    for run in due:
        rate_is_new = not any(name.startswith(f"{run.adapter.id}/{run.variant}/") for name in tried)
        if run.extends_grid is not None and rate_is_new:
            edge, rate = run.extends_grid.edge_learning_rate, run.training.learning_rate
            say(console, f"{run.adapter.id} is best at {edge:g}, at the edge of its learning rates: {rate:g} is added.")
    more = " more" if tried else ""
    say(console, f"{len(due)}{more} of {n_planned} runs are to be trained.")


def _train(
    due: Sequence[Run],
    paths: Paths,
    choice: str,
    resolved: ResolvedSource,
    jobs: int | None,
    cell_timeout_s: float,
    console: Console,
    scheduler: str | None,
) -> int:
    # Imported here because they take a second, and a study that is up to date does not need them.
    from adapterbook.execution.kernels import LOAD_TRAINING, KernelPool
    from adapterbook.execution.papermill_runs import LocalExecutor, train_runs
    from adapterbook.training.kernel_state import gpu_memory_bytes

    executor: Executor
    with ExitStack() as stack:
        if scheduler:
            cluster = _prepare_cluster(stack.enter_context(_connect(scheduler, console)), paths, resolved, console)
            executor, n_workers = cluster, min(len(cluster), len(due))
            where = f"the cluster at {scheduler}"
        else:
            memory = gpu_memory_bytes()
            n_workers = count_parallel_runs(jobs, n_runs=len(due), gpu_memory_bytes=memory)
            executor = LocalExecutor(KernelPool(paths.root, n_workers, list_devices(len(memory))), LOAD_TRAINING)
            where = ""
        records = train_runs(
            due,
            partial(_prepare, due, paths, resolved, n_workers, where, console),
            paths,
            name_source(paths, choice, resolved),
            executor,
            cell_timeout_s=cell_timeout_s,
            display=TrainingDisplay(len(due), console),
        )
    failed = [record for record in records if record.status == "failed"]
    busy_s = sum((record.finished_at - record.started_at).total_seconds() for record in records)
    say(
        console,
        f"{len(records) - len(failed)} runs completed, {len(failed)} failed; {format_duration(busy_s)} of work.",
    )
    for record in failed:
        say(console, f"  - {record.run_id}: {_describe_failure(record, paths)}")
    return 1 if failed else 0


def _describe_failure(record: Record, paths: Paths) -> str:
    """Return why a run failed, and where its notebook shows it, if it has one."""
    message, cell = (record.error.message, record.error.cell) if record.error else ("", None)
    notebook = paths.results / record.source.name / record.run_id / "notebook.ipynb"
    if not notebook.is_file():
        return message
    return f"{message} See {'' if cell is None else f'cell {cell} of '}{paths.shown(notebook)}."


def _prepare(
    due: Sequence[Run], paths: Paths, resolved: ResolvedSource, n_workers: int, where: str, console: Console
) -> Mapping[str, Record]:
    """Fetch the source and check every adapter, while the kernels start; return the placeholder records by run id.

    Parameters
    ----------
    where : str
        Where the runs are executed, for the message; empty: this machine's device.
    """
    with console.status("Fetching the base model and the data, checking every adapter …"):
        from adapterbook.training import load_training

        load_training()  # takes seconds; the kernels are loading it at the same time
        from adapterbook.training.kernel_state import one_thread
        from adapterbook.training.recording import preflight

        with one_thread():  # as runs compute; several would wait for the kernels, which are loading torch
            placeholders = preflight(due, paths, resolved)
    device = next(iter(placeholders.values())).environment.device_name
    say(console, f"{n_workers} at a time, on {where or device}.")
    return placeholders


def _connect(scheduler: str, console: Console) -> AbstractContextManager[Client]:
    """Connect to a Dask cluster.

    Raises
    ------
    RunError
        If Dask is not installed; on entering the context, if the scheduler cannot be reached.
    """
    if importlib.util.find_spec("distributed") is None:
        raise RunError("EXECUTOR=dask needs Dask, which is optional: `make setup EXECUTOR=dask` installs it.")
    from adapterbook.execution.cluster.driver import connect

    say(console, f"Connecting to {scheduler} …")
    return connect(scheduler)


def _prepare_cluster(client: Client, paths: Paths, resolved: ResolvedSource, console: Console) -> ClusterExecutor:
    """Check that every worker can execute the runs as this machine would."""
    from adapterbook.execution.cluster.driver import ClusterExecutor, pack_study

    cluster = ClusterExecutor(client, pack_study(paths, resolved))
    with console.status("Checking every worker, fetching the base model and the data there …"):
        cluster.check_workers()
    return cluster
