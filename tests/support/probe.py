"""Make up a linear probe beside made-up runs."""

from __future__ import annotations

from typing import Any

from adapterbook.config.paths import Paths
from adapterbook.config.study import load_study
from adapterbook.runs.probe import ProbeRecord, probe_folder, stamp_probe
from adapterbook.runs.record import seal_record, write_record
from tests.support.factory import make_predictions, make_record


def write_probe(paths: Paths, source: str = "embedded", *, accuracy: float = 0.75, **changes: Any) -> ProbeRecord:
    """Write the record and the predictions of a probe that is up to date, and return its record.

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
        "chosen_on": "validation",
        "grid": [{"C": 0.01, "n_right": 19}, {"C": 0.1, "n_right": 23}, {"C": 1.0, "n_right": 23}],
        "C": 0.1,
        "time_s": 4.25,
    }
    record = ProbeRecord.model_validate(content | changes)
    folder = probe_folder(paths, source)
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    record = seal_record(record, folder)
    write_record(record, folder)
    return record
