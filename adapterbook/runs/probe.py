"""Define the record of the linear probe, the baseline beside the runs, and tell whether it is up to date.

The probe is a logistic regression on features of the frozen base model. There is one for each source and study.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from adapterbook.config.paths import Paths
from adapterbook.config.study import PROBE, DataConfig
from adapterbook.runs.plan import BesideStatus, hash_json, package_versions, stamp_material, status_beside
from adapterbook.runs.record import (
    Environment,
    GitState,
    Moment,
    RecordPart,
    SealedRecord,
    Sha256,
    SourceInfo,
    Splits,
    TestResult,
)

FEATURES = "features.safetensors"  # beside record.json and predictions.parquet
PROBE_PACKAGES = ("scikit-learn", "scipy")  # beside those that training uses


class ProbeChoice(RecordPart):
    """Describe one regression of the grid, fitted on the train rows."""

    C: PositiveFloat = Field(description="Inverse of the L2 penalty's strength, as in sklearn's LogisticRegression")
    n_right: int = Field(ge=0, description="Rows of `chosen_on` predicted right")


class ProbeStamps(RecordPart):
    """Hold the stamps of the probe, which is up to date if all of them agree with today's."""

    config: Sha256 = Field(description="Data protocol")
    code: Sha256 = Field(description="The modules of training, the probe's among them")
    data: Sha256 = Field(description="Identity of the base model and the data set")
    packages: Sha256 = Field(description="Versions of the packages that the probe uses")


class HeadLayer(RecordPart):
    """Describe a linear layer of a base model's classification head, the dropout before it and what follows it."""

    n_in: PositiveInt
    n_out: PositiveInt
    bias: bool
    dropout: float = Field(ge=0, lt=1, description="Share of its inputs that training sets to zero")
    activation: Literal["relu", "tanh", "gelu"] | None = Field(description="What its outputs go through")
    initial_std: PositiveFloat = Field(description="Of its first weights, which are random; its first biases are zero")


class ProbeRecord(SealedRecord):
    """Record the linear probe of a source."""

    schema_version: Literal[1] = 1
    source: SourceInfo
    data: DataConfig
    stamps: ProbeStamps
    environment: Environment
    git: GitState | None = Field(description="null outside a git checkout")
    finished_at: Moment
    files: dict[str, Sha256] = Field(default_factory=dict, description="SHA-256 of the folder's other files")
    seal: Sha256 | None = Field(default=None, description="SHA-256 over this record without the seal")
    splits: Splits
    n_features: PositiveInt = Field(description="Width of the base model: the mean over a text's tokens")
    head: tuple[HeadLayer, ...] | None = Field(
        default=None, description="The head whose inputs are among the features; null: it is not a chain of layers"
    )
    chosen_on: Literal["selection", "validation"] = Field(description="Split that C was chosen on")
    grid: tuple[ProbeChoice, ...] = Field(min_length=1, description="Every C that was tried")
    C: PositiveFloat = Field(description="The one with most rows right; of several, the smallest")
    test: TestResult
    time_s: NonNegativeFloat = Field(description="To compute the features of all rows and fit every regression")

    @property
    def n_head_weights(self) -> int:
        """Return how many weights the head has; none where its layers are not known."""
        return sum(layer.n_in * layer.n_out + layer.n_out * layer.bias for layer in self.head or ())

    @property
    def run_id(self) -> str:
        """Return the name that findings give it."""
        return PROBE


ProbeStatus = BesideStatus[ProbeRecord]


def probe_folder(paths: Paths, source: str) -> Path:
    """Return the folder of a source's probe, beside those of the adapters."""
    return paths.results / source / PROBE


def stamp_probe(data: DataConfig, data_identity: Mapping[str, Any] | None) -> dict[str, str]:
    """Return today's stamps of the probe; without the one of the data if their identity is None."""
    return {"config": hash_json(data.model_dump()), **stamp_material(data_identity, probe_packages())}


def probe_packages() -> dict[str, str]:
    """Return the version of each package that the probe uses."""
    return package_versions() | {name: metadata.version(name) for name in PROBE_PACKAGES}


def probe_status(paths: Paths, source: str, stamps: Mapping[str, str]) -> ProbeStatus:
    """Return the status of a source's probe; a record that cannot be read is a state, not an exception.

    Parameters
    ----------
    stamps : mapping of stamp name to hash
        Today's; only these are compared.
    """
    return status_beside(ProbeRecord, PROBE, paths, source, stamps)
