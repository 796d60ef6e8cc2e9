"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterbook.config import Paths
from adapterbook.embedded import BASE_MODEL, DATASET, materialise


@pytest.fixture(scope="session")
def project() -> Paths:
    """The project's own folders."""
    return Paths(Path(__file__).resolve().parents[1])


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The embedded base model, made once in the user's ordinary cache."""
    return materialise(BASE_MODEL)


@pytest.fixture(scope="session")
def embedded_dataset() -> Path:
    """The embedded data set, made once in the user's ordinary cache."""
    return materialise(DATASET)
