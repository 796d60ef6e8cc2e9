"""What a worker of a cluster does: say what it runs on, and execute one run after another in a kernel that stays.

Owns the folder that a study has on a worker, its kernels, and their end: when the driver leaves or is gone, when a run
is cancelled, or when no run has come for a minute. Shares no file system with the driver: the study arrives as bytes,
and a run's folder goes back as bytes. Everything that is sent between the two is defined here.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker
from pydantic import ValidationError

from adapterbook.common.cache import PACKAGE
from adapterbook.common.errors import AdapterBookError, RunError
from adapterbook.config.paths import Paths
from adapterbook.execution.cluster.parcel import pack_folder, unpack
from adapterbook.execution.kernels import PACKAGE_PARENT, KernelPool
from adapterbook.execution.papermill_runs import Work, execute_run
from adapterbook.execution.progress import last_whole_line
from adapterbook.execution.results_folder import staging_folder, stop_kernels
from adapterbook.runs.plan import Run, package_versions
from adapterbook.runs.record import Environment, Record, seal_record, write_record
from adapterbook.sources.resolve import fetch_source, resolve_source
from adapterbook.training.checkpoints import snapshots_folder

IDLE_S = 60.0  # how long a kernel waits for its next run
TICK_S = 0.5  # how often a run's progress is looked at
GPU = "GPU"
SHOWN = 5  # of a long list of files
# In a process of its own: CUDA would keep its memory in this one.
DESCRIBE_ENVIRONMENT = (
    "from adapterbook.training.recording import describe_environment; "
    "from adapterbook.training.trainer import current_device; "
    "print(describe_environment(current_device(), n_threads=1).model_dump_json())"
)


@dataclass(frozen=True)
class Software:
    """What must be the same on the driver and on every worker, since a run's result follows from it.

    Attributes
    ----------
    code : mapping of file name to sha256
        The files of this package.
    """

    python: str
    packages: dict[str, str]
    code: dict[str, str]

    def differences(self, other: Software) -> list[str]:
        """Return, one a line, how another machine's software differs from this."""
        pairs = {"Python": (self.python, other.python)}
        pairs |= {name: (version, other.packages.get(name, "none")) for name, version in self.packages.items()}
        lines = [f"{name}: expected {ours}, got {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]
        files = sorted(
            name for name in self.code.keys() | other.code.keys() if self.code.get(name) != other.code.get(name)
        )
        if files:
            more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
            lines.append(f"adapterbook: expected the driver's code, got another {', '.join(files[:SHOWN])}{more}")
        return lines


@functools.cache
def describe_software() -> Software:
    """Return what this process would execute a run with."""
    return Software(
        python=".".join(platform.python_version_tuple()[:2]),
        packages=package_versions() | {"distributed": metadata.version("distributed")},
        code={
            path.relative_to(PACKAGE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(PACKAGE.rglob("*.py"))
        },
    )


@dataclass(frozen=True)
class StudyParcel:
    """A study, as it is sent to a worker.

    Attributes
    ----------
    parcel : bytes
        The settings and the notebook, as `parcel.unpack` takes them.
    source : str
        Name of the one source in it.
    data_identity : mapping
        What the source must stand for on the worker, too.
    software : Software
        The driver's.
    topic : str
        What a run's progress is told under; a driver's own.
    """

    parcel: bytes
    source: str
    data_identity: dict[str, str]
    software: Software
    topic: str


@dataclass(frozen=True)
class Task:
    """One run, as it is sent to a worker."""

    project: StudyParcel
    run: Run
    skeleton: Record
    cell_timeout_s: float | None


@dataclass(frozen=True)
class Answer:
    """What a run left, as it is sent back.

    Attributes
    ----------
    parcel : bytes or None
        The run's folder; None where the worker's disk did not take it.
    """

    record: Record
    parcel: bytes | None


@dataclass
class UnpackedStudy:
    """A project on this worker: its folder, its kernels, and how many runs and checks are at work there."""

    paths: Paths
    workers: KernelPool
    stopping: threading.Event = field(default_factory=threading.Event)
    n_users: int = 0
    timer: threading.Timer | None = None

    def stop(self) -> None:
        """End every run of this site; it takes no other one."""
        self.stopping.set()
        stop_kernels(self.paths.root)

    def close(self) -> None:
        """End the kernels and remove the folder."""
        self.workers.close()
        shutil.rmtree(self.paths.root, ignore_errors=True)


_sites: dict[tuple[str, str], UnpackedStudy] = {}  # by topic and worker: a process may hold several workers
_lock = threading.Lock()


async def check_worker(project: StudyParcel, dask_worker: Worker) -> list[str]:
    """Return why this worker cannot execute the runs of a project; nothing where it can."""
    differences = project.software.differences(describe_software())
    return differences or await asyncio.to_thread(_check_source, project, dask_worker)


def _check_source(project: StudyParcel, worker: Worker) -> list[str]:
    """Bring the source onto this machine, and compare it with the driver's."""
    try:
        with _site(project, worker) as site:
            resolved = resolve_source(project.source, site.paths)
            for name, expected in project.data_identity.items():
                if resolved.data_identity()[name] != expected:
                    return [f"{name}: expected {expected}, got {resolved.data_identity()[name]}"]
            fetch_source(resolved)
    except AdapterBookError as error:
        return [str(error)]
    except OSError as error:
        return [f"its disk cannot be written: {error.strerror or error}"]
    return []


async def leave(topic: str, dask_worker: Worker) -> None:
    """End what a driver has here."""
    with _lock:
        site = _sites.pop((topic, dask_worker.address), None)
        unused = site is not None and site.n_users == 0
    if site is not None:
        await asyncio.to_thread(site.close if unused else site.stop)


def execute_task(task: Task) -> Answer:
    """Execute a run in a kernel of this worker, and return its folder; in a thread of a worker only.

    Raises
    ------
    RunError
        If this worker's software is not the driver's, or the run was cancelled.
    OSError
        If the disk cannot be written.
    """
    worker = get_worker()
    differences = task.project.software.differences(describe_software())
    if differences:
        raise RunError(f"Worker {worker.address} cannot be used:", differences)
    key, run = worker.get_current_task(), task.run
    with _site(task.project, worker) as site:
        tell = functools.partial(_tell, worker, task)
        work = Work({run.id: task.skeleton}, site.paths, task.project.source, task.cell_timeout_s,
                    lambda run, staging: tell(""), site.stopping)  # fmt: skip
        future, told = site.workers.submit(execute_run, run, work), ""
        while wait([future], timeout=TICK_S).not_done:
            if _is_cancelled(worker, key):
                site.stop()
            progress = last_whole_line(staging_folder(run, site.paths) / "progress.jsonl")
            if progress != told:
                tell(progress)
                told = progress
        if site.stopping.is_set():
            raise RunError(f"{run.id} was stopped.")
        return _pack_run(future.result(), run, site.paths)


def _pack_run(record: Record, run: Run, paths: Paths) -> Answer:
    """Take a run's folder from the site's disk. A failed record of the driver's making learns where the run was."""
    staging = staging_folder(run, paths)
    try:
        if record.status == "failed":
            record = seal_record(
                record.model_copy(update={"environment": _environment() or record.environment}), staging
            )
            write_record(record, staging)
        return Answer(record, pack_folder(staging))
    except OSError:
        if record.status == "completed":
            raise
        return Answer(record, None)
    finally:
        for folder in (staging, snapshots_folder(staging)):
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _environment() -> Environment | None:
    """Return what a run on this machine would say of it; None where that cannot be found out."""
    search_path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search_path}
    command = [sys.executable, "-c", DESCRIBE_ENVIRONMENT]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
        return Environment.model_validate_json(done.stdout)
    except (OSError, subprocess.SubprocessError, ValidationError):
        return None


def _tell(worker: Worker, task: Task, progress: str) -> None:
    """Tell the driver that a run has begun, or how far it is."""
    worker.log_event(task.project.topic, {"run": task.run.id, "progress": progress})


def _is_cancelled(worker: Worker, key: Any) -> bool:
    """Tell whether nobody waits for a task any more: it was cancelled, or its driver is gone."""
    state = worker.state.tasks.get(key)
    return state is None or state.state == "cancelled"


@contextmanager
def _site(project: StudyParcel, worker: Worker) -> Iterator[UnpackedStudy]:
    """Give a project's site on this worker; it closes when it was stopped, or when nobody has come for a while."""
    key = (project.topic, worker.address)
    with _lock:
        site = _sites.get(key)
        if site is None or site.stopping.is_set():
            site = _sites[key] = _open_site(project, worker)
        site.n_users += 1
        if site.timer is not None:
            site.timer.cancel()
    try:
        yield site
    finally:
        with _lock:
            site.n_users -= 1
            unused = site.n_users == 0
            if unused and not site.stopping.is_set():
                site.timer = threading.Timer(IDLE_S, _close_if_unused, (key, site))
                site.timer.daemon = True
                site.timer.start()
        if unused and site.stopping.is_set():
            site.close()


def _open_site(project: StudyParcel, worker: Worker) -> UnpackedStudy:
    gpus = int(worker.state.total_resources.get(GPU, 0))
    folder = Path(tempfile.mkdtemp(prefix="adapterbook-", dir=worker.local_directory))
    unpack(project.parcel, folder)
    # One kernel a GPU: with several, each sees its own.
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    devices = (visible or [str(i) for i in range(gpus)])[:gpus] if gpus > 1 else []
    return UnpackedStudy(Paths(folder), KernelPool(folder, gpus or worker.state.nthreads, devices))


def _close_if_unused(key: tuple[str, str], site: UnpackedStudy) -> None:
    with _lock:
        if site.n_users or _sites.get(key) is not site:
            return
        del _sites[key]
    site.close()
