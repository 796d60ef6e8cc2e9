"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapterbook.config.paths import Paths
from adapterbook.sources.packages import BASE_MODEL, DATASET, materialise
from tests.support.study_site import build_study_site


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


@pytest.fixture(scope="session")
def study_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered site of a made-up study, built once for all test processes."""
    folder = tmp_path_factory.getbasetemp()
    return build_study_site(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
