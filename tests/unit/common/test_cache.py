"""Test that the cache gives no wrong answer, holds no half entry and does not grow."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterbook.common.cache import ROOMS, Cache, Part, Step, fingerprint
from tests.support.factory import PROJECT


def never() -> bytes:
    """Fail if work is done that must not be repeated."""
    raise AssertionError("made although it was there")


def test_a_value_is_made_once(tmp_path: Path) -> None:
    """A second build finds what the first one made."""
    assert Cache(tmp_path / "cache").get("page", ["text"], lambda: b"html") == b"html"
    assert Cache(tmp_path / "cache").get("page", ["text"], never) == b"html"


@pytest.mark.parametrize(
    ("kind", "parts", "stamp"),
    [
        ("page", ["text", "other"], ""),
        ("page", ["other"], ""),
        ("page", [b"text"], ""),
        ("page", ["te", "xt"], ""),
        ("page", ["text", ""], ""),
        ("title", ["text"], ""),
        ("page", ["text"], "version 2"),
    ],
)
def test_anything_else_is_made_anew(kind: str, parts: list[Part], stamp: str, tmp_path: Path) -> None:
    """Another kind, other parts, another division of them, bytes for text and another version have other entries."""
    Cache(tmp_path).store("page", ["text"], b"html")
    assert Cache(tmp_path, stamp).get(kind, parts, lambda: b"another") == b"another"
    assert Cache(tmp_path).get("page", ["text"], never) == b"html"


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_a_damaged_entry_is_made_anew(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """After a flipped bit, a missing end or an empty file the value is made again and put right."""
    cache = Cache(tmp_path)
    cache.store("page", ["text"], b"html")
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert cache.get("page", ["text"], lambda: b"made anew") == b"made anew"
    assert cache.get("page", ["text"], never) == b"made anew"


def test_an_entry_under_another_name_is_none(tmp_path: Path) -> None:
    """Two entries that were swapped are both refused."""
    cache = Cache(tmp_path)
    cache.store("page", ["a"], b"A")
    (entry,) = tmp_path.iterdir()
    cache.store("page", ["b"], b"B")
    other = next(path for path in tmp_path.iterdir() if path != entry)
    other.write_bytes(entry.read_bytes())
    assert cache.find("page", ["b"]) is None


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    """An error passes through, and the next build tries again."""

    def fail() -> bytes:
        raise ValueError("a page is wrong")

    cache = Cache(tmp_path)
    with pytest.raises(ValueError, match="a page is wrong"):
        cache.get("page", ["text"], fail)
    assert cache.find("page", ["text"]) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_build_did_not_use_is_forgotten(tmp_path: Path) -> None:
    """After a complete build only its entries are left, and no unfinished files of a killed build."""
    first = Cache(tmp_path)
    for name in "abc":
        first.store("page", [name], name.encode())
    (tmp_path / ".partial-1").write_bytes(b"half")
    second = Cache(tmp_path)
    assert second.find("page", ["a"]) == b"a"
    second.use("page", ["b"])
    second.store("page", ["d"], b"d")
    assert second.forget_unused() == 2
    third = Cache(tmp_path)
    assert [third.find("page", [name]) for name in "abcd"] == [b"a", b"b", None, b"d"]
    assert len(list(tmp_path.iterdir())) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from adapterbook.common.cache import Cache
Path.replace = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
Cache(Path(sys.argv[1])).store("page", ["text"], b"html" * 1000)
"""


def test_a_killed_process_leaves_no_entry(tmp_path: Path) -> None:
    """Killed before an entry is in place, it has left a file that no look-up finds and the next build removes."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    cache = Cache(tmp_path)
    assert cache.find("page", ["text"]) is None
    assert cache.forget_unused() == 1
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_sees_names_and_contents(tmp_path: Path) -> None:
    """A changed letter, a new name or one file more changes the fingerprint; the order of the files does not."""
    a, b = tmp_path / "a.lua", tmp_path / "b.lua"
    a.write_text("one")
    b.write_text("two")
    before = fingerprint([a, b])
    assert fingerprint([b, a]) == before
    assert fingerprint([a]) != before
    a.write_text("onE")
    assert fingerprint([a, b]) != before
    a.write_text("one")
    assert fingerprint([a, b.rename(tmp_path / "c.lua")]) != before


@pytest.mark.parametrize("step", ["analysis", "figures", "pages", "site"])
def test_the_code_behind_an_entry_is_in_its_stamp(step: Step) -> None:
    """A step's stamp covers every room that the step loads."""
    script = f"import sys, adapterbook.{step}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT.root, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] for name in done.stdout.split() if name.startswith("adapterbook.")}
    assert step in loaded
    assert loaded <= set(ROOMS[step])
