"""The kernels that notebooks are executed in, and the Papermill engine that executes a notebook in a running kernel.

Owns how a kernel is started and how it ends: on Unix sockets, because TCP ports collide when kernels start side by
side; with an environment that makes runs repeatable; and never outliving the run.
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
from typing import Any, TypeVar, cast

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop, run_sync
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

import adapterbook
from adapterbook.common.workdir import temporary_prefix
from adapterbook.training.kernel_state import load_training, start_afresh

Answer = TypeVar("Answer")

ENGINE = "started-kernel"
PACKAGE_PARENT = Path(adapterbook.__file__).parents[1]  # the kernel imports the same code as the driver

# One thread a kernel: two such kernels finish 1.25 times as many runs an hour as one with two threads, and the curves
# do not depend on the number of cores.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # PEFT writes sets; in one order
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic cuBLAS; read when CUDA starts
    "HF_HUB_OFFLINE": "1",  # everything was fetched before the first kernel started
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",  # they would put this machine's paths into notebooks that are published
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


LOAD_TRAINING = f"from {load_training.__module__} import load_training; load_training()"
START_AFRESH = f"from {start_afresh.__module__} import start_afresh; start_afresh()"


@dataclass(frozen=True)
class Kernel:
    """A kernel that runs, and the client that speaks with it."""

    manager: KernelManager
    client: AsyncKernelClient


class StartedKernelEngine(NBClientEngine):  # type: ignore[misc]  # papermill is untyped
    """Papermill's own engine, but for the kernel: one that is running already, and goes on running."""

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
        """Execute a notebook's cells in a kernel as good as new, writing the notebook after each of them."""
        client = PapermillNotebookClient(
            nb_man, km=kernel.manager, timeout=execution_timeout, kernel_name=kernel_name, log=_quiet
        )
        client.kc = kernel.client
        try:
            reply = client.wait_for_reply(kernel.client.execute(START_AFRESH, silent=True))
        except DeadKernelError as error:  # between two runs: another one will do
            raise RuntimeError("it died") from error
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"].get("evalue", "no reason given"))
        client.execute()


# What went wrong with a run is said once, by its record.
_quiet = logging.getLogger(__name__)
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

papermill_engines.register(ENGINE, StartedKernelEngine)


@contextmanager
def start_kernel(root: Path, device: str | None = None, *, timeout_s: float = 300) -> Iterator[Kernel]:
    """Start a kernel of this Python, in a project's folder, and see to its end.

    Parameters
    ----------
    device : str, optional
        The only GPU that the kernel sees, as in ``CUDA_VISIBLE_DEVICES``; None: whatever this process sees.
    timeout_s : float
        Longest time until the kernel answers.

    Raises
    ------
    RuntimeError
        If the kernel does not start.
    """
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(root, "kernel")) as folder:
        manager = KernelManager(
            transport="ipc",
            connection_file=str(Path(folder) / "k.json"),
            client_class="jupyter_client.asynchronous.AsyncKernelClient",
        )
        search_path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | KERNEL_ENVIRONMENT | {"PYTHONPATH": search_path}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        manager.start_kernel(env=environment, cwd=str(root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = cast(AsyncKernelClient, manager.client())
        try:
            client.start_channels()
            run_sync(client.wait_for_ready)(timeout=timeout_s)
            client.allow_stdin = False
            yield Kernel(manager, client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            ensure_event_loop().close()  # this thread's, made by the line above and by nbclient


class KernelPool:
    """Threads that runs go side by side in, each with a kernel that stays for its next run.

    A kernel is started, used and ended by one thread: its client belongs to that thread's event loop.

    Parameters
    ----------
    root : Path
        The project's folder.
    n_workers : int
        How many runs go side by side.
    devices : sequence of str
        What each worker sees as its only GPU, in turn: values of ``CUDA_VISIBLE_DEVICES``. Empty: no GPU.
    """

    def __init__(self, root: Path, n_workers: int, devices: Sequence[str] = ()) -> None:
        self.root, self._n_workers = root, n_workers
        self._devices = itertools.cycle(devices)
        self._pool = ThreadPoolExecutor(n_workers)
        self._own = threading.local()

    def submit(self, function: Callable[..., Answer], *arguments: object) -> Future[Answer]:
        """Call a function in one of the threads, with these workers before its arguments."""
        return self._pool.submit(function, self, *arguments)

    def warm_up(self, code: str) -> None:
        """Have every thread start its kernel, and the kernel execute some code; does not wait for it."""
        together = threading.Barrier(self._n_workers)

        def begin() -> None:
            together.wait()  # so that each thread has one of these to do
            try:
                with self.kernel() as kernel:
                    kernel.client.execute(code, silent=True)
            except RuntimeError:  # the run that comes will try again, and say so if it fails, too
                return

        for _ in range(self._n_workers):
            self._pool.submit(begin)

    @contextmanager
    def kernel(self) -> Iterator[Kernel]:
        """Give this thread's kernel; one that dies, or in which anything fails, is ended and not used again."""
        if not hasattr(self._own, "stack"):
            self._own.stack = ExitStack()
            self._own.kernel = self._own.stack.enter_context(start_kernel(self.root, next(self._devices, None)))
        try:
            yield self._own.kernel
        except BaseException:
            self.end_kernel()
            raise

    def end_kernel(self) -> None:
        """End this thread's kernel, if it has one."""
        if hasattr(self._own, "stack"):
            stack = self._own.stack
            del self._own.stack, self._own.kernel
            stack.close()

    def close(self) -> None:
        """End every kernel, each in its own thread, and the threads."""
        together = threading.Barrier(self._n_workers)

        def end() -> None:
            together.wait()  # so that each thread has one of these to do
            self.end_kernel()

        wait([self._pool.submit(end) for _ in range(self._n_workers)])
        self._pool.shutdown()
