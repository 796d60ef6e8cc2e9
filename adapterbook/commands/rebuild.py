"""Build a report again from its records and texts, in an empty folder without a cache, and compare it with the site."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from adapterbook.commands.report import BESIDE, REPORT_PARTS, RUN_FILES, site_folder, update_pages, update_site
from adapterbook.common.files import hash_file
from adapterbook.common.workdir import workplace_of
from adapterbook.config.paths import Paths
from adapterbook.config.study import LIVE
from adapterbook.runs.select import load_report

NOT_INPUTS: Final = ("_site", *BESIDE, "__pycache__")


def find_site_differences(root: Path, source: str, seeds: Sequence[int] | None) -> list[str]:
    """Return what differs between the site and one that is built now from nothing but records, settings and texts.

    The caller holds the workplace of the project, in which the other site is built.

    Raises
    ------
    AdapterBookError
        If the report cannot be built.
    """
    name, study, _, _ = load_report(Paths(root), source, seeds)
    fresh, site = workplace_of(root) / "rebuilt", site_folder(root)
    _copy_inputs(Paths(root), Paths(fresh), site)
    quiet = Console(file=io.StringIO())
    try:
        update_pages(fresh, name, study.seeds, quiet)
        update_site(fresh, _renderer_of(site), quiet)
        theirs, ours = _hash_files(site), _hash_files(site_folder(fresh))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    found = []
    for path in sorted(theirs.keys() | ours.keys()):
        if path not in ours:
            found.append(f"{site.name}/{path} is not part of the report")
        elif path not in theirs:
            found.append(f"{site.name}/{path} is missing")
        elif theirs[path] != ours[path]:
            found.append(f"{site.name}/{path} is not what today's records and texts give")
    return found


def _copy_inputs(paths: Paths, fresh: Paths, site: Path) -> None:
    """Copy what a report is built from; other folders of the project, such as data, are linked."""
    fresh.root.mkdir(parents=True)
    for path in paths.root.iterdir():
        copy = fresh.root / path.name
        if path.name.startswith(".") or path.name in NOT_INPUTS or path == site:
            continue
        if path in (paths.experiments, paths.report):
            shutil.copytree(path, copy, ignore=_unneeded(paths))
        elif path.is_dir():
            copy.symlink_to(os.path.relpath(path, fresh.root), target_is_directory=True)
        else:
            shutil.copy2(path, copy)


def _unneeded(paths: Paths) -> Callable[[str, list[str]], list[str]]:
    """Return what shutil.copytree leaves out: what a build makes, and what no page shows of a run."""

    def ignore(folder: str, names: list[str]) -> list[str]:
        if Path(folder) == paths.report:
            return [name for name in names if name in (*REPORT_PARTS, "fonts")]
        if Path(folder).is_relative_to(paths.results) and Path(folder).name != LIVE:
            return [name for name in names if not ((Path(folder) / name).is_dir() or name in RUN_FILES)]
        return []

    return ignore


def _renderer_of(site: Path) -> str:
    """Return the renderer that made a site, which says so itself: another one gives other files."""
    return "quarto" if b'content="quarto-' in (site / "index.html").read_bytes() else "embedded"


def _hash_files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in folder.rglob("*") if path.is_file()}
