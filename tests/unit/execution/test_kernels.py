"""kernels.py and worker.py: a kernel serves one run after another, and each finds it as good as new."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import nbformat
import numpy as np
import papermill
import psutil
import pytest
import torch

from adapterbook.execution.kernels import ENGINE, KernelPool, start_kernel
from adapterbook.training.kernel_state import TORCH_DEFAULT_SEED, reset_kernel, reuse


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[KernelPool]:
    """One worker."""
    with closing(KernelPool(tmp_path, 1)) as one:
        yield one


def _write_notebook(path: Path, source: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def _execute(workers: KernelPool, notebook: Path) -> str:
    """Execute a notebook in a worker, and return what its cell printed."""

    def execute(workers: KernelPool) -> str:
        with workers.kernel() as kernel:
            done = papermill.execute_notebook(
                notebook, None, kernel_name="python3", engine_name=ENGINE, kernel=kernel, progress_bar=False
            )
        (cell,) = done.cells
        return f"{cell.execution_count} {cell.outputs[0]['text']}"

    return workers.submit(execute).result(timeout=60)


def test_a_kernel_serves_one_run_after_another_and_keeps_nothing_of_them(workers: KernelPool, tmp_path: Path) -> None:
    """The same process; no name, no count of cells, no traceback, no random state of the run before."""
    source = (
        "import os, random, sys; print(os.getpid(), 'left' in globals(), random.random() == 0.13436424411240122)\n"
        "left = 1; random.seed(1)"
    )
    notebook = _write_notebook(tmp_path / "n.ipynb", source)
    first, second = (_execute(workers, notebook).split() for _ in range(2))
    assert first == second
    assert first[0] == "1"
    assert first[2:] == ["False", "False"]


def test_a_kernel_in_which_something_failed_is_not_used_again(workers: KernelPool, tmp_path: Path) -> None:
    """Whatever the failure left in it, nobody meets it."""
    good = _write_notebook(tmp_path / "good.ipynb", "import os; print(os.getpid())")
    bad = _write_notebook(tmp_path / "bad.ipynb", "raise ValueError")
    before = _execute(workers, good)
    with pytest.raises(papermill.PapermillExecutionError):
        _execute(workers, bad)
    assert not psutil.pid_exists(int(before.split()[1]))
    assert before != _execute(workers, good)


def test_a_kernel_that_died_between_two_runs_is_replaced(workers: KernelPool, tmp_path: Path) -> None:
    """The engine says so with the error that the driver tries again after."""
    notebook = _write_notebook(tmp_path / "n.ipynb", "import os; print(os.getpid())")
    pid = int(_execute(workers, notebook).split()[1])
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    with pytest.raises(RuntimeError, match="it died"):
        _execute(workers, notebook)
    assert int(_execute(workers, notebook).split()[1]) != pid


def test_closing_ends_every_kernel(tmp_path: Path) -> None:
    """Two workers, two kernels, none left; nor the folders of their sockets."""
    workers = KernelPool(tmp_path, 2)
    notebook = _write_notebook(tmp_path / "n.ipynb", "import os, time; time.sleep(1); print(os.getpid())")
    futures = [workers.submit(lambda workers: _execute_here(workers, notebook)) for _ in range(2)]
    pids = {future.result(timeout=60) for future in futures}
    assert len(pids) == 2
    workers.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def _execute_here(workers: KernelPool, notebook: Path) -> int:
    with workers.kernel() as kernel:
        done = papermill.execute_notebook(
            notebook, None, kernel_name="python3", engine_name=ENGINE, kernel=kernel, progress_bar=False
        )
    return int(done.cells[0].outputs[0]["text"])


def test_each_worker_sees_its_own_gpu(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES, in turn."""
    notebook = _write_notebook(
        tmp_path / "n.ipynb", "import os, time; time.sleep(1); print(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    with closing(KernelPool(tmp_path, 2, devices=["0", "3"])) as workers:
        futures = [workers.submit(lambda workers: _execute_here(workers, notebook)) for _ in range(2)]
        assert {future.result(timeout=60) for future in futures} == {0, 3}


def test_a_kernel_never_outlives_its_context(tmp_path: Path) -> None:
    """…even where the code inside raises."""
    with pytest.raises(ZeroDivisionError), start_kernel(tmp_path) as kernel:
        assert kernel.manager.is_alive()
        raise ZeroDivisionError
    assert not kernel.manager.is_alive()


def test_random_numbers_begin_as_in_a_new_process() -> None:
    """torch's seed is that of a new process; Python's and NumPy's are not those of the run before."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    reset_kernel()
    assert torch.initial_seed() == TORCH_DEFAULT_SEED
    state = torch.get_rng_state()
    assert torch.equal(state, torch.Generator().manual_seed(TORCH_DEFAULT_SEED).get_state())
    assert random.random() != random.Random(1).random()
    assert np.random.random() != np.random.RandomState(1).random()


def test_a_traceback_keeps_nothing_alive() -> None:
    """IPython keeps the last one, and with it a model and its gradients."""
    sys.last_value = ValueError("of the run before")
    reset_kernel()
    assert not hasattr(sys, "last_value")


def test_one_thing_is_kept_for_a_name() -> None:
    """A worker that goes through ten sources does not keep ten data sets."""
    made: list[int] = []
    for key in (1, 1, 2, 1):
        reuse("test", key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == [1, 2, 1]
