"""Decide how many kernels run side by side, start and end them, and execute a notebook in a running kernel.

Kernels use Unix sockets, because TCP ports collide when kernels start side by side. Their environment makes runs
repeatable, and they end with the run's process.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop, run_sync
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

import adapterbook
from adapterbook.common.errors import RunError, first_line
from adapterbook.common.machine import count_cores
from adapterbook.common.workdir import short_temporary_place, temporary_prefix
from adapterbook.training import load_training
from adapterbook.training.kernel_state import reset_kernel

GIB = 1024**3
# Memory planned for a run if JOBS is not set; DistilBERT with LoRA takes about 1.2 GiB.
MEMORY_PER_RUN_BYTES = 2 * GIB
GPU_MEMORY_PER_RUN_BYTES = 6 * GIB
LEAST_MEMORY_BYTES = 1 * GIB  # with less, a kernel cannot load torch and a model


def count_parallel_runs(jobs: int | None, *, n_runs: int, gpu_memory_bytes: Sequence[int] = ()) -> int:
    """Return how many runs go side by side.

    Parameters
    ----------
    jobs : int or None
        What the user asked for; None: one per core, each with 2 GiB of free memory and, on GPUs, 6 GiB of a GPU's
        memory.
    gpu_memory_bytes : sequence of int
        Memory of each GPU; empty: no GPU.

    Raises
    ------
    RunError
        If `jobs` is less than 1, or more than there is memory for.
    """
    if jobs is not None and jobs < 1:
        raise RunError(f"JOBS={jobs}: expected 1 or more, or nothing for as many as this machine has cores for.")
    free = psutil.virtual_memory().available
    if jobs is None:
        jobs = min(count_cores(), free // MEMORY_PER_RUN_BYTES)
        if gpu_memory_bytes:
            jobs = min(jobs, sum(max(1, memory // GPU_MEMORY_PER_RUN_BYTES) for memory in gpu_memory_bytes))
        return max(1, min(jobs, n_runs))
    jobs = min(jobs, n_runs)
    if jobs > 1 and jobs * LEAST_MEMORY_BYTES > free:
        fits = max(1, free // MEMORY_PER_RUN_BYTES)
        raise RunError(
            f"JOBS={jobs}: {jobs} runs side by side need {jobs * LEAST_MEMORY_BYTES / GIB:.0f} GiB of memory at least, "
            f"and {free / GIB:.1f} GiB are free: JOBS={fits} fits."
        )
    return jobs


def list_devices(n_gpus: int) -> list[str]:
    """Return the name of each GPU for ``CUDA_VISIBLE_DEVICES``.

    Examples
    --------
    >>> list_devices(2)
    ['0', '1']
    """
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:n_gpus] if len(named) >= n_gpus else [str(i) for i in range(n_gpus)]


Result = TypeVar("Result")

ENGINE = "started-kernel"
PACKAGE_PARENT = Path(adapterbook.__file__).parents[1]  # kernels import this code

# One thread a kernel: the curves then do not depend on the number of cores, and two such kernels finish 1.25 times as
# many runs an hour as one kernel with two threads.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # PEFT writes sets, which then keep one order
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic cuBLAS; read when CUDA starts
    "HF_HUB_OFFLINE": "1",  # everything was fetched before the first kernel started
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",  # they would write this machine's paths into the notebooks
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


LOAD_TRAINING = f"from {load_training.__module__} import load_training; load_training()"
RESET_KERNEL = f"from {reset_kernel.__module__} import reset_kernel; reset_kernel()"


@dataclass(frozen=True)
class Kernel:
    """Hold a running kernel and its client."""

    manager: KernelManager
    client: AsyncKernelClient


class KernelStartError(RuntimeError):
    """Report why a kernel did not start. Remedy: what the message says of this machine."""


class _OwnKernelManager(KernelManager):
    """Start a kernel of the Python that runs this code, whatever kernels Jupyter's folders name."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """Return how this Python starts a kernel."""
        return KernelSpec(argv=make_ipkernel_cmd(), display_name="Python 3", language="python")


class RunningKernelEngine(NBClientEngine):  # type: ignore[misc]  # papermill is untyped
    """Execute notebooks as Papermill's own engine does, but in a kernel that is already running and keeps running."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        kernel: Kernel,
        execution_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Reset the kernel, then execute a notebook's cells, writing the notebook after each."""
        client = PapermillNotebookClient(
            nb_man, km=kernel.manager, timeout=execution_timeout, kernel_name=kernel_name, log=_silent_log
        )
        client.kc = kernel.client
        try:
            reply = client.wait_for_reply(kernel.client.execute(RESET_KERNEL, silent=True))
        except DeadKernelError as error:  # it died between two runs, and can be replaced
            raise RuntimeError("it died") from error
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"].get("evalue", "no reason given"))
        client.execute()


# The record alone reports what went wrong with a run.
_silent_log = logging.getLogger(__name__)
_silent_log.addHandler(logging.NullHandler())
_silent_log.propagate = False

papermill_engines.register(ENGINE, RunningKernelEngine)


def import_path() -> str:
    """Return the ``PYTHONPATH`` of a process that has to import this code."""
    return os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))


@contextmanager
def start_kernel(root: Path, device: str | None = None, *, timeout_s: float = 300) -> Iterator[Kernel]:
    """Start a kernel of this Python in a project's folder, and end it afterwards.

    Parameters
    ----------
    device : str, optional
        The only GPU that the kernel sees, as in ``CUDA_VISIBLE_DEVICES``; None: all that this process sees.
    timeout_s : float
        Longest time until the kernel answers.

    Raises
    ------
    KernelStartError
        If the kernel does not start.
    RunError
        If there is no place for its sockets.
    """
    place = short_temporary_place()
    with (
        tempfile.TemporaryDirectory(prefix=temporary_prefix(root, "kernel"), dir=place) as folder,
        _errors(folder) as log,
    ):
        manager = _OwnKernelManager(
            transport="ipc",
            connection_file=str(Path(folder) / "k.json"),
            client_class="jupyter_client.asynchronous.AsyncKernelClient",
        )
        environment = os.environ | KERNEL_ENVIRONMENT | {"PYTHONPATH": import_path()}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        with ExitStack() as stack:
            try:
                stack.callback(ensure_event_loop().close)  # of this thread; nbclient makes it too
                stack.callback(manager.shutdown_kernel, now=True)
                manager.start_kernel(env=environment, cwd=str(root), stdout=subprocess.DEVNULL, stderr=log)
                client = cast(AsyncKernelClient, manager.client())
                stack.callback(client.stop_channels)
                client.start_channels()
                run_sync(client.wait_for_ready)(timeout=timeout_s)
            except Exception as error:
                raise KernelStartError(_last_words(log) or first_line(error)) from error
            client.allow_stdin = False
            yield Kernel(manager, client)


@contextmanager
def _errors(folder: str) -> Iterator[BinaryIO]:
    """Give a kernel a file for what it says of itself: a kernel that does not start says why only there."""
    with (Path(folder) / "errors").open("w+b") as file:
        yield file


def _last_words(log: BinaryIO) -> str:
    """Return the last line that a kernel wrote, such as the error that ended it; empty if there is none."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines()]
    return next((first_line(ValueError(line)) for line in reversed(lines) if line), "")


class KernelPool:
    """Call functions in threads, each of which keeps one kernel for all its runs.

    One thread starts, uses and ends a kernel, because the kernel's client belongs to that thread's event loop.

    Parameters
    ----------
    root : Path
        The project's folder.
    n_kernels : int
        How many runs go side by side.
    devices : sequence of str
        The only GPU that each kernel sees, in turn: values of ``CUDA_VISIBLE_DEVICES``. Empty: no GPU.
    """

    def __init__(self, root: Path, n_kernels: int, devices: Sequence[str] = ()) -> None:
        self.root, self._n_kernels = root, n_kernels
        self._devices = itertools.cycle(devices)
        self._pool = ThreadPoolExecutor(n_kernels)
        self._thread = threading.local()
        self.has_started = False  # a kernel; where none ever does, no run needs to be tried

    def submit(self, function: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Call a function in one of the threads, with this pool before its arguments."""
        return self._pool.submit(function, self, *arguments)

    def warm_up(self, code: str) -> None:
        """Let every thread start its kernel and the kernel execute some code, without waiting for it."""
        together = threading.Barrier(self._n_kernels)

        def start() -> None:
            together.wait()  # each thread takes one of these
            try:
                with self.kernel() as kernel:
                    kernel.client.execute(code, silent=True)
            except (RuntimeError, RunError):  # the next run tries again, and reports it
                return

        for _ in range(self._n_kernels):
            self._pool.submit(start)

    @contextmanager
    def kernel(self) -> Iterator[Kernel]:
        """Yield this thread's kernel, started where needed; if anything fails in it, end it."""
        if not hasattr(self._thread, "kernel"):
            with ExitStack() as stack:
                self._thread.kernel = stack.enter_context(start_kernel(self.root, next(self._devices, None)))
                self._thread.stack = stack.pop_all()
            self.has_started = True
        try:
            yield self._thread.kernel
        except BaseException:
            self.end_kernel()
            raise

    def end_kernel(self) -> None:
        """End this thread's kernel, if it has one."""
        if hasattr(self._thread, "kernel"):
            stack = self._thread.stack
            del self._thread.stack, self._thread.kernel
            stack.close()

    def close(self) -> None:
        """End every kernel in its thread, then the threads."""
        together = threading.Barrier(self._n_kernels)

        def end() -> None:
            together.wait()  # each thread takes one of these
            self.end_kernel()

        wait([self._pool.submit(end) for _ in range(self._n_kernels)])
        self._pool.shutdown()
