"""Runs on a Dask cluster that is there already: the driver's side.

Owns the way to the cluster, the check of its workers before the first run, and what becomes of what they send back: it
is looked at like any other result from elsewhere before it is put in place. Starts no scheduler and no worker, and
leaves them as they were. Only the driver writes records.
"""

from __future__ import annotations

import logging
import pickle
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from distributed import Client
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from adapterbook.common.errors import RecordError, RunError
from adapterbook.config.paths import Paths
from adapterbook.execution.cluster.parcel import pack_files, unpack
from adapterbook.execution.cluster.worker import (
    GPU,
    Answer,
    StudyParcel,
    Task,
    check_worker,
    describe_software,
    execute_task,
    leave,
)
from adapterbook.execution.failures import describe_os_error
from adapterbook.execution.papermill_runs import Work, begin, save_failure
from adapterbook.execution.results_folder import staging_folder
from adapterbook.runs.plan import Run
from adapterbook.runs.record import Failure, Record, hash_files, load_record, seal_record, write_record
from adapterbook.sources.resolve import ResolvedSource

WORKER = execute_task.__module__  # imported by name on the worker, where this module may not load
CONNECT_S = 15.0
WORKERS_S = 60.0  # a batch system takes its time to start the first worker
LEAVE_S = 15.0
RETRIES = 2  # of a run that a worker could not execute; the scheduler counts workers that die (allowed-failures)
NO_MODULE = "No module named"
HOW_TO_START = "README.md says how to start one"


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Connect with a scheduler that has a worker.

    Raises
    ------
    RunError
        If nothing answers there, or no worker comes.
    """
    # What Dask has to say of a connection that broke is said once, by our own message.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    for name in ("client", "comm", "core", "batched"):
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, RuntimeError, TimeoutError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = f"check the address and that `dask scheduler` runs there; {HOW_TO_START}"
        raise RunError(
            f"SCHEDULER={address}: no scheduler answers within {CONNECT_S:.0f} s ({reason}): {remedy}."
        ) from error
    try:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            raise RunError(
                f"SCHEDULER={address}: the scheduler has no worker, and none came within {WORKERS_S:.0f} s: "
                f"{HOW_TO_START}."
            ) from error
        yield client
    finally:
        with suppress(OSError, TimeoutError, CommClosedError):
            client.close(timeout=LEAVE_S)


def make_project(paths: Paths, resolved: ResolvedSource) -> StudyParcel:
    """Return the study as it is sent to workers: its settings, the one source and the notebook.

    A name on the Hub is sent with the commit that it stands for today; a folder with its absolute path, since its
    content is not sent: it must lie there on every worker, too, with the same content.
    """
    config = resolved.config.model_dump(exclude_none=True)
    for name, part in (("base_model", resolved.base_model), ("dataset", resolved.dataset)):
        config[name] = part.location
        if part.revision is not None:
            config[f"{name}_revision"] = part.revision
    files = {f"experiments/adapters/{path.name}": path for path in (paths.experiments / "adapters").glob("*.yaml")}
    files |= {f"experiments/{path.name}": path for path in (paths.study, paths.notebook)}
    source = yaml.safe_dump(config, allow_unicode=True).encode()
    contents = {name: path.read_bytes() for name, path in files.items()}
    return StudyParcel(
        parcel=pack_files(contents | {f"experiments/sources/{resolved.config.name}.yaml": source}),
        source=resolved.config.name,
        data_identity=resolved.data_identity(),
        software=describe_software(),
        topic=f"adapterbook-{uuid.uuid4().hex}",
    )


class Cluster:
    """An `execution.Executor` whose runs are executed by the workers of a Dask cluster.

    Each run has one thread of a worker, or one GPU where workers say that they have some (``--resources GPU=1``). A run
    whose worker dies begins anew on another one.

    Parameters
    ----------
    client : Client
        Connected; its owner closes it.
    """

    def __init__(self, client: Client, project: StudyParcel) -> None:
        self._client, self._project = client, project
        self._open: dict[str, tuple[Run, Work]] = {}  # submitted, and not collected yet
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        resources = {GPU: 1} if any(GPU in worker["resources"] for worker in self._workers().values()) else {}
        self._executor = client.get_executor(pure=False, retries=RETRIES, resources=resources)
        client.subscribe_topic(project.topic, self._hear)

    def __len__(self) -> int:
        """How many runs go side by side, with the workers of today."""
        workers = self._workers().values()
        return int(sum(worker["resources"].get(GPU, 0) for worker in workers) or sum(w["nthreads"] for w in workers))

    def check_workers(self) -> None:
        """Let every worker compare its software with this machine's, and bring the source there.

        Raises
        ------
        RunError
            Naming every worker that cannot be used, and why.
        """
        answers = self._client.run(check_worker, self._project, on_error="return")
        problems = []
        for address, answer in answers.items():
            if isinstance(answer, Exception):
                hint = ": start it in a checkout of this project, with PYTHONPATH=." if NO_MODULE in str(answer) else ""
                problems.append(f"{address}: {answer or type(answer).__name__}{hint}")
            elif answer:
                problems.append("\n".join([f"{address}:", *answer]))
        if problems:
            remedy = "Set them up from this checkout and its locks/ (`make setup EXECUTOR=dask`), or stop them."
            raise RunError(f"Workers of the cluster are not set up as this machine is. {remedy}", problems)

    def warm_up(self) -> None:
        """See `execution.Executor`; a worker begins when it has a run."""

    def submit(self, run: Run, work: Work) -> Future[Answer]:
        """See `Executor`."""
        with self._lock:
            self._open[run.id] = (run, work)
        task = Task(self._project, run, work.skeletons[run.id], work.cell_timeout_s)
        key = f"{run.id}-{self._project.topic}"
        future: Future[Answer] = self._executor.submit(_sent_by_value(), pickle.dumps(task), key=key)
        return future

    def collect(self, future: Future[Answer], run: Run, work: Work) -> Record:
        """See `Executor`. What a worker sent is taken only if it is whole, and of this run.

        Raises
        ------
        RunError
            If the scheduler is gone, or a worker joined that cannot be used.
        """
        with self._lock:
            del self._open[run.id]
            if run.id not in self._begun:
                work.started(run, staging_folder(run, work.paths))
        staging, skeleton = staging_folder(run, work.paths), work.skeletons[run.id]
        try:
            answer = future.result()
            if answer.parcel is None:
                shutil.rmtree(staging, ignore_errors=True)
                return answer.record
            begin(staging, skeleton)
            unpack(answer.parcel, staging)
            return _accept(staging, skeleton)
        except CancelledError as error:
            raise RunError(
                "The scheduler is gone. Finished runs are kept; start it, and run the same command again."
            ) from error
        except (RuntimeError, ImportError) as error:
            first = str(error).strip().partition("\n")[0]
            raise RunError(f"The cluster could not execute {run.id}: {first}") from error
        except KilledWorker as error:
            n_died = error.allowed_failures + 1
            message = f"{n_died} workers died over this run, one after another: killed, or their memory ran out."
            failure = Failure(type="DeadWorker", message=message, cell=None)
        except RecordError as error:
            failure = Failure(type="RecordError", message=str(error), cell=None)
        except OSError as error:
            failure = describe_os_error(error)
        return self._fail(failure, staging, skeleton, work.paths)

    def stop(self) -> None:
        """See `Executor`. A cancelled run is ended by its worker."""

    def close(self) -> None:
        """End what this driver has on the workers: the kernels, and the folders."""
        if self._client.status != "running":  # the scheduler is gone, and with it everything on the workers
            return
        with suppress(OSError, TimeoutError, CommClosedError, RuntimeError):
            self._client.unsubscribe_topic(self._project.topic)
            self._client.run(leave, self._project.topic, on_error="ignore")

    def _workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _hear(self, event: tuple[float, dict[str, str]]) -> None:
        """Take what a worker tells of a run: that it has begun, or how far it is. Called from Dask's own thread."""
        _, message = event
        with self._lock:
            if message["run"] not in self._open:
                return  # told before, heard after its end
            run, work = self._open[message["run"]]
            staging = staging_folder(run, work.paths)
            if run.id not in self._begun:
                self._begun.add(run.id)
                work.started(run, staging)
            with suppress(OSError):  # the disk will say so again when the run is collected
                staging.mkdir(parents=True, exist_ok=True)
                (staging / "progress.jsonl").write_text(message["progress"], "utf-8")

    def _fail(self, failure: Failure, staging: Path, skeleton: Record, paths: Paths) -> Record:
        """Write the failed record of a run that did not come back."""
        failed = skeleton.model_copy(update={"finished_at": datetime.now(UTC), "error": failure})
        try:
            begin(staging, skeleton)
        except OSError:
            return failed
        return save_failure(staging, failed, paths)


def _sent_by_value() -> Callable[[bytes], Answer]:
    """Return what a worker calls for a task. A scheduler reads what it hands on, and need not have this package.

    Dask sends a function within a function as it is, and one of a module by its name.
    """

    def call(task: bytes) -> Answer:
        import pickle
        from importlib import import_module

        answer: Answer = import_module(WORKER).execute_task(pickle.loads(task))
        return answer

    return call


def _accept(staging: Path, skeleton: Record) -> Record:
    """Return the record of a run that came back, sealed anew with what only the driver knows.

    Raises
    ------
    RecordError
        If it is not a whole run, or of another run than was asked for.
    """
    record = load_record(staging)
    problems = []
    if (record.source.name, record.run_id) != (skeleton.source.name, skeleton.run_id):
        problems.append(f"expected {skeleton.source.name}/{skeleton.run_id}, got {record.source.name}/{record.run_id}")
    if record.stamps != skeleton.stamps:
        problems.append("the stamps are not those of the run that was sent")
    if record.files != hash_files(staging) or record.seal != record.compute_seal():
        problems.append("the files are not those that the record was sealed with")
    if problems:
        raise RecordError("What a worker sent back is not the run that was asked for:", problems)
    record = seal_record(record.model_copy(update={"git": skeleton.git}), staging)
    write_record(record, staging)
    return record
