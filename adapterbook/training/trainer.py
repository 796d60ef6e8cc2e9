"""Prepare a run for the notebook, and give the Trainer its metrics and losses.

The notebook itself holds the calls of Transformers and PEFT that are worth showing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

import datasets
import evaluate
import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import EvalPrediction, TrainOutput

from adapterbook.common.errors import ConfigError
from adapterbook.config.paths import Paths
from adapterbook.config.study import DataConfig, TrainingConfig, load_adapters, load_study
from adapterbook.runs.plan import Run, compute_stamps, split_batch
from adapterbook.runs.record import EpochResult, SmallerBatch, Stamps, StepResult
from adapterbook.runs.search import find_run
from adapterbook.sources.resolve import FetchedSource, ResolvedSource, fetch_source, resolve_source
from adapterbook.training.checkpoints import Snapshot, last_checkpoint, restore_snapshot
from adapterbook.training.kernel_state import ignore_launchers
from adapterbook.training.model import head_parameters
from adapterbook.training.speed import fuse_adamw, halve_by_length
from adapterbook.training.strategies import metric_name

EARLY_STOPPING = ("early_stopping_patience", "early_stopping_threshold")
EVALUATED = ("validation_loss", "validation_accuracy", "selection_loss", "selection_accuracy")


@dataclass(frozen=True)
class PreparedRun:
    """Hold a run with everything it needs on this machine.

    Attributes
    ----------
    output : Path
        Folder that the record, the predictions and the adapter are written into.
    micro_batches : int
        Parts that each batch is computed in.
    snapshot : Snapshot or None
        The epoch that training continues after; None: from the beginning.
    """

    run: Run
    source: ResolvedSource
    fetched: FetchedSource
    stamps: Stamps
    output: Path
    device: Literal["cpu", "cuda", "mps"]
    micro_batches: int
    snapshot: Snapshot | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def data_key(self) -> tuple[str, DataConfig]:
        """Return the key of a run's rows and tokens; runs with the same key share them."""
        return self.stamps.data, self.run.data

    @property
    def checkpoint(self) -> Path | None:
        """Return the checkpoint that ``Trainer.train`` continues from, or None."""
        return last_checkpoint(self.output)

    @property
    def smaller_batch(self) -> SmallerBatch | None:
        """Return how each batch is split, or None if it is computed whole."""
        if self.micro_batches == 1:
            return None
        return split_batch(self.run.training, self.micro_batches, "micro_batches was set by hand.")


def prepare_run(
    source: str, adapter: str, variant: str, seed: int, output: str, micro_batches: int = 1, root: Path | None = None
) -> PreparedRun:
    """Look a run up in the study by its ids, fetch its source, and restore its snapshot if it was interrupted.

    An empty id stands for the first adapter, or the first variant. On a CPU torch computes with one thread, so the
    curves depend neither on the number of cores nor on how many runs go side by side.

    Raises
    ------
    ConfigError
        If the study has no such run.
    """
    paths = Paths(root or Path.cwd())
    study, adapters = load_study(paths.study), load_adapters(paths.experiments / "adapters")
    adapter, variant = adapter or next(iter(adapters)), variant or study.submitted
    resolved = resolve_source(source, paths)
    run = find_run(study, adapters, resolved.config.name, adapter, variant, seed)
    if run is None:
        raise ConfigError(f"The study has no run {adapter}/{variant}: its adapters are {', '.join(adapters)}, its "
                          f"variants {', '.join(study.variants)}.")  # fmt: skip
    ignore_launchers()
    device = current_device()
    if device == "cpu":
        torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it only finds bugs
    datasets.disable_progress_bars()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    stamps = compute_stamps(run, paths, resolved.data_identity())
    snapshot = restore_snapshot(folder, stamps, micro_batches)
    return PreparedRun(run, resolved, fetch_source(resolved), stamps, folder, device, micro_batches, snapshot)


def training_kwargs(training: TrainingConfig, micro_batches: int = 1) -> dict[str, Any]:
    """Return the study's training arguments as keyword arguments of ``transformers.TrainingArguments``.

    The learning rate of the head, which `ClassifierTrainer` takes, and early stopping are not among them. Arguments of
    Transformers 4 get the names that they have today.
    """
    kwargs = training.model_dump(exclude_none=True, exclude={"head_learning_rate", *EARLY_STOPPING})
    kwargs["metric_for_best_model"] = metric_name(training)
    if "warmup_ratio" in kwargs:
        kwargs["warmup_steps"] = kwargs.pop("warmup_ratio")  # below 1 it is a share of all steps
    if kwargs.pop("group_by_length", False):
        kwargs["train_sampling_strategy"] = "group_by_length"
    if micro_batches > 1:
        kwargs |= split_batch(training, micro_batches, "").model_dump(exclude={"message"})
    return kwargs


def current_device() -> Literal["cpu", "cuda", "mps"]:
    """Return the kind of device that the Trainer uses."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Accuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
    """Compute the share of right predictions; ``evaluate``'s own metric would be fetched from the Hub."""

    def _info(self) -> evaluate.MetricInfo:
        return _metric_info("accuracy", "Share of predictions that equal their reference.")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class F1(evaluate.Metric):  # type: ignore[misc]
    """Compute F1: of label 1 if there are two labels, else the mean over all labels that a row has or was predicted.

    F1 is 0 where it has no value.
    """

    def _info(self) -> evaluate.MetricInfo:
        return _metric_info("f1", "Harmonic mean of precision and recall.")

    def _compute(self, predictions: Sequence[int], references: Sequence[int], n_labels: int) -> dict[str, float]:
        return {"f1": compute_f1(references, predictions, n_labels)}


def compute_f1(labels: npt.ArrayLike, predictions: npt.ArrayLike, n_labels: int) -> float:
    """Return F1 of label 1 if there are two labels, else the mean over all labels that a row has or was predicted."""
    average = "binary" if n_labels == 2 else "macro"
    return float(f1_score(labels, predictions, average=average, zero_division=0.0))


def _metric_info(name: str, description: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="predictions, references: one int per row, the label",
        features=datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}),
        module_name=name,
    )


def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
    """Return accuracy and F1, for the Trainer.

    Parameters
    ----------
    evaluation : EvalPrediction
        ``predictions``: logits, shape (n, n_labels), ``label_ids``: shape (n,).
    """
    logits = logits_of(evaluation.predictions)
    found = {"predictions": np.argmax(logits, axis=-1), "references": evaluation.label_ids}
    scores: dict[str, float] = Accuracy(keep_in_memory=True).compute(**found)
    scores |= F1(keep_in_memory=True).compute(**found, n_labels=logits.shape[-1])
    return scores


def logits_of(predictions: Any) -> npt.NDArray[np.floating[Any]]:
    """Return the logits; some models give a tuple that begins with them."""
    return np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)


class ClassifierTrainer(Trainer):
    """Extend the Trainer: a learning rate for the head, evaluations that change nothing, and the CPU seconds.

    The loss of a step is the mean over its rows, in however many batches they are accumulated. Transformers leaves
    that mean to every model whose ``forward`` takes keyword arguments, and the losses of classifiers do not compute it.

    Its evaluation loss is the cross-entropy. Some methods add a term to their training loss, such as AdaLoRA for
    orthogonality. Losses with and without it cannot be compared.

    Parameters
    ----------
    head_learning_rate : float or None
        Of the classification head; None: the same as ``args.learning_rate``.
    """

    loss_is_scaled_for_ga = True  # by `compute_loss`

    def __init__(self, *, args: TrainingArguments, head_learning_rate: float | None = None, **kwargs: Any) -> None:
        args._n_gpu = min(args.n_gpu, 1)  # with more, each would get a batch, and a step so many times the rows
        super().__init__(args=args, **kwargs)
        self._n_step_rows: int | None = None  # rows of the training step that is being computed
        self._head_learning_rate = head_learning_rate
        self.train_cpu_s = 0.0  # of all threads, evaluations included, in this process

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Create the optimiser, with the head in parameter groups that begin at the head's learning rate."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self._head_learning_rate is not None:
            heads = {id(parameter) for parameter in head_parameters(cast(torch.nn.Module, self.model))}
            for group in list(optimizer.param_groups):
                head = [parameter for parameter in group["params"] if id(parameter) in heads]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in heads]
                if head:
                    optimizer.add_param_group(group | {"params": head, "lr": self._head_learning_rate})
        fuse_adamw(optimizer)
        return optimizer

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], None]:
        """Return the batches of the next step, and count their rows."""
        batches, _ = super().get_batch_samples(*args, **kwargs)
        self._n_step_rows = sum(len(batch["labels"]) for batch in batches)
        return batches, None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Return a batch's share of its step's mean loss, in training; elsewhere the mean over the batch."""
        n_rows = len(inputs["labels"])
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if model.training and self._n_step_rows is not None and n_rows != self._n_step_rows:
            loss = loss * (n_rows / self._n_step_rows)
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Add the gradient of a batch, and return its loss; on a CPU in two halves, which need less padding."""
        parts = halve_by_length(inputs) if self.args.device.type == "cpu" else [inputs]
        return torch.stack([super(ClassifierTrainer, self).training_step(model, part) for part in parts]).sum()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate, and restore the random state, so that training goes on as if nobody had evaluated."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices=devices):
            scores: dict[str, float] = super().evaluate(*args, **kwargs)
        return scores

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, and count the CPU seconds."""
        start = time.process_time()
        try:
            return super().train(*args, **kwargs)
        finally:
            self.train_cpu_s += time.process_time() - start

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """Evaluate one batch in float32: loss, logits of shape (batch, n_labels), labels."""
        with _in_float32(model):
            loss, output, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        if loss is not None and output is not None and labels is not None:
            loss = cross_entropy(output[0] if isinstance(output, tuple) else output, labels)
        return loss, output, labels


@contextmanager
def _in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Undo Accelerate's mixed precision for a while: it replaces the forward method of the model."""
    mixed, original = model.forward, getattr(model, "_original_forward", None)
    if original is not None:
        model.forward = original
    try:
        yield
    finally:
        if original is not None:
            model.forward = mixed


def step_results(log_history: Sequence[dict[str, Any]]) -> tuple[StepResult, ...]:
    """Return the Trainer's log of the optimiser's steps, one row a step."""
    names = ("step", "loss", "learning_rate", "seconds")
    return tuple(
        StepResult.model_validate({name: entry[name] for name in names}) for entry in log_history if "loss" in entry
    )


def epoch_results(log_history: Sequence[dict[str, Any]]) -> tuple[EpochResult, ...]:
    """Return the Trainer's log as one row per epoch, or per evaluation if those are more frequent.

    An epoch's training loss is the mean over its steps. Where training ends within an epoch, its part has a row, too.

    Examples
    --------
    >>> first = {"epoch": 0.5, "loss": 0.8, "learning_rate": 2e-05}
    >>> second = {"epoch": 1.0, "loss": 0.6, "learning_rate": 1e-05}
    >>> evaluation = {"epoch": 1.0, "eval_validation_loss": 0.65, "eval_validation_accuracy": 0.5}
    >>> (row,) = epoch_results([first, second, evaluation])
    >>> round(row.train_loss, 6), row.learning_rate, row.validation_loss
    (0.7, 1e-05, 0.65)
    """
    rows: dict[float, dict[str, float | None]] = {}
    losses: list[float] = []

    def row(epoch: float) -> dict[str, float | None]:
        return rows.setdefault(epoch, {"train_loss": None, "learning_rate": None, **dict.fromkeys(EVALUATED)})

    last = max((entry["epoch"] for entry in log_history if "loss" in entry), default=None)
    for entry in log_history:
        if "loss" in entry:
            losses.append(entry["loss"])
            if float(entry["epoch"]).is_integer() or entry["epoch"] == last:
                row(entry["epoch"]).update(train_loss=fmean(losses), learning_rate=entry["learning_rate"])
                losses.clear()
        found = {name: entry[f"eval_{name}"] for name in EVALUATED if f"eval_{name}" in entry}
        if found:
            row(entry["epoch"]).update(found)
    return tuple(EpochResult.model_validate({"epoch": epoch, **row}) for epoch, row in sorted(rows.items()))
