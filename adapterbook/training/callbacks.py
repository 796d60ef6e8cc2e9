"""Follow a run: write its progress, stop it at a loss that is not finite, keep a snapshot of each epoch."""

from __future__ import annotations

import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adapterbook.common.errors import RunError
from adapterbook.common.strict import LARGEST
from adapterbook.config.study import TrainingConfig
from adapterbook.training.checkpoints import Snapshot, save_snapshot
from adapterbook.training.peft_needs import allocates_ranks
from adapterbook.training.strategies import metric_name
from adapterbook.training.trainer import PreparedRun

PROGRESS_FILE = "progress.jsonl"
STATUS = Path("/proc/self/status")


class ProgressFile(TrainerCallback):
    """Write one JSON line a step into ``progress.jsonl``, for the driver, and each step's time into the Trainer's log.

    It stops the run at a loss that is not finite or that no record takes, because the Trainer would continue.
    """

    def __init__(self, prepared: PreparedRun) -> None:
        self._path = prepared.output / PROGRESS_FILE
        self._before_s = prepared.snapshot.train_time_s if prepared.snapshot else 0.0
        self._last: dict[str, float] = {}
        self._start = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the last losses and the time; raise RunError for a loss that no record takes."""
        entry = state.log_history[-1]
        for key, name in (("loss", "loss"), ("eval_validation_loss", "validation loss")):
            if key in entry:
                if not abs(entry[key]) <= LARGEST:  # or not a number
                    raise RunError(f"The {name} is {entry[key]} after step {state.global_step}: training diverged.")
                self._last[key] = entry[key]
        if "loss" in entry:
            entry["seconds"] = self._before_s + time.monotonic() - self._start

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Append one line."""
        line = {"step": state.global_step, "max_steps": state.max_steps, "epoch": state.epoch, **self._last}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class StopEarly(TrainerCallback):
    """Stop where the last evaluations were not better than the best before, as Transformers' ``EarlyStoppingCallback``.

    It counts them in the log and keeps no state, so that an interrupted run stops where another one does. It must come
    before the callbacks that look whether training stops.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self._patience, self._threshold = training.early_stopping_patience, training.early_stopping_threshold or 0.0
        self._key = f"eval_{metric_name(training)}"

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop after ``early_stopping_patience`` evaluations in a row without a gain above the threshold."""
        if self._patience is None or self._key not in state.log_history[-1]:
            return
        sign = 1 if self._key.endswith("loss") else -1
        best, waited = math.inf, 0
        for value in (sign * entry[self._key] for entry in state.log_history if self._key in entry):
            waited = 0 if best - value > self._threshold else waited + 1
            best = min(best, value)
        if waited >= self._patience:
            control.should_training_stop = True


class SaveEpochSnapshots(TrainerCallback):
    """Save a checkpoint at the end of each epoch, for any ``save_strategy``, and keep a snapshot of it.

    Only these checkpoints hold the optimiser's state; the training arguments set ``save_only_model=True`` for all
    others. This must be the last callback, so that the epoch's losses are saved. Two kinds of method have no snapshots,
    because training could not continue from what PEFT saves: prompt learning, whose prompts some methods make with a
    network, and methods that share their ranks out by the gradients of all steps.
    """

    def __init__(self, prepared: PreparedRun) -> None:
        self._run = prepared
        self._start = self._cpu_start = 0.0
        self._at_epoch_end = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clocks."""
        self._start, self._cpu_start = time.monotonic(), time.process_time()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint at the epoch's end, when its training loss is known."""
        model, whole = kwargs["model"], float(state.epoch or 0).is_integer()
        if whole and not model.active_peft_config.is_prompt_learning and not allocates_ranks(model):
            control.should_save = self._at_epoch_end = True
            args.save_only_model = state.global_step >= state.max_steps  # nothing continues after the last step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the checkpoints as they are now."""
        if not self._at_epoch_end:
            return
        self._at_epoch_end, args.save_only_model = False, True
        if control.should_training_stop and state.global_step < state.max_steps:
            return  # stopped early: a run that continued here would train on
        before = self._run.snapshot
        save_snapshot(
            self._run.output,
            Snapshot(
                stamps=self._run.stamps,
                micro_batches=self._run.micro_batches,
                epoch=round(state.epoch or 0),
                train_time_s=time.monotonic() - self._start + (before.train_time_s if before else 0.0),
                train_cpu_s=time.process_time() - self._cpu_start + (before.train_cpu_s if before else 0.0),
                peak_memory_bytes=peak_memory_bytes(self._run),
                resumed_after=resumed_after(self._run),
                files={},
            ),
        )


def resumed_after(prepared: PreparedRun) -> tuple[float, ...]:
    """Return the epochs after which training was interrupted."""
    before = prepared.snapshot
    return (*before.resumed_after, before.epoch) if before else ()


def peak_memory_bytes(prepared: PreparedRun) -> int:
    """Return the peak memory of all parts of a run: allocated on the GPU, or else resident in the process."""
    before = prepared.snapshot.peak_memory_bytes if prepared.snapshot else 0
    if prepared.device == "cuda":
        return max(before, int(torch.cuda.max_memory_allocated()))
    if STATUS.exists():  # Linux: counted since the last `reset_kernel`
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return max(before, int(peak.split()[1]) * 1024)
    return max(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts in bytes
