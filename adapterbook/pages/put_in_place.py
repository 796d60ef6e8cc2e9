"""Rendered texts → files, put in place together.

Owns that all files of a build come to be or none, that pages which are gone lose their files, and that a file whose
text is what it was stays the very same file, with its time.
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
    """Write all files beside the project's own ones, then put whole folders in their place.

    Parameters
    ----------
    contents : mapping
        Texts by path: in one of the folders, or beside them.
    root, report : Path
        The project, and its folder that holds `folders`; both hold single files too.
    folders : sequence of str
        Names of folders that will hold these files and no other.
    """
    report.mkdir(parents=True, exist_ok=True)
    for leftover in report.glob(f"{WORKPLACE}*"):  # of a run that was killed
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
    """Write a file, or where the old one holds the same, give it a second name, under which it survives its folder."""
    if old.is_file() and not old.is_symlink() and old.read_bytes() == content:
        try:
            os.link(old, new)
        except OSError:  # not every file system has hard links
            shutil.copy2(old, new)
    else:
        new.write_bytes(content)
