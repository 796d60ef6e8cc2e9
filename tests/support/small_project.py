"""A whole project at a small scale, run for real: real weights, real sentences, the real Trainer, the real renderer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from adapterbook.config.paths import Paths
from tests.support.factory import PROJECT

STUDY = {
    "n_train: 128": "n_train: 32",
    "n_validation: 32": "n_validation: 16",
    "n_test: 512": "n_test: 32",
    "num_train_epochs: 10": "num_train_epochs: 2",
}


def make_small_project(root: Path) -> Paths:
    """Copy the project's experiments, templates and report, and cut the study down.

    Two adapters and the baseline of the real project, and one (DoRA) that is dropped in as a YAML file; the protocol as
    submitted and the highest learning rate; 32 rows and two epochs.
    """
    shutil.copytree(PROJECT.experiments, root / "experiments", ignore=shutil.ignore_patterns("results"))
    shutil.copytree(PROJECT.templates, root / "templates")
    shutil.copy(PROJECT.book, root / "book.yaml")
    shutil.copytree(PROJECT.report / "assets", root / "report" / "assets")
    shutil.copy(PROJECT.root / "_quarto.yml", root)
    paths = Paths(root)
    adapters = paths.experiments / "adapters"
    for name in ("lora_2", "lora_3"):
        (adapters / f"{name}.yaml").unlink()
    dora = re.sub(r"peft_type: LORA", "peft_type: LORA\nuse_dora: true", (adapters / "lora_1.yaml").read_text("utf-8"))
    dora = re.sub(r"(?ms)^title:.*", "title: {zh: DoRA, en: DoRA}\n", dora)
    (adapters / "dora.yaml").write_text(dora, "utf-8")
    text = paths.study.read_text("utf-8")
    for old, new in STUDY.items():
        assert old in text
        text = text.replace(old, new)
    content = yaml.safe_load(text)
    content["variants"] = {name: content["variants"][name] for name in ("submitted", "lr-1e-3")}
    paths.study.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
    return paths


def run_adapterbook(paths: Paths, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m adapterbook`` in a project, as ``make`` does, with the embedded source and renderer."""
    settings = {"SOURCE": "embedded", "RENDERER": "embedded", "PYTHONPATH": str(PROJECT.root)} | environment
    return subprocess.run(
        [sys.executable, "-m", "adapterbook", *arguments],
        cwd=paths.root,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
