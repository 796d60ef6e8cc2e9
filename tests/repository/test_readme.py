"""Check that everything that the READMEs and docs/ name exists, and who runs their commands."""

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
    for name in ("README.md", "CONTRIBUTING.md", "examples/bert-products/README.md", "docs/costs.md",
                 "docs/cluster.md", "docs/records.md", "docs/publishing.md", "docs/verification.md",
                 "docs/gallery.md", "examples/eight-kinds/README.md")
]  # fmt: skip
ALONE = [PROJECT.root / "ARCHITECTURE.md"]
PAGES = [*(page for pair in PAIRS for page in pair), *ALONE]

# Which test runs a command of the READMEs and docs/, or why none can. A make target runs the command of its name.
RUN_BY = {
    r"make all\b": "whole/test_end_to_end.py",
    r"make -C examples/bert-products all": "whole/test_example.py",
    r"make -C examples/eight-kinds all": "whole/test_gallery.py",
    r"make gallery\b": "whole/test_gallery.py",
    r"make train\b": "whole/test_interruption.py",
    r"make site\b": "unit/pages/test_rebuild.py",
    r"make pages\b": "unit/commands/test_commands.py",
    r"make status\b": "unit/commands/test_commands.py",
    r"make setup\b": "unit/commands/test_install.py",
    r"make lock\b": "unit/commands/test_install.py",
    r"make new-adapter\b": "unit/commands/test_new_adapter.py",
    r"make export\b": "unit/commands/test_export.py",
    r"make new-study\b": "unit/commands/test_new_study.py",
    r"make preview\b": "unit/commands/test_preview.py",
    r"make publish\b": "unit/commands/test_publish.py",
    r"make push-adapters\b": "unit/publish/test_hub_upload.py",
    r"make verify\b": "whole/test_verify_end_to_end.py",
    r"python -m benchmarks\b": "whole/test_benchmarks.py",
    r"EXECUTOR=dask SCHEDULER=\S+ make all": "whole/test_cluster.py",
    r"\.venv/bin/dask scheduler": "whole/test_cluster.py",
    r"ADAPTERBOOK_SITE=_site \.venv/bin/python -m pytest": "built/test_accessibility.py",
}
NOT_RUN = {
    r"make -C studies/spam all": "the study is the reader's; whole/test_example.py runs the same with another",
    r"make (test|check)\b": "it is the tests themselves",
    r"\.venv/bin/python -m pytest |\.venv/bin/ruff format": "it is what `make check` calls, for a part",
    r"make bench\b": "it takes half an hour; its measurements are tested one by one",
    r"for node in .*|ssh .*|done$": "it needs other machines and their names",
    r"tests/built/.*": "it is the rest of the line above",
    r"quarto render": "Quarto cannot be installed from a package index alone; CI runs it where it is there",
    r"apt install .*": "it needs an administrator",
    r"\.venv/bin/hf auth login": "it needs an account",
    r"git add --force experiments/results": "it commits results; unit/publish uses git itself",
    r"pip install .*": "the package index decides; set-up itself is tested",
}
COMMAND = r"(?:\w+=\S+ |\w+=\"[^\"]*\" )*(?:make|python -m|apt|quarto|git|pip|\.venv/bin/\w+) [^`]+"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_make_target_is_there(readme: Path) -> None:
    """Every `make` command in the READMEs and docs/ is a target of the Makefile."""
    pages = [readme, *(readme.parent / "docs").glob("*.md")]
    targets = {
        name for page in pages for name in re.findall(r"`(?:\S+ )*make ([a-z][a-z-]*)\b", page.read_text("utf-8"))
    }
    listed = subprocess.run(["make", "help"], cwd=PROJECT.root, capture_output=True, text=True, check=True).stdout
    assert re.search(r"(?m)^make test\b", readme.read_text("utf-8")), "what CI calls"
    assert {"all", "publish"} <= targets <= set(re.findall(r"make ([a-z-]+)", listed))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(PROJECT.root).as_posix())
def test_every_link_and_file_is_there(page: Path) -> None:
    """Links lead to files of the project, and each README shows its picture."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")) if "://" not in link]
    assert page not in READMES or any(link.endswith(".png") for link in links)
    for link in links:
        if "_site" in Path(link).parts:  # of the gallery: made by `make gallery`
            link = link.partition("/_site/")[0]
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(PROJECT.root).as_posix())
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """Paths in code exist in the project, its package or the page's folder, except those that `make` makes."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:yaml|md|txt|toml))`", page.read_text("utf-8"))
    made = r"_site|\.venv|adapter|experiments/results|experiments/adapters/mine|benchmarks/results|export-\w+"
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


def commands_of(page: Path) -> set[str]:
    """Return the commands in a page's shell blocks, without comments, and those in its lines of text."""
    text = page.read_text("utf-8")
    lines = [line for block in re.findall(r"(?s)```sh\n(.*?)```", text) for line in block.splitlines()]
    inline = re.findall(rf"`({COMMAND})`", re.sub(r"(?s)```.*?```", "", text))
    return {command for line in (*lines, *inline) if (command := re.sub(r"\s+(#.*|&|\\)?$", "", line).strip())}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "ARCHITECTURE" not in page.name], ids=lambda path: path.name
)
def test_every_command_is_run_by_a_test_or_not_for_a_reason(page: Path) -> None:
    """A command without a line in RUN_BY or NOT_RUN, and a line whose test file is gone, is an error."""
    assert [name for name in RUN_BY.values() if not (PROJECT.root / "tests" / name).is_file()] == []
    known = re.compile("|".join(f"(?:{pattern})" for pattern in (*RUN_BY, *NOT_RUN)))
    bare = {re.sub(r'^(SEEDS="[^"]*" )', "", command) for command in commands_of(page)}
    assert [command for command in sorted(bare) if not known.match(command)] == []


def test_make_takes_every_command_as_it_is_written() -> None:
    """Make itself finds the target and the settings of each `make` command: a dry run says what it would do."""
    commands = {
        command for page in PAGES for command in commands_of(page) if re.match(r"(\w+=\S+ )*make [a-z]", command)
    }
    for command in sorted(commands):
        done = subprocess.run(["sh", "-c", f"{command} --dry-run"], cwd=PROJECT.root, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_a_readme_is_read_in_a_minute(readme: Path) -> None:
    """At most 120 lines; what is longer belongs into docs/."""
    assert readme.read_text("utf-8").count("\n") <= 120


@pytest.mark.parametrize("readme", [PROJECT.root / "docs" / name for name in ("costs.md", "costs.zh-TW.md")],
                         ids=lambda path: path.name)  # fmt: skip
def test_the_number_of_runs_is_the_study_s(readme: Path) -> None:
    """The table of costs names the number of runs of the default study that do not depend on results."""
    study, adapters = load_study(PROJECT.study), load_adapters(PROJECT.experiments / "adapters")
    n_runs = len(plan_study(study, adapters, "embedded", study.seeds, lambda run: None)[1])
    rows = re.findall(r"(?m)^\|.*(?:default study|預設的研究).*", readme.read_text("utf-8"))
    assert rows and all(re.search(rf"\b{n_runs} (runs|次訓練)", row) for row in rows)
