"""Keep caches in the project where the user's home is not known or cannot be written.

Other programs get the same folder for temporary files.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from adapterbook.common.errors import AdapterBookError

# Programs that would otherwise write elsewhere below the home, and warn or fail.
FOLDERS = {"IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib", "ADAPTERBOOK_CACHE": "adapterbook"}
# Where the Hub's libraries write though nothing is fetched: below HF_HOME, which several people may share to read it.
WRITTEN_BY_LIBRARIES = ("HF_METRICS_CACHE", "HF_MODULES_CACHE", "HF_DATASETS_CACHE")


def use_writable_home(root: Path) -> str | None:
    """Set the variables that name caches, unless the user's cache folder can be written; return what was done.

    Parameters
    ----------
    root : Path
        The project's folder, whose ``.cache/home`` is used instead.

    Raises
    ------
    AdapterBookError
        If ``ADAPTERBOOK_CACHE`` names a folder that cannot be written.

    Notes
    -----
    ``HOME`` itself stays where it is known, because git and the Hub's client read settings there.
    """
    if "TMPDIR" in os.environ:
        os.environ["TMPDIR"] = tempfile.gettempdir()  # pandoc would not look for another where this one is missing
    named = os.environ.get("ADAPTERBOOK_CACHE")
    if named and not _can_write(Path(named).expanduser()):
        raise AdapterBookError(f"ADAPTERBOOK_CACHE={named}: this folder cannot be written: ADAPTERBOOK_CACHE= names "
                               "another one, and without it the cache folder of your home is used.")  # fmt: skip
    own = root.resolve() / ".cache" / "home"
    shared = os.environ.get("HF_HOME")
    if shared and not _can_write(Path(shared).expanduser()) and _can_write(own):
        for name in WRITTEN_BY_LIBRARIES:
            os.environ.setdefault(name, str(own / name.lower()))
    with suppress(RuntimeError):
        if _can_write(_cache_folder()):
            _name_user()
            return None
    if not _can_write(own):
        return None  # the project cannot be written either, and says so when it has to be
    try:
        home = Path.home()
        token = home / ".cache" / "huggingface" / "token"
        if token.is_file():
            os.environ.setdefault("HF_TOKEN_PATH", str(token))
    except RuntimeError:
        os.environ["HOME"] = str(own)
    os.environ["XDG_CACHE_HOME"] = str(own)
    for name, folder in FOLDERS.items():
        os.environ.setdefault(name, str(own / folder))
    _name_user()
    return (
        "The cache folder of your home cannot be written, so .cache/home in this project is used. XDG_CACHE_HOME= "
        "names another one for everything, HF_HOME= one for the Hub's files."
    )


def _cache_folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else Path.home() / ".cache"


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _name_user() -> None:
    """Give a user without an entry in the system's list a name, which some libraries ask for."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = "user"
