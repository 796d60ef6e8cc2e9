"""Check the shape of the code: the rooms, who may import whom, and that ARCHITECTURE.md shows what is there."""

import ast
import re
import subprocess
import sys

import pytest

from tests.support.factory import PROJECT

PACKAGE = PROJECT.root / "adapterbook"

BELOW_TRAINING = ("runs", "sources", "config", "common")
BELOW_PAGES = ("figures", "analysis", "runs", "config", "common")
# The rooms from the bottom, and what each may import.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "common": (),
    "config": ("common",),
    "sources": ("config", "common"),
    "runs": ("sources", "config", "common"),
    "training": BELOW_TRAINING,
    "execution": ("training", *BELOW_TRAINING),
    "verification": ("execution", "training", *BELOW_TRAINING),
    "analysis": ("runs", "config", "common"),
    "figures": ("analysis", "config", "common"),
    "pages": BELOW_PAGES,
    "site": ("common",),
    "publish": BELOW_TRAINING,
}
MAY_IMPORT["commands"] = tuple(MAY_IMPORT)
MAY_IMPORT["cli"] = ("commands", "site", "runs", "config", "common")
MAY_IMPORT["__main__"] = ("cli",)
LOADS_TORCH = {"torch", "transformers", "peft", "datasets", "accelerate", "evaluate", "safetensors"}
# Files elsewhere that import one of them inside a function, each with its reason.
TORCH_ELSEWHERE = {
    "pages/lab.py": {"safetensors"},  # reads NumPy arrays; loads no torch
    "sources/packages.py": {"safetensors"},  # converts NumPy arrays; loads no torch
    "sources/folder_checks.py": {"safetensors"},  # reads the head of a file; loads no torch
    "runs/live/names.py": {"safetensors"},  # reads NumPy arrays; loads no torch
    "runs/live/make.py": {"safetensors"},  # writes NumPy arrays; loads no torch
}
# These files show code to readers that names a room which the file itself does not import.
SHOWN_CODE = {"pages/writing/markdown.py": {"training"}}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]


def _room(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def _imports(tree: ast.AST) -> set[str]:
    """Return the modules that a file imports, anywhere in it, with those that its strings name, docstrings left out."""
    names = set()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, documented) and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(re.findall(r"\badapterbook(?:\.[a-z_]+)+", node.value))
    return names


def _read(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text("utf-8"))


def _exists(module: str) -> bool:
    """Tell whether a dotted name is one of our modules, or a name in one."""
    for parts in (module.split("."), module.split(".")[:-1]):
        path = PROJECT.root.joinpath(*parts)
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_a_room_imports_only_what_it_may(name: str) -> None:
    """Imports and names in strings lead to allowed rooms, and to modules that exist."""
    ours = {module for module in _imports(_read(name)) if module.startswith("adapterbook.")}
    rooms = {module.split(".")[1] for module in ours} - {_room(name)}
    assert rooms <= set(MAY_IMPORT[_room(name)]) | SHOWN_CODE.get(name, set())
    assert not [module for module in ours if not _exists(module)]


@pytest.mark.parametrize("name", NAMES)
def test_torch_is_imported_only_where_runs_are_trained_or_checked(name: str) -> None:
    """Only training/ and verification/ import torch and what loads it, at the top of a file or inside a function."""
    if _room(name) in ("training", "verification"):
        return
    found = {module.partition(".")[0] for module in _imports(_read(name))} & LOADS_TORCH
    assert found == TORCH_ELSEWHERE.get(name, set())


def test_the_rooms_have_no_circle() -> None:
    """Each room imports only rooms above it in the table, except `commands`, which imports all."""
    rooms = list(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        assert all(rooms.index(other) < rooms.index(room) for other in allowed)


@pytest.mark.parametrize("module", ["cli", "commands.report", "runs.select", "sources.resolve"])
def test_a_report_is_made_without_torch(module: str) -> None:
    """Importing what makes a report loads no torch, so that a laptop rebuilds the site in seconds."""
    script = f"import sys, adapterbook.{module}\nprint(*{LOADS_TORCH} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT.root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_read_in_one_sitting(name: str) -> None:
    """Every file opens with a docstring and has at most 400 lines."""
    assert ast.get_docstring(_read(name))
    assert len((PACKAGE / name).read_text("utf-8").splitlines()) <= 400


def _room_table() -> str:
    """Return the table of rooms as ARCHITECTURE.md has it."""
    lines = ["| room | what it does | imports |", "| --- | --- | --- |"]
    for room, allowed in MAY_IMPORT.items():
        file = PACKAGE / room / "__init__.py"
        if file.exists():
            summary = " ".join((ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split())
            imported = "every other room" if room == "commands" else ", ".join(allowed) or "nothing"
            lines.append(f"| `{room}` | {summary.partition('. ')[0].removesuffix('.')}. | {imported} |")
    return "\n".join(lines) + "\n"


def test_the_architecture_page_shows_the_rooms() -> None:
    """The table between its marks is made of this file's rules and of each room's first sentence."""
    page = (PROJECT.root / "ARCHITECTURE.md").read_text("utf-8")
    shown = page.partition("<!-- rooms -->\n")[2].partition("<!-- /rooms -->")[0]
    assert shown == _room_table(), f"between the marks of ARCHITECTURE.md belongs:\n{_room_table()}"
    assert {_room(name) for name in NAMES} == set(MAY_IMPORT)


def test_what_the_architecture_page_names_is_there() -> None:
    """Every file, folder and module in backquotes that looks like a path exists, or `make` makes it."""
    page = (PROJECT.root / "ARCHITECTURE.md").read_text("utf-8")
    made = ("experiments/results", "report/", "_site", ".cache", "index.qmd")
    for name in re.findall(r"`((?:adapterbook|experiments|templates|tests)/[\w./-]+|[a-z_]+/[a-z_]+\.py)`", page):
        roots = (PROJECT.root, PACKAGE)
        assert name.startswith(made) or any((root / name).exists() for root in roots), name


def test_no_file_names_a_place_of_one_machine() -> None:
    """No committed file holds a home folder or a registry host."""
    files = subprocess.run(["git", "ls-files"], cwd=PROJECT.root, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        path = PROJECT.root / name
        if path.suffix in (".py", ".md", ".yaml", ".yml", ".txt", ".j2", ".lua", ".ipynb", ".toml", ".css", ".js", ""):
            text = path.read_text("utf-8")
            for place in ("/root" + "/", "/work" + "/", "pypi." + "org", "files.python" + "hosted"):
                assert place not in text, f"{name} holds {place}"
