"""Publish a folder on a branch of the remote ``origin``: exactly its files, in one commit, only after a change.

The commit follows the remote's branch, never a local one. The working tree, the index, local branches and settings stay
as they are. ghp-import makes the commit: it reads the folder's bytes past git's filters.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapterbook.common.errors import PublishError
from adapterbook.common.git import ask, hide_credentials, run, tail

REMOTE: Final = "origin"
BRANCH: Final = "gh-pages"
# ghp-import makes its commit on this temporary branch, so that no other branch moves.
MAKING: Final = "adapterbook-publish"
IDENTITY: Final = {"user.name": "GIT_COMMITTER_NAME", "user.email": "GIT_COMMITTER_EMAIL"}
SUBJECT: Final = "Site of "  # how the message of each of our commits begins


@dataclass(frozen=True)
class Checkout:
    """Describe the state of the project that a site is made from.

    Attributes
    ----------
    commit : str
        The commit that is checked out, in full.
    branch : str or None
        Its branch; None where HEAD is detached.
    changed : bool
        Whether tracked files differ from the commit.
    remote : str
        The address of the remote, without user and password.
    """

    commit: str
    branch: str | None
    changed: bool
    remote: str


@dataclass(frozen=True)
class Publication:
    """Report what was published: the branch's commit, whether it is new, and the number of files."""

    commit: str
    is_new: bool
    n_files: int


def inspect_checkout(root: Path) -> Checkout:
    """Return what is checked out in a project's folder, if git has everything that publishing needs.

    Raises
    ------
    PublishError
        If git, a repository, a commit, a remote, or a name to commit with is missing, or if the branch to publish to
        is checked out. The message says what to do.
    """
    if shutil.which("git") is None:
        raise PublishError("git is not installed, and publishing needs it. On Debian: apt install git")
    inside = ask(root, "rev-parse", "--is-inside-work-tree")
    if "safe.directory" in inside.stderr:
        raise PublishError(
            "This folder belongs to another user, so git does not use its repository. If you trust its owner, say so "
            "once: `git config --global --add safe.directory <the folder that git names>`. Git said:",
            tail(inside),
        )
    if inside.returncode or inside.stdout.strip() != "true":
        raise PublishError(
            "This folder is not in a git repository, so there is nowhere to publish to: `git init`, commit the "
            f"project, and `git remote add {REMOTE} <address>`. Git said:",
            tail(inside),
        )
    commit = ask(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").stdout.strip()
    if not commit:
        raise PublishError(
            "This repository has no commit yet, so readers could not see what the site was made from: commit the "
            "project first."
        )
    branch = ask(root, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip() or None
    if branch == BRANCH:
        raise PublishError(
            f"{BRANCH} is checked out: that branch holds the site, which would replace the project's files there. "
            "Switch to another one, such as `git switch main`."
        )
    address = ask(root, "remote", "get-url", REMOTE)
    if address.returncode:
        raise PublishError(
            f"There is no remote called {REMOTE} to publish to: `git remote add {REMOTE} <address of the repository>`."
        )
    identity = _identity(root)
    for key, example in (("user.name", "Your Name"), ("user.email", "you@example.org")):
        if not identity[IDENTITY[key]]:
            raise PublishError(
                f'Git knows no {key} to sign the commit with: `git config {key} "{example}"`, or set '
                f"{IDENTITY[key]}, as on a build server."
            )
    # Without a lock, the index and its times stay as they are.
    changed = ask(root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no").stdout.strip()
    return Checkout(commit, branch, bool(changed), hide_credentials(address.stdout.strip()))


def find_foreign_files(root: Path, folder: Path) -> list[str]:
    """Return the files of the remote's branch that publishing would remove or replace, and that no site put there.

    Raises
    ------
    PublishError
        If the remote cannot be reached.
    """
    before = _fetch(root)
    if before is None:
        return []
    ours = ask(root, "log", "--max-count=1", "--format=%H", f"--grep=^{SUBJECT}", before).stdout.strip()
    known, files = _list_files(root, ours) if ours else {}, _hash_files(root, folder)
    return [
        path for path, name in _list_files(root, before).items() if known.get(path) != name and files.get(path) != name
    ]


def publish_folder(root: Path, folder: Path, message: str) -> Publication:
    """Make the remote's branch hold exactly the files of a folder.

    Parameters
    ----------
    root : Path
        A folder in the repository, checked by `inspect_checkout`.
    folder : Path
        What is published: every file in it, including hidden and ignored ones.
    message : str
        Message of the commit.

    Returns
    -------
    Publication
        With the old commit if the branch already holds these files.

    Raises
    ------
    PublishError
        If the remote cannot be reached or refuses; its branch stays as it was.
    """
    before = _fetch(root)
    files = _hash_files(root, folder)
    if before is not None:
        published = _list_files(root, before)
        if published == files:
            return Publication(before, False, len(files))
        if "CNAME" in published and "CNAME" not in files:
            raise PublishError(
                f"{REMOTE}/{BRANCH} holds a file CNAME with the site's domain, and {folder.name}/ does not: the site "
                "would lose its domain. Put the file CNAME into the project's folder and name it in _quarto.yml "
                'under project.resources as "/CNAME", then `make site`.'
            )
    commit = _commit(root, folder, before, message)
    if _list_files(root, commit) != files:
        raise PublishError(f"The commit does not hold what {folder.name}/ holds: did its files change? Publish again.")
    pushed = ask(
        root, "push", "--quiet", "--no-follow-tags", "--recurse-submodules=no", REMOTE, f"{commit}:refs/heads/{BRANCH}"
    )
    if pushed.returncode:
        raise PublishError(
            f"{REMOTE} did not accept the site, and its {BRANCH} is unchanged. If somebody else published in the "
            "meantime, publish again; if it was refused, ask its owner. Git said:",
            tail(pushed),
        )
    return Publication(commit, True, len(files))


def _fetch(root: Path) -> str | None:
    """Fetch the remote's branch and return its commit; None if it has no such branch."""
    listed = ask(root, "ls-remote", "--exit-code", REMOTE, f"refs/heads/{BRANCH}")
    if listed.returncode == 2:
        return None
    if not listed.returncode:
        local = f"refs/remotes/{REMOTE}/{BRANCH}"
        listed = ask(root, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", REMOTE,
                      f"+refs/heads/{BRANCH}:{local}")  # fmt: skip
        if not listed.returncode:
            return ask(root, "rev-parse", "--verify", local).stdout.strip()
    raise PublishError(
        f"{REMOTE} cannot be reached, so nothing was published: is its address right, is there a network, may you read "
        "it? Git said:",
        tail(listed),
    )


def _identity(root: Path) -> dict[str, str]:
    """Return the name and the address that sign the commit, as environment variables: set already, or from git."""
    return {
        name: os.environ.get(name)
        or os.environ.get(name.replace("COMMITTER", "AUTHOR"))
        or ask(root, "config", key).stdout.strip()
        for key, name in IDENTITY.items()
    }


def _commit(root: Path, folder: Path, before: str | None, message: str) -> str:
    """Make a commit after `before` with a folder's files, on no branch, and return it."""
    branch = f"refs/heads/{MAKING}"
    ask(root, "update-ref", "-d", branch)  # left by a killed process
    if before is not None:
        ask(root, "update-ref", branch, before)
    command = [sys.executable, "-m", "ghp_import", "--branch", MAKING, "--message", message, str(folder.resolve())]
    try:
        done = run(command, root, more=_identity(root))
        commit = ask(root, "rev-parse", "--verify", "--quiet", branch).stdout.strip()
    finally:
        ask(root, "update-ref", "-d", branch)
    if done.returncode or not commit or commit == before:
        raise PublishError("ghp-import could not make the commit, and nothing was published. It said:", tail(done))
    return commit


def _hash_files(root: Path, folder: Path) -> dict[str, str]:
    """Return git's hash of each file's bytes, without filters, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    asked = "".join(f"{path.resolve()}\n" for path in paths)
    hashed = ask(root, "hash-object", "--no-filters", "--stdin-paths", stdin=asked)
    hashes = hashed.stdout.split()
    if hashed.returncode or len(hashes) != len(paths):
        raise PublishError(f"The files of {folder.name}/ cannot be read. Git said:", tail(hashed))
    return {path.relative_to(folder).as_posix(): name for path, name in zip(paths, hashes, strict=True)}


def _list_files(root: Path, commit: str) -> dict[str, str]:
    """Return the hash of each file of a commit, by path."""
    listed = ask(root, "ls-tree", "-r", "-z", "--full-tree", commit).stdout
    entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
    return {path: facts.split()[2] for facts, _, path in entries}
