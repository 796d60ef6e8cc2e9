"""Train every run that is due: `make train`."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from adapterbook.common.errors import RunError, first_line
from adapterbook.common.formatting import format_duration, format_number, say
from adapterbook.config.paths import Paths
from adapterbook.config.study import DataConfig
from adapterbook.execution.kernels import count_parallel_runs, list_devices
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.execution.results_folder import clear_leftovers, hold_lock
from adapterbook.runs.plan import Run, RunStatus, compute_stamps
from adapterbook.runs.probe import probe_status, stamp_probe
from adapterbook.runs.select import compute_statuses, default_seeds, load_live, load_project, name_source
from adapterbook.sources.resolve import ResolvedSource, fetch_source, resolve_source

if TYPE_CHECKING:
    from distributed import Client

    from adapterbook.execution.cluster.driver import ClusterExecutor
    from adapterbook.execution.papermill_runs import Executor
    from adapterbook.runs.record import Record


NO_PAGE = "Readers cannot try these adapters on a page"


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
    seeds, exit_code = seeds or default_seeds(study), 0

    def plan() -> list[RunStatus]:
        """Return the status of each run that follows from the results so far."""
        return compute_statuses(paths, study, adapters, resolved.config.name, seeds, resolved)[1]

    statuses = plan()
    due = [status.run for status in statuses if not status.up_to_date]
    if due:
        say(console, f"{len(due)} of {len(statuses)} runs are to be trained.")
        known = {status.run.id for status in statuses}

        def find_more() -> list[Run]:
            """Return what the search for learning rates runs next, which depends on what it has found."""
            more = [status.run for status in plan() if status.run.id not in known] if study.search else []
            _announce(more, known, console)
            known.update(run.id for run in more)
            return more

        exit_code = _train(due, find_more, paths, source, resolved, jobs, cell_timeout_s, console, scheduler)
    else:
        clear_leftovers(paths, resolved.config.name)
        say(console, f"All {len(statuses)} runs are up to date: nothing to train.")
    exit_code |= _update_probe(study.data, paths, resolved, console)
    _update_live(paths, resolved, console)
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


def _update_live(paths: Paths, resolved: ResolvedSource, console: Console) -> None:
    """Prepare the adapters for the page on which readers try them, if that is wanted and not up to date."""
    chosen, status = load_live(paths, resolved.config.name)
    if status is None or status.up_to_date:
        return
    folders = {run.id: run.run.folder(paths) / "adapter" for run in chosen.values()}
    without = [name for name, folder in folders.items() if not (folder / "adapter_model.safetensors").is_file()]
    if without:  # records that were kept without their weights
        say(console, f"{NO_PAGE}: the weights of {without[0]} are not here.")
        return
    with hold_lock(paths), console.status("Preparing the adapters for the page on which readers try them …"):
        from adapterbook.runs.live.make import UNREADABLE, make_live

        try:
            record = make_live(chosen, paths, fetch_source(resolved).base_model)
        except UNREADABLE as error:
            say(console, f"{NO_PAGE}: a file of a run cannot be read: {first_line(error)}")
            return
    took = format_duration(record.time_s)
    if record.refusal is not None:
        say(console, f"{NO_PAGE}: the base model's {record.refusal} is not one that the page knows.")
    elif record.mean_difference is not None:
        difference = format_number(record.mean_difference, "points_unsigned", "en")
        say(console, f"{len(record.adapters)} adapters can be tried on a page, in 8 bits a weight; their probabilities "
                     f"differ from the runs' by {difference} points in the mean; {took} of work.")  # fmt: skip


def _train(
    due: Sequence[Run],
    find_more: Callable[[], list[Run]],
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
    placeholders: dict[str, Record] = {}

    def prepare() -> Mapping[str, Record]:
        placeholders.update(_prepare(due, paths, resolved, n_workers, where, console))
        return placeholders

    def extend() -> list[tuple[Run, Record]]:
        more = find_more()
        return [(run, _placeholder(run, paths, resolved, placeholders.values())) for run in more]

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
            prepare,
            paths,
            name_source(paths, choice, resolved),
            executor,
            cell_timeout_s=cell_timeout_s,
            display=TrainingDisplay(len(due), console),
            find_more=extend,
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


def _announce(runs: Sequence[Run], planned: Collection[str], console: Console) -> None:
    """Say which runs the search adds, and why."""
    for adapter, added in itertools.groupby(runs, lambda run: run.adapter.id):
        run = next(added)
        rate = run.training.learning_rate
        if run.extends_grid is None or any(name.startswith(f"{adapter}/{run.variant}/") for name in planned):
            say(console, f"{adapter} is best at {rate:g}: its other seeds are added.")
        else:
            edge = run.extends_grid.edge_learning_rate
            say(console, f"{adapter} is best at {edge:g}, at the edge of its learning rates: {rate:g} is added.")


def _placeholder(run: Run, paths: Paths, resolved: ResolvedSource, others: Iterable[Record]) -> Record:
    """Return the placeholder record of a run that was not planned at first, from one of the same adapter."""
    like = next(record for record in others if record.adapter.id == run.adapter.id)
    own = {"variant": run.variant, "seed": run.seed, "training": run.training, "extends_grid": run.extends_grid}
    return like.model_copy(update=own | {"stamps": compute_stamps(run, paths, resolved.data_identity())})


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
