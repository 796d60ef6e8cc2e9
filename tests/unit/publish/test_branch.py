"""branch.py: a folder on the remote's branch, byte by byte, with real repositories."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from adapterbook.common.errors import PublishError
from adapterbook.common.git import hide_credentials
from adapterbook.publish.branch import find_foreign_files, inspect_checkout, publish_folder
from tests.support.git_project import Repository, add_by_hand, isolate_git, make_repository, read_folder

# What a filter of git's, an ignore rule or a wish for tidiness would change or leave out.
FILES = {
    "index.html": b"<!DOCTYPE html>\r\n<title>x</title>\n",
    ".nojekyll": b"",
    "assets/empty.css": b"",
    "assets/fonts/a b.woff2": bytes(range(256)) * 40,
    "report/zh/學習率.html": "學習率\n".encode(),
    "report/.hidden/.gitignore": b"*\n",
    ".gitattributes": b"* text eol=crlf\n*.html ident\n",
    "experiments/results/x/record.json": b'{"$Id$": 1}\n',
    "_leading/x.txt": b"x",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A project with a site that git ignores, and settings that would change its bytes."""
    isolate_git(monkeypatch, tmp_path)
    made = make_repository(tmp_path / "project", tmp_path / "origin.git")
    made.git("config", "core.autocrlf", "true")
    write_site(made.root / "_site", FILES)
    return made


def write_site(folder: Path, files: dict[str, bytes]) -> None:
    """Write a folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def publish(repository: Repository, message: str = "Site of it\n\nMade from commit 1.\n") -> bool:
    """Publish the site and return whether there is a new commit."""
    inspect_checkout(repository.root)
    return publish_folder(repository.root, repository.root / "_site", message).is_new


def test_the_branch_holds_exactly_the_folder(repository: Repository) -> None:
    """Every byte of every file, hidden, ignored and Chinese ones too; the message as given; no parent but its own."""
    before = repository.state()
    assert publish(repository)
    assert repository.published() == FILES == read_folder(repository.root / "_site")
    assert repository.at_remote("log", "-1", "--format=%B%an <%ae>", "gh-pages") == (
        "Site of it\n\nMade from commit 1.\nA Student <student@example.org>"
    )
    assert repository.state() == before


def test_a_commit_only_where_something_changed(repository: Repository) -> None:
    """The second time none; after a change, a new file and one taken away, one; back again, one more."""
    assert publish(repository)
    assert not publish(repository, "another message")
    assert repository.n_commits() == 1
    changed = {name: content for name, content in FILES.items() if name != "_leading/x.txt"}
    changed |= {"index.html": b"another", "new/page.html": b"new"}
    write_site(repository.root / "_site", changed)
    assert publish(repository)
    assert repository.n_commits() == 2
    assert repository.published() == changed
    write_site(repository.root / "_site", FILES)
    assert publish(repository)
    assert repository.n_commits() == 3
    assert repository.published() == FILES


def test_another_machine_goes_on_from_the_remote_s_branch(repository: Repository, tmp_path: Path) -> None:
    """History of before stays, from a clone that never saw the branch and has a local one of that name."""
    publish(repository)
    clone = Repository(tmp_path / "clone", repository.remote)
    repository.git("push", "-q", "origin", "main")
    subprocess.run(["git", "clone", "-q", "-b", "main", "--single-branch", repository.remote, clone.root], check=True)
    for key, value in (("user.name", "B"), ("user.email", "b@example.org")):
        clone.git("config", key, value)
    clone.git("branch", "gh-pages", "main")
    write_site(clone.root / "_site", {"index.html": b"from the clone"})
    before = clone.state()
    assert publish(clone)
    assert clone.state() == before
    assert clone.published() == {"index.html": b"from the clone"}
    assert repository.n_commits() == 2
    # The first one, whose remote has moved on since, does not undo it blindly: it goes on from there.
    assert publish(repository)
    assert repository.n_commits() == 3


@pytest.mark.parametrize("state", ["detached", "staged", "dirty", "in a subfolder", "leftover"])
def test_the_working_tree_is_left_alone(repository: Repository, state: str) -> None:
    """Whatever is going on there: HEAD, index, files, branches and settings are as they were."""
    root = repository.root
    match state:
        case "detached":
            repository.git("checkout", "-q", "--detach")
        case "staged":
            (root / "staged.txt").write_text("staged")
            repository.git("add", "staged.txt")
        case "dirty":
            (root / "README").write_text("changed")
        case "leftover":
            repository.git("branch", "adapterbook-publish")
        case "in a subfolder":
            (root / "book").mkdir()
            (root / "_site").rename(root / "book" / "_site")
    before = repository.state()
    folder = root / "book" if state == "in a subfolder" else root
    checkout = inspect_checkout(folder)
    assert checkout.changed == (state in ("staged", "dirty"))
    assert checkout.branch == (None if state == "detached" else "main")
    assert checkout.commit == repository.git("rev-parse", "HEAD")
    assert publish_folder(folder, folder / "_site", "x").is_new
    assert repository.published() == FILES
    after = repository.state()
    if state == "leftover":
        assert "adapterbook-publish" not in repository.git("branch")
    else:
        assert after == before


def test_a_remote_that_refuses_is_quoted(repository: Repository) -> None:
    """A hook that declines: its words, nothing published, nothing left behind."""
    hook = repository.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'only teachers publish here' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = repository.state()
    with pytest.raises(PublishError, match=r"(?s)origin did not accept the site.*only teachers publish here"):
        publish(repository)
    assert repository.n_commits() == 0
    assert repository.state() == before
    hook.unlink()
    assert publish(repository)


def test_a_remote_whose_working_tree_shows_the_branch_refuses(repository: Repository, tmp_path: Path) -> None:
    """Somebody works in the remote on that very branch: git does not let it be changed under their feet."""
    other = make_repository(tmp_path / "theirs", tmp_path / "unused.git")
    other.git("checkout", "-q", "-b", "gh-pages")
    repository.git("remote", "set-url", "origin", str(other.root))
    with pytest.raises(PublishError, match=r"origin did not accept the site"):
        publish(repository)


def test_whoever_comes_second_is_told(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remote's branch moves between the look and the push: refused, never forced."""
    publish(repository)
    other = Repository(tmp_path / "other", repository.remote)
    subprocess.run(["git", "clone", "-q", "-b", "gh-pages", repository.remote, other.root], check=True)
    for key, value in (("user.name", "B"), ("user.email", "b@example.org")):
        other.git("config", key, value)
    other.git("commit", "-q", "--allow-empty", "-m", "meanwhile")
    hook = repository.root / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nunset GIT_DIR\ncd '{other.root}' && git push -q origin gh-pages\n")
    hook.chmod(0o755)
    write_site(repository.root / "_site", {"index.html": b"late"})
    with pytest.raises(PublishError, match=r"somebody else published in the meantime"):
        publish(repository)
    assert repository.at_remote("log", "-1", "--format=%s", "gh-pages") == "meanwhile"


def test_an_unreachable_remote_is_told_without_its_password(repository: Repository) -> None:
    """What git says, and no credentials of the address."""
    repository.git("remote", "set-url", "origin", "http://me:s3cret@127.0.0.1:9/book.git")
    assert inspect_checkout(repository.root).remote == "http://127.0.0.1:9/book.git"
    with pytest.raises(PublishError, match=r"origin cannot be reached") as caught:
        publish(repository)
    assert "s3cret" not in str(caught.value)
    repository.git("remote", "set-url", "origin", str(repository.root / "nowhere"))
    with pytest.raises(PublishError, match=r"origin cannot be reached"):
        publish(repository)


def test_a_domain_of_its_own_is_not_lost(repository: Repository) -> None:
    """GitHub keeps it in a file on the branch; a site without that file is refused, with one it is published."""
    write_site(repository.root / "_site", FILES | {"CNAME": b"book.example.org\n"})
    publish(repository)
    write_site(repository.root / "_site", FILES)
    with pytest.raises(PublishError, match=r"CNAME"):
        publish(repository)
    write_site(repository.root / "_site", FILES | {"CNAME": b"other.example.org\n"})
    assert publish(repository)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("no git", r"git is not installed"),
        ("no repository", r"(?s)not in a git repository.*git init"),
        ("no commit", r"has no commit yet"),
        ("no origin", r"There is no remote called origin.*git remote add origin"),
        ("no name", r'Git knows no user\.name.*git config user\.name "Your Name"'),
        ("no address", r"Git knows no user\.email"),
        ("on the branch", r"gh-pages is checked out.*git switch main"),
    ],
)
def test_what_is_missing_is_said(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, message: str
) -> None:
    """One message each, with the command that mends it."""
    root = repository.root
    match state:
        case "no git":
            monkeypatch.setenv("PATH", str(tmp_path / "empty"))
        case "no repository":
            monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
            shutil.rmtree(root / ".git")
        case "no commit":
            repository.git("checkout", "-q", "--orphan", "fresh")
        case "no origin":
            repository.git("remote", "rename", "origin", "upstream")
        case "no name":
            repository.git("config", "--unset", "user.name")
        case "no address":
            repository.git("config", "--unset", "user.email")
        case "on the branch":
            repository.git("checkout", "-q", "-b", "gh-pages")
    with pytest.raises(PublishError, match=message):
        inspect_checkout(root)


def test_a_hook_s_environment_does_not_lead_elsewhere(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make publish` from a git hook, which has GIT_DIR and GIT_INDEX_FILE set."""
    other = make_repository(tmp_path / "other", tmp_path / "other.git")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git" / "index"))
    assert publish(repository)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert repository.published() == FILES
    assert other.n_commits() == 0


def test_files_of_others_are_named(repository: Repository, tmp_path: Path) -> None:
    """What somebody added or changed on the branch is named; our own old pages, and equal files, are not."""
    site = repository.root / "_site"
    assert find_foreign_files(repository.root, site) == []
    publish(repository)
    write_site(site, {"index.html": b"new", "other.html": b"x"})
    assert find_foreign_files(repository.root, site) == []
    by_hand = {"notes/plan.html": b"mine", "index.html": b"changed", "other.html": b"x"}
    add_by_hand(repository, by_hand, tmp_path / "other", base="gh-pages")
    assert find_foreign_files(repository.root, site) == ["index.html", "notes/plan.html"]
    publish(repository)
    assert find_foreign_files(repository.root, site) == []


def test_a_branch_that_was_never_ours_is_named_whole(repository: Repository, tmp_path: Path) -> None:
    """Each file of a branch without a commit of ours is named."""
    add_by_hand(repository, {"index.html": b"another site", "a/b.txt": b""}, tmp_path / "other")
    assert find_foreign_files(repository.root, repository.root / "_site") == ["a/b.txt", "index.html"]


def test_an_identity_in_the_environment_signs(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and address may come from the variables that build servers set."""
    for key in ("user.name", "user.email"):
        repository.git("config", "--unset", key)
    monkeypatch.setenv("GIT_COMMITTER_NAME", "A Server")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "server@example.org")
    assert publish(repository)
    assert repository.at_remote("log", "-1", "--format=%cn <%ce>", "gh-pages") == "A Server <server@example.org>"


def test_another_owner_s_folder_is_told_as_such(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git does not use a repository of another user: the message says which setting trusts it."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(PublishError, match=r"(?s)belongs to another user.*safe\.directory"):
        inspect_checkout(repository.root)


@pytest.mark.parametrize(
    "address",
    [
        "https://me:SECRET@example.org/a.git",
        "https://me:p@SECRET@example.org/a.git",
        "https://me:p/SECRET@example.org/a.git",
        "https://me:p/@SECRET/x@example.org/a.git",
        "https://me:it's#SECRET?@example.org/a.git",
        "https://SECRET@example.org/a.git",
        "https://example.org/a.git?private_token=SECRET",
        "https://example.org/a.git#SECRET",
        "ftp://me:SECRET@example.org/a.git",
        "me:SECRET@example.org:a.git",
    ],
)
def test_no_form_of_an_address_shows_a_password(address: str) -> None:
    """A password is hidden in every form of an address, alone and in a sentence of git's; the host stays."""
    for text in (address, f"fatal: unable to access '{address}': error 403"):
        shown = hide_credentials(text)
        assert "SECRET" not in shown
        assert "example.org" in shown


@pytest.mark.parametrize(
    "address", ["git@github.com:M/a.git", "https://example.org/a.git", "/srv/git/a.git", "file:///a", "C:/x", "../a"]
)
def test_an_address_without_a_password_is_shown_as_it_is(address: str) -> None:
    """Nothing is taken out of an address that holds no password."""
    assert hide_credentials(address) == address
