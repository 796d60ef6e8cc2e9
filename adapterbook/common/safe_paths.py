"""Which paths may be followed: those that lead to a plain file without leaving their folder on the way.

Owns the one rule about results from elsewhere: below a run's folder lie plain files and folders, and nothing else. A
link could show any file of this machine on a page, and a pipe would stop its reader for ever. Opens nothing.
"""

from __future__ import annotations

import stat
from pathlib import Path


def find_intruder(folder: Path, top: Path) -> Path | None:
    """Return what is neither a plain file nor a plain folder: on the way from ``top`` to a folder, or inside it.

    Parameters
    ----------
    folder, top : Path
        ``top`` holds ``folder``; whether ``top`` itself is a link is its owner's business.

    Returns
    -------
    Path or None
        The first such path in order of names; None where all is plain, or the folder is not there.
    """
    on_the_way = [path for path in (folder, *folder.parents) if path != top and path.is_relative_to(top)]
    for path in reversed(on_the_way):
        if path.is_symlink():
            return path
    if not folder.is_dir():
        return None
    # In Python 3.11 rglob does not go into linked folders, but lists them.
    return next((path for path in sorted(folder.rglob("*")) if not _is_plain(path)), None)


def is_plain_file(path: Path, top: Path) -> bool:
    """Return whether a path is a plain file, with no link between it and ``top``."""
    return not passes_a_link(path, top) and _is_plain(path) and path.is_file()


def passes_a_link(path: Path, top: Path) -> bool:
    """Return whether a path, or a folder between it and ``top``, is a link."""
    return any(step.is_symlink() for step in (path, *path.parents) if step != top and step.is_relative_to(top))


def _is_plain(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
