"""Test that as many runs go side by side as the machine has room for, and never more than were asked for."""

from types import SimpleNamespace

import pytest

from adapterbook.common.errors import RunError
from adapterbook.common.machine import has_gpu
from adapterbook.execution.kernels import GIB, count_parallel_runs, list_devices


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend a machine of sixteen cores and 20 GiB of free memory."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(16), raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=20 * GIB))


@pytest.mark.parametrize(
    ("jobs", "n_runs", "gpus_gib", "expected"),
    [
        (3, 12, (), 3),  # asked for
        (8, 2, (), 2),  # no more than runs
        (None, 40, (), 10),  # memory: 2 GiB each
        (None, 4, (), 4),
        (None, 40, (16,), 2),  # one GPU: 6 GiB each
        (None, 40, (16, 16, 4), 5),  # a small one still takes a run
        (None, 40, (80,), 10),  # the machine's own memory
        (20, 40, (), 20),
    ],
)
def test_how_many_runs_go_side_by_side(jobs: int | None, n_runs: int, gpus_gib: tuple[int, ...], expected: int) -> None:
    """The number is the one asked for, else the largest that fits."""
    assert count_parallel_runs(jobs, n_runs=n_runs, gpu_memory_bytes=[gib * GIB for gib in gpus_gib]) == expected


def test_no_jobs_at_all_is_refused() -> None:
    """JOBS=0 would train nothing, so it is refused."""
    with pytest.raises(RunError, match="JOBS=0: expected 1 or more"):
        count_parallel_runs(0, n_runs=12)


def test_more_jobs_than_there_is_memory_for_are_refused() -> None:
    """Too many jobs are refused, and the message names the number that fits; one run may always try."""
    with pytest.raises(RunError, match=r"JOBS=32: .* need 32 GiB .* 20\.0 GiB are free: JOBS=10 fits"):
        count_parallel_runs(32, n_runs=100)
    assert count_parallel_runs(1, n_runs=100) == 1


def test_devices_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES=2,3 gives the devices 2 and 3, not 0 and 1."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert list_devices(2) == ["2", "3"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert list_devices(2) == ["0", "1"]
    assert list_devices(0) == []


@pytest.mark.parametrize(
    ("build", "platform", "driver", "expected"),
    [
        ("2.13.0+cpu", "linux", True, False),  # a torch without GPU support
        ("2.13.0", "darwin", True, False),
        ("2.13.0", "linux", False, False),  # no driver
        ("2.13.0", "linux", True, True),
        ("2.13.0+cu130", "linux", True, True),
        ("2.13.0+rocm7.0", "linux", False, True),  # another driver: only torch knows
    ],
)
def test_torch_is_asked_for_gpus_only_where_there_may_be_one(
    monkeypatch: pytest.MonkeyPatch, build: str, platform: str, driver: bool, expected: bool
) -> None:
    """torch is not asked about GPUs if its build lacks CUDA or the machine lacks the driver."""

    def load(name: str) -> None:
        assert name == "libcuda.so.1"
        if not driver:
            raise OSError("cannot open shared object file")

    monkeypatch.setattr("adapterbook.common.machine.version", lambda package: build)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("ctypes.CDLL", load)
    assert has_gpu() is expected
