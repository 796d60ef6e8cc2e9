"""YAML files under ``experiments/`` → validated, frozen settings.

Owns the shape of ``study.yaml``, ``adapters/*.yaml``, ``sources/*.yaml`` and ``published/*.yaml``, and where the
project's folders are. Refuses unknown keys and wrong types. Knows nothing of torch or PEFT: whether PEFT takes an
adapter's settings is for ``model.check_adapters`` to say.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from adapterbook.errors import ConfigError
from adapterbook.yamlfile import describe_problems, load_yaml, misread_number, shown, shown_key, shown_text, validate

__all__ = [
    "AdapterConfig",
    "BilingualText",
    "DataConfig",
    "Paths",
    "PublishedResults",
    "SourceConfig",
    "StudyConfig",
    "TrainingConfig",
    "VariantConfig",
    "load_adapters",
    "load_published",
    "load_source",
    "load_study",
]

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMING_RULE = "letters, digits, '.', '_' and '-', 64 at most"
MAX_SEED = 2**32 - 1  # NumPy's
MAX_TITLE = 200  # characters; a title also stands in menus and legends
MAX_NAME, MAX_NAME_PART = 1000, 200  # characters of a Hub name or a folder; no file system takes a longer part


class Settings(BaseModel):
    """Base of all settings: frozen, strict about types, no unknown key, no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BilingualText(Settings):
    """A text in both languages; one plain string serves for both."""

    zh: str
    en: str

    def in_language(self, language: Literal["zh", "en"]) -> str:
        """Return the text in one language."""
        return self.zh if language == "zh" else self.en


def _both_languages(value: object) -> object:
    return {"zh": value, "en": value} if isinstance(value, str) else value


def _is_a_line(title: BilingualText) -> BilingualText:
    if max(len(title.zh), len(title.en)) > MAX_TITLE:
        raise ValueError(f"expected a title of {MAX_TITLE} characters at most")
    return title


def _is_a_place(name: str) -> str:
    too_long = len(name) > MAX_NAME or any(len(part) > MAX_NAME_PART for part in name.split("/"))
    if too_long or not name.isprintable() or (name.startswith("~") and not name.startswith("~/")):
        raise ValueError(f"expected a name on the Hub, an embedded/ name or a folder, got {shown_text(name)}")
    return name


Text = Annotated[BilingualText, BeforeValidator(_both_languages)]
Title = Annotated[Text, AfterValidator(_is_a_line)]
Place = Annotated[str, AfterValidator(_is_a_place)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Loss = Annotated[float, Field(ge=0, le=1e6)]


class DataConfig(Settings):
    """Which rows of the data set a study uses, and what it keeps of each text."""

    shuffle_seed: Seed
    n_train: PositiveInt
    n_validation: PositiveInt
    n_test: PositiveInt
    max_words: PositiveInt
    tokenise_batch_size: PositiveInt


class TrainingConfig(Settings):
    """Arguments of ``transformers.TrainingArguments``, under its own names."""

    learning_rate: PositiveFloat
    per_device_train_batch_size: PositiveInt
    per_device_eval_batch_size: PositiveInt
    num_train_epochs: PositiveInt
    gradient_accumulation_steps: PositiveInt = 1
    eval_strategy: Literal["no", "steps", "epoch"] = "epoch"
    eval_steps: PositiveInt | None = None
    save_strategy: Literal["no", "steps", "epoch"] = "epoch"
    save_steps: PositiveInt | None = None
    load_best_model_at_end: bool = True
    metric_for_best_model: Literal["loss", "accuracy", "f1"] = "loss"
    optim: str = "adamw_torch"
    lr_scheduler_type: str = "linear"
    warmup_steps: NonNegativeFloat = 0
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _strategies_agree(self) -> TrainingConfig:
        if self.load_best_model_at_end and self.eval_strategy != self.save_strategy:
            raise ValueError(
                f"load_best_model_at_end needs save_strategy ({self.save_strategy}) "
                f"to be the same as eval_strategy ({self.eval_strategy})"
            )
        if self.load_best_model_at_end and self.eval_strategy == "no":
            raise ValueError("load_best_model_at_end needs an evaluation: set it to false where eval_strategy is no")
        for strategy, steps in (("eval_strategy", "eval_steps"), ("save_strategy", "save_steps")):
            if getattr(self, strategy) == "steps" and getattr(self, steps) is None:
                raise ValueError(f"{strategy} is steps, so {steps} must say how many")
        return self


class VariantConfig(Settings):
    """One setting of the study that differs from the protocol in a few training arguments."""

    title: Title
    training: dict[str, Any] = Field(default_factory=dict)
    adapters: tuple[str, ...] | None = None  # None: all adapters


class StudyConfig(Settings):
    """The whole of ``study.yaml``: every adapter × its variants × the seeds."""

    data: DataConfig
    training: TrainingConfig
    seeds: tuple[Seed, ...] = Field(min_length=1)
    seeds_on_gpu: tuple[Seed, ...] | None = Field(default=None, min_length=1)  # None: the same as without a GPU
    variants: dict[str, VariantConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _variants_are_valid(self) -> StudyConfig:
        for name in self.variants:
            if not IDENTIFIER.fullmatch(name):
                raise ValueError(f"variants.{shown_key((name,))}: a name is {NAMING_RULE}")
        for key, seeds in (("seeds", self.seeds), ("seeds_on_gpu", self.seeds_on_gpu or ())):
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"{key}: each seed once, got {shown_text(seeds)}")
        return self

    @property
    def submitted(self) -> str:
        """Name of the first variant: the protocol as it was handed in."""
        return next(iter(self.variants))

    def training_of(self, variant: str) -> TrainingConfig:
        """Return the protocol's training arguments with those of a variant laid over them."""
        return TrainingConfig.model_validate(self.training.model_dump() | self.variants[variant].training)


class AdapterConfig(BaseModel):
    """One file of ``adapters/``: PEFT's keyword arguments verbatim, and a title and a rationale.

    Attributes
    ----------
    id : str
        The file's name without ``.yaml``.
    peft_type : str
        A name PEFT knows: ``LORA``, ``IA3``, ``LOKR``, …
    settings : dict
        The keyword arguments of that method's PEFT config class, as written.
    train_adapter : bool
        False makes a baseline: the adapter stays as it starts, without effect, and the head alone trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    peft_type: str
    settings: dict[str, Any]
    title: Title
    rationale: Text | None = None
    train_adapter: bool = Field(default=True, strict=True)

    def keywords(self) -> dict[str, Any]:
        """Return the settings for PEFT: a copy, since PEFT adds to the lists it is given, with the task named."""
        return {"task_type": "SEQ_CLS"} | copy.deepcopy(self.settings)


class SourceConfig(Settings):
    """One file of ``sources/``: a base model and a data set.

    ``base_model`` and ``dataset`` are names on the Hub, local folders (relative ones are looked up beside the YAML
    file, then in the working folder), or names under ``embedded/`` that ``adapterbook.embedded`` provides.
    """

    name: str
    base_model: Place
    dataset: Place
    base_model_revision: str | None = None
    dataset_revision: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    train_split: str = "train"
    test_split: str | None = None  # None: the test rows follow the validation rows of the train split
    published: str | None = None  # the file of published/ whose results this source may be compared with


class PublishedCurve(BaseModel):
    """What was published of one adapter."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    train_loss: Loss
    train_runtime_s: NonNegativeFloat
    validation_loss: tuple[Loss, ...] = Field(min_length=1)
    validation_accuracy: tuple[Annotated[float, Field(ge=0, le=1)], ...]

    @model_validator(mode="after")
    def _curves_agree(self) -> PublishedCurve:
        if len(self.validation_loss) != len(self.validation_accuracy):
            raise ValueError(
                f"validation_loss has {len(self.validation_loss)} epochs, "
                f"validation_accuracy {len(self.validation_accuracy)}"
            )
        return self


class PublishedResults(Settings):
    """One file of ``published/``: a protocol and the results to reproduce and compare with."""

    protocol: dict[str, Any]
    data_checks: dict[str, Any]
    derived_trainable_params: dict[str, int]
    adapters: dict[str, PublishedCurve]


@dataclass(frozen=True)
class Paths:
    """Where things lie in a project.

    Parameters
    ----------
    root : Path
        The project's folder, the one that holds ``_quarto.yml``.
    """

    root: Path

    @property
    def experiments(self) -> Path:
        """What is run and what came out."""
        return self.root / "experiments"

    @property
    def book(self) -> Path:
        """Whose report it is."""
        return self.root / "book.yaml"

    @property
    def study(self) -> Path:
        """The protocol."""
        return self.experiments / "study.yaml"

    @property
    def notebook(self) -> Path:
        """The one notebook."""
        return self.experiments / "experiment.ipynb"

    @property
    def results(self) -> Path:
        """One folder a source, in it one folder a run."""
        return self.experiments / "results"

    @property
    def templates(self) -> Path:
        """What is written."""
        return self.root / "templates"

    @property
    def report(self) -> Path:
        """What is rendered."""
        return self.root / "report"

    def shown(self, path: Path) -> str:
        """Return a path as a message shows it: relative to the project where it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()


def load_study(path: Path) -> StudyConfig:
    """Read ``study.yaml``, and check each variant's training arguments.

    Raises
    ------
    ConfigError
        Naming every key that is unknown or has a wrong type.
    """
    study = validate(StudyConfig, load_yaml(path), path)
    problems = []
    for name in study.variants:
        try:
            study.training_of(name)
        except ValidationError as error:
            problems += [f"variants.{name}.training.{problem}" for problem in describe_problems(TrainingConfig, error)]
    if problems:
        raise ConfigError(f"{shown(path)} is not valid:", problems)
    return study


def load_adapters(folder: Path) -> dict[str, AdapterConfig]:
    """Read every ``*.yaml`` of a folder; the file's name is the adapter's id.

    Raises
    ------
    ConfigError
        If the folder holds no adapter, or naming every problem of every file.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"{shown(folder)} holds no adapter: expected at least one .yaml file, such as lora_1.yaml.")
    adapters, errors = {}, []
    for file in files:
        try:
            adapters[file.stem] = _load_adapter(file)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError(f"{len(errors)} adapters are not valid:", [str(error) for error in errors])
    return adapters


def load_source(path: Path) -> SourceConfig:
    """Read one file of ``sources/``, or a source of one's own."""
    source = validate(SourceConfig, load_yaml(path), path)
    if not IDENTIFIER.fullmatch(source.name):
        problem = f"name: {shown_text(source.name)} names a folder: {NAMING_RULE}"
        raise ConfigError(f"{shown(path)} is not valid:", [problem])
    return source


def load_published(path: Path) -> PublishedResults:
    """Read one file of ``published/``."""
    return validate(PublishedResults, load_yaml(path), path)


def _load_adapter(file: Path) -> AdapterConfig:
    content = load_yaml(file)
    own = {key: content.pop(key) for key in ("peft_type", "title", "rationale", "train_adapter") if key in content}
    if isinstance(own.get("peft_type"), str):
        own["peft_type"] = own["peft_type"].upper()
    own.setdefault("title", file.stem)
    problems = [problem for key, value in content.items() if (problem := misread_number(key, value)) is not None]
    if not IDENTIFIER.fullmatch(file.stem):
        problems.append(f"the file's name names a folder: {NAMING_RULE}")
    try:
        adapter = AdapterConfig.model_validate({"id": file.stem, "settings": content, **own})
    except ValidationError as error:
        raise ConfigError(
            f"{shown(file)} is not a valid adapter:", problems + describe_problems(AdapterConfig, error)
        ) from error
    if problems:
        raise ConfigError(f"{shown(file)} is not a valid adapter:", problems)
    return adapter
