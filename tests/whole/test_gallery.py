"""docs/gallery.md: one command makes every study that it lists, and the one with many labels is a whole site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from adapterbook.commands.shared_files import copy_shared_files
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.runs.record import load_record
from tests.support.factory import PROJECT
from tests.support.small_project import run_adapterbook

EXAMPLE = PROJECT.root / "examples" / "eight-kinds"
SIZES = {"n_train": 16, "n_validation": 8, "n_test": 48}


def test_one_command_makes_every_study_of_the_gallery() -> None:
    """`make gallery` calls what the page names for each study, with the study's own source whatever SOURCE is."""
    page = (PROJECT.root / "docs" / "gallery.md").read_text("utf-8")
    named = set(re.findall(r"`make (?:-C (\S+) )?all`", page))
    sites = {
        site.removesuffix("_site/index.html").rstrip("/") for site in re.findall(r"\]\(\.\./(\S*_site\S*)\)", page)
    }
    assert named == sites == {"", "examples/bert-products", "examples/eight-kinds"}
    told = subprocess.run(["make", "--dry-run", "gallery", "SOURCE=embedded"], cwd=PROJECT.root, capture_output=True,
                          text=True, check=True).stdout  # fmt: skip
    made = dict(re.findall(r"-C (examples/\S+) all SOURCE=(\w+)", told))
    assert set(made) == named - {""}
    assert all(
        (PROJECT.root / folder / "experiments/sources" / f"{name}.yaml").is_file() for folder, name in made.items()
    )
    assert "-m adapterbook all" in told


@pytest.mark.slow
def test_the_study_of_eight_labels_is_a_whole_site(tmp_path: Path, embedded_dataset: Path) -> None:
    """Its data come from the package; at a small size every adapter trains, and pages name all labels."""
    root = tmp_path / "eight-kinds"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".*", "_site", "results", "data"))
    paths = Paths(root)
    copy_shared_files(paths)
    subprocess.run([sys.executable, "make_data.py"], cwd=root, env=os.environ | {"PYTHONPATH": str(PROJECT.root)},
                   check=True)  # fmt: skip
    source = load_source(paths.experiments / "sources" / "kinds.yaml")
    rows = pd.read_parquet(root / "data" / "train.parquet")
    assert source.labels is not None
    assert rows["label"].value_counts().to_dict() == dict.fromkeys(source.labels, 1200)
    assert not set(rows["text"]) & {"", " "}
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["data"] |= SIZES
    study["training"]["num_train_epochs"] = 1
    paths.study.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False), "utf-8")
    done = run_adapterbook(paths, "all", SOURCE="kinds")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [load_record(file.parent) for file in paths.results.glob("*/*/*/*/record.json")]
    assert len(records) == 3 * 2
    assert {(record.status, record.source.labels) for record in records} == {("completed", tuple(source.labels))}
    for language in ("zh", "en"):
        page = (root / "_site" / "report" / language / "adapters" / "lora.html").read_text("utf-8")
        assert all(title.in_language(language) in page for title in source.labels.values())
        assert (root / "_site" / f"report-{language}.pdf").stat().st_size > 50_000
