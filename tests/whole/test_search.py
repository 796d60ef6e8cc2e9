"""Train a small study whose learning rates are searched for."""

from pathlib import Path

import pytest
import yaml

from adapterbook.runs.record import load_record
from adapterbook.runs.search import score
from tests.support.small_project import cut_down, make_small_project, run_adapterbook, write_study

RATES = (1e-3, 3e-3)


@pytest.mark.slow
def test_the_search_goes_outwards_and_then_runs_every_seed(tmp_path: Path) -> None:
    """One `train` tries the grid, adds the rate beyond its edge, and runs the best one with each seed."""
    paths = cut_down(make_small_project(tmp_path / "project"), adapters=["head_only"])
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    search = {"title": "{rate}", "training": {"load_best_model_at_end": False}, "max_added": 1}
    study |= {"seeds": [224, 225], "search": search | {"learning_rates": {"default": list(RATES)}}}
    study["data"]["n_selection"] = 32
    write_study(paths, study)
    done = run_adapterbook(paths, "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("at a time") == 1
    records = [load_record(file.parent) for file in paths.results.glob("*/head_only/lr-*/seed-224/record.json")]
    assert len(records) == len(RATES) + 1  # two rates have no inside: the best one lies at an edge
    (added,) = [record for record in records if record.extends_grid is not None]
    assert added.extends_grid is not None and added.extends_grid.edge_learning_rate in RATES
    assert f"at the edge of its learning rates: {added.training.learning_rate:g} is added" in done.stdout
    assert added.selection is not None
    best = max(records, key=lambda record: score(record.selection) if record.selection else (0, 0))
    assert f"head_only is best at {best.training.learning_rate:g}: its other seeds are added" in done.stdout
    others = sorted(file.parent.parent.name for file in paths.results.glob("*/*/lr-*/seed-225/record.json"))
    assert others == [best.variant]
    assert "All 6 runs are up to date" in run_adapterbook(paths, "train").stdout
