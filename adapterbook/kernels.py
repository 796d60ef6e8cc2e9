"""The kernels that notebooks are executed in, and the Papermill engine that executes a notebook in a running kernel.

Owns how a kernel is started and how it ends: on Unix sockets, because TCP ports collide when kernels start side by
side; with an environment that makes runs repeatable; and never outliving the run.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop, run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

from adapterbook.workplace import temporary_prefix

__all__ = ["ENGINE", "KERNEL_ENVIRONMENT", "Kernel", "start_kernel", "stop_kernels"]

ENGINE = "started-kernel"
PACKAGE_PARENT = Path(__file__).parents[1]  # the kernel imports the same code as the driver

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
        """Execute a notebook's cells, writing it after each of them."""
        client = PapermillNotebookClient(
            nb_man, km=kernel.manager, timeout=execution_timeout, kernel_name=kernel_name, log=_quiet
        )
        client.kc = kernel.client
        client.execute()


# What went wrong with a run is said once, by its record.
_quiet = logging.getLogger(__name__)
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False

papermill_engines.register(ENGINE, StartedKernelEngine)


@contextmanager
def start_kernel(root: Path, *, timeout_s: float = 300) -> Iterator[Kernel]:
    """Start a kernel of this Python, in a project's folder, and see to its end.

    Parameters
    ----------
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


def stop_kernels() -> None:
    """Kill every child of this process, and wait until they are gone."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=10)
