"""Execute runs on an existing Dask cluster: connect, check its workers, send runs and check what returns.

A run's record is written on its worker, as ``papermill_runs`` describes. The driver checks the folder that returns like
any foreign one, adds its git state and seals the record again; it writes the record itself if a run does not return.
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
from adapterbook.common.yaml_files import list_yaml_files
from adapterbook.config.paths import Paths
from adapterbook.execution.cluster.parcel import pack_files, unpack
from adapterbook.execution.cluster.worker import (
    GPU,
    RunParcel,
    StudyParcel,
    Task,
    check_worker,
    describe_software,
    end_study,
    execute_task,
)
from adapterbook.execution.failures import describe_os_error
from adapterbook.execution.papermill_runs import TrainingContext, make_run_folder, write_failed_record
from adapterbook.execution.results_folder import staging_folder
from adapterbook.runs.plan import Run
from adapterbook.runs.record import Failure, Record, hash_files, load_record, seal_record, write_record
from adapterbook.sources.resolve import ResolvedSource

WORKER = execute_task.__module__  # the worker imports it by name and need not import this module
CONNECT_S = 15.0
WORKERS_S = 60.0  # a batch system may start the first worker late
LEAVE_S = 15.0
RETRIES = 2  # of a run that raised on a worker; the scheduler counts workers that died (allowed-failures)
NO_MODULE = "No module named"
HOW_TO_START = "README.md says how to start one"


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Connect to a scheduler that has a worker.

    Raises
    ------
    RunError
        If nothing answers there, or no worker comes.
    """
    # Our own message reports a broken connection; Dask's loggers would repeat it.
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


def pack_study(paths: Paths, resolved: ResolvedSource) -> StudyParcel:
    """Return the study as it is sent to workers: its settings, the one source and the notebook.

    A name on the Hub is sent with today's commit. A folder is sent as its absolute path, without its content: every
    worker must have the same content there.
    """
    config = resolved.config.model_dump(exclude_none=True)
    for name, part in (("base_model", resolved.base_model), ("dataset", resolved.dataset)):
        config[name] = part.location
        if part.revision is not None:
            config[f"{name}_revision"] = part.revision
    files = {f"experiments/adapters/{path.name}": path for path in list_yaml_files(paths.experiments / "adapters")}
    files |= {f"experiments/{path.name}": path for path in (paths.study, paths.notebook)}
    source = yaml.safe_dump(config, allow_unicode=True).encode()
    contents = {name: path.read_bytes() for name, path in files.items()}
    return StudyParcel(
        archive=pack_files(contents | {f"experiments/sources/{resolved.config.name}.yaml": source}),
        source=resolved.config.name,
        data_identity=resolved.data_identity(),
        software=describe_software(),
        topic=f"adapterbook-{uuid.uuid4().hex}",
    )


class ClusterExecutor:
    """Execute runs on the workers of a Dask cluster; an `Executor` of ``papermill_runs``.

    Each run takes one thread of a worker, or one GPU if workers declare some (``--resources GPU=1``). If its worker
    dies, it starts again on another.

    Parameters
    ----------
    client : Client
        Connected; the caller closes it.
    """

    def __init__(self, client: Client, study: StudyParcel) -> None:
        self._client, self._study = client, study
        self._submitted: dict[str, tuple[Run, TrainingContext]] = {}  # submitted and not yet collected
        self._started: set[str] = set()
        self._lock = threading.Lock()
        resources = {GPU: 1} if any(GPU in worker["resources"] for worker in self._workers().values()) else {}
        self._executor = client.get_executor(pure=False, retries=RETRIES, resources=resources)
        client.subscribe_topic(study.topic, self._receive_progress)

    def __len__(self) -> int:
        """Return how many runs go side by side on the current workers."""
        workers = self._workers().values()
        return int(sum(worker["resources"].get(GPU, 0) for worker in workers) or sum(w["nthreads"] for w in workers))

    def check_workers(self) -> None:
        """Let every worker compare its software with this machine's and fetch the source.

        Raises
        ------
        RunError
            Naming every worker that cannot be used, with the reason.
        """
        answers = self._client.run(check_worker, self._study, on_error="return")
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
        """Do nothing: a worker starts its kernel when it has a run."""

    def submit(self, run: Run, context: TrainingContext) -> Future[RunParcel]:
        """See `Executor`."""
        with self._lock:
            self._submitted[run.id] = (run, context)
        task = Task(self._study, run, context.placeholders[run.id], context.cell_timeout_s)
        key = f"{run.id}-{self._study.topic}"
        future: Future[RunParcel] = self._executor.submit(_sent_by_value(), pickle.dumps(task), key=key)
        return future

    def collect_record(self, future: Future[RunParcel], run: Run, context: TrainingContext) -> Record:
        """See `Executor`. What a worker sent is accepted only if it is complete and belongs to this run.

        Raises
        ------
        RunError
            If the scheduler is gone, or a worker that cannot be used has joined.
        """
        with self._lock:
            del self._submitted[run.id]
            if run.id not in self._started:
                context.on_start(run, staging_folder(run, context.paths))
        staging, placeholder = staging_folder(run, context.paths), context.placeholders[run.id]
        try:
            parcel = future.result()
            if parcel.archive is None:
                shutil.rmtree(staging, ignore_errors=True)
                return parcel.record
            make_run_folder(staging, placeholder)
            unpack(parcel.archive, staging)
            return _check_returned_run(staging, placeholder)
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
        return self._write_failure(failure, staging, placeholder, context.paths)

    def stop(self) -> None:
        """Do nothing: a worker ends a cancelled run by itself."""

    def close(self) -> None:
        """Remove this driver's kernels and folders from the workers."""
        if self._client.status != "running":  # without the scheduler the workers have ended
            return
        with suppress(OSError, TimeoutError, CommClosedError, RuntimeError):
            self._client.unsubscribe_topic(self._study.topic)
            self._client.run(end_study, self._study.topic, on_error="ignore")

    def _workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _receive_progress(self, event: tuple[float, dict[str, str]]) -> None:
        """Show the start or the progress of a run, as its worker sent it; called from Dask's thread."""
        _, message = event
        with self._lock:
            if message["run"] not in self._submitted:
                return  # arrived after the run's end
            run, context = self._submitted[message["run"]]
            staging = staging_folder(run, context.paths)
            if run.id not in self._started:
                self._started.add(run.id)
                context.on_start(run, staging)
            with suppress(OSError):  # collecting the run reports it
                staging.mkdir(parents=True, exist_ok=True)
                (staging / "progress.jsonl").write_text(message["progress"], "utf-8")

    def _write_failure(self, failure: Failure, staging: Path, placeholder: Record, paths: Paths) -> Record:
        """Write the failed record of a run that did not return."""
        failed = placeholder.model_copy(update={"finished_at": datetime.now(UTC), "error": failure})
        try:
            make_run_folder(staging, placeholder)
        except OSError:
            return failed
        return write_failed_record(staging, failed, paths)


def _sent_by_value() -> Callable[[bytes], RunParcel]:
    """Return the function that a worker calls for a task.

    Dask sends a nested function by value, and a module's function by name. The scheduler, which unpickles what it
    passes on, need not have this package.
    """

    def call(task: bytes) -> RunParcel:
        import pickle
        from importlib import import_module

        answer: RunParcel = import_module(WORKER).execute_task(pickle.loads(task))
        return answer

    return call


def _check_returned_run(staging: Path, placeholder: Record) -> Record:
    """Return the record of a returned run, sealed again with the driver's git state.

    Raises
    ------
    RecordError
        If the run is incomplete or not the one that was sent.
    """
    record = load_record(staging)
    problems = []
    if (record.source.name, record.run_id) != (placeholder.source.name, placeholder.run_id):
        problems.append(
            f"expected {placeholder.source.name}/{placeholder.run_id}, got {record.source.name}/{record.run_id}"
        )
    if record.stamps != placeholder.stamps:
        problems.append("the stamps are not those of the run that was sent")
    if record.files != hash_files(staging) or record.seal != record.compute_seal():
        problems.append("the files are not those that the record was sealed with")
    if problems:
        raise RecordError("What a worker sent back is not the run that was asked for:", problems)
    record = seal_record(record.model_copy(update={"git": placeholder.git}), staging)
    write_record(record, staging)
    return record
