"""Compare a stored run with what its source and its adapter give today.

The rows of the data set are loaded again and the saved adapter is evaluated again by ``re_evaluation``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from datasets import Dataset

from adapterbook.runs.record import Record, SourceInfo
from adapterbook.verification.findings import Finding
from adapterbook.verification.recomputation import LOSS_TOLERANCE, compute_loss_bounds, short

# Largest difference of a probability between two evaluations: on the same kind of device, and on different kinds.
SAME_DEVICE_TOLERANCE, OTHER_DEVICE_TOLERANCE = 1e-4, 1e-2


@dataclass(frozen=True)
class Evaluation:
    """Hold the probabilities of the positive class, shape (n,), that a saved adapter gives today."""

    validation: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]


def find_other_source(record: Record, today: SourceInfo, splits: Mapping[str, Dataset]) -> list[Finding]:
    """Return each field of the record's source and splits that differs from today's source."""
    stated, actual = record.source.model_dump(), today.model_dump()
    pairs = {f"source.{name}": (stated[name], actual[name]) for name in actual if name != "reason"}
    for name, rows in splits.items():
        split = getattr(record.splits, name, None)
        if split is not None:
            pairs |= {
                f"splits.{name}.n": (split.n, len(rows)),
                f"splits.{name}.n_positive": (split.n_positive, sum(rows["label"])),
            }
    return [
        Finding(record.run_id, name, f"is {json.dumps(theirs)} in the record, {json.dumps(ours)} from the source")
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    ]


def find_other_rows(record: Record, table: pd.DataFrame, test: Dataset) -> list[Finding]:
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
    *,
    same_device: bool,
) -> list[Finding]:
    """Return where the adapter, evaluated again, differs from the record or the stored predictions.

    The validation result is compared with the epoch that the record says the adapter was kept from. This also finds a
    method whose checkpoints hold less than it trains, such as P-tuning, where another model is loaded back.

    Parameters
    ----------
    table : DataFrame or None
        The stored predictions; None where they could not be read.
    same_device : bool
        Whether the run was trained on the kind of device that it was evaluated on.
    """
    tolerance = SAME_DEVICE_TOLERANCE if same_device else OTHER_DEVICE_TOLERANCE
    found = []
    if table is not None and len(table) == len(evaluation.test):
        distance = np.abs(table["probability"].to_numpy(float) - evaluation.test)
        if not (distance <= tolerance).all():
            i = int(distance.argmax())
            message = (
                f"differs from the adapter's probabilities in {int((distance > tolerance).sum())} rows: "
                f"{short(table['probability'].iloc[i])} in row {i}, {short(evaluation.test[i])} from the adapter"
            )
            found.append(Finding(record.run_id, "predictions.parquet", message))
    test, best = record.test, record.best
    assert test is not None and best is not None
    found += _compare(record.run_id, "test", test.accuracy, test.loss, splits["test"], evaluation.test, tolerance)
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
    joint = "." if prefix == "test" else "_"
    right = (probabilities > 0.5) == (labels == 1)
    undecided = int((np.abs(probabilities - 0.5) <= tolerance).sum())
    if accuracy is not None and abs(accuracy * len(labels) - right.sum()) > undecided + 1e-6 * len(labels):
        message = f"is {short(accuracy)} in the record, {short(right.mean())} from the adapter, evaluated again"
        yield Finding(run_id, f"{prefix}{joint}accuracy", message)
    # An error e of the right class's probability p changes its loss by e / p.
    low, _ = compute_loss_bounds(labels, probabilities)
    chosen = np.where(labels == 1, probabilities, 1 - probabilities)
    slack = float((tolerance / np.maximum(chosen, tolerance)).mean())
    if loss is not None and abs(loss - low) > slack + LOSS_TOLERANCE * max(1.0, loss):
        message = f"is {short(loss)} in the record, {short(low)} from the adapter, evaluated again"
        yield Finding(run_id, f"{prefix}{joint}loss", message)
