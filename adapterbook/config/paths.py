"""Name the folders and files of a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
        """Return the folder of the templates."""
        return self.root / "templates"

    @property
    def report(self) -> Path:
        """Return the folder of the rendered pages."""
        return self.root / "report"

    def shown(self, path: Path) -> str:
        """Return a path for a message, relative to the project if it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()
