"""A store of what was made before, by the content of what it was made from: rebuilding asks here first.

Owns the files of one folder, an entry each, and takes an entry's name from the SHA-256 of everything that its value
depends on. It never compares times, so nothing stale can come out; an entry that is damaged counts as missing. It holds
bytes alone and loads no code from them, unlike joblib.Memory and diskcache, which keep pickles and forget by age or
size; here what the last complete build did not use is forgotten.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from adapterbook.common.files import write_atomically

# What a value may depend on: text or bytes.
Part = str | bytes

PACKAGE: Final = Path(__file__).parents[1]
N_DIGEST_BYTES: Final = hashlib.sha256().digest_size


class Cache:
    """The store in one folder, for one step of a build.

    Parameters
    ----------
    folder : Path or None
        Holds the entries of this step and nothing else; made when the first entry is kept. ``None``: nothing is kept
        and nothing is found.
    stamp : str or bytes
        What every entry depends on beside its own parts: versions of programs, a :func:`fingerprint` of our own code.
        Python's version is always added.

    Notes
    -----
    Threads and processes may use one folder at a time. Only who builds alone may call :meth:`forget_unused`: it takes
    the unfinished files of others for leftovers.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = Cache(Path(folder), "version 1")
    ...     [cache.get("shout", ["a"], lambda: b"A!"), cache.get("shout", ["a"], lambda: b"never made")]
    [b'A!', b'A!']
    """

    def __init__(self, folder: Path | None, stamp: Part = "") -> None:
        self.folder = folder
        self._stamp = hashlib.sha256(b"".join(map(_framed, (sys.version, stamp)))).digest()
        self._used: set[str] = set()

    def get(self, kind: str, parts: Sequence[Part], make: Callable[[], bytes]) -> bytes:
        """Return the value of `parts`, from the store or else from `make`, whose answer is kept.

        Parameters
        ----------
        kind : str
            What the value is, a word; values of two kinds never meet.
        parts : sequence of str or bytes
            Everything that the value depends on beside the stamp, in a fixed order.
        make : callable
            Makes the value. What it raises is passed on, and nothing is kept.
        """
        found = self.find(kind, parts)
        if found is None:
            found = make()
            self.store(kind, parts, found)
        return found

    def find(self, kind: str, parts: Sequence[Part]) -> bytes | None:
        """Return the value of `parts`, or ``None`` where there is none or a damaged one."""
        if self.folder is None:
            return None
        name = self._name(kind, parts)
        try:
            entry = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        digest, value = entry[:N_DIGEST_BYTES], entry[N_DIGEST_BYTES:]
        if hashlib.sha256(name.encode() + value).digest() != digest:
            return None
        self._used.add(name)
        return value

    def store(self, kind: str, parts: Sequence[Part], value: bytes) -> None:
        """Keep the value of `parts`: whole, or, where the process is killed, not at all."""
        if self.folder is None:
            return
        name = self._name(kind, parts)
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(name.encode() + value).digest()
        write_atomically(self.folder / name, digest + value, sync=False)  # a damaged entry counts as missing
        self._used.add(name)

    def use(self, kind: str, parts: Sequence[Part]) -> None:
        """Count an entry as used: for one that another process looked up or kept on behalf of this build."""
        self._used.add(self._name(kind, parts))

    def forget_unused(self) -> int:
        """Remove what was neither found nor kept through this object, and return how many files that were.

        To be called when a build is complete: what it did not use is of pages that have changed since.
        """
        n_removed = 0
        for path in self.folder.iterdir() if self.folder and self.folder.is_dir() else ():
            if path.name not in self._used:
                path.unlink(missing_ok=True)
                n_removed += 1
        return n_removed

    def _name(self, kind: str, parts: Sequence[Part]) -> str:
        digest = hashlib.sha256(self._stamp)
        for part in (kind, *parts):
            digest.update(_framed(part))
        return f"{kind}-{digest.hexdigest()}"


def fingerprint(files: Iterable[Path]) -> str:
    """Return the SHA-256 of some files' names and contents, in the order of their paths.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(_framed(path.name))
        digest.update(_framed(path.read_bytes()))
    return digest.hexdigest()


def _framed(part: Part) -> bytes:
    """Return a part so that no two lists of parts run together to the same bytes; text and bytes differ, too."""
    content, kind = (part.encode("utf-8", "surrogatepass"), b"t") if isinstance(part, str) else (part, b"b")
    return kind + len(content).to_bytes(8, "big") + content


# Used by `make bench` and the tests, to build without a cache.
NO_CACHE: Final = Cache(None)

# The steps of a report, and the rooms whose code decides on each one's entries. A test compares this with the imports.
Step = Literal["analysis", "figures", "pages", "site"]
READING: Final = ("common", "config", "sources", "runs", "analysis")
ROOMS: Final[dict[Step, tuple[str, ...]]] = {
    "analysis": READING,
    "figures": (*READING, "figures"),
    "pages": (*READING, "figures", "pages"),
    "site": ("common", "site"),
}


def open_cache(root: Path, step: Step, more: Sequence[str] = ()) -> Cache:
    """Open the build cache of one step of a project's report.

    A change of the step's code, or of any installed package, invalidates every entry.

    Parameters
    ----------
    root : Path
        The project's folder.
    more : sequence of str
        What all entries depend on besides, such as a font.
    """
    files = [file for room in ROOMS[step] for file in (PACKAGE / room).rglob("*")]
    code = fingerprint(file for file in files if file.is_file() and file.suffix != ".pyc")
    versions = [f"{name} {version}" for name, version in installed_packages()]
    return Cache(root / ".cache" / "build" / step, "\n".join([code, *versions, *more]))


def installed_packages() -> list[tuple[str, str]]:
    """Return name and version of every package: what is made may change with any of them."""
    return sorted({(item.name, item.version) for item in metadata.distributions()})
