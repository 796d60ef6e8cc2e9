"""Read ``study.yaml`` and ``experiments/adapters/*.yaml`` into frozen settings, and define the types of all settings.

Unknown keys and wrong types are refused. Whether PEFT takes an adapter's settings is checked in ``training/model.py``.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from adapterbook.common.errors import ConfigError
from adapterbook.common.formatting import format_number
from adapterbook.common.yaml_files import (
    describe_problems,
    list_yaml_files,
    load_yaml,
    misread_number,
    shown,
    shown_key,
    shown_text,
    validate,
)
from adapterbook.config.arguments import REFUSED, find_misfits

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMING_RULE = "letters, digits, '.', '_' and '-', 64 at most"
MAX_SEED = 2**32 - 1  # NumPy's
PROBE, LIVE = "linear_probe", "live_adapters"  # folders of a source's results, beside those of the adapters
MAX_TITLE = 200  # characters; a title also stands in menus and legends


class Settings(BaseModel):
    """Give all settings their rules: frozen, strict types, no unknown keys, only finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BilingualText(Settings):
    """Hold a text in both languages; one plain string serves for both."""

    zh: str
    en: str

    def in_language(self, language: Literal["zh", "en"]) -> str:
        """Return the text in one language."""
        return self.zh if language == "zh" else self.en


def _both_languages(value: object) -> object:
    return {"zh": value, "en": value} if isinstance(value, str) else value


def _check_title(title: BilingualText) -> BilingualText:
    if max(len(title.zh), len(title.en)) > MAX_TITLE or not (title.zh.strip() and title.en.strip()):
        raise ValueError(f"expected a title of 1 to {MAX_TITLE} characters")
    return title


def _check_margin(margin: float) -> float:
    if not 0 < margin < 1:
        raise ValueError(
            f"expected a difference of accuracies above 0 and below 1, got {margin:g}; "
            "0.05 calls two adapters the same if they are shown to differ by less than 5 points"
        )
    return margin


Text = Annotated[BilingualText, BeforeValidator(_both_languages)]
Title = Annotated[Text, AfterValidator(_check_title)]
Margin = Annotated[float, AfterValidator(_check_margin)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Metric = Literal["loss", "accuracy", "f1", "selection_loss", "selection_accuracy"]
Epochs = Annotated[float, Field(gt=0), AfterValidator(lambda epochs: int(epochs) if epochs % 1 == 0 else epochs)]
Share = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(Settings):
    """Say which rows of the data set a study uses, and how much of each text."""

    shuffle_seed: Seed
    n_train: PositiveInt
    n_validation: PositiveInt
    n_test: PositiveInt
    n_selection: NonNegativeInt = 0  # rows that learning rates and checkpoints may be chosen on; 0: validation serves
    max_words: PositiveInt
    tokenise_batch_size: PositiveInt


class TrainingConfig(Settings):
    """Hold arguments of ``transformers.TrainingArguments`` under their own names, and the learning rate of the head.

    ``metric_for_best_model`` is computed on the validation rows, or on the selection rows if its name says so.
    ``warmup_ratio`` and ``group_by_length`` are names of Transformers 4, and the two of early stopping those of its
    ``EarlyStoppingCallback``. An argument that is None keeps Transformers' default.
    """

    refused: ClassVar[Mapping[str, str]] = REFUSED

    learning_rate: PositiveFloat
    head_learning_rate: PositiveFloat | None = None  # None: the same as learning_rate
    per_device_train_batch_size: PositiveInt
    per_device_eval_batch_size: PositiveInt
    num_train_epochs: Epochs
    max_steps: PositiveInt | None = None  # in place of num_train_epochs
    gradient_accumulation_steps: PositiveInt = 1
    eval_strategy: Literal["no", "steps", "epoch"] = "epoch"
    eval_steps: PositiveInt | None = None
    save_strategy: Literal["no", "steps", "epoch"] = "epoch"
    save_steps: PositiveInt | None = None
    load_best_model_at_end: bool = True
    metric_for_best_model: Metric = "loss"
    optim: str = "adamw_torch"
    lr_scheduler_type: str = "linear"
    lr_scheduler_kwargs: dict[str, Any] | None = None
    warmup_steps: NonNegativeFloat = 0
    warmup_ratio: Share | None = None
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0
    optim_args: str | None = None
    optim_target_modules: str | tuple[str, ...] | None = None
    adam_beta1: Share | None = None
    adam_beta2: Share | None = None
    adam_epsilon: PositiveFloat | None = None
    label_smoothing_factor: Share | None = None
    neftune_noise_alpha: PositiveFloat | None = None
    bf16: bool | None = None
    fp16: bool | None = None
    group_by_length: bool | None = None
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"] | None = None
    dataloader_drop_last: bool | None = None
    eval_delay: NonNegativeFloat | None = None
    early_stopping_patience: PositiveInt | None = None
    early_stopping_threshold: NonNegativeFloat | None = None

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
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise ValueError("early_stopping_patience waits for a better checkpoint: it needs load_best_model_at_end")
        if self.early_stopping_threshold is not None and self.early_stopping_patience is None:
            raise ValueError("early_stopping_threshold needs early_stopping_patience")
        if self.warmup_ratio is not None and self.warmup_steps:
            raise ValueError("warmup_ratio and warmup_steps say the same: keep one")
        if self.group_by_length is not None and self.train_sampling_strategy is not None:
            raise ValueError("group_by_length and train_sampling_strategy say the same: keep one")
        return self

    def count_steps(self, n_train: int) -> int:
        """Return how many steps the optimiser takes with so many training rows, unless training stops early."""
        return self.max_steps or math.ceil(self.num_train_epochs * self._steps_per_epoch(n_train))

    def count_epochs(self, n_train: int) -> float:
        """Return how many epochs of so many rows are trained, unless training stops early."""
        return self.count_steps(n_train) / self._steps_per_epoch(n_train)

    def _steps_per_epoch(self, n_train: int) -> int:
        batches, rest = divmod(n_train, self.per_device_train_batch_size)
        batches += bool(rest) and not self.dataloader_drop_last
        return max(math.ceil(batches / self.gradient_accumulation_steps), 1)


class VariantConfig(Settings):
    """Describe a variant: it differs from the protocol in a few training arguments."""

    title: Title
    training: dict[str, Any] = Field(default_factory=dict)
    adapters: tuple[str, ...] | None = None  # None: all adapters
    except_adapters: tuple[str, ...] = ()
    seeds: Literal["all", "first"] = "all"


class RateVariant(VariantConfig):
    """Describe a variant that the search made, with one learning rate; it is never written in ``study.yaml``."""

    every_seed_of: tuple[str, ...]  # adapters whose best rate this is; the others run with the lowest seed


class SearchConfig(Settings):
    """Say which learning rates each adapter is tried at; the best one has the highest accuracy on the selection rows.

    Attributes
    ----------
    learning_rates : dict
        By an adapter's id, a PEFT method, or ``default``.
    max_added : int
        Rates that may be added to an adapter's grid while the best one lies at its edge.
    training : dict
        Training arguments in which the search differs from the protocol.
    title : Title
        Of a rate's variant; ``{rate}`` stands for the rate.
    """

    learning_rates: dict[str, Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]] = Field(min_length=1)
    max_added: NonNegativeInt = 2
    training: dict[str, Any] = Field(default_factory=dict)
    title: Title

    def title_of(self, rate: float) -> BilingualText:
        """Return the title of a rate's variant, with the rate as the pages write it."""
        shown = format_number(rate, "rate", "en")
        return BilingualText(zh=self.title.zh.replace("{rate}", shown), en=self.title.en.replace("{rate}", shown))


def name_rate(rate: float) -> str:
    """Return the name of the variant of a learning rate.

    Examples
    --------
    >>> name_rate(0.001), name_rate(2.5e-5)
    ('lr-1e-3', 'lr-2.5e-5')
    """
    mantissa, _, exponent = f"{rate:.6e}".partition("e")
    return f"lr-{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


class StudyConfig(Settings):
    """Hold ``study.yaml``: every adapter × its variants × the seeds."""

    data: DataConfig
    training: TrainingConfig
    search: SearchConfig | None = None
    seeds: tuple[Seed, ...] = Field(min_length=1)
    seeds_on_gpu: tuple[Seed, ...] | None = Field(default=None, min_length=1)  # None: the same as without a GPU
    margin: Margin = 0.05  # in accuracy; two adapters that differ by less are the same
    variants: dict[str, VariantConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _variants_are_valid(self) -> StudyConfig:
        for name in self.variants:
            if not IDENTIFIER.fullmatch(name):
                raise ValueError(f"variants.{shown_key((name,))}: a name is {NAMING_RULE}")
            if self.search is not None and name.startswith("lr-"):
                raise ValueError(f"variants.{name}: names that begin with lr- are those of the search's learning rates")
        if len({name.lower() for name in self.variants}) < len(self.variants):  # some file systems know no capitals
            raise ValueError(f"variants: names have to differ in more than capitals, got {', '.join(self.variants)}")
        if self.search is not None and not self.data.n_selection:
            raise ValueError("search chooses on the selection rows: set data.n_selection to a few hundred")
        for key, seeds in (("seeds", self.seeds), ("seeds_on_gpu", self.seeds_on_gpu or ())):
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"{key}: each seed once, got {shown_text(seeds)}")
        return self

    @property
    def submitted(self) -> str:
        """Return the name of the first variant: the protocol as handed in."""
        return next(iter(self.variants))

    def training_of(self, variant: str) -> TrainingConfig:
        """Return the protocol's training arguments, updated with those of a variant."""
        return TrainingConfig.model_validate(self.training.model_dump() | self.variants[variant].training)


def load_study(path: Path) -> StudyConfig:
    """Read ``study.yaml``, and check the training arguments of each variant.

    Raises
    ------
    ConfigError
        Naming every key that is unknown or has a wrong type.
    """
    study = validate(StudyConfig, load_yaml(path), path)
    changes = {f"variants.{name}": variant.training for name, variant in study.variants.items()}
    if study.search is not None:
        changes["search"] = study.search.training
    problems = [problem for name, changed in changes.items() for problem in _training_problems(study, name, changed)]
    if problems:
        raise ConfigError(f"{shown(path)} is not valid:", problems)
    return study


def _training_problems(study: StudyConfig, name: str, changed: dict[str, Any]) -> list[str]:
    """Return what is wrong with the protocol's training arguments, once a part of the study has changed them."""
    try:
        training = TrainingConfig.model_validate(study.training.model_dump() | changed)
    except ValidationError as error:
        return [f"{name}.training.{problem}" for problem in describe_problems(TrainingConfig, error)]
    return [f"{name}.training.{problem}" for problem in find_misfits(training, study.data)]


class AdapterConfig(BaseModel):
    """Hold one file of ``adapters/``: PEFT's keyword arguments unchanged, a title and a rationale.

    Attributes
    ----------
    id : str
        The file's name without ``.yaml``.
    peft_type : str
        A name PEFT knows: ``LORA``, ``IA3``, ``LOKR``, …
    settings : dict
        The keyword arguments of that method's PEFT config class, as written.
    train_adapter : bool
        False makes a baseline: the adapter keeps its start values, without effect, and only the head trains.
    full_fine_tuning : bool
        True makes a baseline: the settings must have PEFT train every weight of the base model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    peft_type: str
    settings: dict[str, Any]
    title: Title
    rationale: Text | None = None
    train_adapter: bool = Field(default=True, strict=True)
    full_fine_tuning: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _is_one_baseline_at_most(self) -> AdapterConfig:
        if self.full_fine_tuning and not self.train_adapter:
            raise ValueError("full_fine_tuning trains every weight and train_adapter: false only the head: keep one")
        return self

    @property
    def baseline(self) -> Literal["head_only", "full_fine_tuning"] | None:
        """Return which baseline this is, or None for an adapter."""
        if self.full_fine_tuning:
            return "full_fine_tuning"
        return None if self.train_adapter else "head_only"

    def keywords(self) -> dict[str, Any]:
        """Return the settings for PEFT, with the task; a copy, since PEFT appends to the lists that it gets."""
        return {"task_type": "SEQ_CLS"} | copy.deepcopy(self.settings)


def load_adapters(folder: Path) -> dict[str, AdapterConfig]:
    """Read every ``*.yaml`` of a folder; the file's name is the adapter's id.

    LoRA comes first, because the other methods are described against it, and baselines come last; otherwise the order
    is that of the names.

    Raises
    ------
    ConfigError
        If the folder holds no adapter, or naming every problem of every file.
    """
    files = list_yaml_files(folder)
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
    return dict(sorted(adapters.items(), key=lambda item: (item[1].baseline is not None, item[1].peft_type != "LORA")))


def _load_adapter(file: Path) -> AdapterConfig:
    content = load_yaml(file)
    names = ("peft_type", "title", "rationale", "train_adapter", "full_fine_tuning")
    own = {key: content.pop(key) for key in names if key in content}
    if isinstance(own.get("peft_type"), str):
        own["peft_type"] = own["peft_type"].upper()
    own.setdefault("title", file.stem)
    problems = [problem for key, value in content.items() if (problem := misread_number(key, value)) is not None]
    if not IDENTIFIER.fullmatch(file.stem):
        problems.append(f"the file's name names a folder: {NAMING_RULE}")
    if owner := {PROBE: "the linear probe's", LIVE: "the page's that shows adapters"}.get(file.stem.lower()):
        problems.append(f"the file's name names a folder, and {file.stem} is {owner}: take another name")
    try:
        adapter = AdapterConfig.model_validate({"id": file.stem, "settings": content, **own})
    except ValidationError as error:
        raise ConfigError(
            f"{shown(file)} is not a valid adapter:", problems + describe_problems(AdapterConfig, error)
        ) from error
    if problems:
        raise ConfigError(f"{shown(file)} is not a valid adapter:", problems)
    return adapter
