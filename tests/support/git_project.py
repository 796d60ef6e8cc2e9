"""Make a git repository with a bare remote beside it, and read both."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


def isolate_git(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Ignore the git settings of the person who runs the tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in [
        name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER", "GIT_DIR", "GIT_INDEX"))
    ]:
        monkeypatch.delenv(name)


@dataclass(frozen=True)
class Repository:
    """Hold a project under git, and its ``origin``."""

    root: Path
    remote: Path

    def git(self, *arguments: str) -> str:
        """Run git in the project and return what it says."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def at_remote(self, *arguments: str) -> str:
        """Run git in the remote and return what it says."""
        done = subprocess.run(["git", *arguments], cwd=self.remote, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def published(self, branch: str = "gh-pages") -> dict[str, bytes]:
        """Return the files of the remote's branch, by path."""
        names = self.at_remote("ls-tree", "-r", "-z", "--name-only", branch).split("\0")
        return {
            name: subprocess.run(
                ["git", "show", f"{branch}:{name}"], cwd=self.remote, capture_output=True, check=True
            ).stdout
            for name in names
            if name
        }

    def n_commits(self, branch: str = "gh-pages") -> int:
        """Return how many commits the remote's branch has; 0 if it does not exist."""
        if not self.at_remote("branch", "--list", branch):
            return 0
        return int(self.at_remote("rev-list", "--count", branch))

    def state(self) -> tuple[str, ...]:
        """Return all that publishing must not change: HEAD, branches, tags, settings, status, stash, index."""
        index = (self.root / ".git" / "index").read_bytes().hex()
        asked = (
            ("rev-parse", "HEAD"),
            ("for-each-ref", "refs/heads", "refs/tags"),
            ("config", "--local", "--list"),
            ("--no-optional-locks", "status", "--porcelain", "--ignored"),
            ("stash", "list"),
            ("worktree", "list"),
        )
        return (index, *(self.git(*arguments) for arguments in asked))


def make_repository(root: Path, remote: Path) -> Repository:
    """Make a repository of a folder's files, with one commit, and a bare one as its ``origin``."""
    root.mkdir(parents=True, exist_ok=True)
    repository = Repository(root, remote)
    subprocess.run(["git", "init", "-q", "--bare", remote], check=True)
    repository.git("init", "-q", "-b", "main")
    repository.git("config", "user.name", "A Student")
    repository.git("config", "user.email", "student@example.org")
    (root / "README").write_text("a project\n", "utf-8")
    (root / ".gitignore").write_text("_site/\n.cache/\nexperiments/results/\n__pycache__/\n", "utf-8")
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "The project")
    repository.git("remote", "add", "origin", str(remote))
    return repository


def add_by_hand(repository: Repository, files: dict[str, bytes], folder: Path, base: str = "") -> None:
    """Push a commit with some files to gh-pages, as somebody else does."""
    subprocess.run(["git", "clone", "-q", str(repository.remote), str(folder)], check=True)
    other = Repository(folder, repository.remote)
    for key, value in (("user.name", "B"), ("user.email", "b@example.org")):
        other.git("config", key, value)
    other.git("checkout", "-q", *(("gh-pages",) if base else ("--orphan", "gh-pages")))
    write = {folder / name: content for name, content in files.items()}
    for path, content in write.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    other.git("add", "--force", *files)
    other.git("commit", "-q", "-m", "By hand")
    other.git("push", "-q", "origin", "HEAD:gh-pages")


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
