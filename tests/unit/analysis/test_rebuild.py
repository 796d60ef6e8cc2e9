"""Test that an analysis from the cache is the same report, with nothing read or tested twice and nothing stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from numpy.typing import ArrayLike

from adapterbook.analysis import analyse, comparison, groups, single_run
from adapterbook.analysis.shapes import Report
from adapterbook.common.cache import open_cache
from adapterbook.common.stats import Estimate, estimate_difference
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import load_record, write_record
from tests.support.factory import PROJECT, make_predictions, make_record, read_statuses, write_results

VARIANTS = {
    "submitted": {"title": "As submitted"},
    "lr-1e-3": {"title": "1e-3", "training": {"learning_rate": 1.0e-3}},
}
RUN = "lora_1/submitted/seed-224"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_results(tmp_path, adapters=["lora_1", "lora_2", "ia3"], variants=VARIANTS, seeds=[224, 225, 226])


def read(paths: Paths, *, remembering: bool = True) -> Report:
    study, adapters = load_study(paths.study), load_adapters(paths.experiments / "adapters")
    if not remembering:
        return analyse(read_statuses(paths), paths, study, adapters, {})
    cache = open_cache(paths.root, "analysis")
    report = analyse(read_statuses(paths), paths, study, adapters, {}, cache)
    cache.forget_unused()
    return report


def retrain(paths: Paths, seed: int) -> None:
    """Put another run's predictions, and the record that goes with them, in the place of one run's."""
    predictions = make_predictions("lora_1", "submitted", seed, accuracy=0.9)
    study, folder = load_study(paths.study), paths.results / "embedded" / RUN
    write_record(make_record("lora_1", "submitted", 224, study=study, predictions=predictions), folder)
    predictions.to_parquet(folder / "predictions.parquet")


def test_a_report_is_the_same_remembered(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is equal the first time, the second time and without a cache; the second reads and tests nothing."""
    fresh = read(paths, remembering=False)
    assert read(paths) == fresh

    def refuse(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(single_run, "load_predictions", refuse)
    monkeypatch.setattr(comparison, "estimate_difference", refuse)
    monkeypatch.setattr(groups, "accuracy_interval", refuse)
    assert read(paths) == fresh


def test_other_predictions_are_read_and_their_pairs_tested(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one run is trained again, only its file is read and only its adapter's pairs are tested."""
    read(paths)
    retrain(paths, 999)
    folders: list[Path] = []
    tested: list[object] = []

    def load(folder: Path) -> pd.DataFrame:
        folders.append(folder)
        return load_predictions(folder)

    def test(correct_a: ArrayLike, correct_b: ArrayLike, *, b_has_seeds: bool) -> Estimate:
        tested.append(correct_a)
        return estimate_difference(correct_a, correct_b, b_has_seeds=b_has_seeds)

    monkeypatch.setattr(single_run, "load_predictions", load)
    monkeypatch.setattr(comparison, "estimate_difference", test)
    report = read(paths)
    assert folders == [paths.results / "embedded" / RUN]
    assert len(tested) == 2  # as submitted, against both others; 1e-3 is the best rate of each
    monkeypatch.undo()
    assert report == read(paths, remembering=False)
    assert report.run(RUN).record == load_record(paths.results / "embedded" / RUN)


def test_what_is_kept_is_checked_against_today_s_record(paths: Paths) -> None:
    """A record that contradicts the cached predictions, and a missing file, are noticed."""
    read(paths)
    folder = paths.results / "embedded" / RUN
    record = load_record(folder)
    assert record.test is not None
    wrong = record.model_copy(update={"test": record.test.model_copy(update={"accuracy": 0.25})})
    write_record(wrong, folder)
    assert read(paths).run(RUN).reason == "predictions_disagree"
    write_record(record, folder)
    assert read(paths).run(RUN).reason is None
    (folder / "predictions.parquet").write_bytes(b"PAR1")
    assert read(paths).run(RUN).reason == "no_predictions"
    (folder / "predictions.parquet").unlink()
    assert read(paths).run(RUN).reason == "no_predictions"
    pd.DataFrame({"row_id": [1]}).to_parquet(folder / "predictions.parquet")
    assert read(paths).run(RUN).reason == "no_predictions"


def test_a_report_that_is_known_loads_nothing_heavy(paths: Paths) -> None:
    """A cached report is made without pandas, NumPy, SciPy and pyarrow, whose import takes longest."""
    read(paths)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from adapterbook.runs.select import load_project\n"
        "from adapterbook.runs.plan import plan_runs, status_of\n"
        "from adapterbook.analysis import analyse\n"
        "from adapterbook.config.paths import Paths\n"
        "from adapterbook.common.cache import open_cache\n"
        "paths = Paths(Path(sys.argv[1]))\n"
        "study, adapters = load_project(paths)\n"
        "runs = plan_runs(study, adapters, 'embedded')\n"
        "statuses = [status_of(run, paths, {}) for run in runs]\n"
        "report = analyse(statuses, paths, study, adapters, {}, open_cache(paths.root, 'analysis'))\n"
        "assert report.comparisons['best'].pairs[0].p is not None\n"
        "print(*{'torch', 'pandas', 'numpy', 'scipy', 'pyarrow', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(paths.root)], cwd=PROJECT.root, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.stdout.split(), done.returncode) == ([], 0), done.stderr
