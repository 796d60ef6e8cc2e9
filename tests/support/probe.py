"""Make up a linear probe beside made-up runs, with the features that the training lab trains on."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from safetensors.numpy import save_file

from adapterbook.config.paths import Paths
from adapterbook.config.study import load_study
from adapterbook.runs.probe import FEATURES, ProbeRecord, probe_folder, stamp_probe
from adapterbook.runs.record import Splits, seal_record, write_record
from tests.support.factory import make_predictions, make_record

WIDTH: Final = 24  # of the made-up features


def write_probe(paths: Paths, source: str = "embedded", *, accuracy: float = 0.75, **changes: Any) -> ProbeRecord:
    """Write the record, the predictions and the features of a probe that is up to date, and return its record.

    Parameters
    ----------
    accuracy : float
        On the test rows, to the nearest row.
    **changes
        Fields to set afterwards.
    """
    data = load_study(paths.study).data
    predictions = make_predictions("linear_probe", n=data.n_test, accuracy=accuracy)
    like = make_record(source=source, predictions=predictions).model_dump()
    content = {name: like[name] for name in ("source", "environment", "git", "finished_at", "splits", "test")} | {
        "data": data.model_dump(),
        "stamps": stamp_probe(data, {}),
        "n_features": 384,
        "head": make_head(2),
        "chosen_on": "validation",
        "grid": [{"C": 0.01, "n_right": 19}, {"C": 0.1, "n_right": 23}, {"C": 1.0, "n_right": 23}],
        "C": 0.1,
        "time_s": 4.25,
    }
    record = ProbeRecord.model_validate(content | changes)
    folder = probe_folder(paths, source)
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    if record.head is not None:
        save_file(make_features(record.splits, record.head[0].n_in), folder / FEATURES)
    record = seal_record(record, folder)
    write_record(record, folder)
    return record


def make_head(n_labels: int) -> list[dict[str, Any]]:
    """Return a head as DistilBERT has it, for the made-up features."""
    like = {"bias": True, "initial_std": 0.2}
    return [
        {"n_in": WIDTH, "n_out": WIDTH, "dropout": 0.0, "activation": "relu", **like},
        {"n_in": WIDTH, "n_out": n_labels, "dropout": 0.2, "activation": None, **like},
    ]


def make_features(splits: Splits, width: int) -> dict[str, np.ndarray[Any, Any]]:
    """Make up features of every row that tell something about its label, and much that is noise."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name in ("train", "validation", "test"):
        counts = getattr(splits, name).n_by_label
        labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
        features = rng.normal(size=(len(labels), width)).astype(np.float32)
        features[np.arange(len(labels)), labels] += 1
        found |= {f"{name}.head": features, f"{name}.label": labels}
    return found
