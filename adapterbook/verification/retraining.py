"""Train one stored run again, as `make train` does, and compare it with what is stored.

The repetition has a folder outside ``results/``, which is always removed. The caller holds the lock of the results.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel
from rich.console import Console
from safetensors.numpy import load_file

from adapterbook.config.paths import Paths
from adapterbook.execution.kernels import KernelPool
from adapterbook.execution.papermill_runs import LocalExecutor, train_runs
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.runs.plan import Run
from adapterbook.runs.predictions import class_probabilities, load_predictions
from adapterbook.runs.record import Record
from adapterbook.sources.resolve import ResolvedSource
from adapterbook.training.recording import preflight
from adapterbook.verification.findings import Finding
from adapterbook.verification.recomputation import short

# Another machine or other packages round differently, and training amplifies that. The largest differences allowed of
# a loss in nat, a share of rows, a probability on average, and all weights of the adapter, relative to their norm.
LOSS_TOLERANCE, SHARE_TOLERANCE, PROBABILITY_TOLERANCE, WEIGHT_TOLERANCE = 0.05, 0.05, 0.05, 0.05


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


def choose_run(records: Sequence[Record]) -> Record | None:
    """Return the record of the shortest run, preferably one whose batches were not split."""
    return min(records, key=lambda record: (record.smaller_batch is not None, record.train_time_s or 0.0), default=None)


def train_again(
    run: Run,
    record: Record,
    paths: Paths,
    resolved: ResolvedSource,
    source: str,
    cell_timeout_s: float | None,
    console: Console,
) -> Repetition:
    """Train a run again in a separate folder, compare, and remove the folder.

    Parameters
    ----------
    source : str
        The source as the notebook gets it.

    Raises
    ------
    ConfigError, SourceError
        As `make train` would.
    KeyboardInterrupt
        After the kernel was stopped and the folder removed.
    """
    with other_results(paths) as other:
        (again,) = train_runs(
            [run],
            lambda: preflight([run], other, resolved),
            other,
            source,
            LocalExecutor(KernelPool(paths.root, 1)),
            cell_timeout_s=cell_timeout_s,
            display=TrainingDisplay(1, console),
        )
        if again.status == "failed":
            message = f"failed: {again.error.message if again.error else 'no reason was recorded'}"
            return Repetition(False, (Finding(run.id, "training it again", message),))
        exact = is_same_environment(record, again)
        return Repetition(exact, tuple(compare_runs(record, run.folder(paths), again, run.folder(other), exact=exact)))


def is_same_environment(first: Record, second: Record) -> bool:
    """Return whether two runs must agree in every bit: trained on one kind of CPU, with the same packages."""
    a, b = first.environment, second.environment
    same = (a.device, a.device_name, a.packages, a.n_threads) == (b.device, b.device_name, b.packages, b.n_threads)
    # Some GPU operations have no deterministic version; a split batch adds its gradients in another order.
    return same and a.device == "cpu" and (first.smaller_batch is None) == (second.smaller_batch is None)


def compare_runs(first: Record, folder: Path, second: Record, again: Path, *, exact: bool) -> Iterator[Finding]:
    """Compare the results of two runs, exactly or within the tolerances of this module.

    Parameters
    ----------
    first, folder
        The stored run, whose adapter and predictions can be read.
    second, again
        The repetition.
    exact : bool
        See `is_same_environment`.
    """
    names = ["epochs", "evaluations"] if len(first.evaluations) == len(second.evaluations) else ["epochs"]
    for name in names:
        for i, (row, other) in enumerate(zip(getattr(first, name), getattr(second, name), strict=False)):
            yield from _compare_numbers(first.run_id, f"{name}.{i}", row, other, exact)
    for name in ("epochs", "evaluations"):
        stored, repeated = len(getattr(first, name)), len(getattr(second, name))
        if stored != repeated:
            yield Finding(first.run_id, name, f"has {stored} rows in the record, {repeated} when trained again")
    if exact:  # rounding may make another epoch the best
        yield from _compare_numbers(first.run_id, "best", first.best, second.best, exact)
        yield from _compare_parts(first, second, "strategies", ())
        yield from _compare_parts(first, second, "steps", ("seconds",))
    yield from _compare_numbers(first.run_id, "selection", first.selection, second.selection, exact)
    yield from _compare_numbers(first.run_id, "test", first.test, second.test, exact)
    yield from _compare_predictions(first.run_id, load_predictions(folder), load_predictions(again), exact)
    yield from _compare_weights(first.run_id, folder / "adapter", again / "adapter", exact)


def _compare_parts(first: Record, second: Record, name: str, ignored: Collection[str]) -> Iterator[Finding]:
    """Compare two lists of parts of a record exactly, but for the fields that are times."""
    stored, repeated = (
        [part.model_dump(exclude=set(ignored)) for part in getattr(run, name)] for run in (first, second)
    )
    if stored != repeated:
        n_other = sum(a != b for a, b in zip(stored, repeated, strict=False)) + abs(len(stored) - len(repeated))
        yield Finding(first.run_id, name, f"differs from the run trained again in {n_other} of {len(stored)} rows")


def _compare_numbers(
    run_id: str, prefix: str, first: BaseModel | None, second: BaseModel | None, exact: bool
) -> Iterator[Finding]:
    """Compare two parts of a record field by field."""
    stored, repeated = first.model_dump() if first else {}, second.model_dump() if second else {}
    for name in stored:
        a, b = stored[name], repeated.get(name)
        near = not exact and isinstance(a, float) and isinstance(b, float) and abs(a - b) <= _tolerance(name)
        if a != b and not near:
            message = f"is {_shown(a)} in the record, {_shown(b)} when trained again"
            yield Finding(run_id, f"{prefix}.{name}", message)


def _compare_predictions(run_id: str, stored: pd.DataFrame, repeated: pd.DataFrame, exact: bool) -> Iterator[Finding]:
    first, second = class_probabilities(stored), class_probabilities(repeated)
    if first.shape != second.shape:
        yield Finding(run_id, "predictions.parquet", "holds other rows or labels than the run trained again")
        return
    distance = np.abs(first - second).max(axis=1)
    if exact and not stored.equals(repeated):
        message = f"differs from the run trained again, a probability by up to {short(distance.max())}"
        yield Finding(run_id, "predictions.parquet", message)
    if not exact and not distance.mean() <= PROBABILITY_TOLERANCE:
        message = f"differs too much from the run trained again, a probability by {short(distance.mean())} on average"
        yield Finding(run_id, "predictions.parquet", message)


def _compare_weights(run_id: str, folder: Path, again: Path, exact: bool) -> Iterator[Finding]:
    subject = "adapter/adapter_model.safetensors"
    stored, repeated = (load_file(path / "adapter_model.safetensors") for path in (folder, again))
    shapes, others = ({name: array.shape for name, array in arrays.items()} for arrays in (stored, repeated))
    if shapes != others:
        yield Finding(run_id, subject, "holds tensors of other names or shapes than the adapter trained again")
        return
    changed = [name for name, array in stored.items() if not np.array_equal(array, repeated[name])]
    if exact and changed:
        message = f"differs from the adapter trained again in {len(changed)} tensors, such as {changed[0]}"
        yield Finding(run_id, subject, message)
    distance = np.sqrt(sum(float(np.square(stored[name] - repeated[name]).sum()) for name in stored))
    norm = np.sqrt(sum(float(np.square(array).sum()) for array in stored.values()))
    if not exact and not distance <= WEIGHT_TOLERANCE * norm:
        message = f"differs too much from the adapter trained again: by {short(distance)}, with a norm of {short(norm)}"
        yield Finding(run_id, subject, message)


def _tolerance(name: str) -> float:
    return LOSS_TOLERANCE if name.endswith("loss") else SHARE_TOLERANCE


def _shown(value: object) -> str:
    return repr(value) if value is not None else "null"


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
