"""Remove from a text the folders, the user and the host of the machine that it was made on.

Messages of errors and executed notebooks are published, and must not tell whose machine it was.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PART = r"[\w.+@~=%-]"
# A path of two parts or more. It may be in quotes, with spaces; otherwise no character of a name stands before it,
# except the end of a colour code or of a file URI's scheme.
ABSOLUTE = re.compile(
    rf"(?P<before>\x1b\[[0-9;]*m|file://|(?<![\w/.~<>…-]))"
    rf"(?P<path>(?<=')/[^'\n]*/[^'\n]*(?=')|(?<=\")/[^\"\n]*/[^\"\n]*(?=\")|/(?:{PART}+/)+{PART}*)"
)
# A path that leaves the project and enters a folder beside it.
RELATIVE = re.compile(rf"(?<![\w/])(?:\.\./)+(?:{PART}+/)*(?={PART})")
# These names identify nobody, and many harmless texts contain them.
COMMON_NAMES = {"localhost", "root", "user", "runner", "admin", "ubuntu", "debian", "student", "jovyan"}


def hide_folders(text: str, root: Path) -> str:
    """Return a text in which the folders of this project, Python, temporary files and home have other names.

    Examples
    --------
    >>> hide_folders("File /home/me/book/adapterbook/data.py, line 3", Path("/home/me/book"))
    'File adapterbook/data.py, line 3'
    """
    # A system's own Python has the prefix /usr, which most other programs share.
    pythons = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix) if prefix != "/usr"]
    named = {root: ".", **dict.fromkeys(pythons, "<python>"), Path(tempfile.gettempdir()): "<tmp>", Path.home(): "~"}
    return rename_folders(
        text, {str(path): name for folder, name in named.items() for path in (folder, folder.resolve())}
    )


def rename_folders(text: str, names: Mapping[str, str]) -> str:
    """Return a text in which folders have other names, the longest path first; a path below ``.`` becomes relative."""
    for folder in sorted(names, key=len, reverse=True):
        if folder == os.sep or folder not in text:
            continue
        if names[folder] == ".":
            text = text.replace(f"{folder}{os.sep}", "")
        text = re.sub(rf"{re.escape(folder)}(?![\w-])", names[folder], text)
    return text


def hide_machine(text: str, root: Path) -> str:
    """Return a text without any folder of this machine, its user or its host.

    Only the last part of any other path stays, so that a reader can still recognise the file.

    Examples
    --------
    >>> hide_machine("No such file: /usr/share/secret/x.bin; see https://example.org/a/b, 3/4", Path("/home/me/book"))
    'No such file: …/x.bin; see https://example.org/a/b, 3/4'
    """
    text = RELATIVE.sub("…/", ABSOLUTE.sub(_last_part, hide_folders(text, root)))
    for name, shown in ((socket.gethostname(), "<host>"), (_user(), "<user>")):
        if len(name) > 3 and name.lower() not in COMMON_NAMES:
            # An underscore ends a name: /tmp/torchinductor_name.
            text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", shown, text, flags=re.IGNORECASE)
    return text


def _last_part(match: re.Match[str]) -> str:
    """Return `…/name` for a path whose first folder exists on this machine, anything else as it is."""
    path = match["path"]
    return f"{match['before']}…/{Path(path).name}" if Path("/", path.split("/")[1]).is_dir() else match[0]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return ""
