"""Run a step of ``make`` only if something that it depends on has changed.

A file remembers what the step was last made from. Contents are compared, never the times of files, so a step whose
outputs were deleted, edited or left unfinished runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from adapterbook.common.files import write_atomically


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
        Names are relative to this folder, so that a project may be moved.
    facts : object
        What else the step depends on; hashed by ``repr``.
    """
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape"))
    for place in places:
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            name = os.path.relpath(path, root).encode("utf-8", "surrogateescape")
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
