"""Check that the project installs as a package: its metadata, the files in its wheel, and its command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from fontTools.ttLib import TTFont
from packaging.requirements import Requirement

import adapterbook
from adapterbook.common.fonts import MATH, TEXT, find_font
from adapterbook.pages.head import LICENCES
from tests.support.factory import PROJECT
from tests.support.isolated import run_isolated

SETTINGS = tomllib.loads((PROJECT.root / "pyproject.toml").read_text("utf-8"))
SHARED = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]


def _requirements() -> set[str]:
    lines = (PROJECT.root / "requirements.txt").read_text("utf-8").splitlines()
    return {str(Requirement(text)).lower() for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())}


def _tracked(*folders: str) -> list[str]:
    command = ["git", "ls-files", "--", *folders]
    return subprocess.run(command, cwd=PROJECT.root, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the project's wheel; pip takes the build backend from the package registry."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(PROJECT.root), "-w", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("adapterbook-*.whl"))


def test_every_requirement_is_one_exact_version() -> None:
    """Each line of requirements.txt can be a dependency in a wheel's metadata, and pins one version."""
    for requirement in map(Requirement, _requirements()):
        assert [part.operator for part in requirement.specifier] == ["=="]


def test_the_command_exists() -> None:
    """The console script names a function of the command line."""
    module, _, name = SETTINGS["project"]["scripts"]["adapterbook"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_what_studies_share_is_part_of_the_wheel() -> None:
    """The templates, the assets, the notebook and _quarto.yml exist and go into the package's folder `project`."""
    for source, target in SHARED.items():
        assert (PROJECT.root / source).exists()
        assert target == f"adapterbook/project/{source}"


def test_the_licence_is_the_one_that_the_metadata_name() -> None:
    """LICENSE is the Apache License 2.0, as pyproject.toml says."""
    assert SETTINGS["project"]["license"] == "Apache-2.0"
    title, version = (PROJECT.root / "LICENSE").read_text("utf-8").split("\n", 3)[1:3]
    assert (title.strip(), version.strip()) == ("Apache License", "Version 2.0, January 2004")


def test_the_citation_is_of_this_version_and_licence() -> None:
    """CITATION.cff has the keys that its schema (1.2.0) requires, no other keys, and this version and licence."""
    citation = yaml.safe_load((PROJECT.root / "CITATION.cff").read_text("utf-8"))
    required, optional = {"cff-version", "message", "title", "authors"}, {"abstract", "type", "version", "license",
        "keywords", "repository-code", "url", "date-released", "doi", "identifiers", "contact"}  # fmt: skip
    assert required <= set(citation) <= required | optional
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["license"] == SETTINGS["project"]["license"]
    assert citation["version"] == adapterbook.__version__
    assert citation["authors"] == SETTINGS["project"]["authors"]


@pytest.mark.slow  # it brings the validator's packages into an environment that is thrown away
def test_the_citation_is_valid_by_its_schema(tmp_path: Path) -> None:
    """The validator of the Citation File Format takes CITATION.cff, and refuses one with a type that there is not."""
    file, wrong = PROJECT.root / "CITATION.cff", tmp_path / "CITATION.cff"
    wrong.write_text(file.read_text("utf-8").replace("type: software", "type: softwares"), "utf-8")
    command = (["cffconvert==2.0.0"], "cffconvert", "--validate", "--infile")
    assert "valid according to schema version 1.2.0" in run_isolated(*command, str(file)).stdout
    assert run_isolated(*command, str(wrong)).returncode != 0


def test_the_licences_of_the_site_name_its_fonts_and_scripts() -> None:
    """licences.txt has the copyright lines that the fonts themselves hold, the three licences' texts, and Vega."""
    text = (PROJECT.root / LICENCES).read_text("ascii")
    for place in (TEXT, MATH):
        font = find_font(place)
        assert font is not None
        with TTFont(font, lazy=True) as opened:
            notice = re.sub(r"^(Copyright|\(c\)) ", "", opened["name"].getDebugName(0) or "").rstrip(".")
        assert f"Copyright {notice}\n" in text
    for part in (
        "SIL OPEN FONT LICENSE Version 1.1",
        "3-CLAUSE BSD LICENSE",
        "ISC LICENSE",
        "Vega, Vega-Lite and Vega-",
    ):
        assert part in text


@pytest.mark.parametrize(
    "file", sorted((PROJECT.root / ".devcontainer").rglob("*.json")), ids=lambda file: file.parent.name
)
def test_a_dev_container_has_what_the_project_needs(file: Path) -> None:
    """The oldest Python that is supported, the system packages that CONTRIBUTING.md names, and set-up at the end."""
    settings = json.loads(file.read_text("utf-8"))
    assert f":{SETTINGS['project']['requires-python'].removeprefix('>=')}-" in settings["image"]
    installed = re.search(r"install --yes ([\w -]+) && make setup$", settings["postCreateCommand"])
    named = re.search(r"`apt install ([^`]+)`", (PROJECT.root / "CONTRIBUTING.md").read_text("utf-8"))
    assert installed is not None and named is not None
    assert set(installed[1].split()) == set(named[1].split()) - {"make", "python3-venv"}  # the image has these
    assert ("gpu" in file.parent.name) == bool(settings.get("hostRequirements", {}).get("gpu"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Each committed file of the package and of the shared parts is in the wheel, and so is each requirement."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
    assert set(_tracked("adapterbook")) <= names
    assert {f"adapterbook/project/{name}" for name in _tracked(*SHARED)} <= names
    required = {line.lower() for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert required == _requirements()


@pytest.mark.slow
def test_the_installed_command_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """The wheel's code prints its help in an empty folder; in a study it copies shared files and prints the status."""
    library, study = tmp_path / "library", tmp_path / "study"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(library)
    for name in set(_tracked("book.yaml", "experiments")) - set(SHARED):
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        (study / name).write_bytes((PROJECT.root / name).read_bytes())
    script = f"import sys; sys.path.insert(0, {str(library)!r}); from adapterbook.cli import main; main()"
    results = {}
    for folder, arguments in ((tmp_path, ["--help"]), (study, ["status", "--source", "embedded"])):
        command = [sys.executable, "-I", "-c", script, *arguments]
        results[arguments[0]] = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
    assert (results["--help"].returncode, results["--help"].stderr) == (0, "")
    assert results["status"].returncode == 1, results["status"].stderr
    assert "missing" in results["status"].stdout
    for name in _tracked(*set(SHARED) - {"templates"}):
        assert (study / name).read_bytes() == (PROJECT.root / name).read_bytes()
    assert not (study / "templates").exists()
