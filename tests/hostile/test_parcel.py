"""Test that a parcel is unpacked as it was packed, and that no file leaves the folder."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from adapterbook.common.errors import RecordError
from adapterbook.execution.cluster.parcel import pack_files, pack_folder, unpack


def test_a_folder_comes_out_as_it_went_in(tmp_path: Path) -> None:
    """Every file arrives byte for byte, in subfolders too, and an empty file as well."""
    files = {"record.json": b"{}", "adapter/weights.bin": bytes(range(256)) * 1000, "adapter/deep/empty": b""}
    unpack(pack_files(files), tmp_path / "first")
    unpack(pack_folder(tmp_path / "first"), tmp_path / "second")
    found = {path.relative_to(tmp_path / "second").as_posix(): path for path in (tmp_path / "second").rglob("*")}
    assert {name: path.read_bytes() for name, path in found.items() if path.is_file()} == files


@pytest.mark.parametrize(
    "name",
    ["../out", "a/../../out", "/out", "C:/out", "C:out", "\\\\host\\out", "a\\..\\..\\out", "a\0b", "folder/", ""],
)
def test_no_file_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """A path that leaves the folder on any system is refused by name, and nothing is written."""
    parcel = io.BytesIO()
    with zipfile.ZipFile(parcel, "w") as archive:
        archive.writestr("good", b"x")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # as another program could write it
        archive.writestr(info, b"")
    with pytest.raises(RecordError, match="expected a p"):
        unpack(parcel.getvalue(), tmp_path / "in")
    assert list(tmp_path.rglob("*")) == []


def test_a_link_is_no_file(tmp_path: Path) -> None:
    """A link, a device or a pipe is refused."""
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        parcel = io.BytesIO()
        with zipfile.ZipFile(parcel, "w") as archive:
            info = zipfile.ZipInfo("link")
            info.create_system, info.external_attr = 3, (kind | 0o777) << 16
            archive.writestr(info, b"/etc/passwd")
        with pytest.raises(RecordError, match="'link': expected a plain file"):
            unpack(parcel.getvalue(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    """A parcel whose files exceed the limit is refused, and so is a compressed one, which could expand to any size."""
    with pytest.raises(RecordError, match="at most 10000 files of 9 bytes in all, got 2 of 10"):
        unpack(pack_files({"a": b"12345", "b": b"67890"}), tmp_path, max_bytes=9)
    parcel = io.BytesIO()
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10**6))
    with pytest.raises(RecordError, match="stored as it is"):
        unpack(parcel.getvalue(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    """Bytes that are cut off, changed in the middle, or not a parcel at all are refused."""
    parcel = pack_files({"a": b"x" * 1000})
    for damaged in (parcel[:500], b"", b"hello", parcel.replace(b"xxxx", b"xyxx", 1)):
        with pytest.raises(RecordError, match="What came back is not the folder of a run"):
            unpack(damaged, tmp_path)
    assert list(tmp_path.iterdir()) == []
