"""README.md and README.zh-TW.md: what they name is there."""

import re
import subprocess
from pathlib import Path

import pytest

from adapterbook.config import load_study
from tests.factory import PROJECT

READMES = [PROJECT.root / name for name in ("README.md", "README.zh-TW.md")]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_make_target_is_there(readme: Path) -> None:
    """`make all`, `make test` and the others are targets of the Makefile."""
    targets = set(re.findall(r"\bmake ([a-z]+)\b", readme.read_text("utf-8")))
    listed = subprocess.run(["make", "help"], cwd=PROJECT.root, capture_output=True, text=True, check=True).stdout
    assert {"all", "test"} <= targets <= set(re.findall(r"make ([a-z]+)", listed))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_link_and_file_is_there(readme: Path) -> None:
    """Links to files of the project, the picture among them."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", readme.read_text("utf-8")) if "://" not in link]
    assert any(link.endswith(".png") for link in links)
    for link in links:
        assert (PROJECT.root / link).exists(), link


def test_both_languages_say_the_same_things() -> None:
    """The same commands, code blocks and numbers of sections."""
    english, chinese = (readme.read_text("utf-8") for readme in READMES)
    for pattern in (r"(?m)^## ", r"```", r"`SOURCE=`", r"peft_type: LORA", r"\[Quarto\]"):
        assert len(re.findall(pattern, english)) == len(re.findall(pattern, chinese)), pattern


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_number_of_runs_is_the_study_s(readme: Path) -> None:
    """The cost table speaks of the default study."""
    study = load_study(PROJECT.study)
    adapters = len(list((PROJECT.experiments / "adapters").glob("*.yaml")))
    n_runs = sum(len(variant.adapters or range(adapters)) for variant in study.variants.values()) * len(study.seeds)
    assert re.search(rf"\b{n_runs}\b", readme.read_text("utf-8"))
