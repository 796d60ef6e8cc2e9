"""Compare a stored run with the same run trained again: everything that a page shows, but times and the machine.

On the same kind of processor with the same packages, every bit is compared. Elsewhere numbers may differ within the
tolerances of this module.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from adapterbook.common.strict import read_limited
from adapterbook.runs.predictions import class_probabilities, load_predictions
from adapterbook.runs.record import Record
from adapterbook.verification.findings import Finding
from adapterbook.verification.recomputation import short

# Another machine or other packages round differently, and training amplifies that. The largest differences allowed of
# a loss in nat, a share of rows, a probability on average, and all weights of the adapter or a layer's update, relative
# to their norm.
LOSS_TOLERANCE, SHARE_TOLERANCE, PROBABILITY_TOLERANCE, WEIGHT_TOLERANCE = 0.05, 0.05, 0.05, 0.05

# The fields that a repetition cannot give again: when, where and how fast a run was made, and why its source was
# chosen. `stamps`, `seal` and `files` are compared with today's by the other checks; pages take today's `wording`.
UNREPEATABLE: Final = frozenset({
    "started_at", "finished_at", "resumed_after", "git", "environment", "source.reason", "smaller_batch",
    "train_time_s", "train_cpu_s", "train_samples_per_s", "test_time_s", "evaluation_time_s", "latency",
    "peak_memory_bytes", "steps.seconds", "stamps", "seal", "files", "wording",
})  # fmt: skip
# Where rounding differs, another epoch may become the best, and single steps may differ by more than an epoch's mean.
ROUNDED_AWAY: Final = frozenset({"best", "strategies", "steps", "adapter_file_bytes"})
MEASURED: Final = frozenset({"epochs", "evaluations", "selection", "test", "learned"})
MAX_FINDINGS: Final = 3  # of one list

# What a cell prints of times: the Trainer's test_runtime and test_samples_per_second, a record's train_time_s.
TIMES: Final = re.compile(r"((?:_runtime|_per_second|_time_s|_cpu_s)\W{1,4})[\d.]+(?:e[+-]?\d+)?")
NUMBERS: Final = re.compile(r"[-+]?\d[\d.,]*(?:e[+-]?\d+)?")


def compare_runs(first: Record, folder: Path, second: Record, again: Path, *, exact: bool) -> Iterator[Finding]:
    """Compare the results of two runs, exactly or within the tolerances of this module.

    Parameters
    ----------
    first, folder
        The stored run, whose adapter and predictions can be read.
    second, again
        The repetition.
    exact : bool
        See `retraining.is_same_environment`.
    """
    ignored = UNREPEATABLE if exact else UNREPEATABLE | ROUNDED_AWAY
    stored, repeated = (record.model_dump(mode="json") for record in (first, second))
    yield from _compare_values(first.run_id, "", "", stored, repeated, ignored, exact)
    yield from _compare_predictions(first.run_id, load_predictions(folder), load_predictions(again), exact)
    yield from _compare_weights(first.run_id, folder / "adapter", again / "adapter", exact)
    yield from _compare_notebooks(first.run_id, folder / "notebook.ipynb", again / "notebook.ipynb", exact)


def _compare_values(
    run_id: str, place: str, kind: str, stored: Any, repeated: Any, ignored: frozenset[str], exact: bool
) -> Iterator[Finding]:
    """Compare two JSON values; `kind` is the place without the numbers of rows, such as ``epochs.train_loss``."""
    if kind in ignored:
        return
    if isinstance(stored, dict) and isinstance(repeated, dict):
        for name in sorted(stored.keys() | repeated.keys()):
            inner = (_joined(place, name), _joined(kind, name))
            yield from _compare_values(run_id, *inner, stored.get(name), repeated.get(name), ignored, exact)
    elif isinstance(stored, list) and isinstance(repeated, list) and any(isinstance(row, dict) for row in stored):
        if len(stored) != len(repeated):
            message = f"has {len(stored)} rows in the record, {len(repeated)} when trained again"
            yield Finding(run_id, place, message)
        found = [
            finding
            for index, (row, other) in enumerate(zip(stored, repeated, strict=False))
            for finding in _compare_values(run_id, f"{place}.{index}", kind, row, other, ignored, exact)
        ]
        yield from found[:MAX_FINDINGS]
        if len(found) > MAX_FINDINGS:
            yield Finding(run_id, place, f"differs in {len(found) - MAX_FINDINGS} more places when trained again")
    elif stored != repeated and (exact or not _is_near(kind, stored, repeated)):
        yield Finding(run_id, place, f"is {_shown(stored)} in the record, {_shown(repeated)} when trained again")


def _is_near(kind: str, stored: object, repeated: object) -> bool:
    """Return whether two measured values differ by no more than another processor may make them differ."""
    part, _, name = kind.partition(".")
    if kind == "learned.singular_values":
        return True  # their norm is compared
    if part not in MEASURED or not isinstance(stored, float) or not isinstance(repeated, float):
        return False
    if part == "learned":
        return abs(stored - repeated) <= WEIGHT_TOLERANCE * abs(stored)
    if name in ("epoch", "learning_rate"):
        return math.isclose(stored, repeated)
    return abs(stored - repeated) <= (LOSS_TOLERANCE if name.endswith("loss") else SHARE_TOLERANCE)


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


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


def _compare_notebooks(run_id: str, stored: Path, repeated: Path, exact: bool) -> Iterator[Finding]:
    """Compare what each code cell printed, but for times; where rounding differs, only the words."""
    try:
        theirs, ours = (_outputs(path, exact) for path in (stored, repeated))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        yield Finding(run_id, "notebook.ipynb", f"cannot be compared: {error!r}"[:500])
        return
    if len(theirs) != len(ours):
        yield Finding(run_id, "notebook.ipynb", f"has {len(theirs)} code cells, {len(ours)} when trained again")
    different = [index for index, (a, b) in enumerate(zip(theirs, ours, strict=False), start=1) if a != b]
    if different:
        cells = ", ".join(map(str, different))
        message = f"shows another output than the run trained again, in its code cells number {cells}"
        yield Finding(run_id, "notebook.ipynb", message)


def _outputs(notebook: Path, exact: bool) -> list[list[str]]:
    """Return what the code cells put out, without what differs between two equal runs."""
    cells = [cell for cell in json.loads(read_limited(notebook))["cells"] if cell["cell_type"] == "code"]
    return [[_output(output, exact) for output in _merged(cell["outputs"])] for cell in cells]


def _merged(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield outputs, with neighbouring pieces of a stream as one: when it was flushed does not matter."""
    pieces: list[dict[str, Any]] = []
    for output in outputs:
        text = "".join(output.get("text", ""))
        if pieces and "name" in output and pieces[-1].get("name") == output["name"]:
            pieces[-1]["text"] += text
        else:
            pieces.append(output | ({"text": text} if "text" in output else {}))
    yield from pieces


def _output(output: dict[str, Any], exact: bool) -> str:
    """Return an output as text, without times, and without numbers where they may differ."""
    content = {key: output.get(key) for key in ("output_type", "name", "text", "data", "ename", "evalue")}
    text = TIMES.sub(r"\1…", json.dumps(content, sort_keys=True, ensure_ascii=False))
    return text if exact else NUMBERS.sub("0", text)
