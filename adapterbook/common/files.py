"""Hash files, replace files and folders as a whole, and refuse paths that follow a link out of their folder.

A reader finds the old content or the new, never a part.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader finds the old content or the new, never a part.

    Parameters
    ----------
    content : str or bytes
        Text is written as UTF-8.
    sync : bool
        Whether the content is on the disk before the file gets its name, so that a power cut cannot empty it. Files
        that are made again in seconds need not wait for that.
    """
    written = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(written)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_folder(new: Path, final: Path, retired: Path | None = None) -> None:
    """Put a folder in the place of another, on the same file system, and remove the other.

    Parameters
    ----------
    retired : Path, optional
        Where the old folder lies between the two renames, by default beside `final` as ``.<name>.old``. A process
        that is killed between them leaves it there; any other failure puts it back.
    """
    retired = retired or final.with_name(f".{final.name}.old")
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        shutil.rmtree(retired, ignore_errors=True)
        final.rename(retired)
    try:
        new.rename(final)
    except BaseException:
        if retired.exists() and not final.exists():
            retired.rename(final)
        raise
    shutil.rmtree(retired, ignore_errors=True)


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
    if not path.is_relative_to(top):
        return False
    parts = path.relative_to(top).parts
    return any(top.joinpath(*parts[:n]).is_symlink() for n in range(1, len(parts) + 1))


def _is_plain(path: Path) -> bool:
    """Return whether a path is a plain file, a plain folder, or not there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
