"""Hash what the pages and the site are made from, to tell whether they are up to date."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapterbook.common.cache import PACKAGE, installed_packages
from adapterbook.common.steps import hash_inputs, is_made
from adapterbook.common.yaml_files import load_yaml
from adapterbook.config.paths import Paths
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.select import load_report

RENDERERS = ("auto", "quarto", "embedded")


@dataclass(frozen=True)
class Step:
    """Describe a step of ``make``: the hash of all that its outputs depend on, and the outputs."""

    name: str
    inputs: str
    outputs: tuple[Path, ...]


def pages_step(paths: Paths, source: str, seeds: Sequence[int], statuses: Sequence[RunStatus]) -> Step:
    """Return the step that makes the pages of a source's runs."""
    runs = [path for status in statuses for path in _report_files(status.run.folder(paths))]
    written_by_hand = [paths.book, paths.study, paths.experiments / "adapters", *published_files(paths), paths.notebook]
    states = [(status.run.id, status.state, status.stale, status.problem) for status in statuses]
    files = [*runs, *written_by_hand, *paths.template_folders, *_own_code()]
    inputs = hash_inputs(paths.root, files, source, tuple(seeds), states, *_surroundings())
    parts = ("zh", "en", "pdf", "figures", "scripts", "_navigation.yml")
    return Step("pages", inputs, (paths.root / "index.qmd", *(paths.report / part for part in parts)))


def site_step(paths: Paths, renderer: str) -> Step:
    """Return the step that makes the site with a renderer."""
    return _site_steps(paths, [renderer])[0]


def find_unmade(root: Path, source: str, seeds: Sequence[int] | None) -> str | None:
    """Return which part of the report is not made from today's records, texts and programs; None if all is.

    Returns
    -------
    str or None
        ``"pages"`` or ``"site"``, which ``make site`` would make again. Any renderer may have made the site.
    """
    paths = Paths(root)
    name, study, _, statuses = load_report(paths, source, seeds)
    pages = pages_step(paths, name, study.seeds, statuses)
    if not is_made(pages.name, root, pages.inputs, pages.outputs):
        return pages.name
    sites = _site_steps(paths, RENDERERS)
    return None if any(is_made(site.name, root, site.inputs, site.outputs) for site in sites) else "site"


def site_folder(root: Path) -> Path:
    """Return the site's folder, as ``_quarto.yml`` says."""
    settings = load_yaml(root / "_quarto.yml").get("project")
    return root / str(settings.get("output-dir", "_site") if isinstance(settings, dict) else "_site")


def published_files(paths: Paths) -> list[Path]:
    """Return the files of published results."""
    return sorted((paths.experiments / "published").glob("*.yaml"))


def _site_steps(paths: Paths, renderers: Sequence[str]) -> list[Step]:
    """Return the step of each renderer, with the files read once."""
    results = [path for folder in sorted(paths.results.glob("*/*/*/*")) for path in _report_files(folder)]
    # The site's own cut fonts lie in report/fonts.
    report = [path for path in sorted(paths.report.glob("*")) if path.name != "fonts"]
    pages = [paths.root / "_quarto.yml", paths.root / "index.qmd", *report, *results, *_own_code()]
    files = hash_inputs(paths.root, pages, *_surroundings())
    outputs = (site_folder(paths.root),)
    return [Step("site", hash_inputs(paths.root, [], files, renderer), outputs) for renderer in renderers]


def _report_files(folder: Path) -> list[Path]:
    """Return the files of a run that a report uses or publishes."""
    return [folder / name for name in ("record.json", "predictions.parquet", "notebook.ipynb")]


def _own_code() -> list[Path]:
    """Return the files of this package: code, layouts, styles and filters."""
    files = sorted(PACKAGE.rglob("*"))
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def _surroundings() -> list[object]:
    """Return what else a page depends on: packages, fonts set by variables, and the Quarto on the PATH."""
    fonts = sorted((key, value) for key, value in os.environ.items() if key.startswith("ADAPTERBOOK_"))
    quarto = shutil.which("quarto")
    return [installed_packages(), fonts, quarto and (quarto, Path(quarto).stat().st_size, Path(quarto).stat().st_mtime)]
