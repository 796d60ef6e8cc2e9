"""Name the folders and files of a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
        """What is written."""
        return self.root / "templates"

    @property
    def report(self) -> Path:
        """What is rendered."""
        return self.root / "report"

    def shown(self, path: Path) -> str:
        """Return a path as a message shows it: relative to the project where it lies inside."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()
