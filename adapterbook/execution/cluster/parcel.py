"""Pack a folder into bytes to send to another machine, and unpack it there.

A parcel holds plain files below one folder. One whose files would lie elsewhere or exceed a size is refused before any
file is written.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from adapterbook.common.errors import RecordError

MAX_BYTES = 4 * 1024**3
MAX_FILES = 10_000
FORBIDDEN = ("\\", ":", "\0")  # some system reads a name with one of these as another path
UNIX, FILE_TYPE, PLAIN = 3, 0o170000, (0, 0o100000)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Return a parcel of files, given by their relative paths.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     unpack(pack_files({"a/b.txt": b"hello"}), Path(folder))
    ...     (Path(folder) / "a" / "b.txt").read_text()
    'hello'
    """
    parcel = io.BytesIO()
    # Not compressed: weights hardly shrink, and an archive cannot expand.
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return parcel.getvalue()


def pack_folder(folder: Path) -> bytes:
    """Return a parcel of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return pack_files({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def unpack(parcel: bytes, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write the files of a parcel below a folder.

    Parameters
    ----------
    max_bytes : int
        Largest total size of the files.

    Raises
    ------
    RecordError
        If the bytes are not a parcel, are too large, or would write outside the folder; nothing was written.
    OSError
        If the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
            problems = list(_problems(archive.infolist(), max_bytes))
            damaged = None if problems else archive.testzip()
            if damaged is not None:
                problems.append(f"{damaged!r}: not what was packed")
            if problems:
                raise RecordError("What came back is not the folder of a run, and nothing of it was taken:", problems)
            for info in archive.infolist():
                target = folder / info.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise RecordError(
            f"What came back is not the folder of a run, but bytes that cannot be read ({error})."
        ) from error


def _problems(files: list[zipfile.ZipInfo], max_bytes: int) -> Iterator[str]:
    size = sum(info.file_size for info in files)
    if size > max_bytes or len(files) > MAX_FILES:
        yield f"expected at most {MAX_FILES} files of {max_bytes} bytes in all, got {len(files)} of {size}"
        return
    for info in files:
        path = PurePosixPath(info.filename)
        leaves = path.is_absolute() or ".." in path.parts or any(part in info.orig_filename for part in FORBIDDEN)
        plain = info.create_system != UNIX or (info.external_attr >> 16) & FILE_TYPE in PLAIN
        if leaves or not path.parts:
            yield f"{info.orig_filename!r}: expected a path within the folder"
        elif info.is_dir() or not plain or info.flag_bits & 1 or info.compress_type != zipfile.ZIP_STORED:
            yield f"{info.filename!r}: expected a plain file, stored as it is"
