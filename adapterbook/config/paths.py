"""Name the folders and files of a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapterbook.common.cache import PACKAGE

# What every study builds on: this checkout, or the copy of its shared files that an installed package contains.
SHARED: Final = PACKAGE / "project" if (PACKAGE / "project").is_dir() else PACKAGE.parent


@dataclass(frozen=True)
class Paths:
    """Name the folders and files of a project.

    Parameters
    ----------
    root : Path
        The project's folder, the one that holds ``_quarto.yml``.
    """

    root: Path

    @property
    def experiments(self) -> Path:
        """Return the folder of settings and results."""
        return self.root / "experiments"

    @property
    def book(self) -> Path:
        """Return the file with the report's title and author."""
        return self.root / "book.yaml"

    @property
    def study(self) -> Path:
        """Return the file with the protocol."""
        return self.experiments / "study.yaml"

    @property
    def notebook(self) -> Path:
        """Return the notebook that every run executes."""
        return self.experiments / "experiment.ipynb"

    @property
    def results(self) -> Path:
        """Return the folder that holds a folder for each source, with one for each run."""
        return self.experiments / "results"

    @property
    def templates(self) -> Path:
        """Return the folder of the study's own templates, laid over the shared ones; it may be missing."""
        return self.root / "templates"

    @property
    def template_folders(self) -> tuple[Path, ...]:
        """Return the folders of templates in the order of look-up: the study's own, then the shared one."""
        return tuple(dict.fromkeys((self.templates, SHARED / "templates")))

    def find_template(self, name: str) -> Path:
        """Return the file of a template: the study's own, or else the shared one."""
        files = [folder / name for folder in self.template_folders]
        return next((file for file in files if file.is_file()), files[0])

    @property
    def report(self) -> Path:
        """Return the folder of the rendered pages."""
        return self.root / "report"

    def shown(self, path: Path) -> str:
        """Return a path for a message, relative to the project if it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()
