"""Test that a home that is not known or cannot be written does not stop anything, and is said."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from adapterbook.common.errors import AdapterBookError
from adapterbook.common.homes import FOLDERS, WRITTEN_BY_LIBRARIES, use_writable_home
from tests.support.factory import PROJECT

NAMES = ("HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_TOKEN_PATH", "LOGNAME", *FOLDERS, *WRITTEN_BY_LIBRARIES)


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what the function sets, and begin without the variables."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set and nothing is said."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = dict(os.environ)
    assert use_writable_home(tmp_path / "project") is None
    assert not (tmp_path / "project").exists()
    assert {name: os.environ.get(name) for name in NAMES} == {name: before.get(name) for name in NAMES}


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_home_that_cannot_be_written_is_replaced_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Caches go into the project, HOME stays for git's settings, and the message names the variables."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, str(tmp_path / "file" / "x"))
    home = os.environ["HOME"]
    said = use_writable_home(tmp_path / "project")
    assert said is not None
    assert "XDG_CACHE_HOME=" in said
    assert "HF_HOME=" in said
    own = tmp_path / "project" / ".cache" / "home"
    assert os.environ["XDG_CACHE_HOME"] == str(own)
    assert os.environ["ADAPTERBOOK_CACHE"] == str(own / "adapterbook")
    assert os.environ["HOME"] == home


def test_a_shared_folder_of_the_hub_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where HF_HOME cannot be written, it stays, and what its libraries write goes into the project."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file" / "x"))
    assert use_writable_home(tmp_path / "project") is None
    assert os.environ["HF_HOME"] == str(tmp_path / "file" / "x")
    own = tmp_path / "project" / ".cache" / "home"
    assert {Path(os.environ[name]).parent for name in WRITTEN_BY_LIBRARIES} == {own}


def test_a_cache_that_was_named_and_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable, not the data set that could not be kept there."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ADAPTERBOOK_CACHE", str(tmp_path / "file" / "x"))
    with pytest.raises(AdapterBookError, match=r"ADAPTERBOOK_CACHE=.* this folder cannot be written"):
        use_writable_home(tmp_path / "project")


def test_a_missing_folder_for_temporary_files_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that this one calls get the folder that Python found in place of TMPDIR."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/dev/null/x")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    use_writable_home(tmp_path / "project")
    assert os.environ["TMPDIR"] == str(tmp_path)


def test_the_hub_s_token_is_still_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in a home that can only be read is used, although the cache lies elsewhere."""
    token = tmp_path / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("hf_x")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "x"))
    use_writable_home(tmp_path / "project")
    assert os.environ["HF_TOKEN_PATH"] == str(token)


def test_a_user_without_a_home_and_a_name_gets_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system's list of users has no entry, libraries find a home and a name all the same."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    def no_user() -> str:
        if "LOGNAME" in os.environ:
            return os.environ["LOGNAME"]
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(getpass, "getuser", no_user)
    assert use_writable_home(tmp_path) is not None
    assert os.environ["HOME"] == str(tmp_path / ".cache" / "home")
    assert getpass.getuser() == "user"


def test_a_project_that_cannot_be_written_is_not_the_home_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the project cannot be written either, nothing is set: what needs to write says so."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert use_writable_home(tmp_path / "file") is None
    assert "XDG_CACHE_HOME" not in os.environ


def test_commands_work_without_a_home() -> None:
    """The command line starts with a HOME that is no folder; PYTHONSAFEPATH does not hide the package from make."""
    environment = os.environ | {"HOME": "/proc/no/home", "PYTHONPATH": str(PROJECT.root)}
    done = subprocess.run([sys.executable, "-m", "adapterbook", "--help"], env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "unexport PYTHONSAFEPATH" in (PROJECT.root / "Makefile").read_text("utf-8")
