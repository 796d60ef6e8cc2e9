"""Compute again what follows from a stored run's own numbers: metrics, sums and the best checkpoint.

Needs neither the data set nor the model, and loads no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow
from sklearn.metrics import accuracy_score, f1_score

from adapterbook.common.errors import RecordError
from adapterbook.runs.record import Record, load_predictions
from adapterbook.verification.findings import Finding

LOSS_TOLERANCE = 1e-5  # the Trainer's loss is a mean in float32


def find_inconsistencies(record: Record, folder: Path) -> list[Finding]:
    """Return where a completed record contradicts itself or the size of its adapter's file."""
    test, splits, training = record.test, record.splits, record.training
    assert test is not None and splits is not None  # as in every completed record
    n_train = record.data.n_train
    sums: dict[str, tuple[object, object, str]] = {
        "n_trainable_params": (
            record.n_trainable_params,
            (record.n_adapter_params or 0) + (record.n_head_params or 0),
            "n_adapter_params + n_head_params",
        ),
        "splits.train.n": (splits.train.n, n_train, "data.n_train"),
        "splits.validation.n": (splits.validation.n, record.data.n_validation, "data.n_validation"),
        "splits.test.n": (splits.test.n, test.n, "test.n"),
        "test.n": (test.n, record.data.n_test, "data.n_test"),
        "epochs": (
            [row.epoch for row in record.epochs],
            [float(i + 1) for i in range(training.num_train_epochs)],
            "training.num_train_epochs",
        ),
    }
    if record.evaluations:
        whole = [row for row in record.evaluations if row.epoch.is_integer()]
        sums["evaluations"] = (whole == list(record.epochs), True, "comparing their whole epochs with epochs")
    weights = folder / "adapter" / "adapter_model.safetensors"
    if weights.is_file():
        sums["adapter_file_bytes"] = (record.adapter_file_bytes, weights.stat().st_size, "the file's size")
    found = [
        Finding(record.run_id, name, f"is {json.dumps(actual)} in the record, {json.dumps(expected)} from {origin}")
        for name, (actual, expected, origin) in sums.items()
        if actual != expected
    ]
    return [*found, *_find_wrong_times(record), *_find_wrong_accuracies(record), *_find_wrong_best(record)]


def read_predictions(record: Record, folder: Path) -> tuple[pd.DataFrame | None, list[Finding]]:
    """Return the test predictions of a run, or None and why they cannot be read."""
    try:
        return load_predictions(folder), []
    except (RecordError, pyarrow.ArrowException, TypeError, ValueError, KeyError) as error:
        return None, [Finding(record.run_id, "predictions.parquet", f"cannot be read: {' '.join(str(error).split())}")]


def find_wrong_metrics(record: Record, table: pd.DataFrame) -> list[Finding]:
    """Return each test metric that does not follow from the stored predictions, and each impossible prediction.

    Parameters
    ----------
    table : DataFrame, n_test rows
        As ``record.load_predictions`` returns it.
    """
    test, splits = record.test, record.splits
    assert test is not None and splits is not None
    if len(table) == 0:
        return [Finding(record.run_id, "predictions.parquet", "holds no rows")]
    labels, predictions = table["label"].to_numpy(int), table["prediction"].to_numpy(int)
    probabilities = table["probability"].to_numpy(float)
    metrics = {
        "test.n": (test.n, len(table)),
        "test.accuracy": (test.accuracy, float(accuracy_score(labels, predictions))),
        "test.f1": (test.f1, float(f1_score(labels, predictions, zero_division=0.0))),
        "splits.test.n_positive": (splits.test.n_positive, int(labels.sum())),
    }
    found = [
        Finding(record.run_id, name, f"is {short(stated)} in the record, {short(computed)} from predictions.parquet")
        for name, (stated, computed) in metrics.items()
        if not math.isclose(stated, computed, rel_tol=0.0, abs_tol=1e-9)
    ]
    low, high = compute_loss_bounds(labels, probabilities)
    tolerance = LOSS_TOLERANCE * max(1.0, test.loss)
    if not low - tolerance <= test.loss <= high + tolerance:
        message = f"is {short(test.loss)} in the record, {short(low)} from predictions.parquet"
        found.append(Finding(record.run_id, "test.loss", message))
    # At exactly one half the logits are equal, and argmax takes either.
    wrong = ((probabilities > 0.5) != (predictions == 1)) & (probabilities != 0.5)
    if wrong.any():
        row = table[wrong].iloc[0]
        message = (
            f"contradicts its own probabilities in {int(wrong.sum())} rows, such as row_id {row['row_id']}: "
            f"prediction {row['prediction']}, probability {short(row['probability'])}"
        )
        found.append(Finding(record.run_id, "predictions.parquet", message))
    return found


def compute_loss_bounds(labels: npt.NDArray[np.int_], probabilities: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest mean cross-entropy, in nat, that rounded probabilities allow.

    A probability next to 1 is rounded to 2**-53, so the other class's probability is known to that precision. If it
    rounds to 0, its loss has no upper bound.

    Parameters
    ----------
    labels, probabilities : array, shape (n,)
        0 or 1, and the probability of 1.

    Examples
    --------
    >>> compute_loss_bounds(np.array([1, 1]), np.array([0.5, 0.25]))[0] == 1.5 * math.log(2)
    True
    >>> low, high = compute_loss_bounds(np.array([0]), np.array([1.0]))
    >>> round(low, 2), high
    (36.74, inf)
    """
    rounding = np.where(labels == 1, 0.0, 2.0**-53)
    right = np.where(labels == 1, probabilities, 1.0 - probabilities)
    tiny = np.nextafter(0.0, 1.0)
    low = -np.log(np.clip(right + rounding, tiny, 1.0))
    with np.errstate(divide="ignore"):
        high = -np.log(np.maximum(right - rounding, 0.0))
    return float(low.mean()), float(high.mean())


def _find_wrong_times(record: Record) -> Iterator[Finding]:
    if record.finished_at < record.started_at:
        yield Finding(record.run_id, "finished_at", f"is {record.finished_at}, before started_at {record.started_at}")
    time_s, stated = record.train_time_s or 0.0, record.train_samples_per_s or 0.0
    n_samples = record.data.n_train * record.training.num_train_epochs
    if not math.isclose(stated * time_s, n_samples, rel_tol=2e-3, abs_tol=2e-3 * time_s):
        message = (
            f"is {short(stated)} in the record; {n_samples} samples in train_time_s {short(time_s)} give another rate"
        )
        yield Finding(record.run_id, "train_samples_per_s", message)


def _find_wrong_accuracies(record: Record) -> Iterator[Finding]:
    n = record.data.n_validation
    for name in ("epochs", "evaluations"):
        for i, row in enumerate(getattr(record, name)):
            right = (row.validation_accuracy or 0.0) * n
            if not math.isclose(right, round(right), abs_tol=1e-6 * n):
                message = f"is {short(row.validation_accuracy)}, which is not a share of {n} validation rows"
                yield Finding(record.run_id, f"{name}.{i}.validation_accuracy", message)


def _find_wrong_best(record: Record) -> Iterator[Finding]:
    """Find a kept checkpoint that does not follow from the curve and the training arguments."""
    best, training = record.best, record.training
    assert best is not None
    if best.metric != training.metric_for_best_model:
        message = f"is {best.metric} in the record, {training.metric_for_best_model} from training"
        yield Finding(record.run_id, "best.metric", message)
    column = {"loss": "validation_loss", "accuracy": "validation_accuracy"}.get(best.metric)
    if column is None:
        return  # the curve does not hold this metric
    values = [(row.epoch, getattr(row, column)) for row in record.curve if getattr(row, column) is not None]
    last = record.curve[-1].epoch
    if training.load_best_model_at_end and values:
        epoch, value = (min if best.metric == "loss" else max)(values, key=lambda item: item[1])  # the first of equals
    else:
        epoch, value = last, values[-1][1] if values else None
    for name, stated, computed in (("epoch", best.epoch, epoch), ("value", best.value, value)):
        if stated != computed:
            message = f"is {json.dumps(stated)} in the record, {json.dumps(computed)} from its curve"
            yield Finding(record.run_id, f"best.{name}", message)


def short(value: float | None) -> str:
    """Return a number as findings show it, with enough digits that different numbers look different."""
    return "null" if value is None else f"{value:.10g}"
