"""Plan the runs of a study, and tell which of them are up to date.

A run is up to date when its record is completed and all its stamps agree with today's; file times are never compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, Literal

from adapterbook.common.errors import ConfigError, RecordError, RunError
from adapterbook.common.files import find_intruders
from adapterbook.common.strict import read_limited
from adapterbook.common.yaml_files import shown_key, shown_text
from adapterbook.config.paths import Paths
from adapterbook.config.study import (
    MAX_SEED,
    AdapterConfig,
    DataConfig,
    RateVariant,
    StudyConfig,
    TrainingConfig,
    VariantConfig,
)
from adapterbook.runs.record import AnyRecord, GridExtension, Record, SmallerBatch, Stamps, load_any_record

# Every file in this folder may change a curve, so together they are the code stamp.
TRAINING_CODE = Path(__file__).parents[1] / "training"
TRAINING_PACKAGES = (
    "accelerate", "datasets", "evaluate", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers",
)  # fmt: skip


NOT_PLAIN = "is neither a plain file nor a folder, such as a link: it is not followed; delete it and run `make train`."


@dataclass(frozen=True)
class Run:
    """Describe a run: one adapter, one variant, one seed, on one source."""

    adapter: AdapterConfig
    variant: str
    seed: int
    training: TrainingConfig
    data: DataConfig
    source: str
    extends_grid: GridExtension | None = None

    @property
    def id(self) -> str:
        """Return ``<adapter>/<variant>/seed-<seed>``, unique within a source."""
        return f"{self.adapter.id}/{self.variant}/seed-{self.seed}"

    def folder(self, paths: Paths) -> Path:
        """Return the folder of the run's record, predictions, notebook and adapter."""
        return paths.results / self.source / self.id


@dataclass(frozen=True)
class RunStatus:
    """Describe what lies in a run's folder today.

    Attributes
    ----------
    state : str
        ``completed``, ``failed``, ``missing`` (never run) or ``broken`` (a record that cannot be read).
    stale : tuple of str
        Names of the stamps that disagree with today's; empty where the record is up to date.
    record : Record or None
        None where the run is missing or broken.
    problem : str or None
        Why a run failed or a record is broken, as a message.
    """

    run: Run
    state: Literal["completed", "failed", "missing", "broken"]
    stale: tuple[str, ...] = ()
    record: Record | None = None
    problem: str | None = None

    @property
    def id(self) -> str:
        """Return the run's id."""
        return self.run.id

    @property
    def up_to_date(self) -> bool:
        """Tell whether nothing is left to do for this run."""
        return self.state == "completed" and not self.stale


@dataclass(frozen=True)
class BesideStatus(Generic[AnyRecord]):
    """Describe what lies today in a folder beside the runs' folders, such as the linear probe's, as `RunStatus` does.

    Attributes
    ----------
    id : str
        The folder's name, which stands for it among the runs.
    """

    id: str
    state: Literal["completed", "missing", "broken"]
    stale: tuple[str, ...] = ()
    record: AnyRecord | None = None
    problem: str | None = None

    @property
    def up_to_date(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.state == "completed" and not self.stale


def plan_runs(
    study: StudyConfig, adapters: Mapping[str, AdapterConfig], source: str, seeds: Sequence[int] | None = None
) -> list[Run]:
    """Return every run of a study, in the order of variants, adapters, seeds; `runs.search` adds those of a search.

    A variant whose ``seeds`` are ``first`` runs with the lowest seed only.

    Parameters
    ----------
    source : str
        Name of the source, which is the name of its folder under ``results/``.
    seeds : sequence of int, optional
        Instead of those of the study.

    Raises
    ------
    ConfigError
        If a variant names an adapter without a file, or a seed is out of range.
    """
    no_seeds = [seed for seed in seeds or () if not 0 <= seed <= MAX_SEED]
    if no_seeds:
        raise ConfigError(f"A seed is a whole number from 0 to {MAX_SEED}, got {shown_text(no_seeds)}.")
    problems = [
        f"variants.{name}.adapters: there is no experiments/adapters/{shown_key((adapter,))}.yaml"
        for name, variant in study.variants.items()
        for adapter in variant.adapters or ()
        if adapter not in adapters
    ]
    problems += [
        f"variants.{name}: head_learning_rate has no effect on {adapter.id}, which trains the head alone: "
        "set learning_rate, or name other adapters"
        for name, variant in study.variants.items()
        for adapter in adapters.values()
        if not isinstance(variant, RateVariant) and _runs_in(adapter, variant) and not adapter.train_adapter
        if study.training_of(name).head_learning_rate is not None
    ]
    if problems:
        raise ConfigError("experiments/study.yaml is not valid:", problems)
    chosen = tuple(seeds or study.seeds)
    runs = [
        Run(adapter, name, seed, _training_of(study, name, adapter), study.data, source)
        for name, variant in study.variants.items()
        for adapter in adapters.values()
        if _runs_in(adapter, variant)
        for seed in (chosen if _needs_every_seed(adapter, variant) else (min(chosen),))
    ]
    if adapters and not any(run.variant == study.submitted for run in runs):
        problem = (
            f"variants.{study.submitted}: the first variant is what others differ from, but it leaves out every adapter"
        )
        raise ConfigError("experiments/study.yaml is not valid:", [problem])
    return runs


def _runs_in(adapter: AdapterConfig, variant: VariantConfig) -> bool:
    named = variant.adapters is None or adapter.id in variant.adapters
    return named and adapter.id not in variant.except_adapters


def _needs_every_seed(adapter: AdapterConfig, variant: VariantConfig) -> bool:
    return adapter.id in variant.every_seed_of if isinstance(variant, RateVariant) else variant.seeds == "all"


def _training_of(study: StudyConfig, variant: str, adapter: AdapterConfig) -> TrainingConfig:
    """Return the training arguments of an adapter in a variant: what trains the head alone has one learning rate."""
    training = study.training_of(variant)
    return training if adapter.train_adapter else training.model_copy(update={"head_learning_rate": None})


def split_batch(training: TrainingConfig, micro_batches: int, message: str) -> SmallerBatch:
    """Return the sizes for computing each batch in parts and accumulating their gradients.

    Raises
    ------
    RunError
        If the batch does not split into that many equal parts, since the effective batch would change.

    Examples
    --------
    >>> training = TrainingConfig(learning_rate=1e-3, per_device_train_batch_size=16, per_device_eval_batch_size=16,
    ...                           num_train_epochs=1)
    >>> split = split_batch(training, 2, "")
    >>> split.per_device_train_batch_size, split.gradient_accumulation_steps
    (8, 2)
    """
    size, rest = divmod(training.per_device_train_batch_size, micro_batches)
    if rest:
        raise RunError(
            f"per_device_train_batch_size {training.per_device_train_batch_size} does not split into "
            f"{micro_batches} equal parts."
        )
    return SmallerBatch(
        per_device_train_batch_size=size,
        per_device_eval_batch_size=max(1, training.per_device_eval_batch_size // micro_batches),
        gradient_accumulation_steps=training.gradient_accumulation_steps * micro_batches,
        message=message,
    )


def compute_stamps(run: Run, paths: Paths, data_identity: Mapping[str, Any]) -> Stamps:
    """Return today's stamps of a run.

    Parameters
    ----------
    data_identity : mapping
        What identifies the base model and the data set, from `ResolvedSource.data_identity`.
    """
    return Stamps(config=hash_config(run), **today_stamps(paths, data_identity))


def today_stamps(paths: Paths, data_identity: Mapping[str, Any] | None) -> dict[str, str]:
    """Return today's stamps that all runs share; without the one of the data if their identity is None."""
    shared = stamp_material(data_identity, package_versions())
    return {"code": shared["code"], "notebook": hash_json(read_code_cells(paths.notebook)), **shared}


def stamp_material(data_identity: Mapping[str, Any] | None, packages: Mapping[str, str]) -> dict[str, str]:
    """Return today's stamps of code, data and packages; without the one of the data if their identity is None."""
    return {
        "code": _hash_training_code(),
        **({} if data_identity is None else {"data": hash_json(dict(data_identity))}),
        "packages": hash_json(dict(packages)),
    }


def hash_config(run: Run) -> str:
    """Return the stamp of a run's settings."""
    return hash_json(
        {
            "peft_type": run.adapter.peft_type,
            "settings": run.adapter.settings,
            "train_adapter": run.adapter.train_adapter,
            "training": run.training.model_dump(),
            "data": run.data.model_dump(),
            "seed": run.seed,
        }
    )


def find_record(kind: type[AnyRecord], folder: Path, paths: Paths) -> tuple[AnyRecord | None, str | None]:
    """Return the record of a folder, or why it cannot be used; neither where there is no record."""
    intruder = next(find_intruders(folder, paths.results), None)
    if intruder is not None:
        return None, f"{paths.shown(intruder)} {NOT_PLAIN}"
    if not (folder / "record.json").exists():
        return None, None
    try:
        return load_any_record(kind, folder), None
    except RecordError as error:
        return None, str(error)


def status_of(run: Run, paths: Paths, stamps: Mapping[str, str]) -> RunStatus:
    """Return the status of a run; a record that cannot be read is a state, not an exception.

    Parameters
    ----------
    stamps : mapping of stamp name to hash
        Today's stamps of the run; only these are compared.
    """
    record, problem = find_record(Record, run.folder(paths), paths)
    if record is None:
        return RunStatus(run, "missing" if problem is None else "broken", problem=problem)
    if record.run_id != run.id or record.source.name != run.source:
        problem = (
            f"the record is of {record.source.name}/{record.run_id}, but lies in the folder of {run.source}/{run.id}"
        )
        return RunStatus(run, "broken", problem=problem)
    stale = _stale(record, stamps)
    return RunStatus(run, record.status, stale, record, record.error.message if record.error else None)


def status_beside(
    kind: type[AnyRecord], id: str, paths: Paths, source: str, stamps: Mapping[str, str]
) -> BesideStatus[AnyRecord]:
    """Return the status of a source's folder beside the runs; a record that cannot be read is a state.

    Parameters
    ----------
    kind : type of record
        One with ``source`` and ``stamps``.
    id : str
        The folder's name.
    stamps : mapping of stamp name to hash
        Today's; only these are compared.
    """
    record: Any
    record, problem = find_record(kind, paths.results / source / id, paths)
    if record is None:
        return BesideStatus(id, "missing" if problem is None else "broken", problem=problem)
    if record.source.name != source:
        problem = f"the record is of {record.source.name}, but lies in the folder of {source}"
        return BesideStatus(id, "broken", problem=problem)
    return BesideStatus(id, "completed", _stale(record, stamps), record)


def _stale(record: Any, stamps: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the stamps that a record has otherwise."""
    return tuple(name for name, stamp in stamps.items() if getattr(record.stamps, name) != stamp)


def package_versions() -> dict[str, str]:
    """Return the version of each package that training uses, without the local label of a build (``+cpu``)."""
    return {name: metadata.version(name).partition("+")[0] for name in TRAINING_PACKAGES}


def read_code_cells(notebook: Path, *, without_tag: str = "") -> list[str]:
    """Return the sources of a notebook's code cells, but for those with a tag: changed prose needs no retraining."""
    try:
        cells = json.loads(read_limited(notebook))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        if without_tag:
            code = [cell for cell in code if without_tag not in cell["metadata"].get("tags", ())]
        return ["".join(cell["source"]) for cell in code]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(f"experiments/{notebook.name} is not a readable notebook: {error!r}") from error


def _hash_training_code() -> str:
    digest = hashlib.sha256()
    for file in sorted(TRAINING_CODE.rglob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def hash_json(content: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
