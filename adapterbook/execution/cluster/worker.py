"""Execute runs on a Dask worker, one after another in kernels that stay.

Worker and driver share no file system: the study arrives as bytes, and a run's folder returns as bytes. The study's
folder and kernels on a worker are removed when the driver leaves or dies, when a run is cancelled, or when no run has
come for a minute. What is sent between the two is defined here.
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
from adapterbook.execution.kernels import KernelPool, import_path, list_devices
from adapterbook.execution.papermill_runs import TrainingContext, execute_run
from adapterbook.execution.progress import last_whole_line
from adapterbook.execution.results_folder import staging_folder, stop_kernels
from adapterbook.runs.plan import Run, package_versions
from adapterbook.runs.record import Environment, Record, seal_record, write_record
from adapterbook.sources.resolve import fetch_source, resolve_source
from adapterbook.training.checkpoints import snapshots_folder

IDLE_S = 60.0  # how long a kernel waits for its next run
TICK_S = 0.5  # how often a run's progress is read
GPU = "GPU"
SHOWN = 5  # file names in a message
# In a separate process: CUDA would keep its memory in this one.
DESCRIBE_ENVIRONMENT = (
    "from adapterbook.training.recording import describe_environment; "
    "from adapterbook.training.trainer import current_device; "
    "print(describe_environment(current_device(), n_threads=1).model_dump_json())"
)


@dataclass(frozen=True)
class Software:
    """Hold what must be the same on the driver and on every worker, because a run's result depends on it.

    Attributes
    ----------
    code : mapping of file name to sha256
        The files of this package.
    """

    python: str
    packages: dict[str, str]
    code: dict[str, str]

    def differences(self, other: Software) -> list[str]:
        """Return how another machine's software differs from this, one difference a line."""
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
    """Return the software that this process executes runs with."""
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
    """Hold a study as it is sent to a worker.

    Attributes
    ----------
    archive : bytes
        The settings and the notebook, as `parcel.unpack` takes them.
    source : str
        Name of the one source in it.
    data_identity : mapping
        Identity of base model and data set, which the worker's source must have too.
    software : Software
        The driver's.
    topic : str
        Dask topic of the runs' progress, different for each driver.
    """

    archive: bytes
    source: str
    data_identity: dict[str, str]
    software: Software
    topic: str


@dataclass(frozen=True)
class Task:
    """Hold one run as it is sent to a worker."""

    study: StudyParcel
    run: Run
    placeholder: Record
    cell_timeout_s: float | None


@dataclass(frozen=True)
class RunParcel:
    """Hold what a run left, as it is sent back.

    Attributes
    ----------
    archive : bytes or None
        The run's folder; None if the worker's disk could not hold it.
    """

    record: Record
    archive: bytes | None


@dataclass
class UnpackedStudy:
    """Hold a study on this worker: its folder, its kernels, and how many runs and checks use it."""

    paths: Paths
    pool: KernelPool
    stopping: threading.Event = field(default_factory=threading.Event)
    n_users: int = 0
    timer: threading.Timer | None = None

    def stop(self) -> None:
        """Stop every run of this study, and start no other."""
        self.stopping.set()
        stop_kernels(self.paths.root)

    def close(self) -> None:
        """End the kernels and remove the folder."""
        self.pool.close()
        shutil.rmtree(self.paths.root, ignore_errors=True)


_studies: dict[tuple[str, str], UnpackedStudy] = {}  # by topic and worker: a process may hold several workers
_lock = threading.Lock()


async def check_worker(parcel: StudyParcel, dask_worker: Worker) -> list[str]:
    """Return why this worker cannot execute the runs of a study; empty if it can."""
    differences = parcel.software.differences(describe_software())
    return differences or await asyncio.to_thread(_check_source, parcel, dask_worker)


def _check_source(parcel: StudyParcel, worker: Worker) -> list[str]:
    """Fetch the source onto this machine, and compare it with the driver's."""
    try:
        with _open_study(parcel, worker) as study:
            resolved = resolve_source(parcel.source, study.paths)
            for name, expected in parcel.data_identity.items():
                if resolved.data_identity()[name] != expected:
                    return [f"{name}: expected {expected}, got {resolved.data_identity()[name]}"]
            fetch_source(resolved)
    except AdapterBookError as error:
        return [str(error)]
    except OSError as error:
        return [f"its disk cannot be written: {error.strerror or error}"]
    return []


async def end_study(topic: str, dask_worker: Worker) -> None:
    """Stop a driver's runs on this worker, and remove its kernels and its folder."""
    with _lock:
        study = _studies.pop((topic, dask_worker.address), None)
        unused = study is not None and study.n_users == 0
    if study is not None:
        await asyncio.to_thread(study.close if unused else study.stop)


def execute_task(task: Task) -> RunParcel:
    """Execute a run in a kernel of this worker, and return its folder; called in a worker's thread.

    Raises
    ------
    RunError
        If this worker's software is not the driver's, or the run was cancelled.
    OSError
        If the disk cannot be written.
    """
    worker = get_worker()
    differences = task.study.software.differences(describe_software())
    if differences:
        raise RunError(f"Worker {worker.address} cannot be used:", differences)
    key, run = worker.get_current_task(), task.run
    with _open_study(task.study, worker) as study:
        report = functools.partial(_report_progress, worker, task)
        context = TrainingContext({run.id: task.placeholder}, study.paths, task.study.source, task.cell_timeout_s,
                                  lambda run, staging: report(""), study.stopping)  # fmt: skip
        future, reported = study.pool.submit(execute_run, run, context), ""
        while wait([future], timeout=TICK_S).not_done:
            if _is_cancelled(worker, key):
                study.stop()
            progress = last_whole_line(staging_folder(run, study.paths) / "progress.jsonl")
            if progress != reported:
                report(progress)
                reported = progress
        if study.stopping.is_set():
            raise RunError(f"{run.id} was stopped.")
        return _pack_run(future.result(), run, study.paths)


def _pack_run(record: Record, run: Run, paths: Paths) -> RunParcel:
    """Pack and remove a run's folder; a failed record, which the driver made, gets this machine's environment."""
    staging = staging_folder(run, paths)
    try:
        if record.status == "failed":
            record = seal_record(
                record.model_copy(update={"environment": _environment() or record.environment}), staging
            )
            write_record(record, staging)
        return RunParcel(record, pack_folder(staging))
    except OSError:
        if record.status == "completed":
            raise
        return RunParcel(record, None)
    finally:
        for folder in (staging, snapshots_folder(staging)):
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _environment() -> Environment | None:
    """Return the environment as a run on this machine records it; None if it cannot be determined."""
    environment = os.environ | {"PYTHONPATH": import_path()}
    command = [sys.executable, "-c", DESCRIBE_ENVIRONMENT]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
        return Environment.model_validate_json(done.stdout)
    except (OSError, subprocess.SubprocessError, ValidationError):
        return None


def _report_progress(worker: Worker, task: Task, progress: str) -> None:
    """Send the driver a run's progress; empty when it starts."""
    worker.log_event(task.study.topic, {"run": task.run.id, "progress": progress})


def _is_cancelled(worker: Worker, key: Any) -> bool:
    """Return whether a task was cancelled or its driver is gone."""
    state = worker.state.tasks.get(key)
    return state is None or state.state == "cancelled"


@contextmanager
def _open_study(parcel: StudyParcel, worker: Worker) -> Iterator[UnpackedStudy]:
    """Yield a study, unpacked on this worker; it is removed when it was stopped, or unused for a while."""
    key = (parcel.topic, worker.address)
    with _lock:
        study = _studies.get(key)
        if study is None or study.stopping.is_set():
            study = _studies[key] = _unpack_study(parcel, worker)
        study.n_users += 1
        if study.timer is not None:
            study.timer.cancel()
    try:
        yield study
    finally:
        with _lock:
            study.n_users -= 1
            unused = study.n_users == 0
            if unused and not study.stopping.is_set():
                study.timer = threading.Timer(IDLE_S, _close_if_unused, (key, study))
                study.timer.daemon = True
                study.timer.start()
        if unused and study.stopping.is_set():
            study.close()


def _unpack_study(parcel: StudyParcel, worker: Worker) -> UnpackedStudy:
    gpus = int(worker.state.total_resources.get(GPU, 0))
    folder = Path(tempfile.mkdtemp(prefix="adapterbook-", dir=worker.local_directory))
    unpack(parcel.archive, folder)
    devices = list_devices(gpus) if gpus > 1 else []  # one kernel a GPU
    return UnpackedStudy(Paths(folder), KernelPool(folder, gpus or worker.state.nthreads, devices))


def _close_if_unused(key: tuple[str, str], study: UnpackedStudy) -> None:
    with _lock:
        if study.n_users or _studies.get(key) is not study:
            return
        del _studies[key]
    study.close()
