"""Show how far training is: run, epoch, loss and time left.

A terminal gets moving bars; a file or a CI log gets one line when a run ends.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from adapterbook.common.formatting import format_duration, say
from adapterbook.runs.plan import Run
from adapterbook.runs.record import Record


class TrainingDisplay:
    """Show the progress of several runs.

    Parameters
    ----------
    n_runs : int
        How many runs are due.
    console : Console
        Where to print.
    """

    def __init__(self, n_runs: int, console: Console) -> None:
        self._console, self._n_runs, self._n_ended = console, n_runs, 0
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._active: dict[str, tuple[TaskID, Path]] = {}
        self._progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._total = self._progress.add_task("all runs", total=n_runs, detail="starting")

    def __enter__(self) -> TrainingDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def add(self, n_runs: int) -> None:
        """Count more runs."""
        self._n_runs += n_runs
        self._progress.update(self._total, total=self._n_runs)

    def started(self, run: Run, staging: Path) -> None:
        """Show a run that starts; called from the run's thread."""
        with self._lock:
            task = self._progress.add_task(run.id, total=None, detail="starting the kernel")
            self._active[run.id] = (task, staging / "progress.jsonl")

    def refresh(self) -> None:
        """Read and show the progress of the active runs."""
        done = float(self._n_ended)
        with self._lock:
            for task, path in self._active.values():
                if written := last_whole_line(path):
                    line = json.loads(written)
                    done += line["step"] / line["max_steps"]
                    self._progress.update(
                        task, total=line["max_steps"], completed=line["step"], detail=_describe_step(line)
                    )
        self._progress.update(self._total, completed=done, detail=self._time_left(done))

    def ended(self, record: Record) -> None:
        """Print one line for a run that ended."""
        self._n_ended += 1
        with self._lock:
            task, _ = self._active.pop(record.run_id)
            self._progress.remove_task(task)
        took = format_duration((record.finished_at - record.started_at).total_seconds())
        if record.test is not None:
            outcome = f"test accuracy {record.test.accuracy:.1%}, {took}"
        else:
            error = record.error
            outcome = f"FAILED after {took}: {error.type}: {error.message.splitlines()[0]}" if error else "FAILED"
        width = len(str(self._n_runs))
        place = f"[{self._n_ended:{width}}/{self._n_runs}]"
        say(self._console, f"{place} {record.run_id}  {outcome}; {self._time_left(self._n_ended)}")

    def _time_left(self, done: float) -> str:
        if done <= 0:
            return "time left not known yet"
        if done >= self._n_runs:
            return f"{format_duration(time.monotonic() - self._start)} in all"
        left = (time.monotonic() - self._start) / done * (self._n_runs - done)
        return f"about {format_duration(left)} left"


def _describe_step(line: dict[str, Any]) -> str:
    loss = f", loss {line['loss']:.4f}" if "loss" in line else ""
    key = "eval_validation_loss"
    validation = f", validation loss {line[key]:.4f}" if key in line else ""
    return f"epoch {line['epoch']:.1f}{loss}{validation}"


def last_whole_line(path: Path) -> str:
    """Return the last complete line of a progress file; empty if there is none yet."""
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.endswith("\n")), "")
