"""Test what the report says about the linear probe, and about each adapter against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.probe import probe_folder
from tests.support.factory import read_report, write_results
from tests.support.probe import write_probe

ADAPTERS = ("lora_1", "ia3", "head_only", "full")
ACCURACY = {"lora_1/lr-1e-3": 0.9, "ia3/lr-1e-3": 0.62}


def right(folder: Path) -> float:
    """Return the share of rows that a folder's predictions have right."""
    table = load_predictions(folder)
    return float((table["label"] == table["prediction"]).mean())


def test_a_probe_is_a_baseline_with_an_interval(tmp_path: Path) -> None:
    """Its accuracy is its record's; 384 of 512 rows have the Wilson interval 71.1 to 78.6 % (by hand)."""
    paths = write_results(tmp_path, adapters=ADAPTERS)
    write_probe(paths, accuracy=0.75)
    report = read_report(paths)
    baseline = report.baseline("linear_probe")
    assert (baseline.accuracy, baseline.n, baseline.reason) == (0.75, 512, None)
    assert baseline.interval is not None
    assert (baseline.interval.low, baseline.interval.high) == pytest.approx((0.711, 0.786), abs=5e-4)
    assert report.probe.record is not None and report.probe.stale == ()


def test_each_adapter_is_compared_with_the_probe_row_by_row(tmp_path: Path) -> None:
    """The difference is that of the two files' rows, over every seed; no baseline is compared with it."""
    paths = write_results(tmp_path, adapters=ADAPTERS, seeds=(1, 2, 3), accuracy=ACCURACY)
    write_probe(paths, accuracy=0.75)
    report = read_report(paths)
    comparison = report.comparisons["best"]
    pairs = {pair.a: pair for pair in comparison.against_baseline("linear_probe")}
    assert list(pairs) == ["lora_1", "ia3"]
    assert (pairs["lora_1"].kind, pairs["ia3"].kind) == ("better", "worse")
    runs = [run for run in report.runs if run.run.adapter.id == "lora_1" and run.run.variant == "lr-1e-3"]
    expected = np.mean([right(run.run.folder(paths)) for run in runs]) - right(probe_folder(paths, "embedded"))
    assert pairs["lora_1"].difference == pytest.approx(expected)
    assert comparison.against_baseline("linear_probe", "better") == (pairs["lora_1"],)
    assert [pair.a for pair in comparison.against_baseline("full_fine_tuning")] == ["lora_1", "ia3"]
    assert comparison.against_baseline("head_only") == comparison.added
    assert comparison.against_baseline("majority") == ()


def test_without_a_probe_nothing_is_compared_with_it(tmp_path: Path) -> None:
    """A missing probe, a broken one, one with other rows and one whose files disagree are reasons, not errors."""
    paths = write_results(tmp_path, adapters=ADAPTERS, variants={"submitted": {"title": "x"}})
    report = read_report(paths)
    assert report.baseline("linear_probe").reason == report.probe.reason == "missing"
    assert report.comparisons["best"].probe == ()
    write_probe(paths)
    file = probe_folder(paths, "embedded") / "predictions.parquet"
    table = load_predictions(file.parent)
    table.assign(row_id=table["row_id"] + 1).to_parquet(file)
    assert {pair.reason for pair in read_report(paths).comparisons["best"].probe} == {"different_rows"}
    table.assign(prediction=table["label"]).to_parquet(file)
    report = read_report(paths)
    assert report.probe.reason == "predictions_disagree" and report.baseline("linear_probe").accuracy == 0.75
    assert {pair.reason for pair in report.comparisons["best"].probe} == {"predictions_disagree"}
    (file.parent / "record.json").write_text("{", "utf-8")
    assert read_report(paths).baseline("linear_probe").reason == "broken"
