"""Write the results of a run: its adapter, its predictions and its record.

`preflight` checks, before the first run, everything that can be checked by then.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import datasets
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from peft import PeftConfig, PeftModel
from scipy.special import softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_utils import PredictionOutput

from adapterbook.common import git
from adapterbook.common.errors import ConfigError
from adapterbook.config.paths import Paths
from adapterbook.config.study import TrainingConfig
from adapterbook.runs.plan import Run, compute_stamps, package_versions
from adapterbook.runs.predictions import prediction_columns
from adapterbook.runs.record import (
    AdapterInfo,
    BestCheckpoint,
    Environment,
    Failure,
    GitState,
    Latency,
    Record,
    SourceInfo,
    SplitInfo,
    Splits,
    StrategyResult,
    TestResult,
    TokenInfo,
    write_record,
)
from adapterbook.sources.resolve import FetchedSource, ResolvedSource, fetch_source, hash_folder
from adapterbook.training.callbacks import peak_memory_bytes, resumed_after
from adapterbook.training.data import hash_rows, label_names, load_splits
from adapterbook.training.measurements import N_TIMED_ROWS, measure_latency, measure_updates
from adapterbook.training.model import (
    check_adapters,
    count_parameters,
    describe_config,
    make_peft_config,
)
from adapterbook.training.peft_needs import count_steps
from adapterbook.training.reloading import check_saved, tolerance_of
from adapterbook.training.strategies import Kept, metric_name, splits_to_evaluate
from adapterbook.training.tokens import count_truncated, token_limit
from adapterbook.training.trainer import (
    ClassifierTrainer,
    PreparedRun,
    current_device,
    epoch_results,
    logits_of,
    step_results,
    training_kwargs,
)
from adapterbook.training.trial import try_runs


def preflight(runs: Sequence[Run], paths: Paths, source: ResolvedSource) -> dict[str, Record]:
    """Check everything that can be checked before the first run starts, and return each run's placeholder record.

    Fetches the source, loads its rows and tries out every adapter and variant, so a mistake costs no training. The
    placeholder says ``failed``, and stands until the run's notebook writes a completed record.

    Returns
    -------
    dict of run id to Record

    Raises
    ------
    ConfigError
        Naming every problem of every adapter, and what would fail in a run.
    SourceError
        If the base model or the data set is not available, or has too few rows.
    """
    check_arguments(runs)
    fetched = fetch_source(source)
    splits = load_splits(fetched.dataset, source.config, runs[0].data)
    check_adapters({run.adapter.id: run.adapter for run in runs}.values(), fetched.base_model, label_names(splits))
    configs = try_runs(runs, fetched.base_model, splits)
    info = describe_source(source, fetched, splits)
    environment, commit = describe_environment(current_device(), n_threads=1), git_state(paths.root)
    now = datetime.now(UTC)
    return {
        run.id: Record(
            status="failed",
            adapter=describe_adapter(run, configs[run.id]),
            variant=run.variant,
            seed=run.seed,
            source=info,
            wording=source.config.wording(info.labels),
            data=run.data,
            training=run.training,
            stamps=compute_stamps(run, paths, source.data_identity()),
            environment=environment,
            git=commit,
            started_at=now,
            finished_at=now,
            extends_grid=run.extends_grid,
            error=Failure(type="Interrupted", message="The run did not reach its end.", cell=None),
        )
        for run in runs
    }


def check_arguments(runs: Sequence[Run]) -> None:
    """Check that Transformers accepts every variant's training arguments.

    Raises
    ------
    ConfigError
        Naming each wrong variant, with the message of Transformers.
    """
    problems = []
    for variant, training in {run.variant: run.training for run in runs}.items():
        if (training.bf16 or training.fp16) and current_device() == "cpu":
            problems.append(f"variants.{variant}: bf16 and fp16 need a GPU: leave them out on this machine")
            continue
        try:
            TrainingArguments(output_dir=tempfile.gettempdir(), **training_kwargs(training))
        except (ValueError, TypeError) as error:
            problems.append(f"variants.{variant}: {' '.join(str(error).split())}")
    if problems:
        raise ConfigError("experiments/study.yaml: Transformers does not take the training arguments:", problems)


def save_run(
    prepared: PreparedRun,
    trainer: ClassifierTrainer,
    splits: datasets.DatasetDict,
    kept: Sequence[Kept],
    selection: PredictionOutput | None,
    order: Sequence[int],
    root: Path | None = None,
) -> Record:
    """Write the adapter, the test predictions and the record into the run's output folder, the record last.

    Before the record is written, the saved adapter is loaded over the base model and has to give the predictions again.

    Parameters
    ----------
    splits : DatasetDict
        ``train``, ``validation``, ``test`` and perhaps ``selection``, each with ``row_id``, ``text`` and ``label``.
    kept : sequence of Kept
        The checkpoint that each strategy kept; the first is the run's own, whose weights the model holds.
    selection : PredictionOutput or None
        That checkpoint's predictions of the selection rows; None if the study has none.
    order : sequence of int
        A kept checkpoint's prediction ``i`` is of the row at position ``order[i]`` in ``splits["test"]``.
    """
    prediction = kept[0].test
    model, tokenizer = cast(PeftModel, trainer.model), cast(PreTrainedTokenizerBase, trainer.processing_class)
    base_model = cast(PreTrainedModel, model.get_base_model())
    model.active_peft_config.base_model_name_or_path = prepared.source.base_model.name  # not this machine's folder
    model.save_pretrained(str(prepared.output / "adapter"), safe_serialization=True)
    (prepared.output / "adapter" / "README.md").unlink()  # PEFT's empty model card
    logits = logits_of(prediction.predictions)[np.argsort(order)]
    tolerance = tolerance_of(prepared.run.training, same_device=prepared.device == "cpu")
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    check_saved(prepared.fetched.base_model, prepared.output / "adapter", splits["test"], probabilities, tolerance)
    table = make_predictions(splits["test"], logits)
    table.to_parquet(prepared.output / "predictions.parquet", index=False)
    metrics, state = prediction.metrics or {}, trainer.state
    counts = count_parameters(model)
    peak = peak_memory_bytes(prepared)  # of training: measuring the updates needs memory too
    texts = splits["test"].select(range(min(N_TIMED_ROWS, len(splits["test"]))))["text"]
    median_s = measure_latency(model, tokenizer, texts)
    learned = measure_updates(model)  # merges the adapter
    merged_median_s = None if learned is None else measure_latency(model, tokenizer, texts)
    summary = next(entry for entry in reversed(state.log_history) if "train_runtime" in entry)
    run, curve = prepared.run, epoch_results(state.log_history)
    info = describe_source(prepared.source, prepared.fetched, splits)
    # The Trainer counts only the time since an interruption.
    before = prepared.snapshot
    train_time_s = summary["train_runtime"] + (before.train_time_s if before else 0.0)
    train_cpu_s = trainer.train_cpu_s + (before.train_cpu_s if before else 0.0)
    epochs = tuple(row for row in curve if row.epoch.is_integer() or row is curve[-1])
    record = Record(
        status="completed",
        adapter=describe_adapter(run, make_peft_config(run.adapter, base_model, count_steps(run))),
        variant=run.variant,
        seed=run.seed,
        source=info,
        wording=prepared.source.config.wording(info.labels),
        data=run.data,
        training=run.training,
        stamps=prepared.stamps,
        environment=describe_environment(prepared.device),
        git=git_state(root or Path.cwd()),
        started_at=prepared.started_at,
        finished_at=datetime.now(UTC),
        resumed_after=resumed_after(prepared),
        smaller_batch=prepared.smaller_batch,
        splits=describe_splits(splits),
        tokens=describe_tokens(splits, tokenizer),
        epochs=epochs,
        evaluations=() if epochs == curve else curve,
        steps=step_results(state.log_history),
        best=_best_checkpoint(kept[0], state.log_history, run.training),
        test=_test_result(prediction),
        selection=None if selection is None else _test_result(selection),
        strategies=tuple(map(_strategy_result, kept)),
        n_trainable_params=counts.n_trainable,
        n_adapter_params=counts.n_adapter,
        n_head_params=counts.n_head,
        n_total_params=counts.n_total,
        train_time_s=train_time_s,
        train_cpu_s=train_cpu_s if prepared.device == "cpu" else None,
        train_samples_per_s=len(splits["train"]) * curve[-1].epoch / train_time_s,
        test_time_s=metrics["test_runtime"],
        evaluation_time_s=sum(
            entry.get(f"eval_{name}_runtime", 0.0)
            for entry in state.log_history
            for name in splits_to_evaluate(run.training)
        ),
        latency=Latency(n_rows=len(texts), median_s=median_s, merged_median_s=merged_median_s),
        learned=learned,
        peak_memory_bytes=peak,
        adapter_file_bytes=(prepared.output / "adapter" / "adapter_model.safetensors").stat().st_size,
    )
    write_record(record, prepared.output)
    return record


def make_predictions(test: datasets.Dataset, logits: npt.NDArray[np.floating[Any]]) -> pd.DataFrame:
    """Return one row per test row, with the columns of ``predictions.prediction_columns``.

    Parameters
    ----------
    logits : array, shape (n_test, n_labels)
    """
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    columns = {
        "row_id": np.asarray(test["row_id"], dtype=np.int64),
        "text": list(test["text"]),
        "label": np.asarray(test["label"], dtype=np.int64),
        "prediction": np.argmax(logits, axis=-1).astype(np.int64),
    }
    names = [*prediction_columns(logits.shape[-1])][len(columns) :]
    return pd.DataFrame(columns | dict(zip(names, probabilities[:, -len(names) :].T, strict=True)))


def describe_adapter(run: Run, peft_config: PeftConfig) -> AdapterInfo:
    """Return the adapter's part of the record."""
    return AdapterInfo(
        id=run.adapter.id,
        peft_type=run.adapter.peft_type,
        config_class=type(peft_config).__name__,
        settings=run.adapter.keywords(),
        config=describe_config(peft_config),
    )


def describe_source(source: ResolvedSource, fetched: FetchedSource, splits: datasets.DatasetDict) -> SourceInfo:
    """Return the source's part of the record, hashing the model's files and the rows used."""
    return SourceInfo(
        name=source.config.name,
        base_model=source.base_model.name,
        base_model_revision=source.base_model.revision,
        base_model_sha256=hash_folder(fetched.base_model),
        dataset=source.dataset.name,
        dataset_revision=source.dataset.revision,
        dataset_sha256=hash_rows(splits),
        reason=source.reason,
        published=source.config.published,
        labels=label_names(splits),
    )


def describe_environment(device: Literal["cpu", "cuda", "mps"], n_threads: int | None = None) -> Environment:
    """Return the device and the packages, without the name of the machine or its user.

    Parameters
    ----------
    n_threads : int, optional
        Threads of the process that trains; None: those of this process.
    """
    name = torch.cuda.get_device_name() if device == "cuda" else _processor_name()
    return Environment(
        device=device,
        device_name=name,
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=package_versions(),
        n_threads=n_threads or torch.get_num_threads(),
    )


def git_state(root: Path) -> GitState | None:
    """Return the checked-out commit, or None outside a git checkout or without a commit."""
    try:
        head = git.ask(root, "rev-parse", "--verify", "HEAD")
        changes = git.ask(root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no")
    except OSError:  # git is not installed
        return None
    if head.returncode or changes.returncode:
        return None
    return GitState(commit=head.stdout.strip(), dirty=bool(changes.stdout.strip()))


def describe_splits(splits: datasets.DatasetDict) -> Splits:
    """Return the splits' part of the record."""
    n_labels = len(label_names(splits))
    counts = {name: np.bincount(rows["label"], minlength=n_labels).tolist() for name, rows in splits.items()}
    return Splits(**{name: SplitInfo(n=sum(count), n_by_label=tuple(count)) for name, count in counts.items()})


def describe_tokens(splits: datasets.DatasetDict, tokenizer: PreTrainedTokenizerBase) -> TokenInfo:
    """Return the tokenizer's part of the record."""
    pad_token, limit = str(tokenizer.pad_token), token_limit(tokenizer)
    return TokenInfo(max_tokens=limit, n_truncated=count_truncated(splits, tokenizer), pad_token=pad_token)


def _best_checkpoint(own: Kept, log_history: Sequence[dict[str, Any]], training: TrainingConfig) -> BestCheckpoint:
    """Return which checkpoint the model holds, with the metric at it or, if none was chosen, at the last evaluation."""
    key = f"eval_{metric_name(training)}"
    evaluated = [entry[key] for entry in (*log_history, own.entry) if key in entry]
    value = evaluated[-1] if evaluated else None
    return BestCheckpoint(epoch=own.entry["epoch"], metric=training.metric_for_best_model, value=value)


def _strategy_result(kept: Kept) -> StrategyResult:
    strategy = kept.strategy
    return StrategyResult(
        eval_strategy=strategy.eval_strategy,
        metric=strategy.metric,
        epoch=kept.entry["epoch"],
        value=kept.entry.get(f"eval_{strategy.metric}"),
        test=_test_result(kept.test),
    )


def _test_result(prediction: PredictionOutput) -> TestResult:
    metrics = prediction.metrics or {}
    return TestResult(
        n=len(logits_of(prediction.predictions)),
        accuracy=metrics["test_accuracy"],
        f1=metrics["test_f1"],
        loss=metrics["test_loss"],
    )


def _processor_name() -> str:
    """Return the processor's model name, which ``platform.processor`` leaves empty on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
