"""Read ``experiments/sources/*.yaml`` and ``experiments/published/*.yaml``: base model, data set, published results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from adapterbook.common.errors import ConfigError
from adapterbook.common.yaml_files import load_yaml, shown, shown_text, validate
from adapterbook.config.study import IDENTIFIER, NAMING_RULE, BilingualText, Settings, Title

MAX_NAME, MAX_NAME_PART = 1000, 200  # characters of a Hub name or a folder; no file system takes a longer part


def _check_source_name(name: str) -> str:
    too_long = len(name) > MAX_NAME or any(len(part) > MAX_NAME_PART for part in name.split("/"))
    if too_long or not name.isprintable() or (name.startswith("~") and not name.startswith("~/")):
        raise ValueError(f"expected a name on the Hub, an embedded/ name or a folder, got {shown_text(name)}")
    return name


SourceName = Annotated[str, AfterValidator(_check_source_name)]
MIN_LABELS, MAX_LABELS = 2, 100


def _check_labels(labels: dict[str, BilingualText]) -> dict[str, BilingualText]:
    for language in ("zh", "en"):
        names = [getattr(title, language) for title in labels.values()]
        if twins := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected another name for each label, got {shown_text(twins[0])} for several of them")
    return labels


Labels = Annotated[dict[str, Title], Field(min_length=MIN_LABELS, max_length=MAX_LABELS), AfterValidator(_check_labels)]


class Wording(BaseModel):
    """Hold what the pages call the task and the labels, by number, in both languages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: BilingualText | None
    labels: tuple[BilingualText, ...]


class SourceConfig(Settings):
    """Hold one file of ``sources/``: a base model and a data set.

    ``base_model`` and ``dataset`` are names on the Hub, local folders (relative ones are looked up beside the YAML
    file, then in the working folder), or names under ``embedded/`` that ``sources.packages`` provides.

    The licences are what the method page says about the two; no run depends on them.

    ``labels`` gives each label as the data set writes it, in the order of the classes, its name on the pages. Without
    it the classes are those of the data set in its own order, and keep the names that they have there.
    """

    name: str
    base_model: SourceName
    dataset: SourceName
    base_model_revision: str | None = None
    dataset_revision: str | None = None
    base_model_licence: Title | None = None
    dataset_licence: Title | None = None
    dataset_config: str | None = None  # a data set's configuration, such as sst2 of glue
    text_column: str = "text"
    label_column: str = "label"
    train_split: str = "train"
    test_split: str | None = None  # None: the test rows follow the validation rows of the train split
    published: str | None = None  # the file of published/ that this source may be compared with
    task: Title | None = None  # what the classifier learns, after "learns to", such as "tell spam from other mail"
    labels: Labels | None = None

    @model_validator(mode="after")
    def _columns_differ(self) -> SourceConfig:
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column: expected two columns, got {self.text_column!r} for both")
        return self

    def wording(self, names: Sequence[str]) -> Wording:
        """Return what the pages call the task and the labels of these names."""
        titles = self.labels or {name: BilingualText(zh=name, en=name) for name in names}
        return Wording(task=self.task, labels=tuple(titles[name] for name in names))


def load_source(path: Path) -> SourceConfig:
    """Read the YAML file of a source."""
    source = validate(SourceConfig, load_yaml(path), path)
    if not IDENTIFIER.fullmatch(source.name):
        problem = f"name: {shown_text(source.name)} names a folder: {NAMING_RULE}"
        raise ConfigError(f"{shown(path)} is not valid:", [problem])
    return source


Loss = Annotated[float, Field(ge=0, le=1e6)]


class PublishedCurve(BaseModel):
    """Hold the published results of one adapter."""

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
    """Hold one file of ``published/``: a protocol and its results."""

    protocol: dict[str, Any]
    data_checks: dict[str, Any]
    derived_trainable_params: dict[str, int]
    adapters: dict[str, PublishedCurve]


def load_published(path: Path) -> PublishedResults:
    """Read one file of ``published/``."""
    return validate(PublishedResults, load_yaml(path), path)
