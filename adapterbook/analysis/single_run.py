"""Describe one run: confusion matrix, examples, intervals, best epoch and onset of overfitting."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import pstdev
from typing import TYPE_CHECKING

from adapterbook.analysis.shapes import Example, Examples, Overfitting, PredictedRows, Reason, RunReport
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.confusion import Confusion, compute_confusion
from adapterbook.common.errors import RecordError
from adapterbook.common.stats import Interval, wilson_interval
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.predictions import class_probabilities, load_predictions
from adapterbook.runs.record import EpochResult, Record, TestResult

if TYPE_CHECKING:
    import pandas as pd

N_EXAMPLES = 3
# A probability of 0 for the right label would be an infinite loss; float32 cannot tell less than this from 0 and 1.
SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class _Predicted:
    """Hold what the report needs of a run's predictions."""

    rows: PredictedRows
    confusion: Confusion
    examples: Examples
    loss_sd: float


def describe_run(status: RunStatus, folder: Path, cache: Cache = NO_CACHE) -> RunReport:
    """Return one run's part of the report; a run without results has a reason instead.

    Parameters
    ----------
    status : RunStatus
        What lies in the run's folder.
    folder : Path
        That folder; only ``predictions.parquet`` is read from it, and only for a completed run.
    cache : Cache, optional
        Holds summaries of predictions that were read before.
    """
    reason: Reason | None = None if status.state == "completed" else status.state
    record, predicted, problem = status.record, None, status.problem
    if record is not None and record.test is not None:
        predicted, reason, problem = _checked_predictions(record.run_id, record.test, folder, cache)
    accuracy, interval = _validation(record) if record is not None else (None, None)
    return RunReport(
        id=status.run.id,
        run=status.run,
        state=status.state,
        stale=status.stale,
        problem=problem,
        record=record,
        predictions=None if predicted is None else predicted.rows,
        confusion=None if predicted is None else predicted.confusion,
        examples=None if predicted is None else predicted.examples,
        overfitting=None
        if record is None or status.state != "completed"
        else compute_overfitting(record.curve, _loss_noise(record, predicted)),
        test_interval=None
        if record is None or record.test is None
        else wilson_interval(round(record.test.accuracy * record.test.n), record.test.n),
        validation_accuracy=accuracy,
        validation_interval=interval,
        reason=reason,
    )


def _loss_noise(record: Record, predicted: _Predicted | None) -> float:
    """Return two standard errors of the validation loss.

    The spread of the loss between rows is that of the test rows at the kept checkpoint, because a record holds no
    losses of single validation rows. Without predictions it is taken to be the loss of guessing, ln 2 for two labels.
    """
    spread = math.log(len(record.source.labels)) if predicted is None else predicted.loss_sd
    n = record.splits.validation.n if record.splits is not None else record.data.n_validation
    return 2 * spread / math.sqrt(n)


def compute_overfitting(epochs: Sequence[EpochResult], noise: float) -> Overfitting:
    """Return the best epoch and the onset of overfitting of one curve, as ``Overfitting`` defines them.

    Parameters
    ----------
    epochs : sequence of EpochResult
        In order of time, at least one. Where an evaluation lies within an epoch, its train loss is that of the last
        epoch that ended before it.
    noise : float
        Two standard errors of the validation loss, nat; a smaller rise is not called overfitting.
    """
    n_epochs = epochs[-1].epoch
    evaluated: list[tuple[float, float, float | None]] = []  # epoch, validation loss, train loss
    train_loss: float | None = None
    for point in epochs:
        train_loss = point.train_loss if point.train_loss is not None else train_loss
        if point.validation_loss is not None:
            evaluated.append((point.epoch, point.validation_loss, train_loss))
    if not evaluated:
        return Overfitting(n_epochs, None, None, None, None, noise, "not_evaluated")
    best = min(range(len(evaluated)), key=lambda index: evaluated[index][1])
    best_epoch, best_loss, train_at_best = evaluated[best]
    onset = None
    for epoch, loss, train in reversed(evaluated[best + 1 :]):
        if loss <= best_loss + noise:
            break
        if train is not None and train_at_best is not None and train < train_at_best:
            onset = epoch
    return Overfitting(
        n_epochs=n_epochs,
        best_epoch=best_epoch,
        best_validation_loss=best_loss,
        final_validation_loss=evaluated[-1][1],
        onset_epoch=onset,
        noise=noise,
    )


def select_examples(predictions: pd.DataFrame) -> Examples:
    """Return the rows that a page shows: three each, ties in order of ``row_id``."""
    answers = shown_answers(predictions)
    columns = (answers[name].tolist() for name in Example.__dataclass_fields__)
    rows = [Example(*values) for values in zip(*columns, strict=True)]
    by_confidence = sorted(rows, key=lambda row: (-row.confidence, row.row_id))
    by_doubt = sorted(rows, key=lambda row: (row.confidence, row.row_id))
    return Examples(
        right=tuple([row for row in by_confidence if row.correct][:N_EXAMPLES]),
        wrong=tuple([row for row in by_confidence if not row.correct][:N_EXAMPLES]),
        uncertain=tuple(by_doubt[:N_EXAMPLES]),
    )


def shown_answers(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the two probabilities that pages show; the columns are the fields of ``Example``."""
    import numpy as np

    every, rows = class_probabilities(predictions), np.arange(len(predictions))
    of_label = every[rows, predictions["label"]]
    return predictions[["row_id", "text", "label", "prediction"]].assign(
        probability=every[:, 1] if every.shape[1] == 2 else of_label, confidence=every[rows, predictions["prediction"]]
    )


def read_predicted_rows(
    name: str, test: TestResult, folder: Path, cache: Cache = NO_CACHE
) -> tuple[PredictedRows | None, Reason | None, str | None]:
    """Return the rows of a folder's predictions, or why there are none: they must agree with the record's result."""
    predicted, reason, problem = _checked_predictions(name, test, folder, cache)
    return (None if predicted is None else predicted.rows), reason, problem


def _checked_predictions(
    run_id: str, test: TestResult, folder: Path, cache: Cache
) -> tuple[_Predicted | None, Reason | None, str | None]:
    """Return the summary of the predictions, or why there is none: they must agree with the record."""
    try:
        predicted = _load_predicted(folder, cache)
    except RecordError as error:
        return None, "no_predictions", str(error)
    if predicted is None:
        return None, "predictions_disagree", "predictions.parquet holds no row: run `make train`."
    confusion = predicted.confusion
    if confusion.n != test.n or not math.isclose(confusion.accuracy, test.accuracy, abs_tol=1e-9):
        problem = (
            f"{run_id}: predictions.parquet gives an accuracy of {confusion.accuracy} on {confusion.n} rows, "
            f"record.json says {test.accuracy} on {test.n}: run `make train` to make both again."
        )
        return None, "predictions_disagree", problem
    return predicted, None, None


def _load_predicted(folder: Path, cache: Cache) -> _Predicted | None:
    """Return the summary of a folder's predictions, None if they have no row.

    Raises
    ------
    RecordError
        If the file is missing or cannot be read.
    """

    def make() -> bytes:
        return _summarise(load_predictions(folder))

    path = folder / "predictions.parquet"
    content = json.loads(cache.get("predictions", [path.read_bytes()], make) if path.is_file() else make())
    if content is None:
        return None
    rows, examples = content["rows"], content["examples"]
    return _Predicted(
        PredictedRows(rows["n"], tuple(rows["n_by_label"]), rows["identity"], bytes.fromhex(rows["correct"])),
        Confusion(tuple(map(tuple, content["confusion"]))),
        Examples(**{kind: tuple(Example(**row) for row in examples[kind]) for kind in ("right", "wrong", "uncertain")}),
        content["loss_sd"],
    )


def _summarise(predictions: pd.DataFrame) -> bytes:
    """Return as JSON what the rest of the report needs of a run's predictions."""
    if predictions.empty:
        return b"null"
    table = predictions.sort_values("row_id", kind="stable")
    labels = table["label"].tolist()
    right, probabilities = table["label"] == table["prediction"], class_probabilities(table)
    of_label = probabilities[range(len(table)), labels].clip(min=SMALLEST_PROBABILITY)
    confusion = compute_confusion(table["label"], table["prediction"], probabilities.shape[1])
    content = {
        "rows": {
            "n": len(table),
            "n_by_label": confusion.n_with,
            "identity": hashlib.sha256(json.dumps([table["row_id"].tolist(), labels]).encode()).hexdigest(),
            "correct": bytes(right.tolist()).hex(),
        },
        "loss_sd": pstdev(-math.log(probability) for probability in of_label),
        "confusion": confusion.counts,
        "examples": asdict(select_examples(predictions)),
    }
    return json.dumps(content).encode()


def _validation(record: Record) -> tuple[float | None, Interval | None]:
    """Return the validation accuracy, with its interval, at the checkpoint that was kept."""
    if record.best is None or record.splits is None:
        return None, None
    kept = [point for point in record.curve if point.epoch == record.best.epoch]
    accuracy = kept[0].validation_accuracy if kept else None
    if accuracy is None:
        return None, None
    n = record.splits.validation.n
    return accuracy, wilson_interval(round(accuracy * n), n)
