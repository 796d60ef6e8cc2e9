"""Test that a kernel executes one run after another, and that each run finds it as if it were new."""

import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import nbformat
import numpy as np
import papermill
import psutil
import pytest
import torch
from jupyter_client.kernelspec import KernelSpecManager

from adapterbook.common import workdir
from adapterbook.common.errors import RunError
from adapterbook.common.workdir import short_temporary_place, temporary_folders
from adapterbook.execution import kernels
from adapterbook.execution.kernels import ENGINE, KernelPool, KernelStartError, start_kernel
from adapterbook.training.kernel_state import TORCH_DEFAULT_SEED, reset_kernel, reuse
from tests.support.processes import wait_until

# This code waits for the other kernel, so that each of two executes one notebook.
TOGETHER = (
    "import os, pathlib, time\npathlib.Path(f'{os.getpid()}.here').touch()\n"
    "while len(list(pathlib.Path().glob('*.here'))) < 2: time.sleep(0.05)\n"
)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[KernelPool]:
    """Start a pool of one kernel."""
    with closing(KernelPool(tmp_path, 1)) as one:
        yield one


def _write_notebook(path: Path, source: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def _execute(workers: KernelPool, notebook: Path) -> str:
    """Execute a notebook in a kernel, and return what its cell printed."""

    def execute(workers: KernelPool) -> str:
        with workers.kernel() as kernel:
            done = papermill.execute_notebook(
                notebook, None, kernel_name="python3", engine_name=ENGINE, kernel=kernel, progress_bar=False
            )
        (cell,) = done.cells
        return f"{cell.execution_count} {cell.outputs[0]['text']}"

    return workers.submit(execute).result(timeout=300)


def test_a_kernel_serves_one_run_after_another_and_keeps_nothing_of_them(workers: KernelPool, tmp_path: Path) -> None:
    """The process stays, and no name, cell number, traceback or random state of the last run is left."""
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
    """After a failure the kernel ends, so no later run sees what the failure left."""
    good = _write_notebook(tmp_path / "good.ipynb", "import os; print(os.getpid())")
    bad = _write_notebook(tmp_path / "bad.ipynb", "raise ValueError")
    before = _execute(workers, good)
    with pytest.raises(papermill.PapermillExecutionError):
        _execute(workers, bad)
    assert not psutil.pid_exists(int(before.split()[1]))
    assert before != _execute(workers, good)


@pytest.mark.slow
def test_a_kernel_that_died_between_two_runs_is_replaced(workers: KernelPool, tmp_path: Path) -> None:
    """The engine raises the error after which the driver tries again, and the next try has a new kernel."""
    notebook = _write_notebook(tmp_path / "n.ipynb", "import os; print(os.getpid())")
    pid = int(_execute(workers, notebook).split()[1])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(RuntimeError, match="it died"):
        _execute(workers, notebook)
    assert int(_execute(workers, notebook).split()[1]) != pid


def test_closing_ends_every_kernel(tmp_path: Path) -> None:
    """After closing a pool of two kernels, neither process is left."""
    workers = KernelPool(tmp_path, 2)
    notebook = _write_notebook(tmp_path / "n.ipynb", f"{TOGETHER}print(os.getpid())")
    futures = [workers.submit(lambda workers: _execute_here(workers, notebook)) for _ in range(2)]
    pids = {future.result(timeout=300) for future in futures}
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
    """The kernels get their CUDA_VISIBLE_DEVICES in turn."""
    notebook = _write_notebook(tmp_path / "n.ipynb", f"{TOGETHER}print(os.environ['CUDA_VISIBLE_DEVICES'])")
    with closing(KernelPool(tmp_path, 2, devices=["0", "3"])) as workers:
        futures = [workers.submit(lambda workers: _execute_here(workers, notebook)) for _ in range(2)]
        assert {future.result(timeout=300) for future in futures} == {0, 3}


def test_a_kernel_never_outlives_its_context(tmp_path: Path) -> None:
    """A kernel ends with its context, even if the code inside raises."""
    with pytest.raises(ZeroDivisionError), start_kernel(tmp_path) as kernel:
        assert kernel.manager.is_alive()
        raise ZeroDivisionError
    assert not kernel.manager.is_alive()


@pytest.mark.parametrize("name", ["x" * 95, "two words 'and' [brackets] {braces}", "資料夾" * 12])
def test_a_kernel_starts_whatever_the_temporary_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A path too long for a socket is left for a shorter one; odd characters do not matter."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert short_temporary_place() == ("/tmp" if len(os.fsencode(folder)) > 58 else str(folder))
    with start_kernel(tmp_path) as kernel:
        assert kernel.manager.is_alive()
        assert temporary_folders(tmp_path, "kernel") != []
    assert temporary_folders(tmp_path, "kernel") == []


def test_without_a_short_folder_the_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says that the path is too long, how long it may be, and which variable names another."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 95)))
    monkeypatch.setattr(workdir, "SHORT_TEMPORARY", ("/proc/none",))
    with pytest.raises(RunError, match=r"(?s)too long for a kernel's sockets.*TMPDIR= names another one, of at most"):
        short_temporary_place()


def test_the_kernel_is_this_python_s_whatever_jupyter_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kernel named python3 in Jupyter's folders is not started."""
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "Other", "language": "python"}), "utf-8"
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert KernelSpecManager().get_kernel_spec("python3").display_name == "Other"
    with start_kernel(tmp_path) as kernel:
        assert kernel.manager.is_alive()
        started = kernel.manager.kernel_spec
        assert started is not None
        assert started.argv[0] == sys.executable


def test_a_kernel_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's last words are the reason, and the next start does not stumble over the first."""
    module = tmp_path / "ipykernel_launcher.py"
    module.write_text("raise SystemExit('the wheel is broken')", "utf-8")
    monkeypatch.setattr(kernels, "import_path", lambda: str(tmp_path))
    with closing(KernelPool(tmp_path, 1)) as pool:
        for _ in range(2):
            with pytest.raises(KernelStartError, match="the wheel is broken"):
                pool.submit(_start).result(timeout=300)
        assert not pool.has_started
        monkeypatch.undo()
        module.unlink()
        pool.submit(_start).result(timeout=300)
        assert pool.has_started


def _start(pool: KernelPool) -> None:
    with pool.kernel():
        pass


def test_random_numbers_begin_as_in_a_new_process() -> None:
    """torch has the seed of a new process; Python and NumPy do not continue the last run's random numbers."""
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
    """A reset drops IPython's last traceback, which would keep a model and its gradients in memory."""
    sys.last_value = ValueError("of the run before")
    reset_kernel()
    assert not hasattr(sys, "last_value")


def test_one_thing_is_kept_for_a_name() -> None:
    """One value is kept for a name, so a kernel does not collect the data sets of ten sources."""
    made: list[int] = []
    for key in (1, 1, 2, 1):
        reuse("test", key, lambda key=key: made.append(key))  # type: ignore[misc]
    assert made == [1, 2, 1]
