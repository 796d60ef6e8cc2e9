"""Put all files of a build in place together, or none of them.

Files of pages that no longer exist are removed. A file whose text has not changed is not touched and keeps its time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from adapterbook.common.files import replace_folder

WORKPLACE: Final = ".pages-"


def put_in_place(contents: Mapping[Path, str], root: Path, report: Path, folders: Sequence[str]) -> None:
    """Write all files to a new folder, then replace the old folders by the new ones.

    Parameters
    ----------
    contents : mapping
        Texts by path: in one of the folders, or beside them.
    root, report : Path
        The project, and its folder that holds `folders`; both hold single files too.
    folders : sequence of str
        Names of folders that will hold only these files.
    """
    report.mkdir(parents=True, exist_ok=True)
    for leftover in report.glob(f"{WORKPLACE}*"):  # left by a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    workplace = Path(tempfile.mkdtemp(prefix=WORKPLACE, dir=report))
    try:
        for path, content in contents.items():
            new = workplace / "new" / path.relative_to(root)
            new.parent.mkdir(parents=True, exist_ok=True)
            _write(new, content.encode(), path)
        made = workplace / "new" / report.relative_to(root)
        for folder in folders:
            replace_folder(made / folder, report / folder, workplace / f"old-{folder}")
        for path in contents:
            new = workplace / "new" / path.relative_to(root)
            if new.exists():  # in none of the folders
                new.replace(path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _write(new: Path, content: bytes, old: Path) -> None:
    """Write a file, or make a hard link to the old one if its content is the same."""
    if old.is_file() and not old.is_symlink() and old.read_bytes() == content:
        try:
            os.link(old, new)
        except OSError:  # not every file system has hard links
            shutil.copy2(old, new)
    else:
        new.write_bytes(content)
