"""Train stored runs again, as `make train` does, and compare each with what is stored.

The repetitions have a folder outside ``results/``, which is always removed. The caller holds the lock of the results.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adapterbook.config.paths import Paths
from adapterbook.execution.kernels import KernelPool, count_parallel_runs, list_devices
from adapterbook.execution.papermill_runs import LocalExecutor, train_runs
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.runs.plan import Run
from adapterbook.runs.record import Record
from adapterbook.sources.resolve import ResolvedSource
from adapterbook.training.kernel_state import gpu_memory_bytes
from adapterbook.training.recording import preflight
from adapterbook.verification.comparison import compare_runs
from adapterbook.verification.findings import Finding


@dataclass(frozen=True)
class Repetition:
    """Hold the result of training a run again.

    Attributes
    ----------
    exact : bool
        Whether every bit was compared; False if the machine or the packages differ from the record's.
    """

    exact: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _OtherResults(Paths):
    """Give a project another folder for results."""

    elsewhere: Path

    @property
    def results(self) -> Path:
        """Return the folder of the repetition."""
        return self.elsewhere


def train_again(
    stored: Sequence[tuple[Run, Record]],
    paths: Paths,
    resolved: ResolvedSource,
    source: str,
    cell_timeout_s: float | None,
    n_side_by_side: int,
    console: Console,
) -> dict[str, Repetition]:
    """Train runs again in a separate folder, compare each, and remove the folder; return the comparisons by run id.

    Parameters
    ----------
    stored : sequence of pairs of Run and Record
        What is repeated, with the completed record of each.
    source : str
        The source as the notebook gets it.

    Raises
    ------
    ConfigError, SourceError
        As `make train` would.
    KeyboardInterrupt
        After the kernels were stopped and the folder removed.
    """
    runs, records = [run for run, _ in stored], {run.id: (run, record) for run, record in stored}
    with other_results(paths) as other:
        repeated = train_runs(
            runs,
            lambda: preflight(runs, other, resolved),
            other,
            source,
            LocalExecutor(KernelPool(paths.root, n_side_by_side, list_devices(len(gpu_memory_bytes())))),
            cell_timeout_s=cell_timeout_s,
            display=TrainingDisplay(len(runs), console),
        )
        return {again.run_id: _compare(*records[again.run_id], again, paths, other) for again in repeated}


def _compare(run: Run, record: Record, again: Record, paths: Paths, other: Paths) -> Repetition:
    if again.status == "failed":
        message = f"failed: {again.error.message if again.error else 'no reason was recorded'}"
        return Repetition(False, (Finding(run.id, "training it again", message),))
    exact = is_same_environment(record, again)
    return Repetition(exact, tuple(compare_runs(record, run.folder(paths), again, run.folder(other), exact=exact)))


def count_side_by_side(n_runs: int) -> int:
    """Return how many runs this machine trains side by side."""
    return count_parallel_runs(None, n_runs=n_runs, gpu_memory_bytes=gpu_memory_bytes())


def is_same_environment(first: Record, second: Record) -> bool:
    """Return whether two runs must agree in every bit: trained on one kind of CPU, with the same packages."""
    a, b = first.environment, second.environment
    same = (a.device, a.device_name, a.packages, a.n_threads) == (b.device, b.device_name, b.packages, b.n_threads)
    # Some GPU operations have no deterministic version; a split batch adds its gradients in another order.
    return same and a.device == "cpu" and (first.smaller_batch is None) == (second.smaller_batch is None)


@contextmanager
def other_results(paths: Paths) -> Iterator[Paths]:
    """Give the project an empty folder for results, and remove it afterwards; also one left by a killed process."""
    folder = paths.root / ".cache" / "verify"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _OtherResults(paths.root, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # something else is kept there
            folder.parent.rmdir()
