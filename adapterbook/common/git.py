"""Call git in a folder's own repository, and quote what it says without passwords."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

# Git sets these for its hooks; here they would lead to another repository or index.
NOT_INHERITED: Final = {"GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX",
                        "GIT_OBJECT_DIRECTORY"}  # fmt: skip
# A password may hold any character but a blank, @ and / included; addresses of repositories hold no other @.
CREDENTIALS: Final = re.compile(r"(?<=://)\S*@|(?<![\w/])[^\s/@:]+:(?!//)\S+@(?=[\w.-]+[:/])")
QUERY: Final = re.compile(r"(://[^\s?#]*)[?#][^\s'\">]*")
N_TAIL_LINES: Final = 12


def ask(root: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Return git's answer in a folder."""
    return run(["git", *arguments], root, stdin)


def run(
    command: Sequence[str], root: Path, stdin: str | None = None, more: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Return what a program that calls git says, in a folder's own repository; `more` are environment variables."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED} | dict(more)
    if not sys.stdin.isatty():
        environment.setdefault("GIT_TERMINAL_PROMPT", "0")  # nobody can type a password
    return subprocess.run(
        command,
        cwd=root,
        env=environment,
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def hide_credentials(text: str) -> str:
    """Return a text without the users, passwords and queries in its addresses: a query may hold a token.

    Examples
    --------
    >>> hide_credentials("cannot access https://me:secret@example.org/a.git")
    'cannot access https://example.org/a.git'
    >>> hide_credentials("https://example.org/a.git?private_token=secret")
    'https://example.org/a.git?…'
    """
    return QUERY.sub(r"\1?…", CREDENTIALS.sub("", text))


def tail(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the last lines of a program's output, safe to show."""
    said = done.stderr.strip() or done.stdout.strip() or f"nothing, and ended with {done.returncode}"
    lines = hide_credentials(said).splitlines()[-N_TAIL_LINES:]
    return ["".join(letter for letter in line if letter.isprintable()) for line in lines]
