"""Keep caches in the project where the user's home is not known or cannot be written."""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path

# Programs that would otherwise write elsewhere below the home, and warn or fail.
FOLDERS = {"IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib", "ADAPTERBOOK_CACHE": "adapterbook"}


def use_writable_home(root: Path) -> str | None:
    """Set the variables that name caches, unless the user's cache folder can be written; return what was done.

    Parameters
    ----------
    root : Path
        The project's folder, whose ``.cache/home`` is used instead.

    Notes
    -----
    ``HOME`` itself stays where it is known, because git and the Hub's client read settings there.
    """
    with suppress(RuntimeError):
        if _can_write(_cache_folder()):
            _name_user()
            return None
    own = root.resolve() / ".cache" / "home"
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
