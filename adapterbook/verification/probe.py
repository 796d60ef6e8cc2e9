"""Check the linear probe: its record, its files, and both against a probe that is computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from adapterbook.common.errors import AdapterBookError
from adapterbook.config.paths import Paths
from adapterbook.runs.predictions import class_probabilities
from adapterbook.runs.probe import FEATURES, ProbeRecord, probe_folder, probe_status
from adapterbook.training.probe import Probe, compute_probe
from adapterbook.verification.findings import Finding, find_state_problems, find_wrong_files
from adapterbook.verification.re_evaluation import Material
from adapterbook.verification.recomputation import (
    find_other_rows,
    find_other_source,
    find_wrong_metrics,
    read_predictions,
    short,
)

FEATURE_TOLERANCE = 1e-3  # of numbers around 1: another processor adds in another order
PROBABILITY_TOLERANCE = 1e-2


def audit_probe(paths: Paths, source: str, stamps: Mapping[str, str], material: Material | None) -> list[Finding]:
    """Return every finding about a source's probe.

    Parameters
    ----------
    stamps : mapping of stamp name to hash
        Today's; only those given are compared.
    material : Material or None
        Today's base model and rows. None: they are not available, and the probe is not computed again.
    """
    folder = probe_folder(paths, source)
    status = probe_status(paths, source, stamps)
    found, record = find_state_problems(status), status.record
    if record is None:
        return found
    found += find_wrong_files(record, folder)
    table, problems = read_predictions(record, folder)
    found += problems
    if table is not None:
        found += find_wrong_metrics(record, table)
    if material is None or "config" in status.stale:
        return found
    found += find_other_source(record, material.info, material.splits)
    if table is not None:
        found += find_other_rows(record, table, material.splits["test"])
    try:
        today = compute_probe(material.folder, material.splits)
    except AdapterBookError as error:
        message = f"was not possible: {' '.join(str(error).split())}"
        return [*found, Finding(record.run_id, "computing it again", message)]
    return [*found, *_find_other_features(record, folder, today), *_find_other_fit(record, table, today)]


def _find_other_features(record: ProbeRecord, folder: Path, today: Probe) -> Iterator[Finding]:
    try:
        stored = load_file(folder / FEATURES)
    except (SafetensorError, OSError) as error:
        yield Finding(record.run_id, FEATURES, f"cannot be read: {' '.join(str(error).split())}")
        return
    for name in sorted(stored.keys() | today.features.keys()):
        theirs, ours = stored.get(name), today.features.get(name)
        if theirs is None or ours is None or theirs.shape != ours.shape or theirs.dtype != ours.dtype:
            yield Finding(record.run_id, FEATURES, f"does not hold {name} as the base model gives it")
        elif not (np.abs(theirs - ours) <= FEATURE_TOLERANCE).all():
            yield Finding(record.run_id, FEATURES, f"differs from the base model's vectors in {name}")


def _find_other_fit(record: ProbeRecord, table: pd.DataFrame | None, today: Probe) -> Iterator[Finding]:
    pairs = {
        "head": (record.head, today.head),
        "chosen_on": (record.chosen_on, today.chosen_on),
        "C": (record.C, today.C),
        "grid": ([(choice.C, choice.n_right) for choice in record.grid],
                 [(choice.C, choice.n_right) for choice in today.grid]),
    }  # fmt: skip
    for name, (stated, fitted) in pairs.items():
        if stated != fitted:
            yield Finding(record.run_id, name, f"is {stated} in the record, {fitted} when fitted again")
    if table is None or len(table) != len(today.predictions):
        return
    stored, computed = class_probabilities(table), class_probabilities(today.predictions)
    if stored.shape != computed.shape:
        yield Finding(record.run_id, "predictions.parquet", f"holds {stored.shape[1]} labels")
        return
    distance = np.abs(stored - computed).max(axis=1)
    if not (distance <= PROBABILITY_TOLERANCE).all():
        i = int(distance.argmax())
        message = f"has the probability {short(stored[i, -1])} in row {i}, {short(computed[i, -1])} when fitted again"
        yield Finding(record.run_id, "predictions.parquet", message)
