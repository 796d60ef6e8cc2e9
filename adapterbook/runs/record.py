"""Define, read and write the record of a run, the only source of the numbers on the pages.

A record is refused if it is truncated, has an unknown or a missing field, or is completed but lacks a number.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from adapterbook.common.errors import RecordError
from adapterbook.common.files import hash_file, write_atomically
from adapterbook.common.strict import load_json
from adapterbook.config.source import MAX_LABELS, MIN_LABELS, Wording
from adapterbook.config.study import DataConfig, TrainingConfig

AnyRecord = TypeVar("AnyRecord", bound="SealedRecord")
Proportion = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _check_century(moment: datetime) -> datetime:
    if not 2000 <= moment.year < 2100:  # and so a valid day in every time zone
        raise ValueError(f"{moment} is not a time at which a run can have been made")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_check_century)]


class RecordPart(BaseModel):
    """Give a record's parts their rules: frozen, no unknown field, only finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SealedRecord(RecordPart):
    """Give a record that has ``files`` and ``seal`` its seal."""

    def compute_seal(self) -> str:
        """Return the seal of this record's content, which no longer fits after an edit by hand."""
        return hashlib.sha256(self.model_dump_json(exclude={"seal"}).encode()).hexdigest()


class AdapterInfo(RecordPart):
    """Describe the adapter that the run trained."""

    id: str = Field(description="Name of the file under experiments/adapters/, without .yaml")
    peft_type: str = Field(description="PEFT's name of the method, such as LORA or IA3")
    config_class: str = Field(description="PEFT's class of the config, such as LoraConfig")
    settings: dict[str, Any] = Field(description="The keyword arguments as written in the YAML file")
    config: dict[str, Any] = Field(description="The PEFT config as resolved, every keyword argument with its value")


class SourceInfo(RecordPart):
    """Describe the base model and the data set that the run used."""

    name: str = Field(description="Name of the source; also the folder under experiments/results/")
    base_model: str = Field(description="Hub name, embedded/ name or name of the local folder")
    base_model_revision: str | None = Field(description="Resolved commit on the Hub; null for a folder or a package")
    base_model_sha256: Sha256 = Field(description="Hash over the model's, config's and tokenizer's files")
    dataset: str = Field(description="Hub name, embedded/ name or name of the local folder")
    dataset_revision: str | None = Field(description="Resolved commit on the Hub; null for a folder or a package")
    dataset_sha256: Sha256 = Field(description="Hash over the texts and labels of the rows that the study uses")
    reason: str = Field(description="Why this source was taken, such as what `auto` found")
    published: str | None = Field(description="File of experiments/published/ that may be compared with; null: none")
    labels: Annotated[tuple[str, ...], Field(min_length=MIN_LABELS, max_length=MAX_LABELS)] = Field(
        description="The classes in order, as the data set names them, or the source's file if it lists them"
    )


class SplitInfo(RecordPart):
    """Count the rows of one split."""

    n: PositiveInt
    n_by_label: tuple[NonNegativeInt, ...] = Field(description="Rows with each label, in the order of `labels`")

    @property
    def n_most_frequent(self) -> int:
        """Return the number of rows with the most frequent label."""
        return max(self.n_by_label)


class Splits(RecordPart):
    """Describe the splits, no two of which share a text, except that train and validation may."""

    train: SplitInfo
    validation: SplitInfo
    selection: SplitInfo | None = Field(default=None, description="null where the study has no selection rows")
    test: SplitInfo


class TokenInfo(RecordPart):
    """Describe how texts became tokens."""

    max_tokens: PositiveInt | None = Field(description="Tokens that a text is cut to, as the model takes; null: none")
    n_truncated: NonNegativeInt = Field(description="Texts of all splits that were longer")
    pad_token: str = Field(description="Token that fills up shorter texts; the attention mask hides it")


class EpochResult(RecordPart):
    """Describe a moment of training: the end of an epoch, or an evaluation within one."""

    epoch: NonNegativeFloat = Field(description="Epochs of training so far; whole at the end of an epoch")
    train_loss: float | None = Field(
        description="Mean training loss (cross-entropy, nat) over the epoch's steps; null within an epoch"
    )
    validation_loss: float | None = Field(description="Cross-entropy on validation, nat; null where not evaluated")
    validation_accuracy: Proportion | None = Field(description="Share of validation rows predicted right")
    selection_loss: float | None = Field(default=None, description="Cross-entropy on the selection rows, nat")
    selection_accuracy: Proportion | None = Field(default=None, description="Share of selection rows predicted right")
    learning_rate: float | None = Field(description="Learning rate of the epoch's last step")


class StepResult(RecordPart):
    """Describe one step of the optimiser."""

    step: PositiveInt
    loss: float = Field(description="Training loss of the step's batch, nat")
    learning_rate: NonNegativeFloat = Field(
        description="Of the adapter; a head with a learning rate of its own follows the same schedule"
    )
    seconds: NonNegativeFloat = Field(description="Since training began, interruptions left out")


class ModuleUpdate(RecordPart):
    """Measure how far training moved the effective weight of one linear layer."""

    module: str = Field(description="Name of the layer within the base model")
    in_features: PositiveInt
    out_features: PositiveInt
    update_norm: NonNegativeFloat = Field(description="Frobenius norm of the merged weight minus the base weight")
    weight_norm: NonNegativeFloat = Field(description="Frobenius norm of the base weight")
    scale_deviation: NonNegativeFloat | None = Field(
        description="IA3 only: mean distance of the learned vector's entries from 1"
    )
    singular_values: tuple[NonNegativeFloat, ...] = Field(
        default=(), description="Of the update, falling; the 64 largest, without those below a millionth of the first"
    )


class TestResult(RecordPart):
    """Measure a checkpoint on the rows of one split."""

    n: PositiveInt = Field(description="Rows")
    accuracy: Proportion
    f1: Proportion = Field(
        description="Of two labels, F1 of the second, 0 if no row has or was predicted it; of more, the mean over all "
        "that a row has or was predicted"
    )
    loss: NonNegativeFloat = Field(description="Cross-entropy, nat")


class BestCheckpoint(RecordPart):
    """Identify the checkpoint that predicted the test rows."""

    epoch: NonNegativeFloat
    metric: str = Field(description="Name of the metric that selected it; loss is minimised, all else maximised")
    value: float | None = Field(description="That metric there; null where nothing was evaluated")


class StrategyResult(RecordPart):
    """Measure the checkpoint that another way of choosing would have kept of the same training."""

    eval_strategy: Literal["no", "epoch", "steps"] = Field(
        description="no: the last checkpoint; epoch: the best at the end of an epoch; steps: the best of all evaluated"
    )
    metric: str | None = Field(description="Name of the metric that selects; null where nothing is evaluated")
    epoch: NonNegativeFloat
    value: float | None = Field(description="That metric at this checkpoint")
    test: TestResult


class GridExtension(RecordPart):
    """Say why a learning rate was added to an adapter's grid."""

    edge_learning_rate: float = Field(description="The best rate so far, which was the last one on its side")
    edge_selection_accuracy: Proportion


class Latency(RecordPart):
    """Measure how long a prediction takes, of one row at a time."""

    n_rows: PositiveInt
    median_s: NonNegativeFloat = Field(description="With the adapter beside the base model's weights")
    merged_median_s: NonNegativeFloat | None = Field(description="With the adapter merged; null where it cannot be")


class Environment(RecordPart):
    """Describe the machine and the packages, without the name of the machine or its user."""

    device: Literal["cpu", "cuda", "mps"]
    device_name: str = Field(description="Model of the processor or GPU")
    platform: str
    python: str
    packages: dict[str, str] = Field(description="Version of each package that training uses")
    n_threads: PositiveInt = Field(description="Threads that torch computed with")


class Stamps(RecordPart):
    """Hold the stamps of a run, which is up to date if all of them agree with today's."""

    config: Sha256 = Field(description="Adapter settings, training arguments, data protocol and seed")
    code: Sha256 = Field(description="The modules that training uses")
    notebook: Sha256 = Field(description="The sources of the notebook's code cells")
    data: Sha256 = Field(description="Identity of the base model and the data set")
    packages: Sha256 = Field(description="Versions of the packages that training uses")


class GitState(RecordPart):
    """Identify the commit that the run was made from."""

    commit: str = Field(pattern=r"^[0-9a-f]{40,64}$")
    dirty: bool = Field(description="True where tracked files differed from the commit")


class Failure(RecordPart):
    """Say why a run failed."""

    type: str = Field(description="Name of the exception, or DeadKernel, Timeout")
    message: str
    cell: NonNegativeInt | None = Field(description="Index of the notebook's cell, from 0; null where unknown")


class SmallerBatch(RecordPart):
    """Say how each batch was split after memory ran out; the effective batch is the configured one."""

    per_device_train_batch_size: PositiveInt
    per_device_eval_batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt
    message: str = Field(description="Message of the first attempt, which ran out of memory")


class Record(SealedRecord):
    """Record a run: one adapter, one variant, one seed, on one source."""

    schema_version: Literal[1] = 1
    status: Literal["completed", "failed"]
    adapter: AdapterInfo
    variant: str = Field(description="Key under `variants` in study.yaml")
    seed: int
    source: SourceInfo
    wording: Wording = Field(description="What the source's file calls the task and the labels")
    data: DataConfig
    training: TrainingConfig = Field(description="Arguments of transformers.TrainingArguments, under its own names")
    stamps: Stamps
    environment: Environment
    git: GitState | None = Field(description="null outside a git checkout")
    started_at: Moment
    finished_at: Moment
    error: Failure | None = Field(default=None, description="null for a completed run")
    resumed_after: tuple[NonNegativeFloat, ...] = Field(
        default=(), description="Epochs after which training was interrupted and resumed from a checkpoint"
    )
    smaller_batch: SmallerBatch | None = Field(default=None, description="null if memory sufficed")
    files: dict[str, Sha256] = Field(
        default_factory=dict, description="SHA-256 of every other file of the run's folder, by relative path"
    )
    extends_grid: GridExtension | None = Field(
        default=None, description="Why this learning rate was added; null for a run that the study names"
    )
    seal: Sha256 | None = Field(default=None, description="SHA-256 over this record without the seal")

    splits: Splits | None = None
    tokens: TokenInfo | None = Field(default=None, description="null for a failed run")
    epochs: tuple[EpochResult, ...] = Field(default=(), description="One row an epoch, at its end")
    evaluations: tuple[EpochResult, ...] = Field(
        default=(), description="Every evaluation and every end of an epoch, where some lie within epochs; else empty"
    )
    steps: tuple[StepResult, ...] = Field(default=(), description="One row a step of the optimiser")
    best: BestCheckpoint | None = Field(default=None, description="The checkpoint that predicted the test rows")
    test: TestResult | None = None
    selection: TestResult | None = Field(default=None, description="The same checkpoint on the selection rows")
    strategies: tuple[StrategyResult, ...] = Field(
        default=(), description="What each way of choosing a checkpoint would have kept; one of them is `best`"
    )
    n_trainable_params: NonNegativeInt | None = None
    n_adapter_params: NonNegativeInt | None = Field(default=None, description="Trainable parameters of the adapter")
    n_head_params: NonNegativeInt | None = Field(default=None, description="Trainable parameters of the head")
    n_total_params: PositiveInt | None = Field(default=None, description="All parameters, counted once")
    train_time_s: NonNegativeFloat | None = Field(default=None, description="Trainer.train(), evaluations included")
    train_cpu_s: NonNegativeFloat | None = Field(
        default=None, description="CPU time of the process in Trainer.train(), all threads; null on a GPU"
    )
    train_samples_per_s: NonNegativeFloat | None = None
    test_time_s: NonNegativeFloat | None = Field(default=None, description="Prediction of the test rows")
    evaluation_time_s: NonNegativeFloat | None = Field(
        default=None, description="All evaluations of the validation rows, part of train_time_s"
    )
    latency: Latency | None = Field(default=None, description="null where it was not measured")
    learned: tuple[ModuleUpdate, ...] | None = Field(
        default=None, description="What the kept checkpoint learned, by layer; null where the method cannot be merged"
    )
    peak_memory_bytes: NonNegativeInt | None = Field(
        default=None, description="On a GPU the peak allocated there; on a CPU the peak resident size of the process"
    )
    adapter_file_bytes: NonNegativeInt | None = Field(default=None, description="Size of adapter_model.safetensors")

    @model_validator(mode="after")
    def _counts_every_label(self) -> Record:
        for name, split in self.splits or ():
            if split is not None and len(split.n_by_label) != len(self.source.labels):
                raise ValueError(f"splits.{name} counts {len(split.n_by_label)} labels of {len(self.source.labels)}")
        if len(self.wording.labels) != len(self.source.labels):
            raise ValueError(f"wording names {len(self.wording.labels)} labels of {len(self.source.labels)}")
        return self

    @model_validator(mode="after")
    def _status_is_true(self) -> Record:
        results = ("splits", "best", "test", "n_trainable_params", "n_adapter_params", "n_head_params",
                   "n_total_params", "train_time_s", "train_samples_per_s", "test_time_s", "peak_memory_bytes",
                   "adapter_file_bytes")  # fmt: skip
        if self.status == "completed":
            missing = [name for name in results if getattr(self, name) is None]
            if missing or not self.epochs or self.error is not None:
                raise ValueError(f"status is completed, but there is an error or no {', '.join(missing) or 'epochs'}")
        elif self.error is None:
            raise ValueError("status is failed, but error is null")
        return self

    @property
    def curve(self) -> tuple[EpochResult, ...]:
        """Return every measured moment: `evaluations`, or `epochs` if there are none."""
        return self.evaluations or self.epochs

    @property
    def run_id(self) -> str:
        """Return ``<adapter>/<variant>/seed-<seed>``, unique within a source; also the run's folder there."""
        return f"{self.adapter.id}/{self.variant}/seed-{self.seed}"


def record_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of ``record.json``, as published in ``experiments/``."""
    schema = Record.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "AdapterBook run record"}


def load_record(folder: Path) -> Record:
    """Read the record of a run's folder.

    Raises
    ------
    RecordError
        If the record is missing, truncated, or not of the schema.
    """
    return load_any_record(Record, folder)


def load_any_record(kind: type[AnyRecord], folder: Path) -> AnyRecord:
    """Read the record of a kind in a folder; errors are those of `load_record`."""
    path = folder / "record.json"
    name = "/".join(path.parts[-5:])
    try:
        content = load_json(path)
    except FileNotFoundError:
        raise RecordError(f"{name} is missing: run `make train`.") from None
    except (OSError, ValueError) as error:  # JSON errors and encoding errors are ValueErrors
        raise RecordError(f"{name} is truncated or not JSON ({error}): run `make train` to make it again.") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'record'}: {item['msg']}" for item in error.errors()]
        raise RecordError(f"{name} is not a valid record: run `make train` to make it again.", problems) from error


def write_record(record: SealedRecord, folder: Path) -> None:
    """Write ``record.json`` into a folder, atomically."""
    write_atomically(folder / "record.json", record.model_dump_json(indent=2) + "\n")


def seal_record(record: AnyRecord, folder: Path) -> AnyRecord:
    """Return a record with the hashes of its folder's other files, sealed: the last step of a run."""
    whole = record.model_copy(update={"files": hash_files(folder), "seal": None})
    return whole.model_copy(update={"seal": whole.compute_seal()})


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a run's folder except the record, by relative path, in order."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    own = (name for name in paths if name != "record.json" and "/." not in f"/{name}")  # macOS leaves hidden files
    return {name: hash_file(paths[name]) for name in own}
