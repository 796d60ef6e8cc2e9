"""Tell which paths may be followed: those to a plain file or folder, without a link on the way.

Below the folder of a run from elsewhere lie plain files and folders, and nothing else. A link could show any file of
this machine on a page, and a pipe would stop its reader for ever. Nothing is opened here.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path


def find_intruders(folder: Path, top: Path) -> Iterator[Path]:
    """Yield what is neither a plain file nor a plain folder: on the way from `top` to a folder, then inside it.

    Parameters
    ----------
    folder, top : Path
        `top` holds `folder`; `top` itself may be a link.

    Yields
    ------
    Path
        In order of names; none where all is plain, or the folder is not there. Below a link nothing is looked at.
    """
    for path in reversed([path for path in (folder, *folder.parents) if path != top and path.is_relative_to(top)]):
        if not _is_plain(path):
            yield path
            return
    if folder.is_dir():
        # In Python 3.11 rglob does not go into linked folders, but lists them.
        yield from (path for path in sorted(folder.rglob("*")) if not _is_plain(path))


def is_plain_file(path: Path, top: Path) -> bool:
    """Return whether a path is a plain file without a link between it and ``top``."""
    return not passes_a_link(path, top) and _is_plain(path) and path.is_file()


def passes_a_link(path: Path, top: Path) -> bool:
    """Return whether a path, or a folder between it and ``top``, is a link."""
    return any(step.is_symlink() for step in (path, *path.parents) if step != top and step.is_relative_to(top))


def _is_plain(path: Path) -> bool:
    """Return whether a path is a plain file, a plain folder, or not there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
