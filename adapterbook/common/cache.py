"""Keep what was made, under the hash of what it was made from, and skip a step of `make` whose inputs are the same.

Times are never compared, so nothing is stale, and a damaged entry counts as missing. Entries are bytes and never loaded
as code, unlike those of joblib.Memory and diskcache, which are pickles and are dropped by age or size. What the last
complete build did not use is removed. Nothing heavy is imported: a `make` with nothing to do is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
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
    """Store the values of one step of a build, in one folder.

    Parameters
    ----------
    folder : Path or None
        Holds the entries of this step and nothing else; made with the first entry. ``None``: nothing is stored and
        nothing is found.
    stamp : str or bytes
        What every entry also depends on: versions of programs, a :func:`fingerprint` of our code.
        Python's version is always added.

    Notes
    -----
    Several threads and processes may use one folder. :meth:`forget_unused` needs it alone: it removes the unfinished
    files of others.

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
        """Return the value of `parts`, from the store, or else from `make`, whose answer is stored.

        Parameters
        ----------
        kind : str
            What the value is, in a word; values of different kinds never mix.
        parts : sequence of str or bytes
            Everything that the value depends on but the stamp, in a fixed order.
        make : callable
            Makes the value. What it raises is passed on, and nothing is stored.
        """
        found = self.find(kind, parts)
        if found is None:
            found = make()
            self.store(kind, parts, found)
        return found

    def find(self, kind: str, parts: Sequence[Part]) -> bytes | None:
        """Return the value of `parts`, or ``None`` if it is missing or damaged."""
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
        """Store the value of `parts`: whole or, if the process is killed, not at all."""
        if self.folder is None:
            return
        name = self._name(kind, parts)
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(name.encode() + value).digest()
        write_atomically(self.folder / name, digest + value, sync=False)  # a damaged entry counts as missing
        self._used.add(name)

    def use(self, kind: str, parts: Sequence[Part]) -> None:
        """Count an entry as used that another process looked up or stored for this build."""
        self._used.add(self._name(kind, parts))

    def forget_unused(self) -> int:
        """Remove what was neither found nor stored through this object, and return the number of files removed.

        Call it when a build is complete: what it did not use belongs to pages that have changed since.
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
    """Return a part with its kind and length, so that different lists of parts never give the same bytes."""
    content, kind = (part.encode("utf-8", "surrogatepass"), b"t") if isinstance(part, str) else (part, b"b")
    return kind + len(content).to_bytes(8, "big") + content


# Used by `make bench` and the tests, to build without a cache.
NO_CACHE: Final = Cache(None)

# The steps of a report, and the rooms whose code decides each one's entries. A test compares this with the imports.
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
        What all entries also depend on, such as a font.
    """
    files = [file for room in ROOMS[step] for file in (PACKAGE / room).rglob("*")]
    code = fingerprint(file for file in files if file.is_file() and file.suffix != ".pyc")
    versions = [f"{name} {version}" for name, version in installed_packages()]
    return Cache(root / ".cache" / "build" / step, "\n".join([code, *versions, *more]))


def installed_packages() -> list[tuple[str, str]]:
    """Return name and version of every installed package: each may change what is made."""
    return sorted({(item.name, item.version) for item in metadata.distributions()})


def run_step(name: str, root: Path, inputs: str, outputs: Iterable[Path], make: Callable[[], None]) -> bool:
    """Make a step's outputs, unless they exist and were made from the same inputs.

    Parameters
    ----------
    name : str
        Name of the file under ``.cache/steps/`` that remembers the step.
    inputs : str
        Hash of everything that the outputs depend on, from `hash_inputs`.
    outputs : iterable of Path
        All files and folders that the step makes.
    make : callable
        Makes them.

    Returns
    -------
    bool
        Whether anything was made.
    """
    places = list(outputs)
    if is_made(name, root, inputs, places):
        return False
    memory = _memory(root, name)
    memory.unlink(missing_ok=True)  # killed after this line, the step runs again next time
    make()
    memory.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(memory, json.dumps({"inputs": inputs, "outputs": hash_inputs(root, places)}) + "\n")
    return True


def is_made(name: str, root: Path, inputs: str, outputs: Iterable[Path]) -> bool:
    """Tell whether a step's outputs exist and were made from these inputs; parameters as for `run_step`."""
    memory = _recall(_memory(root, name))
    if not isinstance(memory, dict) or memory.get("inputs") != inputs:
        return False
    return memory == {"inputs": inputs, "outputs": hash_inputs(root, list(outputs))}


def hash_inputs(root: Path, places: Iterable[Path], *facts: object) -> str:
    """Return a hash over files, everything in folders, and facts; a file that is missing counts as missing.

    Parameters
    ----------
    root : Path
        Names of files in it are relative to it, so that a project may be moved.
    facts : object
        What else the step depends on; hashed by ``repr``.
    """
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape"))
    for place in places:
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            name = os.fsencode(shown)
            content = path.read_bytes() if path.is_file() else None
            digest.update(b"%d %s %d\0" % (len(name), name, -1 if content is None else len(content)))
            digest.update(content or b"")
    return digest.hexdigest()


def _memory(root: Path, name: str) -> Path:
    return root / ".cache" / "steps" / f"{name}.json"


def _recall(memory: Path) -> object:
    try:
        return json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return None
