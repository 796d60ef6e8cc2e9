"""Share fixtures between test modules, and let the longest files begin first."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from adapterbook.common.machine import count_cores
from adapterbook.config.paths import Paths
from adapterbook.sources.packages import BASE_MODEL, DATASET, materialise
from tests.support.small_project import build_made_project, build_trained_project
from tests.support.study_site import build_study_site

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of processes that share the cores would wait for each other. Kernels have one thread in any case.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files and folders; a file is one piece of work for pytest-xdist. The first trains what others in "whole" wait for.
LONGEST_FIRST = ("test_end_to_end.py", "test_colab.py", "built", "hostile", "whole")


def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are cores: tests wait a fifth of their time, for browsers, kernels or limits."""
    return count_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that all processes end at about the same time."""

    def place(item: pytest.Item) -> int:
        names = [name for name in (item.path.name, item.path.parent.name) if name in LONGEST_FIRST]
        return LONGEST_FIRST.index(names[0]) if names else len(LONGEST_FIRST)

    items.sort(key=place)
    gc.freeze()  # Torch and the like stay until the end: a collection need not look at them each time.


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
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all test processes of a session see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def study_site(shared_folder: Path) -> Path:
    """The rendered site of a made-up study, built once for all test processes."""
    return build_study_site(shared_folder)


@pytest.fixture(scope="session")
def trained_project(shared_folder: Path, embedded_model: Path, embedded_dataset: Path) -> Paths:
    """The small project after `train`, trained once for all test processes. Only copies of it may be changed."""
    return build_trained_project(shared_folder)


@pytest.fixture(scope="session")
def made_project(shared_folder: Path, trained_project: Paths) -> Paths:
    """The small project after `all`, made once for all test processes. Only copies of it may be changed."""
    return build_made_project(shared_folder, trained_project)
