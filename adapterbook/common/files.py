"""Hash files, and replace files and folders so that a reader finds the old content or the new, never a part."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
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
