"""Check that everything README.md and README.zh-TW.md name exists."""

import re
import subprocess
from pathlib import Path

import pytest

from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.search import plan_study
from tests.support.factory import PROJECT

READMES = [PROJECT.root / name for name in ("README.md", "README.zh-TW.md")]
PAIRS = [
    (PROJECT.root / name, PROJECT.root / name.replace(".md", ".zh-TW.md"))
    for name in ("README.md", "CONTRIBUTING.md", "examples/bert-products/README.md")
]
PAGES = [*(page for pair in PAIRS for page in pair), PROJECT.root / "ARCHITECTURE.md"]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_make_target_is_there(readme: Path) -> None:
    """Every `make` command in the READMEs is a target of the Makefile."""
    targets = set(re.findall(r"\bmake ([a-z-]+)\b", readme.read_text("utf-8")))
    listed = subprocess.run(["make", "help"], cwd=PROJECT.root, capture_output=True, text=True, check=True).stdout
    assert {"all", "test"} <= targets <= set(re.findall(r"make ([a-z-]+)", listed))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(PROJECT.root).as_posix())
def test_every_link_and_file_is_there(page: Path) -> None:
    """Links lead to files of the project, and each README shows its picture."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")) if "://" not in link]
    assert page not in READMES or any(link.endswith(".png") for link in links)
    for link in links:
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(PROJECT.root).as_posix())
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """Paths in code exist in the project, its package or the page's folder, except those that `make` makes."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:yaml|md|txt|toml))`", page.read_text("utf-8"))
    made = r"_site|\.venv|adapter|experiments/results|experiments/adapters/mine|benchmarks/results"
    on_hub = r"distilbert|stanfordnlp"
    missing = [name for name in named if not re.match(rf"({made}|{on_hub})\b|.*NAME", name)]
    folders = (PROJECT.root, page.parent, PROJECT.root / "adapterbook")
    missing = [name for name in missing if not any((folder / name).exists() for folder in folders)]
    assert missing == []


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: path.name)
def test_both_languages_say_the_same_things(english: Path, chinese: Path) -> None:
    """Both READMEs have the same commands, code blocks, tables and number of sections, and link to each other."""
    texts = english.read_text("utf-8"), chinese.read_text("utf-8")
    for pattern in (r"(?m)^## ", r"```", r"`SOURCE=`", r"peft_type: LORA", r"\[Quarto\]", r"(?m)^\|", r"make -C"):
        assert len({len(re.findall(pattern, text)) for text in texts}) == 1, pattern
    commands = [sorted(set(re.findall(r"\bmake [a-z-]+\b", text))) for text in texts]
    assert commands[0] == commands[1]
    assert f"]({chinese.name})" in texts[0]
    assert f"]({english.name})" in texts[1]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_number_of_runs_is_the_study_s(readme: Path) -> None:
    """The table of costs names the number of runs of the default study that do not depend on results."""
    study, adapters = load_study(PROJECT.study), load_adapters(PROJECT.experiments / "adapters")
    n_runs = len(plan_study(study, adapters, "embedded", study.seeds, lambda run: None)[1])
    rows = re.findall(r"(?m)^\|.*(?:default study|預設的研究).*", readme.read_text("utf-8"))
    assert rows and all(re.search(rf"\b{n_runs} (runs|次訓練)", row) for row in rows)
