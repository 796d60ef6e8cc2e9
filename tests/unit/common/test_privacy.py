"""Test that folders, users and hosts of the machine are hidden in errors and notebooks."""

import getpass
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from adapterbook.common.privacy import hide_folders, hide_machine

ROOT = Path.home() / "book"


def test_the_longest_folder_first() -> None:
    """A project inside the home folder becomes a dot, not ``~/book``."""
    assert hide_folders(f"{ROOT}/a.py {Path.home()}/b.py {ROOT}", ROOT) == "a.py ~/b.py ."


def test_python_and_temporary_files_have_other_names() -> None:
    """Folders of Python and of temporary files, which tracebacks name, get short names."""
    text = hide_folders(f"{sys.prefix}/lib/x.py {tempfile.gettempdir()}/y", ROOT)
    assert text == "<python>/lib/x.py <tmp>/y"


def test_of_a_folder_elsewhere_the_last_part_is_left(tmp_path: Path) -> None:
    """Only the last part of a path elsewhere on this machine is left; other texts with slashes stay."""
    assert hide_machine("open('/usr/lib/secret/x.bin'): /usr/lib/", ROOT) == "open('…/x.bin'): …/lib"
    for text in ("https://example.org/usr/lib", "3/4", "and/or", "/nowhere-at-all/x/y", "a /usr b", "…/x/y", "~/x/y"):
        assert hide_machine(text, ROOT) == text


def test_the_prefix_of_a_systems_own_python_is_not_taken_for_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs share ``/usr``, so a path below it is hidden as any path elsewhere is."""
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert hide_machine("open('/usr/lib/secret/x.bin')", ROOT) == "open('…/x.bin')"


def test_the_user_and_the_host_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and host are hidden as whole words; a name that every machine has is kept."""
    monkeypatch.setattr(socket, "gethostname", lambda: "quaggahost")
    monkeypatch.setattr(getpass, "getuser", lambda: "zebra.fish")
    assert hide_machine("zebra.fish@quaggahost: quaggahosts", ROOT) == "<user>@<host>: quaggahosts"
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert hide_machine("root at localhost", ROOT) == "root at localhost"


def test_a_user_without_a_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a name, as in a container, raises no error."""

    def refuse() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", refuse)
    assert hide_machine("text", ROOT) == "text"
