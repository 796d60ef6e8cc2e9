"""The steps of ``make``: train what is due, make the pages, make the site, verify.

Owns the order of things and which results a report is about. Everything it does is done by a module named after it.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from adapterbook.book import load_book
from adapterbook.capacity import count_workers, list_devices, may_have_gpu
from adapterbook.config import Paths, load_published
from adapterbook.display import TrainingDisplay, format_duration, say
from adapterbook.errors import AdapterBookError, ConfigError, RunError, SourceError
from adapterbook.made_from import pages_stage, published_files, site_stage
from adapterbook.preload import load_training
from adapterbook.runs import Run, plan_runs
from adapterbook.selection import (
    choose_results,
    choose_source,
    compute_statuses,
    default_seeds,
    load_project,
    load_report,
    name_source,
    recorded_seeds,
)
from adapterbook.sources import ResolvedSource, resolve_source
from adapterbook.stages import run_stage
from adapterbook.staging import clear_leftovers, hold_lock
from adapterbook.workplace import hold_workplace

if TYPE_CHECKING:
    from distributed import Client

    from adapterbook.cluster import Cluster
    from adapterbook.records import Record
    from adapterbook.verification.audit import Audit

LOADED_AHEAD = "from adapterbook.preload import load_training; load_training()"

__all__ = ["TrainOutcome", "audit", "make_pages", "make_site", "train", "verify"]


@dataclass(frozen=True)
class TrainOutcome:
    """What `train` did.

    Attributes
    ----------
    source : str
        Name of the source, which is the name of its folder under ``results/``.
    exit_code : int
        1 where a run failed, else 0.
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
    seeds = seeds or default_seeds(study)
    statuses = compute_statuses(paths, study, adapters, resolved.config.name, seeds, resolved)
    due = [status.run for status in statuses if not status.up_to_date]
    if not due:
        clear_leftovers(paths, resolved.config.name)
        say(console, f"All {len(statuses)} runs are up to date: nothing to train.")
        return TrainOutcome(resolved.config.name, 0)
    say(console, f"{len(due)} of {len(statuses)} runs are to be trained.")
    exit_code = _train(due, paths, source, resolved, jobs, cell_timeout_s, console, scheduler)
    return TrainOutcome(resolved.config.name, exit_code)


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
    # Here and not above: a report that is up to date does not need them.
    from adapterbook.execution import Executor, LocalExecutor, train_runs
    from adapterbook.kernels import Workers

    memory = _gpu_memory_bytes()
    n_workers = count_workers(jobs, n_runs=len(due), gpu_memory_bytes=memory)

    def prepare() -> Mapping[str, Record]:
        with console.status("Fetching the base model and the data, checking every adapter …"):
            load_training()  # takes seconds: the kernels have begun with it by now
            from adapterbook.recording import preflight

            skeletons = preflight(due, paths, resolved)
        if cluster is None:
            where = next(iter(skeletons.values())).environment.device_name
        else:
            where = f"the cluster at {scheduler}"
        say(console, f"{n_workers} at a time, on {where}.")
        return skeletons

    with ExitStack() as stack:
        cluster: Cluster | None = None
        executor: Executor = LocalExecutor(
            Workers(paths.root, n_workers, list_devices(len(memory))), ahead=LOADED_AHEAD
        )
        if scheduler:
            cluster = _prepare_cluster(stack.enter_context(_connect(scheduler, console)), paths, resolved, console)
            executor, n_workers = cluster, min(len(cluster), len(due))
        records = train_runs(
            due,
            prepare,
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
        notebook = paths.results / record.source.name / record.run_id / "notebook.ipynb"
        where = f"cell {record.error.cell} of {paths.shown(notebook)}" if record.error else ""
        say(console, f"  - {record.run_id}: {record.error.message if record.error else ''} See {where}.")
    return 1 if failed else 0


def _gpu_memory_bytes() -> list[int]:
    """Return the memory of each GPU; torch is asked only where there may be one."""
    if not may_have_gpu():
        return []
    import torch

    return [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]


def _connect(scheduler: str, console: Console) -> AbstractContextManager[Client]:
    """Connect with a Dask cluster, which is optional to have.

    Raises
    ------
    RunError
        If Dask is not installed; by the context, if the scheduler cannot be reached.
    """
    if importlib.util.find_spec("distributed") is None:
        raise RunError("EXECUTOR=dask needs Dask, which is optional: `make setup EXECUTOR=dask` installs it.")
    from adapterbook.cluster import connect

    say(console, f"Connecting with {scheduler} …")
    return connect(scheduler)


def _prepare_cluster(client: Client, paths: Paths, resolved: ResolvedSource, console: Console) -> Cluster:
    """Check that every worker can execute the runs as this machine would."""
    from adapterbook.cluster import Cluster, make_project

    cluster = Cluster(client, make_project(paths, resolved))
    with console.status("Checking every worker, fetching the base model and the data there …"):
        cluster.check_workers()
    return cluster


def verify(
    root: Path, source: str, seeds: Sequence[int] | None, retrain: str, cell_timeout_s: float, console: Console
) -> int:
    """Check that every number of a report can be believed, and say so; return the exit status, 1 where one cannot.

    Parameters and errors are those of `audit`.
    """
    done = audit(root, source, seeds, retrain, cell_timeout_s, console)
    for finding in done.findings:
        say(console, f"  - {finding}")
    say(console, done.summary)
    if done.findings:
        say(console, f"{len(done.findings)} findings: not every number of this report can be believed.")
    return 1 if done.findings else 0


def audit(
    root: Path, source: str, seeds: Sequence[int] | None, retrain: str, cell_timeout_s: float, console: Console
) -> Audit:
    """Return what is found by checking that every number of a report can be believed.

    Parameters
    ----------
    retrain : str
        Id of the run to train again, ``none``, or empty: the shortest of those that nothing was found about.

    Raises
    ------
    ConfigError
        If `retrain` is no run of this report.
    """
    paths = Paths(root)
    study, adapters = load_project(paths)
    name = choose_results(paths, source)
    runs = plan_runs(study, adapters, name, seeds or recorded_seeds(paths, name) or study.seeds)
    if not runs:
        raise ConfigError(f"{paths.shown(paths.study)} plans no run: there is nothing to verify.")
    if retrain not in ("", "none", *(run.id for run in runs)):
        raise ConfigError(f"RETRAIN={retrain}: expected none or a run of {name}, such as {runs[0].id}.")
    from adapterbook.verification.audit import audit_runs  # here and not above: it loads torch

    choice = source if source != "auto" else choose_source(paths, name)
    with hold_lock(paths):
        resolved: ResolvedSource | AdapterBookError
        try:
            resolved = resolve_source(choice, paths)
            shown = name_source(paths, choice, resolved)
            if resolved.config.name != name:
                resolved = SourceError(f"{choice} is named {resolved.config.name}, the results are of {name}.")
        except AdapterBookError as error:
            resolved, shown = error, ""
        return audit_runs(runs, paths, resolved, retrain, shown, cell_timeout_s, console)


def make_pages(root: Path, source: str, seeds: Sequence[int] | None, console: Console) -> None:
    """Make the figures and the pages from the records of one source.

    The source is not resolved: pages are made on machines that can reach nothing. So whether the data on the Hub has
    moved on since is not seen here, but by `train` and `load_statuses`.
    """
    paths = Paths(root)
    name, study, adapters, statuses = load_report(paths, source, seeds)

    def make() -> None:
        from adapterbook.analysis import analyse
        from adapterbook.figures import draw_cards, draw_figures, open_figures_memo, remove_cards
        from adapterbook.pages import make_pages as write_pages
        from adapterbook.remember import open_memo

        start = time.monotonic()
        book = load_book(paths.book)
        published = {file.stem: load_published(file) for file in published_files(paths)}
        with hold_workplace(root, lambda text: say(console, text)):
            numbers, pictures, texts = open_memo(root, "analysis"), open_figures_memo(root), open_memo(root, "pages")
            report = analyse(statuses, paths, study, adapters, published, numbers)
            figures = draw_figures(report, paths.report / "figures", memo=pictures)
            if book.site_url is None:  # a card needs an address to be asked for at
                remove_cards(paths.report / "figures")
                cards = {}
            else:
                cards = draw_cards(report, book.title, book.subtitle, paths.report / "figures", pictures)
            written = write_pages(report, figures, paths, texts, has_cards=bool(cards))
            for memo in (numbers, pictures, texts):
                memo.forget_unused()
        took = format_duration(time.monotonic() - start)
        say(console, f"{len(written)} files under report/ from {len(statuses)} runs of {name}, {took}.")

    stage = pages_stage(paths, name, study.seeds, statuses)
    if not run_stage(stage.name, root, stage.inputs, stage.outputs, make):
        say(console, f"The pages of {len(statuses)} runs of {name} are up to date.")


def make_site(root: Path, renderer: str, console: Console) -> None:
    """Render the pages into ``_site/``, and the PDFs."""

    def make() -> None:
        from adapterbook.site import build_site

        build_site(root, renderer, say=lambda text: say(console, text))

    paths = Paths(root)
    stage = site_stage(paths, renderer)
    if not run_stage(stage.name, root, stage.inputs, stage.outputs, make):
        say(console, f"The site is up to date: {paths.shown(stage.outputs[0] / 'index.html')}")
