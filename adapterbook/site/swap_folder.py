"""Replace a folder as a whole: readers see the old one or the new one, never a mixture."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapterbook.common.workdir import workplace_of


def leave_as_it_is(folder: Path) -> None:
    """Do nothing to a new folder before it is put in place."""


@contextmanager
def fresh_folder(final: Path) -> Iterator[Path]:
    """Yield a new, empty folder, and move it to ``final`` when the block ends without an error.

    On an error the new folder is removed and ``final`` stays as it was.
    """
    workplace = workplace_of(final.parent)  # on the same file system, so that a rename is enough
    workplace.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{final.name}-", dir=workplace))
    try:
        made.chmod(0o755)
        yield made
        retired = made.with_name(made.name + "-old")
        if final.exists():
            final.rename(retired)
        made.rename(final)
        shutil.rmtree(retired, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)
