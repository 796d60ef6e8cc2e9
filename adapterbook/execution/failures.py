"""Name what went wrong with a run, for its record.

Every library's out-of-memory error gets the same name, and so does every full disk.
"""

from __future__ import annotations

import errno
from pathlib import Path

import nbformat
from papermill.exceptions import PapermillExecutionError

from adapterbook.common.privacy import hide_machine
from adapterbook.runs.record import Failure

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
DISK_FULL = ("no space left", "os error 28", "disk quota exceeded", "file too large", "os error 27")


def describe_cell_error(error: PapermillExecutionError, root: Path) -> Failure:
    """Return the failure of a cell."""
    message = hide_machine(str(error.evalue)[:2000], root)
    said = f"{error.ename}: {message}".lower()
    kind = error.ename
    if error.ename in ("MemoryError", "OutOfMemoryError") or any(phrase in said for phrase in OUT_OF_MEMORY):
        kind, message = "OutOfMemory", message or "Memory ran out."
    elif any(phrase in said for phrase in DISK_FULL):
        kind = "DiskFull"
    return Failure(type=kind, message=message, cell=error.cell_index)


def describe_os_error(error: OSError) -> Failure:
    """Return the failure of a run whose folder cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        message = f"The disk is full ({error.strerror}): make room, and run `make train` again."
        return Failure(type="DiskFull", message=message, cell=None)
    message = f"The run's folder cannot be written ({error.strerror or error})."
    return Failure(type=type(error).__name__, message=message, cell=None)


def last_started_cell(notebook: Path) -> int | None:
    """Return the index of the last cell that Papermill started, or None."""
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (OSError, ValueError):  # not there, or cut off
        return None
    started = [i for i, cell in enumerate(cells) if cell.metadata.get("papermill", {}).get("start_time")]
    return started[-1] if started else None
