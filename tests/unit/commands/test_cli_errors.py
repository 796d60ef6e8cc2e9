"""Test that a disk or a folder that cannot be written is one message with what helps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from adapterbook.cli import describe_os_error


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_is_named(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the project the path is relative; outside it only the name is told, and the settings that help."""
    monkeypatch.chdir(tmp_path)
    inside = OSError(number, os.strerror(number), str(tmp_path / "experiments" / "results" / ".lock"))
    said = describe_os_error(inside)
    assert said is not None
    assert said.startswith("experiments/results/.lock cannot be written or read (")
    assert str(tmp_path) not in said
    outside = describe_os_error(OSError(number, os.strerror(number), "/home/somebody/.cache/x"))
    assert outside is not None
    assert "somebody" not in outside
    assert "ADAPTERBOOK_CACHE=" in outside


def test_a_full_disk_is_told_and_other_errors_are_not_hidden() -> None:
    """A full disk has its remedy; an error of another kind keeps its traceback."""
    assert "make room" in (describe_os_error(OSError(errno.ENOSPC, "No space left on device")) or "")
    assert describe_os_error(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert describe_os_error(PermissionError(errno.EACCES, "Permission denied")) is None
