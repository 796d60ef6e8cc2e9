"""Test that a file or a folder is replaced whole or not at all."""

from pathlib import Path

import pytest

from adapterbook.common.files import replace_folder, write_atomically
from adapterbook.common.workdir import fresh_folder


@pytest.mark.parametrize("content", ["new", b"new"])
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_writing_that_fails_leaves_the_old_file_and_no_other(
    content: str | bytes, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at any step of the writing leaves the old content and no unfinished file."""
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def fail(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, content)
    monkeypatch.undo()
    assert [path] == list(tmp_path.iterdir())
    assert path.read_text("utf-8") == "old"
    write_atomically(path, content)
    assert path.read_text("utf-8") == "new"


def _two_folders(root: Path) -> None:
    for name in ("old", "new"):
        (root / name).mkdir()
        (root / name / f"{name}.txt").touch()


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing of the old folder is left in the new one or beside it."""
    _two_folders(tmp_path)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [file.name for file in (tmp_path / "old").iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path: Path) -> None:
    """When the new folder cannot be renamed, the old one has its name again."""
    _two_folders(tmp_path)
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", tmp_path / "old")
    assert [file.name for file in (tmp_path / "old").iterdir()] == ["old.txt"]


def test_a_fresh_folder_takes_its_place_only_without_an_error(tmp_path: Path) -> None:
    """An error in the block leaves the old folder as it was and no unfinished one."""
    final = tmp_path / "site"
    with fresh_folder(final) as folder:
        (folder / "one.txt").touch()
    with pytest.raises(KeyError), fresh_folder(final) as folder:
        (folder / "two.txt").touch()
        raise KeyError
    assert [file.name for file in final.iterdir()] == ["one.txt"]
    assert list((tmp_path / ".cache" / "making").iterdir()) == []
