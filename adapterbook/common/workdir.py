"""Where unfinished things lie while they are made, so that what a killed process left can be found and cleared away.

Owns the names of those places: one folder in the project's cache, and folders among the system's temporary files for
what cannot lie in a project. One process at a time makes pages or a site of a project.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from adapterbook.common.files import replace_folder

Purpose = Literal["kernel", "pdf"]


def workplace_of(root: Path) -> Path:
    """Return the folder in a project's cache for what is put in place when it is whole, on the same file system."""
    return root / ".cache" / "making"


@contextmanager
def hold_workplace(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Make pages or a site alone, with an empty workplace; wait for whoever is at it, and say so."""
    workplace = workplace_of(root)
    workplace.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workplace.with_name("build.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("Another process is making this project's pages or site: waiting until it ends.")
        lock.acquire()
    try:
        for leftover in (workplace, *temporary_folders(root, "pdf")):
            shutil.rmtree(leftover, ignore_errors=True)
        workplace.mkdir()
        yield
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        lock.release()


@contextmanager
def fresh_folder(final: Path) -> Iterator[Path]:
    """Give a new, empty folder, and put it at `final` when the block ends without an error.

    On an error the new folder is removed and `final` stays as it was.
    """
    workplace = workplace_of(final.parent)  # on the same file system: a rename suffices
    workplace.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{final.name}-", dir=workplace))
    try:
        made.chmod(0o755)
        yield made
        replace_folder(made, final, made.with_name(f"{made.name}-old"))
    finally:
        shutil.rmtree(made, ignore_errors=True)


def temporary_prefix(root: Path, purpose: Purpose) -> str:
    """Return how the names of a project's folders among the system's temporary files begin."""
    return f"adapterbook-{purpose}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}-"


def temporary_folders(root: Path, purpose: Purpose) -> list[Path]:
    """Return a project's folders among the system's temporary files."""
    return list(Path(tempfile.gettempdir()).glob(f"{temporary_prefix(root, purpose)}*"))
