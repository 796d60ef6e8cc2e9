"""Give unfinished work a separate folder, and move finished files and folders into place all at once.

What a killed process leaves behind can be found and removed. The places are one folder in the project's cache, and
folders among the system's temporary files for what cannot lie in a project. One process at a time makes the pages or
the site of a project.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout

from adapterbook.common.errors import RunError
from adapterbook.common.files import replace_folder

Purpose = Literal["kernel", "pdf"]
# The path of a Unix socket has at most 103 bytes on macOS, 107 on Linux; a kernel's folder and file take 45 of them.
MAX_PLACE_BYTES: Final = 103 - 45
SHORT_TEMPORARY: Final = ("/tmp", "/var/tmp")


def workplace_of(root: Path) -> Path:
    """Return the folder for unfinished work, in the project's cache and so on the same file system."""
    return root / ".cache" / "making"


@contextmanager
def hold_workplace(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock for making pages or a site, with an empty workplace; say so when waiting for another process."""
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
    """Return the prefix of the names of a project's folders among the system's temporary files."""
    return f"adapterbook-{purpose}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}-"


def temporary_folders(root: Path, purpose: Purpose) -> list[Path]:
    """Return a project's folders among the system's temporary files."""
    places = dict.fromkeys((tempfile.gettempdir(), *SHORT_TEMPORARY))
    return [folder for place in places for folder in Path(place).glob(f"{temporary_prefix(root, purpose)}*")]


def short_temporary_place() -> str:
    """Return a folder for temporary files whose path is short enough for the name of a socket.

    Raises
    ------
    RunError
        If there is none.
    """
    places = dict.fromkeys((tempfile.gettempdir(), *SHORT_TEMPORARY))
    short = [place for place in places if len(os.fsencode(place)) <= MAX_PLACE_BYTES]
    found = next((place for place in short if os.access(place, os.W_OK | os.X_OK)), None)
    if found is None:
        n_bytes = len(os.fsencode(tempfile.gettempdir()))
        raise RunError(
            f"The folder for temporary files has a path of {n_bytes} bytes, too long for a kernel's sockets, and "
            f"{' and '.join(SHORT_TEMPORARY)} cannot be written: TMPDIR= names another one, of at most "
            f"{MAX_PLACE_BYTES} bytes."
        )
    return found


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
