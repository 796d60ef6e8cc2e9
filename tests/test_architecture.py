"""The shape of the code: imports go one way, a report needs no torch, and ARCHITECTURE.md shows what is there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "adapterbook"

# A module may import those above it. Modules on one line do not import each other.
LAYERS = (
    {"errors"},
    {"yamlfile", "installation", "git", "memo", "parcel", "plain_files", "preload", "strict_json", "strict_table"},
    {"config", "hub_client", "hub_cache", "folders", "remember", "branch"},
    {
        "book",
        "embedded",
        "hub",
        "records",
        "fonts",
        "statistics",
        "formatting",
        "privacy",
        "workplace",
        "worker",
        "capacity",
        "linear",
    },
    {"sources", "runs", "checkpoints", "model_card"},
    {"data", "peft_settings", "display", "staging", "stages", "selection"},
    {"kernels", "failures", "new_adapter", "made_from"},
    {"model", "training", "execution", "analysis"},
    {"recording", "figures", "cluster_worker"},
    {"pages", "verification", "cluster"},
    {"site", "push"},
    {"workflow"},
    {"publish", "preview"},
    {"cli"},
    {"__main__"},
)
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
# Only these may load torch, and whatever loads it.
TRAINING = {"data", "linear", "model", "peft_settings", "recording", "training"}


def _top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "adapterbook":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("adapterbook.")}
    return names


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    """No file imports a module of its own level or below."""
    upwards = {name for name in _imports(path) if name != _top(path) and LEVEL[name] >= LEVEL[_top(path)]}
    assert not upwards


@pytest.mark.parametrize("module", ["pages", "site", "analysis", "figures", "workflow", "cli", "runs", "sources"])
def test_a_report_is_made_without_torch(module: str) -> None:
    """A laptop rebuilds the pages and the site in seconds."""
    script = (
        f"import sys, adapterbook.{module}\nprint(*{{'torch', 'transformers', 'peft', 'datasets'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    """It opens with what it owns, and is not much over 300 lines."""
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 400


def module_table() -> str:
    """Return the list of modules as ARCHITECTURE.md has it: each layer from the lowest, and what is in it."""
    lines = ["| layer | module | what it is for |", "| ---: | --- | --- |"]
    for level, modules in enumerate(LAYERS):
        for module in sorted(modules):
            file = PACKAGE / f"{module}.py"
            text = (file if file.exists() else PACKAGE / module / "__init__.py").read_text("utf-8")
            summary = " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split())
            lines.append(f"| {level} | `{module}` | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def test_the_architecture_page_lists_every_module_in_its_layer() -> None:
    """The table is the layers of this file with each module's own first sentence; nothing is missing or left over."""
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8")
    shown = page.partition("<!-- modules -->\n")[2].partition("<!-- /modules -->")[0]
    assert shown == module_table(), f"between the marks of ARCHITECTURE.md belongs:\n{module_table()}"
    assert {_top(path) for path in FILES} == set(LEVEL)
    (said,) = re.findall(r"(?s)Only (.*?) load torch", page)
    assert set(re.findall(r"`(\w+)`", said)) == TRAINING


def test_what_the_architecture_page_draws_is_there() -> None:
    """Every file, folder and module that its two drawings name exists, or is made by `make`."""
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8")
    drawings = re.findall(r"(?s)```mermaid\n(.*?)```", page)
    assert len(drawings) == 2
    made = {"experiments/results/", "report/", "_site/", "index.qmd", "report-zh.pdf", "report-en.pdf"}
    for name in re.findall(r"<i>(.*?)</i>", "".join(drawings)):
        assert name in made or (PACKAGE.parent / name).exists(), name
    for name in re.findall(r"<b>(.*?)</b>", "".join(drawings)):
        assert name in LEVEL, name


def test_no_file_names_a_place_of_one_machine() -> None:
    """No home folder, no registry host, in anything that is committed."""
    files = subprocess.run(["git", "ls-files"], cwd=PACKAGE.parent, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        path = PACKAGE.parent / name
        if path.suffix in (".py", ".md", ".yaml", ".yml", ".txt", ".j2", ".lua", ".ipynb", ".toml", ".css", ".js", ""):
            text = path.read_text("utf-8")
            for place in ("/root" + "/", "/work" + "/", "pypi." + "org", "files.python" + "hosted"):
                assert place not in text, f"{name} holds {place}"
