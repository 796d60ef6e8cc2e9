"""Copy the project, time commands in the copy, and describe this machine.

The measured project is only read: everything is changed, trained and rendered in copies among the temporary files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from adapterbook.common.errors import RunError
from adapterbook.common.machine import count_cores
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import Run, plan_runs

CODE = Path(__file__).resolve().parents[1]
WRITTEN = {"experiments", "templates", "report", "_quarto.yml", "book.yaml"}  # the rest of a copy was generated there
SETTINGS = ("SOURCE", "SEEDS", "JOBS", "CELL_TIMEOUT_S", "RENDERER", "RETRAIN")
SAMPLING_S = 0.2
DESCRIBE = (
    "from pathlib import Path; from adapterbook.training.recording import describe_environment, git_state; "
    "from adapterbook.training.trainer import current_device; git = git_state(Path.cwd()); "
    "print(describe_environment(current_device()).model_dump_json()); print(git.model_dump_json() if git else 'null')"
)


@dataclass(frozen=True)
class Timed:
    """Hold the measurements of a command that has ended.

    Attributes
    ----------
    peak_memory_bytes : int or None
        The highest sum over it and its children, shared memory counted once; None if it was not watched.
    """

    wall_s: float
    peak_memory_bytes: int | None
    output: str


def run_timed(
    paths: Paths, *arguments: str, module: str = "adapterbook", watch_memory: bool = False, **environment: str
) -> Timed:
    """Run ``python -m <module>`` in a project, as ``make`` does, without the user's settings.

    Parameters
    ----------
    watch_memory : bool
        Whether to sample the memory of all its processes, which takes some of the measured time.

    Raises
    ------
    RunError
        If it fails, with the last lines of its output.
    """
    kept = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=paths.root, env=kept | {"PYTHONPATH": str(CODE)} | environment, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        watch = _MemoryWatch(process.pid) if watch_memory else None
        process.wait()
        wall_s = time.monotonic() - start
        peak_memory_bytes = watch.stop() if watch else None
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if process.returncode != 0:
        shown = " ".join(("python", *command[1:]))
        raise RunError(f"`{shown}` ended with {process.returncode}:", text.strip().splitlines()[-20:])
    return Timed(wall_s, peak_memory_bytes, text)


class _MemoryWatch:
    """Sample the memory of a process and its children.

    ``getrusage`` gives the exact peak of the largest process, but not that of several at one time, and it counts the
    parent's memory at the fork too.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._stop = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLING_S):
            total = 0
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(self._pid)
                for one in (process, *process.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                        memory = one.memory_full_info()
                        total += getattr(memory, "pss", memory.rss)  # macOS does not know what is shared
            self._peak = max(self._peak, total)


def copy_project(root: Path, folder: Path, *, results: bool) -> Paths:
    """Copy a project's written files, and its results if asked, into a new folder."""
    ignored = shutil.ignore_patterns(*(() if results else ("results",)), ".*")
    shutil.copytree(root / "experiments", folder / "experiments", ignore=ignored)
    shutil.copytree(root / "templates", folder / "templates")
    shutil.copytree(root / "report" / "assets", folder / "report" / "assets")
    for name in ("_quarto.yml", "book.yaml"):
        shutil.copy(root / name, folder)
    return Paths(folder)


def forget_what_was_made(paths: Paths) -> None:
    """Remove pages, figures, site and caches, so that the next build starts from the records."""
    made = [path for path in paths.root.iterdir() if path.name not in WRITTEN]
    for path in (*made, *(path for path in paths.report.iterdir() if path.name != "assets")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def change_settings(paths: Paths, **changes: Any) -> None:
    """Change values of top-level keys in ``study.yaml``."""
    study = yaml.safe_load(paths.study.read_text("utf-8")) | changes
    paths.study.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False), "utf-8")


def keep_submitted(paths: Paths) -> list[Run]:
    """Reduce a project to its adapters as submitted, without the baselines and with one seed; return the runs."""
    study = load_study(paths.study)
    for adapter in load_adapters(paths.experiments / "adapters").values():
        if adapter.baseline is not None:
            (paths.experiments / "adapters" / f"{adapter.id}.yaml").unlink()
    variants = yaml.safe_load(paths.study.read_text("utf-8"))["variants"]
    change_settings(paths, search=None, seeds=[study.seeds[0]], seeds_on_gpu=None,
                    variants={study.submitted: variants[study.submitted]})  # fmt: skip
    return plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "")


def describe_machine(source_of_code: Path = CODE) -> dict[str, Any]:
    """Return processor, device, cores, memory, packages and commit, without the names of the machine or its user."""
    done = subprocess.run([sys.executable, "-c", DESCRIBE], cwd=source_of_code, capture_output=True, text=True,
                          check=True)  # fmt: skip
    environment, git = (json.loads(line) for line in done.stdout.strip().splitlines()[-2:])
    n_cores = count_cores()
    described: dict[str, Any] = environment
    return described | {"n_cores": n_cores, "memory_bytes": psutil.virtual_memory().total, "git": git}
