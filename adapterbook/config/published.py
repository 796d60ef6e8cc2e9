"""Read ``experiments/published/*.yaml``: results to reproduce and to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from adapterbook.common.yaml_files import load_yaml, validate
from adapterbook.config.study import Settings

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
