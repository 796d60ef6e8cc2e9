"""Make the linear probe, logistic regression on the mean of the frozen base model's token vectors, and store features.

The regression has an L2 penalty. Its strength is the one of a small grid with most rows right on the selection rows, or
on the validation rows where the study has no selection rows; of several, the strongest penalty.

Beside the means, the features hold what the model's own head reads, for the training lab of the pages.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from datasets import Dataset, DatasetDict
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from adapterbook.common.errors import RunError
from adapterbook.common.files import replace_folder, write_atomically
from adapterbook.config.paths import Paths
from adapterbook.config.study import PROBE, DataConfig
from adapterbook.runs.predictions import class_probabilities
from adapterbook.runs.probe import (
    FEATURES,
    HeadLayer,
    ProbeChoice,
    ProbeRecord,
    ProbeStamps,
    probe_folder,
    probe_packages,
    stamp_probe,
)
from adapterbook.runs.record import TestResult, seal_record, write_record
from adapterbook.sources.resolve import ResolvedSource, fetch_source
from adapterbook.training.data import label_names, load_splits
from adapterbook.training.head_layers import WatchedHead
from adapterbook.training.kernel_state import one_thread, silence_transformers
from adapterbook.training.model import load_base_model
from adapterbook.training.recording import (
    describe_environment,
    describe_source,
    describe_splits,
    git_state,
    make_predictions,
)
from adapterbook.training.tokens import load_tokenizer
from adapterbook.training.trainer import compute_f1

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)  # C of sklearn's LogisticRegression, from the strongest penalty to the weakest
BATCH_SIZE = 16
MAX_ITERATIONS = 10_000


@dataclass(frozen=True)
class Probe:
    """Hold the features and the regression that was chosen.

    Attributes
    ----------
    features : dict
        ``<split>.mean`` and ``<split>.head``, what the head reads, float32 of shape (n, width), and ``<split>.label``,
        int64 of shape (n,).
    head : tuple of HeadLayer or None
        The head's layers. None: it is not a chain of layers, and there is no ``<split>.head``.
    predictions : DataFrame
        As `recording.make_predictions` returns them.
    """

    features: dict[str, npt.NDArray[np.generic]]
    head: tuple[HeadLayer, ...] | None
    chosen_on: Literal["selection", "validation"]
    grid: tuple[ProbeChoice, ...]
    C: float
    predictions: pd.DataFrame
    test: TestResult


def compute_probe(base_model: Path, splits: DatasetDict) -> Probe:
    """Compute the features of every row on the CPU, with one thread, and fit the probe.

    Raises
    ------
    RunError
        If all train rows have the same label.
    """
    if len(set(splits["train"]["label"])) == 1:
        label = splits["train"]["label"][0]
        raise RunError(f"The linear probe needs two labels, but all {len(splits['train'])} train rows have label "
                       f"{label}: change n_train or shuffle_seed in study.yaml.")  # fmt: skip
    with one_thread():
        features, head = compute_features(base_model, splits)
        return fit_probe(features, splits["test"], head)


def compute_features(
    base_model: Path, splits: DatasetDict
) -> tuple[dict[str, npt.NDArray[np.generic]], tuple[HeadLayer, ...] | None]:
    """Return two vectors of each row, the mean of its last hidden states and what the head reads, and the head."""
    with silence_transformers():
        model = load_base_model(base_model, seed=0, labels=label_names(splits))
        model.train(False)
        tokenizer = load_tokenizer(base_model)
    some = tokenizer(splits["train"]["text"][:BATCH_SIZE], truncation=True, padding=True, return_tensors="pt")
    head, states = WatchedHead(model, some), _Outputs(model.base_model)
    layers = head.describe()
    found: dict[str, npt.NDArray[np.generic]] = {}
    for name, rows in splits.items():
        means, inputs = [], []
        order = np.argsort([len(text) for text in rows["text"]], kind="stable")  # batches of almost no padding
        for batch in np.split(order, range(BATCH_SIZE, len(order), BATCH_SIZE)):
            tokens = tokenizer(rows[batch]["text"], truncation=True, padding=True, return_tensors="pt")
            with torch.no_grad():
                logits = model(**tokens).logits  # (batch, labels)
            mask = tokens["attention_mask"].unsqueeze(-1)  # (batch, tokens, 1)
            means.append(((states.last * mask).sum(dim=1) / mask.sum(dim=1)).numpy())
            if layers is not None:
                inputs.append(head.read(logits))
        back = np.argsort(order)
        found |= {f"{name}.mean": np.concatenate(means)[back], f"{name}.label": np.asarray(rows["label"], np.int64)}
        if layers is not None:
            found[f"{name}.head"] = np.concatenate(inputs)[back]
    return found, layers


class _Outputs:
    """Keep the last hidden states that an encoder returned."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        self.last = torch.empty(0)
        encoder.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: object, output: Any) -> None:
        self.last = output[0]  # (batch, tokens, width)


def fit_probe(
    features: dict[str, npt.NDArray[np.generic]], test: Dataset, head: tuple[HeadLayer, ...] | None = None
) -> Probe:
    """Fit a regression for each C of the grid on the train rows, choose one, and predict the test rows."""
    chosen_on: Literal["selection", "validation"] = "selection" if "selection.mean" in features else "validation"
    models, grid = [LogisticRegression(C=strength, max_iter=MAX_ITERATIONS) for strength in GRID], []
    for model in models:
        model.fit(features["train.mean"], features["train.label"])
        right = model.predict(features[f"{chosen_on}.mean"]) == features[f"{chosen_on}.label"]
        grid.append(ProbeChoice(C=model.C, n_right=int(right.sum())))
    best = max(range(len(GRID)), key=lambda i: grid[i].n_right)  # of several, the first
    names = test.features["label"].names
    scores = np.full((len(test), len(names)), -np.inf)  # a label without a train row is never predicted
    scores[:, models[best].classes_] = _log_odds(models[best], features["test.mean"])
    table = make_predictions(test, scores)
    return Probe(features, head, chosen_on, tuple(grid), GRID[best], table, _test_result(table, len(names)))


def _log_odds(model: LogisticRegression, rows: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return a regression's scores of shape (n, classes that it knows), whose softmax are its probabilities."""
    scores: npt.NDArray[np.float64] = model.decision_function(rows)  # of shape (n,) if it knows two classes
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=-1)


def make_probe(data: DataConfig, paths: Paths, source: ResolvedSource) -> ProbeRecord:
    """Make the probe of a source, and put its folder in the place of the one before; the caller holds the lock.

    Raises
    ------
    RunError
        If it cannot be fitted.
    SourceError
        If the base model or the data set is not available, or has too few rows.
    """
    stamps = ProbeStamps(**stamp_probe(data, source.data_identity()))
    fetched = fetch_source(source)
    splits = load_splits(fetched.dataset, source.config, data)
    start = time.monotonic()
    probe = compute_probe(fetched.base_model, splits)
    record = ProbeRecord(
        source=describe_source(source, fetched, splits),
        data=data,
        stamps=stamps,
        environment=describe_environment("cpu", n_threads=1).model_copy(update={"packages": probe_packages()}),
        git=git_state(paths.root),
        finished_at=datetime.now(UTC),
        splits=describe_splits(splits),
        n_features=probe.features["train.mean"].shape[1],
        head=probe.head,
        chosen_on=probe.chosen_on,
        grid=probe.grid,
        C=probe.C,
        test=probe.test,
        time_s=time.monotonic() - start,
    )
    staging = paths.results / ".staging" / source.config.name / PROBE
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    write_atomically(staging / FEATURES, save(probe.features))
    probe.predictions.to_parquet(staging / "predictions.parquet", index=False)
    record = seal_record(record, staging)
    write_record(record, staging)
    replace_folder(staging, probe_folder(paths, source.config.name))
    with suppress(OSError):  # runs may lie beside it, to be continued
        staging.parent.rmdir()
        staging.parent.parent.rmdir()
    return record


def _test_result(table: pd.DataFrame, n_labels: int) -> TestResult:
    label, prediction = table["label"], table["prediction"]
    return TestResult(
        n=len(table),
        accuracy=float((label == prediction).mean()),
        f1=compute_f1(label, prediction, n_labels),
        loss=float(log_loss(label, class_probabilities(table), labels=range(n_labels))),
    )
