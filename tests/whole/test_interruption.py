"""`make all` killed at random moments: the next one ends as if nothing had happened, and nothing is left behind.

``KILLS=20`` kills at more moments than the few that every test run has time for.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import papermill
import psutil
import pytest
import yaml

from adapterbook.common.workdir import temporary_folders, temporary_prefix
from adapterbook.config.paths import Paths
from adapterbook.execution.kernels import ENGINE, start_kernel
from adapterbook.runs.record import load_record
from tests.support.factory import PROJECT
from tests.support.small_project import make_small_project, run_adapterbook

KILLS = int(os.environ.get("KILLS", "4"))
# Results by run, files by name, and how long training took, in seconds.
Undisturbed = tuple[dict[str, Any], Counter[str], float]
# What differs between any two runs of the same configuration.
OWN = {"started_at", "finished_at", "train_time_s", "train_samples_per_s", "test_time_s", "evaluation_time_s",
       "peak_memory_bytes", "resumed_after", "git", "seal", "files"}  # fmt: skip


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Two runs of four epochs; one saves and evaluates within epochs, too."""
    paths = make_small_project(tmp_path_factory.mktemp("untrained") / "project")
    for adapter in ("dora", "head_only"):
        (paths.experiments / "adapters" / f"{adapter}.yaml").unlink()
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["training"] |= {"num_train_epochs": 4, "learning_rate": 1.0e-3, "per_device_train_batch_size": 8}
    steps = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 3}
    study["variants"] = {
        "submitted": {"title": "As submitted", "adapters": ["ia3"]},
        "steps": {"title": "Steps", "training": steps, "adapters": ["lora_1"]},
    }
    paths.study.write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    return paths


@pytest.fixture(scope="session")
def undisturbed(untrained: Paths, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What one `all` leaves behind: results, files, and how long its training took, in seconds."""
    root = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(untrained.root, root)
    start = time.monotonic()
    done = run_adapterbook(Paths(root), "train")
    took_s = time.monotonic() - start
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_adapterbook(Paths(root), "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return _results(Paths(root)), _files(root), took_s


def _results(paths: Paths) -> dict[str, Any]:
    """Return all that a run's result is, for every run: its record, and its predictions and adapter, bit for bit."""
    found = {}
    for path in sorted(paths.results.rglob("record.json")):
        record = load_record(path.parent)
        files = {name: digest for name, digest in record.files.items() if name != "notebook.ipynb"}
        found[record.run_id] = (json.loads(record.model_dump_json(exclude=OWN)), files)
    return found


def _files(root: Path) -> Counter[str]:
    """Count a project's files by name; what is kept for the next build is named after its content, runs' times too."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*"))
    return Counter(re.sub(r"^(\.cache/build/.*)-[0-9a-f]{64}$", r"\1", name) for name in names)


def _start(root: Path) -> subprocess.Popen[str]:
    """Start `all` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "adapterbook", "all"],
        cwd=root,
        env=os.environ | {"SOURCE": "embedded", "RENDERER": "embedded", "PYTHONPATH": str(PROJECT.root)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _assert_same(found: dict[str, Any], expected: dict[str, Any], said: str) -> None:
    assert set(found) == set(expected), said
    for run_id, (record, hashes) in expected.items():
        now, hashes_now = found[run_id]
        assert {key: value for key, value in now.items() if value != record[key]} == {}, said
        assert hashes_now == hashes, said


def _processes(root: Path) -> list[psutil.Process]:
    """Return the processes that work in a project, kernels among them."""
    prefix = temporary_prefix(root, "kernel")
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == str(root) or prefix in " ".join(process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("kill", range(KILLS))
def test_all_ends_as_if_it_had_not_been_killed(
    untrained: Paths, undisturbed: Undisturbed, tmp_path: Path, kill: int
) -> None:
    """SIGKILL, SIGTERM or SIGINT to the whole process group at a random moment; then one `all`.

    Every curve, prediction and weight is that of the undisturbed study, bit for bit; no process and no file is left.
    """
    results, files, took_s = undisturbed
    root = tmp_path / "project"
    shutil.copytree(untrained.root, root)
    paths, rng = Paths(root), random.Random(kill)
    number = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)[kill % 4]
    # One moment in each slice of the time that training takes, and a little beyond: into the pages and the site.
    moment_s = took_s * 1.3 * (kill + rng.random()) / KILLS
    trainer = _start(root)
    time.sleep(moment_s)
    os.killpg(trainer.pid, number)
    log, _ = trainer.communicate(timeout=60)
    finished = set(_results(paths))

    done = run_adapterbook(paths, "all")
    said = f"{number.name} after {moment_s:.1f} s; before: {log}; after: {done.stdout}"
    assert done.returncode == 0, said + done.stderr
    assert "Traceback" not in log, said
    _assert_same(_results(paths), results, said)
    assert f"{2 - len(finished)} of 2 runs are to be trained" in done.stdout or len(finished) == 2, said
    assert _files(root) == files, said
    assert not _processes(root), said
    assert not temporary_folders(root, "kernel"), said
    print(said)


def test_training_goes_on_after_the_last_whole_epoch(
    untrained: Paths, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """SIGKILL once a run has finished two epochs: no run that has does so again, and the rest is trained alone."""
    root = tmp_path / "project"
    shutil.copytree(untrained.root, root)
    paths = Paths(root)
    trainer = _start(root)
    staging = paths.results / ".staging" / "embedded"
    deadline = time.monotonic() + 120
    while not list(staging.glob("*.epochs/epoch-[23]")):
        assert trainer.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(trainer.pid, signal.SIGKILL)
    trainer.communicate(timeout=60)
    kept: dict[str, int] = {}  # the epochs that each run had finished, by its folder's name
    for snapshot in staging.glob("*.epochs/epoch-*"):
        run = snapshot.parent.name.removesuffix(".epochs")
        kept[run] = max(kept.get(run, 0), int(snapshot.name.removeprefix("epoch-")))
    assert max(kept.values()) >= 2
    done = run_adapterbook(paths, "train")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [load_record(path.parent) for path in sorted(paths.results.rglob("record.json"))]
    resumed = {record.run_id.replace("/", "+"): record.resumed_after for record in records if record.resumed_after}
    assert resumed == {run: (epoch,) for run, epoch in kept.items()}
    assert all(record.curve[-1].epoch == 4 for record in records)
    _assert_same(_results(paths), undisturbed[0], done.stdout)
    assert not (paths.results / ".staging").exists()


def test_half_the_batch_accumulated_is_the_same_batch(untrained: Paths, tmp_path: Path) -> None:
    """The real Trainer with micro_batches=2: as many steps, nearly the same losses, and the record says so."""
    records = {}
    for micro_batches in (1, 2):
        output = tmp_path / f"run-{micro_batches}"
        parameters = {
            "source": "embedded",
            "adapter": "ia3",
            "variant": "submitted",
            "seed": 224,
            "output": str(output),
            "micro_batches": micro_batches,
        }
        with start_kernel(untrained.root) as kernel:
            papermill.execute_notebook(untrained.notebook, None, parameters, kernel_name="python3", engine_name=ENGINE,
                                       kernel=kernel, progress_bar=False)  # fmt: skip
        records[micro_batches] = load_record(output)
    smaller = records[2].smaller_batch
    assert smaller is not None
    assert (smaller.per_device_train_batch_size, smaller.gradient_accumulation_steps) == (4, 2)
    assert records[1].smaller_batch is None
    for whole, halved in zip(records[1].epochs, records[2].epochs, strict=True):
        assert whole.learning_rate == halved.learning_rate
        assert whole.validation_loss == pytest.approx(halved.validation_loss, abs=0.02)
