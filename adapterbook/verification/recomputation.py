"""Recompute the numbers that follow from stored runs: metrics, sums, the best checkpoint, and shared values.

These checks do not need the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow
from datasets import Dataset
from sklearn.metrics import accuracy_score

from adapterbook.common.errors import RecordError
from adapterbook.runs.predictions import class_probabilities, load_predictions
from adapterbook.runs.probe import ProbeRecord
from adapterbook.runs.record import EpochResult, Record, SourceInfo
from adapterbook.training.measurements import N_SINGULAR_VALUES
from adapterbook.training.trainer import compute_f1
from adapterbook.verification.findings import Finding

LOSS_TOLERANCE = 1e-5  # the Trainer's loss is a mean in float32
CLIPPED = float(np.finfo(np.float64).eps)  # the least probability in the loss of the linear probe, by scikit-learn
NORM_TOLERANCE = 1e-4  # singular values below a millionth of the first are left out


def find_inconsistencies(record: Record, folder: Path) -> list[Finding]:
    """Return where a completed record contradicts itself or the size of its adapter's file."""
    test, splits, training = record.test, record.splits, record.training
    assert test is not None and splits is not None  # as in every completed record
    n_train = record.data.n_train
    n_epochs = training.count_epochs(n_train)
    if training.early_stopping_patience is not None:
        n_epochs = min(n_epochs, record.epochs[-1].epoch)
    sums: dict[str, tuple[object, object, str]] = {
        "n_trainable_params": (
            record.n_trainable_params,
            (record.n_adapter_params or 0) + (record.n_head_params or 0),
            "n_adapter_params + n_head_params",
        ),
        "splits.train.n": (splits.train.n, n_train, "data.n_train"),
        "splits.validation.n": (splits.validation.n, record.data.n_validation, "data.n_validation"),
        "splits.selection.n": (
            splits.selection.n if splits.selection else 0,
            record.data.n_selection,
            "data.n_selection",
        ),
        "splits.test.n": (splits.test.n, test.n, "test.n"),
        **{
            f"splits.{name}.n": (split.n, sum(split.n_by_label), f"splits.{name}.n_by_label")
            for name, split in splits
            if split is not None and split.n != sum(split.n_by_label)
        },
        "test.n": (test.n, record.data.n_test, "data.n_test"),
        "epochs": (
            [round(row.epoch, 6) for row in record.epochs],
            [round(min(i + 1, n_epochs), 6) for i in range(math.ceil(n_epochs))],
            "training.max_steps" if training.max_steps else "training.num_train_epochs",
        ),
    }
    if record.evaluations:
        last = record.evaluations[-1]
        whole = [row for row in record.evaluations if row.epoch.is_integer() or row is last]
        sums["evaluations"] = (whole == list(record.epochs), True, "comparing their whole epochs with epochs")
    weights = folder / "adapter" / "adapter_model.safetensors"
    if weights.is_file():
        sums["adapter_file_bytes"] = (record.adapter_file_bytes, weights.stat().st_size, "the file's size")
    found = [
        Finding(record.run_id, name, f"is {json.dumps(actual)} in the record, {json.dumps(expected)} from {origin}")
        for name, (actual, expected, origin) in sums.items()
        if actual != expected
    ]
    parts = (_find_wrong_times, _find_wrong_accuracies, _find_wrong_best, _find_wrong_singular_values)
    return [*found, *(finding for find in parts for finding in find(record))]


def read_predictions(record: Record | ProbeRecord, folder: Path) -> tuple[pd.DataFrame | None, list[Finding]]:
    """Return the test predictions of a run, or None and why they cannot be read."""
    try:
        return load_predictions(folder), []
    except (RecordError, pyarrow.ArrowException, TypeError, ValueError, KeyError) as error:
        return None, [Finding(record.run_id, "predictions.parquet", f"cannot be read: {' '.join(str(error).split())}")]


def find_wrong_metrics(record: Record | ProbeRecord, table: pd.DataFrame) -> list[Finding]:
    """Return each test metric that does not follow from the stored predictions, and each impossible prediction.

    Parameters
    ----------
    table : DataFrame, n_test rows
        As ``predictions.load_predictions`` returns it.
    """
    test, splits = record.test, record.splits
    assert test is not None and splits is not None
    if len(table) == 0:
        return [Finding(record.run_id, "predictions.parquet", "holds no rows")]
    labels, predictions = table["label"].to_numpy(int), table["prediction"].to_numpy(int)
    probabilities = class_probabilities(table)
    n_labels = probabilities.shape[1]
    if n_labels != len(record.source.labels):
        message = f"holds {n_labels} labels, the record {len(record.source.labels)}"
        return [Finding(record.run_id, "predictions.parquet", message)]
    counts = np.bincount(labels, minlength=n_labels).tolist()
    metrics = {
        "test.n": (test.n, len(table)),
        "test.accuracy": (test.accuracy, float(accuracy_score(labels, predictions))),
        "test.f1": (test.f1, compute_f1(labels, predictions, n_labels)),
    } | {f"splits.test.n_by_label.{i}": pair for i, pair in enumerate(zip(splits.test.n_by_label, counts, strict=True))}
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
    chosen = probabilities[np.arange(len(table)), predictions]
    wrong = chosen < probabilities.max(axis=1)  # of equal ones argmax takes any
    if wrong.any():
        row, i = table[wrong].iloc[0], int(wrong.argmax())
        message = (
            f"contradicts its own probabilities in {int(wrong.sum())} rows, such as row_id {row['row_id']}: "
            f"prediction {row['prediction']}, whose probability is {short(chosen[i])}"
        )
        found.append(Finding(record.run_id, "predictions.parquet", message))
    return found


def compute_loss_bounds(labels: npt.NDArray[np.int_], probabilities: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest mean cross-entropy, in nat, that rounded probabilities allow.

    Of two labels, the probability of label 0 is what is missing from that of label 1, which is rounded to 2**-53 next
    to 1. If it rounds to 0, its loss has no upper bound.

    Parameters
    ----------
    labels : array of int, shape (n,)
    probabilities : array, shape (n, n_labels)

    Examples
    --------
    >>> compute_loss_bounds(np.array([1, 1]), np.array([[0.5, 0.5], [0.75, 0.25]]))[0] == 1.5 * math.log(2)
    True
    >>> low, high = compute_loss_bounds(np.array([0]), np.array([[0.0, 1.0]]))
    >>> round(low, 2), high
    (36.04, inf)
    """
    rounding = np.where((labels == 0) & (probabilities.shape[1] == 2), 2.0**-53, 0.0)
    right = probabilities[np.arange(len(labels)), labels]
    low = -np.log(np.clip(right + rounding, CLIPPED, 1.0))
    with np.errstate(divide="ignore"):
        high = -np.log(np.maximum(right - rounding, 0.0))
    return float(low.mean()), float(high.mean())


def _find_wrong_times(record: Record) -> Iterator[Finding]:
    if record.finished_at < record.started_at:
        yield Finding(record.run_id, "finished_at", f"is {record.finished_at}, before started_at {record.started_at}")
    time_s, stated = record.train_time_s or 0.0, record.train_samples_per_s or 0.0
    n_samples = record.data.n_train * record.epochs[-1].epoch
    if not math.isclose(stated * time_s, n_samples, rel_tol=2e-3, abs_tol=2e-3 * time_s):
        message = (
            f"is {short(stated)} in the record; {n_samples:g} samples in train_time_s {short(time_s)} give another rate"
        )
        yield Finding(record.run_id, "train_samples_per_s", message)


def _find_wrong_accuracies(record: Record) -> Iterator[Finding]:
    for name in ("epochs", "evaluations"):
        for i, row in enumerate(getattr(record, name)):
            for split, n in (("validation", record.data.n_validation), ("selection", record.data.n_selection)):
                accuracy = getattr(row, f"{split}_accuracy")
                right = (accuracy or 0.0) * n
                if not math.isclose(right, round(right), abs_tol=1e-6 * n):
                    message = f"is {short(accuracy)}, which is not a share of {n} {split} rows"
                    yield Finding(record.run_id, f"{name}.{i}.{split}_accuracy", message)


def _find_wrong_best(record: Record) -> Iterator[Finding]:
    """Find a kept checkpoint that does not follow from the curve and the training arguments."""
    best, training = record.best, record.training
    assert best is not None
    if best.metric != training.metric_for_best_model:
        message = f"is {best.metric} in the record, {training.metric_for_best_model} from training"
        yield Finding(record.run_id, "best.metric", message)
    column = best.metric if best.metric.startswith("selection_") else f"validation_{best.metric}"
    if column not in EpochResult.model_fields:
        return  # the curve does not hold this metric
    values = [(row.epoch, getattr(row, column)) for row in record.curve if getattr(row, column) is not None]
    last = record.curve[-1].epoch
    if training.load_best_model_at_end and values:
        epoch, value = (min if best.metric.endswith("loss") else max)(
            values, key=lambda item: item[1]
        )  # the first of equals
    else:
        epoch, value = last, values[-1][1] if values else None
    for name, stated, computed in (("epoch", best.epoch, epoch), ("value", best.value, value)):
        if stated != computed:
            message = f"is {json.dumps(stated)} in the record, {json.dumps(computed)} from its curve"
            yield Finding(record.run_id, f"best.{name}", message)
    own = record.strategies[0] if record.strategies else None
    if own is not None and (own.epoch, own.test) != (best.epoch, record.test):
        message = (
            f"keeps epoch {short(own.epoch)}, while best is of epoch {short(best.epoch)} or test is another result"
        )
        yield Finding(record.run_id, "strategies.0", message)


def _find_wrong_singular_values(record: Record) -> Iterator[Finding]:
    """Find singular values that do not fall, or whose squares do not make the squared norm of their update."""
    for i, update in enumerate(record.learned or ()):
        values = update.singular_values
        held, norm = math.sqrt(sum(value**2 for value in values)), update.update_norm
        whole = len(values) < N_SINGULAR_VALUES  # else the record keeps a part of them
        if list(values) != sorted(values, reverse=True):
            yield Finding(record.run_id, f"learned.{i}.singular_values", "do not fall")
        elif values and (held > norm * (1 + NORM_TOLERANCE) or (whole and held < norm * (1 - NORM_TOLERANCE))):
            message = f"is {short(norm)} in the record, {short(held)} from its singular values"
            yield Finding(record.run_id, f"learned.{i}.update_norm", message)


def short(value: float | None) -> str:
    """Return a number as findings show it, with enough digits that different numbers look different."""
    return "null" if value is None else f"{value:.10g}"


@dataclass(frozen=True)
class Evaluation:
    """Hold the probabilities, shape (n, n_labels), that a saved adapter gives today."""

    validation: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]
    selection: npt.NDArray[np.float64] | None = None
    train: npt.NDArray[np.float64] | None = None


def find_other_source(record: Record | ProbeRecord, today: SourceInfo, splits: Mapping[str, Dataset]) -> list[Finding]:
    """Return each field of the record's source and splits that differs from today's source."""
    stated, actual = record.source.model_dump(), today.model_dump()
    pairs = {f"source.{name}": (stated[name], actual[name]) for name in actual if name != "reason"}
    for name, rows in splits.items():
        split = getattr(record.splits, name, None)
        if split is not None:
            pairs |= {
                f"splits.{name}.n": (split.n, len(rows)),
                f"splits.{name}.n_by_label": (
                    list(split.n_by_label),
                    np.bincount(rows["label"], minlength=len(actual["labels"])).tolist(),
                ),
            }
    return [
        Finding(record.run_id, name, f"is {json.dumps(theirs)} in the record, {json.dumps(ours)} from the source")
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    ]


def find_other_rows(record: Record | ProbeRecord, table: pd.DataFrame, test: Dataset) -> list[Finding]:
    """Return the columns of predictions.parquet that differ from the test rows, loaded again."""
    if len(table) != len(test):
        message = f"holds {len(table)} rows, the source gives {len(test)}"
        return [Finding(record.run_id, "predictions.parquet", message)]
    found = []
    for column in ("row_id", "text", "label"):
        pairs = zip(table[column].tolist(), test[column], strict=True)
        wrong = [i for i, (stored, loaded) in enumerate(pairs) if stored != loaded]
        if wrong:
            message = f"differs from the source in the {column} of {len(wrong)} rows, first in row {wrong[0]}"
            found.append(Finding(record.run_id, "predictions.parquet", message))
    return found


def find_other_results(
    record: Record,
    table: pd.DataFrame | None,
    evaluation: Evaluation,
    splits: Mapping[str, Dataset],
    tolerance: float,
) -> list[Finding]:
    """Return where the adapter, evaluated again, differs from the record or the stored predictions.

    The validation result is compared with the epoch that the record says the adapter was kept from. This also finds a
    method whose checkpoints hold less than it trains, such as P-tuning, where another model is loaded back.

    Parameters
    ----------
    table : DataFrame or None
        The stored predictions; None where they could not be read.
    tolerance : float
        Of a probability.
    """
    found = []
    if table is not None and len(table) == len(evaluation.test):
        stored = class_probabilities(table)
        same_shape = stored.shape == evaluation.test.shape
        distance = np.abs(stored - evaluation.test).max(axis=1) if same_shape else np.full(len(table), np.inf)
        if not (distance <= tolerance).all():
            i = int(distance.argmax())
            message = (
                f"differs from the adapter's probabilities in {int((distance > tolerance).sum())} rows: "
                f"{short(stored[i, -1])} in row {i}, {short(evaluation.test[i, -1])} from the adapter"
            )
            found.append(Finding(record.run_id, "predictions.parquet", message))
    test, best = record.test, record.best
    assert test is not None and best is not None
    found += _compare(record.run_id, "test", test.accuracy, test.loss, splits["test"], evaluation.test, tolerance)
    selection = record.selection
    if selection is not None and evaluation.selection is not None:
        found += _compare(record.run_id, "selection", selection.accuracy, selection.loss, splits["selection"],
                          evaluation.selection, tolerance)  # fmt: skip
    kept = next((i for i, row in enumerate(record.curve) if row.epoch == best.epoch), None)
    if kept is not None:
        row, name = record.curve[kept], "evaluations" if record.evaluations else "epochs"
        found += _compare(record.run_id, f"{name}.{kept}.validation", row.validation_accuracy, row.validation_loss,
                          splits["validation"], evaluation.validation, tolerance)  # fmt: skip
    return found


def _compare(
    run_id: str,
    prefix: str,
    accuracy: float | None,
    loss: float | None,
    rows: Dataset,
    probabilities: npt.NDArray[np.float64],
    tolerance: float,
) -> Iterator[Finding]:
    """Compare a recorded accuracy and loss with those computed from probabilities, which have a tolerance."""
    labels = np.asarray(rows["label"])
    joint = "_" if prefix.endswith(".validation") else "."
    right = probabilities.argmax(axis=1) == labels
    highest = np.sort(probabilities, axis=1)
    undecided = int((highest[:, -1] - highest[:, -2] <= 2 * tolerance).sum())
    if accuracy is not None and abs(accuracy * len(labels) - right.sum()) > undecided + 1e-6 * len(labels):
        message = f"is {short(accuracy)} in the record, {short(right.mean())} from the adapter, evaluated again"
        yield Finding(run_id, f"{prefix}{joint}accuracy", message)
    # An error e of the right class's probability p changes its loss by e / p.
    low, high = compute_loss_bounds(labels, probabilities)
    chosen = probabilities[np.arange(len(labels)), labels]
    slack = float((tolerance / np.maximum(chosen, tolerance)).mean())
    room = slack + LOSS_TOLERANCE * max(1.0, loss or 0.0)
    if loss is not None and not low - room <= loss <= high + room:
        message = f"is {short(loss)} in the record, {short(low)} from the adapter, evaluated again"
        yield Finding(run_id, f"{prefix}{joint}loss", message)
