"""Test the files that a study shares with the project: templates laid over it, and copies that follow it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapterbook.commands.shared_files import copy_shared_files
from adapterbook.config.paths import Paths
from tests.support.factory import PROJECT, write_results
from tests.support.small_project import run_adapterbook


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Make a small folder of shared files."""
    folder = tmp_path / "project"
    for name in ("_quarto.yml", "report/assets/a.css", "experiments/experiment.ipynb"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}, first", "utf-8")
    return folder


def test_missing_files_are_copied_and_untouched_copies_follow(tmp_path: Path, shared: Path) -> None:
    """A copy that nobody has changed is replaced when the shared file changes."""
    study = Paths(tmp_path / "study")
    copy_shared_files(study, shared)
    style = study.root / "report/assets/a.css"
    assert style.read_text("utf-8") == "report/assets/a.css, first"
    (shared / "report/assets/a.css").write_text("second", "utf-8")
    copy_shared_files(study, shared)
    assert style.read_text("utf-8") == "second"


def test_what_a_person_wrote_stays(tmp_path: Path, shared: Path) -> None:
    """A file that was changed, or existed before the first copy, is never overwritten."""
    study = Paths(tmp_path / "study")
    study.root.mkdir()
    (study.root / "_quarto.yml").write_text("mine", "utf-8")
    copy_shared_files(study, shared)
    (study.root / "report/assets/a.css").write_text("mine, too", "utf-8")
    for text in ("second", "third"):
        for name in ("_quarto.yml", "report/assets/a.css"):
            (shared / name).write_text(text, "utf-8")
        copy_shared_files(study, shared)
    assert (study.root / "_quarto.yml").read_text("utf-8") == "mine"
    assert (study.root / "report/assets/a.css").read_text("utf-8") == "mine, too"


def test_the_project_itself_gets_no_copies(shared: Path) -> None:
    """If the study is the project, nothing is written."""
    copy_shared_files(Paths(shared), shared)
    assert not (shared / ".cache").exists()


@pytest.mark.slow
def test_a_template_of_the_study_replaces_the_project_s(tmp_path: Path) -> None:
    """One changed template is on the pages after two builds, and still in its file; all others are the project's."""
    paths = write_results(tmp_path / "study", adapters=("lora_1", "ia3"))
    shutil.copy(PROJECT.book, paths.book)
    text = (PROJECT.templates / "pages" / "glossary.qmd.j2").read_text("utf-8")
    mine = paths.templates / "pages" / "glossary.qmd.j2"
    mine.parent.mkdir(parents=True)
    mine.write_text(f"A sentence of mine.\n\n{text}", "utf-8")
    for _ in range(2):
        done = run_adapterbook(paths, "pages")
        assert done.returncode == 0, done.stderr
    assert "A sentence of mine." in (paths.report / "en" / "glossary.qmd").read_text("utf-8")
    assert mine.read_text("utf-8").startswith("A sentence of mine.")
    assert [path.name for path in paths.templates.rglob("*.j2")] == ["glossary.qmd.j2"]
    assert (paths.report / "en" / "overview.qmd").exists() or (paths.report / "en" / "index.qmd").exists()
