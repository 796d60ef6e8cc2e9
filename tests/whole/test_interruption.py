"""Training and `make all` killed at a moment: the next one ends as if nothing had happened, and nothing is left behind.

``KILLS=20`` kills at more moments than the few that `make check` has time for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any, Final

import papermill
import psutil
import pytest
import yaml

from adapterbook.common.workdir import temporary_folders, temporary_prefix
from adapterbook.config.paths import Paths
from adapterbook.execution.kernels import ENGINE, start_kernel
from adapterbook.runs.record import load_record
from tests.support.processes import run_watched
from tests.support.small_project import (
    copy_project,
    cut_down,
    make_small_project,
    run_adapterbook,
    write_study,
)

KILLS = int(os.environ.get("KILLS", "4"))
# Results by run, files by name, and how many moments there are at which something is about to be written.
Undisturbed = tuple[dict[str, Any], Counter[str], int]
# What differs between any two runs of the same configuration.
OF_STEPS: Final[dict[str, Any]] = {"steps": {"__all__": {"seconds"}}}
OWN = {"started_at", "finished_at", "train_time_s", "train_samples_per_s", "test_time_s", "evaluation_time_s",
       "train_cpu_s", "latency",
       "peak_memory_bytes", "resumed_after", "git", "seal", "files"}  # fmt: skip


def _results(paths: Paths) -> dict[str, Any]:
    """Return all that a run's result is, for every run: its record, and its predictions and adapter, bit for bit."""
    found = {}
    for path in sorted(paths.results.glob("*/*/*/*/record.json")):
        record = load_record(path.parent)
        files = {name: digest for name, digest in record.files.items() if name != "notebook.ipynb"}
        found[record.run_id] = (json.loads(record.model_dump_json(exclude=dict.fromkeys(OWN, True) | OF_STEPS)), files)
    return found


def _assert_same(found: dict[str, Any], expected: dict[str, Any], said: str) -> None:
    assert set(found) == set(expected), said
    for run_id, (record, hashes) in expected.items():
        now, hashes_now = found[run_id]
        assert {key: value for key, value in now.items() if value != record[key]} == {}, said
        assert hashes_now == hashes, said


@pytest.fixture
def one_run(trained_project: Paths, tmp_path: Path) -> Paths:
    """One trained run of two epochs."""
    return cut_down(copy_project(trained_project, tmp_path / "project"), ["ia3"], ["lr-1e-3"])


@pytest.mark.slow
def test_training_goes_on_after_the_last_whole_epoch(one_run: Paths, tmp_path: Path) -> None:
    """After SIGKILL at the end of the second epoch, the first is not trained again, and every bit is the same."""
    undisturbed = _results(one_run)
    shutil.rmtree(one_run.results)
    killed = run_watched(
        one_run.root,
        tmp_path / "watch",
        "-m",
        "adapterbook",
        "train",
        moment=r"os\.rename .*\.epochs/epoch-2",
        number=signal.SIGKILL,
        SOURCE="embedded",
    )
    assert killed.returncode == -signal.SIGKILL, killed.output
    staging = one_run.results / ".staging" / "embedded"
    assert [path.name for path in staging.glob("*.epochs/epoch-*")] == ["epoch-1"]
    done = run_adapterbook(one_run, "train")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = one_run.results.glob("*/*/*/*/record.json")
    assert load_record(path.parent).resumed_after == (1,)
    _assert_same(_results(one_run), undisturbed, done.stdout)
    assert not (one_run.results / ".staging").exists()


@pytest.mark.slow
def test_half_the_batch_accumulated_is_the_same_batch(one_run: Paths, tmp_path: Path) -> None:
    """With micro_batches=2 the real Trainer takes as many steps, has nearly the same losses, and the record says so."""
    (folder,) = (path.parent for path in one_run.results.glob("*/*/*/*/record.json"))
    whole, output = load_record(folder), tmp_path / "run"
    parameters = {
        "source": "embedded",
        "adapter": "ia3",
        "variant": "lr-1e-3",
        "seed": whole.seed,
        "output": str(output),
        "micro_batches": 2,
    }
    with start_kernel(one_run.root) as kernel:
        papermill.execute_notebook(one_run.notebook, None, parameters, kernel_name="python3", engine_name=ENGINE,
                                   kernel=kernel, progress_bar=False)  # fmt: skip
    halved = load_record(output)
    smaller = halved.smaller_batch
    assert smaller is not None
    assert (smaller.per_device_train_batch_size, smaller.gradient_accumulation_steps) == (8, 2)
    assert whole.smaller_batch is None
    for expected, found in zip(whole.epochs, halved.epochs, strict=True):
        assert expected.learning_rate == found.learning_rate
        assert expected.train_loss == pytest.approx(found.train_loss, abs=0.02)
        assert expected.validation_loss == pytest.approx(found.validation_loss, abs=0.02)


# ---- the whole of `make all`


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Two runs of four epochs; one saves and evaluates within epochs, too."""
    paths = make_small_project(tmp_path_factory.mktemp("untrained") / "project")
    cut_down(paths, ["ia3", "lora_1"])
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["training"] |= {"num_train_epochs": 4, "learning_rate": 1.0e-3, "per_device_train_batch_size": 8}
    steps = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 3}
    study["variants"] = {
        "submitted": {"title": "As submitted", "adapters": ["ia3"]},
        "steps": {"title": "Steps", "training": steps, "adapters": ["lora_1"]},
    }
    write_study(paths, study)
    return paths


@pytest.fixture(scope="session")
def undisturbed(untrained: Paths, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What one `all` leaves behind, and how many moments it has."""
    folder = tmp_path_factory.mktemp("undisturbed")
    paths = copy_project(untrained, folder / "project")
    done = run_watched(paths.root, folder / "watch", "-m", "adapterbook", "all", SOURCE="embedded", RENDERER="embedded")
    assert done.returncode == 0, done.output
    return _results(paths), _files(paths.root), len(done.moments)


def _files(root: Path) -> Counter[str]:
    """Count a project's files by name; what is kept for the next build is named after its content, runs' times too."""
    names = (path.relative_to(root).as_posix() for path in root.rglob("*"))
    return Counter(re.sub(r"^(\.cache/build/.*)-[0-9a-f]{64}$", r"\1", name) for name in names)


def _processes(root: Path) -> list[psutil.Process]:
    """Return the processes that work in a project, kernels among them."""
    prefix = temporary_prefix(root, "kernel")
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == str(root) or prefix in " ".join(process.info["cmdline"] or ())
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
def test_all_ends_as_if_it_had_not_been_killed(
    untrained: Paths, undisturbed: Undisturbed, tmp_path: Path, kill: int
) -> None:
    """After SIGKILL, SIGTERM or SIGINT to all processes as one is about to write a file, `all` leaves what it should.

    Every curve, prediction and weight is that of the undisturbed study, bit for bit; no process and no file is left.
    """
    results, files, n_moments = undisturbed
    paths = copy_project(untrained, tmp_path / "project")
    number = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)[kill % 4]
    moment = 1 + n_moments * (2 * kill + 1) // (2 * KILLS)
    killed = run_watched(paths.root, tmp_path / "watch", "-m", "adapterbook", "all", moment=moment, number=number,
                         SOURCE="embedded", RENDERER="embedded")  # fmt: skip
    assert killed.returncode != 0, killed.output
    finished = set(_results(paths))

    done = run_adapterbook(paths, "all")
    said = f"{number.name} before {killed.moments[moment - 1]}: {killed.output}; after: {done.stdout}"
    assert done.returncode == 0, said + done.stderr
    assert "Traceback" not in killed.output, said
    _assert_same(_results(paths), results, said)
    assert f"{2 - len(finished)} of 2 runs are to be trained" in done.stdout or len(finished) == 2, said
    assert _files(paths.root) == files, said
    assert not _processes(paths.root), said
    assert not temporary_folders(paths.root, "kernel"), said
