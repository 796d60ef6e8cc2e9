"""Make a whole project at a small scale and run it, with real weights, real sentences, and the real Trainer."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import yaml
from filelock import FileLock

from adapterbook.config.paths import Paths
from adapterbook.config.study import LIVE
from tests.support.factory import PROJECT, RATE_VARIANTS

STUDY = {
    "n_train: 128": "n_train: 32",
    "n_validation: 32": "n_validation: 16",
    "n_test: 512": "n_test: 32",
    "num_train_epochs: 10": "num_train_epochs: 2",
}
SETTINGS: Final = {"SOURCE": "embedded", "RENDERER": "embedded", "PYTHONPATH": str(PROJECT.root)}
SITE_URL: Final = "https://example.org/oldowner/oldproject"
BOOK: Final[dict[str, Any]] = {
    "title": {"zh": "舊書名甲", "en": "Oldtitle"},
    "subtitle": {"zh": "舊副標乙", "en": "Oldsubtitle"},
    "author": {"zh": "舊作者丙", "en": "Oldauthor"},
    "course": {"zh": "舊課程丁", "en": "Oldcourse"},
    "repository": "https://github.com/oldowner/oldproject",
    "site_url": f"{SITE_URL}/",
    "licence": {"zh": "舊授權戊", "en": "Oldlicence"},
    "licence_url": "https://example.org/oldterms",
}
PROMPT = """
peft_type: PROMPT_TUNING
num_virtual_tokens: 4
token_dim: 384
num_layers: 6
num_attention_heads: 12
num_transformer_submodules: 1
"""


def make_small_project(root: Path) -> Paths:
    """Copy the project's experiments, templates and report, and cut the study down.

    Two adapters and the baseline of the real project, and one (DoRA) that is dropped in as a YAML file; the protocol as
    submitted and a higher learning rate, without a search; 32 rows, two epochs and one seed.
    """
    shutil.copytree(PROJECT.experiments, root / "experiments", ignore=shutil.ignore_patterns("results"))
    shutil.copytree(PROJECT.templates, root / "templates")
    (root / "book.yaml").write_text(yaml.safe_dump(BOOK, allow_unicode=True), "utf-8")
    shutil.copytree(PROJECT.report / "assets", root / "report" / "assets")
    shutil.copy(PROJECT.root / "_quarto.yml", root)
    paths = Paths(root)
    adapters = paths.experiments / "adapters"
    dora = re.sub(r"peft_type: LORA", "peft_type: LORA\nuse_dora: true", (adapters / "lora_1.yaml").read_text("utf-8"))
    dora = re.sub(r"(?ms)^title:.*", "title: {zh: DoRA, en: DoRA}\n", dora)
    (adapters / "dora.yaml").write_text(dora, "utf-8")
    text = paths.study.read_text("utf-8")
    for old, new in STUDY.items():
        assert old in text
        text = text.replace(old, new)
    study = yaml.safe_load(text)
    del study["search"], study["data"]["n_selection"]
    write_study(paths, study | {"seeds": [224], "variants": copy.deepcopy(RATE_VARIANTS)})
    cut_down(paths, adapters=("dora", "head_only", "ia3", "lora_1"), variants=("submitted", "lr-1e-3"))
    return paths


def cut_down(paths: Paths, adapters: Collection[str], variants: Collection[str] = ("submitted",)) -> Paths:
    """Remove every other adapter and variant of a project, and their results."""
    for file in (paths.experiments / "adapters").glob("*.yaml"):
        if file.stem not in adapters:
            file.unlink()
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["variants"] = {name: study["variants"][name] for name in variants}
    for variant in study["variants"].values():
        if "adapters" in variant:
            variant["adapters"] = [name for name in variant["adapters"] if name in adapters]
    write_study(paths, study)
    for folder in paths.results.glob("*/*/*"):
        if folder.is_dir() and (folder.parent.name not in adapters or folder.name not in variants):
            shutil.rmtree(folder)
    for folder in paths.results.glob(f"*/{LIVE}"):  # it was prepared from all of them
        shutil.rmtree(folder)
    return paths


def write_study(paths: Paths, study: dict[str, Any]) -> None:
    """Write ``study.yaml``."""
    paths.study.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False), "utf-8")


def run_adapterbook(paths: Paths, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m adapterbook`` in a project, as ``make`` does, with the embedded source and renderer."""
    return subprocess.run(
        [sys.executable, "-m", "adapterbook", *arguments],
        cwd=paths.root,
        env=os.environ | SETTINGS | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def copy_project(paths: Paths, root: Path) -> Paths:
    """Copy a project to change the copy, whose records are up to date because no stamp depends on the folder."""
    return Paths(Path(shutil.copytree(paths.root, root)))


def build_trained_project(shared: Path) -> Paths:
    """Return the small project after `train`: eight runs, of which one (prompt tuning) names no module of the head.

    The first of the test processes that share a folder trains it.
    """

    def build(root: Path) -> None:
        paths = make_small_project(root)
        (paths.experiments / "adapters" / "prompt.yaml").write_text(PROMPT, "utf-8")
        study = yaml.safe_load(paths.study.read_text("utf-8"))
        study["variants"]["lr-1e-3"]["adapters"] = ["head_only", "ia3", "lora_1"]
        write_study(paths, study)
        done = run_adapterbook(paths, "train")
        assert "8 runs completed, 0 failed" in done.stdout, done.stdout + done.stderr

    return Paths(_build_once(shared / "trained-project", build))


def build_made_project(shared: Path, trained: Paths) -> Paths:
    """Return the small project after `all`; the first of the test processes that share a folder makes it."""

    def build(root: Path) -> None:
        paths = copy_project(trained, root)
        done = run_adapterbook(paths, "all")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "All 8 runs are up to date: nothing to train." in done.stdout

    return Paths(_build_once(shared / "made-project", build))


def _build_once(root: Path, build: Callable[[Path], None]) -> Path:
    with FileLock(f"{root}.lock"):
        if not root.exists():
            fresh = root.with_name(f"{root.name}-fresh")
            shutil.rmtree(fresh, ignore_errors=True)  # left by a failed build
            build(fresh)
            fresh.rename(root)
    return root
