"""Name the folders and files of a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[1]
# What every study builds on: this checkout, or the copy of its shared files that an installed package contains.
SHARED: Final = PACKAGE / "project" if (PACKAGE / "project").is_dir() else PACKAGE.parent


@dataclass(frozen=True)
class Paths:
    """Where things lie in a project.

    Parameters
    ----------
    root : Path
        The project's folder, the one that holds ``_quarto.yml``.
    """

    root: Path

    @property
    def experiments(self) -> Path:
        """What is run and what came out."""
        return self.root / "experiments"

    @property
    def book(self) -> Path:
        """Whose report it is."""
        return self.root / "book.yaml"

    @property
    def study(self) -> Path:
        """The protocol."""
        return self.experiments / "study.yaml"

    @property
    def notebook(self) -> Path:
        """The one notebook."""
        return self.experiments / "experiment.ipynb"

    @property
    def results(self) -> Path:
        """One folder a source, in it one folder a run."""
        return self.experiments / "results"

    @property
    def templates(self) -> Path:
        """The study's own templates, laid over the shared ones; may be missing."""
        return self.root / "templates"

    @property
    def template_folders(self) -> tuple[Path, ...]:
        """Where templates are looked up, in order: the study's own folder, then the shared one."""
        return tuple(dict.fromkeys((self.templates, SHARED / "templates")))

    def find_template(self, name: str) -> Path:
        """Return the file of a template: the study's own, else the shared one."""
        files = [folder / name for folder in self.template_folders]
        return next((file for file in files if file.is_file()), files[0])

    @property
    def report(self) -> Path:
        """What is rendered."""
        return self.root / "report"

    def shown(self, path: Path) -> str:
        """Return a path as a message shows it: relative to the project where it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()
