"""Copy what every study shares into a study's folder, and never over what a person wrote there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from adapterbook.common.files import hash_file, write_atomically
from adapterbook.config.paths import SHARED, Paths

# Quarto and the kernel need these in the study's folder. Templates are looked up in both places instead.
SHARED_FILES = ("_quarto.yml", "report/assets", "experiments/experiment.ipynb")


def copy_shared_files(paths: Paths, shared: Path = SHARED) -> None:
    """Bring a study's copies of the shared files up to date.

    A file that is missing is copied. A copy that nobody has changed follows the shared file. Any other file stays as it
    is. ``.cache/shared.json`` holds the SHA-256 of each copy.
    """
    if paths.root.resolve() == shared.resolve():
        return
    memory = paths.root / ".cache" / "shared.json"
    copied = _load(memory)
    now = dict(copied)
    for source in _files(shared):
        name = source.relative_to(shared).as_posix()
        target, wanted = paths.root / name, hash_file(source)
        found = hash_file(target) if target.is_file() else None
        if found not in (None, wanted) and found != copied.get(name):
            continue  # a person changed it
        if found != wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, source.read_bytes())
        now[name] = wanted
    if now != copied:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(now, indent=2) + "\n")


def _files(shared: Path) -> Iterator[Path]:
    for part in SHARED_FILES:
        path = shared / part
        yield from sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _load(memory: Path) -> dict[str, str]:
    try:
        content = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
