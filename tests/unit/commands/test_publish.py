"""Test what keeps a site from being published, what can be published all the same, and the messages."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adapterbook.commands import publish, rebuild, verify
from adapterbook.commands.report import documents
from adapterbook.common.cache import hash_inputs, run_step
from adapterbook.common.errors import AdapterBookError, PublishError
from adapterbook.config.paths import Paths
from adapterbook.publish.branch import inspect_checkout
from adapterbook.verification.findings import Finding
from tests.support.factory import PROJECT, write_results
from tests.support.git_project import Repository, add_by_hand, isolate_git, make_repository, read_folder
from tests.support.small_project import copy_project, run_adapterbook

SUBMITTED = {"submitted": {"title": "As submitted"}}
WRONG = Finding("lora_1/submitted/seed-224", "test.accuracy", "is 0.9 in the record, 0.8 from predictions.parquet")


@dataclass(frozen=True)
class FakeAudit:
    """Hold the findings of an audit."""

    findings: tuple[Finding, ...] = ()
    summary: str = "2 runs verified: everything."


@dataclass
class Book:
    """Hold a project whose runs are up to date and whose site is made from them, as far as publishing checks."""

    repository: Repository
    audits: list[str]
    findings: tuple[Finding, ...] = ()
    differences: tuple[str, ...] = ()

    def publish(self, allow: Sequence[str] = (), retrain: str = "") -> str:
        """Publish, and return what is printed."""
        output = io.StringIO()
        console = Console(file=output, width=300)
        publish.publish_site(self.repository.root, "embedded", None, retrain, allow, 60.0, console)
        return output.getvalue()


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    """Make a project of made-up results that count as up to date; the audit finds what the test says."""
    isolate_git(monkeypatch, tmp_path)
    return make_book(tmp_path, monkeypatch)


def make_book(folder: Path, monkeypatch: pytest.MonkeyPatch, **results: Any) -> Book:
    """Write the project, and make its site a folder that the steps remember."""
    paths = write_results(folder / "project", adapters=["lora_1", "ia3"], variants=SUBMITTED, **results)
    shutil.copy(PROJECT.root / "_quarto.yml", paths.root)
    shutil.copy(PROJECT.book, paths.book)
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copy(PROJECT.notebook, paths.notebook)
    made = Book(make_repository(paths.root, folder / "origin.git"), [])
    monkeypatch.setattr("adapterbook.runs.select.compute_statuses", without_stamps)

    def audit(root: Path, source: str, seeds: object, retrain: str, timeout: float, console: Console) -> FakeAudit:
        made.audits.append(retrain)
        return FakeAudit(made.findings)

    monkeypatch.setattr(verify, "audit", audit)
    monkeypatch.setattr(rebuild, "find_site_differences", lambda root, source, seeds: list(made.differences))
    update_site(paths)
    return made


def without_stamps(*arguments: Any) -> Any:
    """Read statuses as the real function does, but take every stamp for today's: made-up ones agree with nothing."""
    from adapterbook.runs.plan import plan_runs, status_of

    paths, study, adapters, source, seeds, _ = arguments
    return study, [status_of(run, paths, {}) for run in plan_runs(study, adapters, source, seeds)]


def update_site(paths: Paths) -> None:
    """Make small pages and a small site, remembered as `make pages` and `make site` do."""
    from adapterbook.commands.report import pages_step, site_step
    from adapterbook.runs.select import load_report

    def update_pages() -> None:
        for path in pages.outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"from {pages.inputs}", "utf-8")

    def make() -> None:
        paths.root.joinpath("_site").mkdir(exist_ok=True)
        (paths.root / "_site" / "index.html").write_text(f"from {site.inputs}", "utf-8")
        (paths.root / "_site" / ".nojekyll").touch()

    name, study, _, statuses = load_report(paths, "embedded", None)
    pages = pages_step(paths, name, study.seeds, statuses)
    run_step(pages.name, paths.root, pages.inputs, pages.outputs, update_pages)
    site = site_step(paths, "embedded")
    run_step(site.name, paths.root, site.inputs, site.outputs, make)


def test_a_sound_site_is_published_once(book: Book) -> None:
    """A sound site is verified without training and published once; the commit says what it was made from."""
    said = book.publish()
    assert book.audits == ["none"]
    assert "2 runs verified" in said
    assert "Published 2 files as commit" in said
    assert book.repository.published() == read_folder(book.repository.root / "_site")
    commit = book.repository.git("rev-parse", "HEAD")
    message = book.repository.at_remote("log", "-1", "--format=%B", "gh-pages")
    assert message == f"Site of {commit[:12]} (main)\n\nMade from commit {commit}."
    assert "Nothing to publish" in book.publish()
    assert book.repository.n_commits() == 1


def test_changes_that_are_not_committed_are_named(book: Book) -> None:
    """The commit's message names uncommitted changes, so that nobody looks for them in the source commit."""
    (book.repository.root / "README").write_text("changed")
    book.repository.git("checkout", "-q", "--detach")
    book.publish()
    message = book.repository.at_remote("log", "-1", "--format=%B", "gh-pages")
    commit = book.repository.git("rev-parse", "HEAD")
    assert message == f"Site of {commit[:12]}\n\nMade from commit {commit}, with uncommitted changes."


def test_a_run_may_be_trained_again(book: Book) -> None:
    """RETRAIN names the run to train again, as for make verify."""
    book.publish(retrain="ia3/submitted/seed-224")
    assert book.audits == ["ia3/submitted/seed-224"]


def test_numbers_that_cannot_be_believed_are_not_published(book: Book) -> None:
    """The message lists the audit's findings and the word that allows them; with it no audit runs."""
    book.findings = (WRONG,)
    with pytest.raises(PublishError, match=r"(?s)it is unverified.*ALLOW=unverified.*test\.accuracy is 0\.9"):
        book.publish()
    assert book.repository.n_commits() == 0
    n_audits = len(book.audits)
    book.publish(["unverified"])
    assert len(book.audits) == n_audits
    assert book.repository.n_commits() == 1
    assert "ALLOW=unverified" in book.repository.at_remote("log", "-1", "--format=%B", "gh-pages")


def test_a_site_that_its_records_do_not_give_is_not_published(book: Book) -> None:
    """A site that differs from one built again is refused, although the memory of the steps says that it is made."""
    book.differences = ("_site/index.html is not what today's records and texts give",)
    with pytest.raises(PublishError, match=r"(?s)it is unverified.*ALLOW=unverified.*_site/index\.html is not what"):
        book.publish()
    assert book.audits == []
    assert book.repository.n_commits() == 0
    book.publish(["unverified"])
    assert book.repository.n_commits() == 1


def test_files_of_others_are_named_before_they_are_replaced(book: Book, tmp_path: Path) -> None:
    """Files on the branch that somebody else put there are listed, and replaced only if that is allowed."""
    add_by_hand(book.repository, {"notes.html": b"mine"}, tmp_path / "other")
    with pytest.raises(PublishError, match=r"(?s)no `make publish` put there.*ALLOW=others.*notes\.html"):
        book.publish()
    assert book.repository.published() == {"notes.html": b"mine"}
    book.publish(["others"])
    assert "notes.html" not in book.repository.published()


@pytest.mark.parametrize("change", ["record", "template", "page", "site", "file too many", "no memory"])
def test_a_site_that_is_not_made_from_what_is_there_is_refused(book: Book, change: str) -> None:
    """A site is refused if a record, a text, a page or the site itself has changed since it was made."""
    root = book.repository.root
    match change:
        case "record":
            record = next(root.glob("experiments/results/*/ia3/*/*/record.json"))
            record.write_text(record.read_text("utf-8") + "\n", "utf-8")
        case "template":
            (root / "templates/pages/overview.qmd.j2").write_text("another", "utf-8")
        case "page":
            (root / "index.qmd").write_text("another", "utf-8")
        case "site":
            (root / "_site/index.html").write_text("another", "utf-8")
        case "file too many":
            (root / "_site/notes.txt").write_text("private", "utf-8")
        case "no memory":
            shutil.rmtree(root / ".cache")
    with pytest.raises(PublishError, match=r"(?s)it is stale.*ALLOW=stale.*run `make site`"):
        book.publish()
    assert book.audits == []
    assert book.repository.n_commits() == 0
    book.publish(["stale"])
    assert book.repository.n_commits() == 1


def test_any_renderer_s_site_will_do(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site is published even if RENDERER names another renderer than the one that made it."""
    monkeypatch.setenv("RENDERER", "quarto")
    book.publish()
    assert book.repository.n_commits() == 1


def test_failed_and_missing_runs_are_told_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message names each run of both kinds and both words; one word alone is not enough."""
    isolate_git(monkeypatch, tmp_path)
    book = make_book(tmp_path, monkeypatch, failed=["ia3/submitted/seed-224"], missing=["lora_1/submitted/seed-224"])
    with pytest.raises(PublishError) as caught:
        book.publish()
    said = str(caught.value)
    assert "stale and failed" in said
    assert "ALLOW=stale,failed" in said
    assert "lora_1/submitted/seed-224 is not trained yet" in said
    assert "ia3/submitted/seed-224 failed: " in said
    with pytest.raises(PublishError, match=r"it is failed.*ALLOW=stale,failed"):
        book.publish(["stale"])
    assert book.repository.n_commits() == 0
    book.findings = (Finding("ia3/submitted/seed-224", "status", "is failed", "failed"),)
    book.publish(["stale", "failed"])
    assert book.repository.n_commits() == 1


def test_very_many_problems_stay_one_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen problems are listed, and the number of the others."""
    isolate_git(monkeypatch, tmp_path)
    seeds = tuple(range(30))
    missing = [f"{adapter}/submitted/seed-{seed}" for adapter in ("lora_1", "ia3") for seed in seeds if seed]
    book = make_book(tmp_path, monkeypatch, seeds=seeds, missing=missing)
    monkeypatch.setattr("adapterbook.runs.select.recorded_seeds", lambda paths, source: list(seeds))
    update_site(Paths(book.repository.root))
    with pytest.raises(PublishError, match=r"… and 47 more of the kind") as caught:
        book.publish()
    assert len(str(caught.value).splitlines()) == 13


def test_an_unknown_word_is_told_the_known_ones(book: Book) -> None:
    """ALLOW=everything is refused, and the message lists the known words."""
    with pytest.raises(AdapterBookError, match=r"(?s)ALLOW=everything: expected.*stale: .*failed: .*unverified: "):
        book.publish(["everything"])


def test_without_a_site_one_is_told_to_make_it(book: Book) -> None:
    """A missing site is reported before any other problem, and no ALLOW permits it."""
    shutil.rmtree(book.repository.root / "_site")
    with pytest.raises(PublishError, match=r"There is no _site/ to publish: `make all` makes it"):
        book.publish(["stale", "failed", "unverified"])


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:Ming/adapter-book.git", "https://ming.github.io/adapter-book"),
        ("https://github.com/Ming/ming.github.io", "https://ming.github.io"),
        ("https://me:pw@github.com/Ming/book.git", "https://ming.github.io/book"),
        ("https://git.example.org/ming/book.git", None),
    ],
)
def test_the_address_to_read_it_at_is_told(book: Book, remote: str, address: str | None) -> None:
    """The address is the one in book.yaml, else the one that GitHub derives from the remote."""
    root = book.repository.root
    book.repository.git("remote", "set-url", "origin", remote)
    paths, checkout = Paths(root), inspect_checkout(root)
    said = publish._where(paths, checkout)
    if address is None:
        assert "host of https://git.example.org/ming/book.git" in said
    else:
        assert f"is then {address};" in said
    text = paths.book.read_text("utf-8")
    paths.book.write_text(re.sub(r"(?m)^site_url: null.*", "site_url: https://example.org/b", text), "utf-8")
    assert "https://example.org/b/" in publish._where(paths, checkout)


@pytest.mark.slow
def test_publishing_for_real(made_project: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained study is verified and published, again only after a change, and never with a wrong number."""
    isolate_git(monkeypatch, tmp_path)
    paths = copy_project(made_project, tmp_path / "project")
    shutil.rmtree(paths.root / "_site")
    repository = make_repository(paths.root, tmp_path / "origin.git")

    def run(*arguments: str, **environment: str) -> str:
        done = run_adapterbook(paths, *arguments, **environment)
        return f"{done.returncode} {done.stdout}{done.stderr}"

    assert run("publish").startswith("2 There is no _site/ to publish")
    shutil.copytree(made_project.root / "_site", paths.root / "_site")
    before = repository.state()
    said = run("publish")
    assert said.startswith("0 "), said
    assert "8 runs verified" in said
    assert repository.published() == read_folder(paths.root / "_site")
    assert ".nojekyll" in repository.published()
    assert repository.state() == before
    assert "Nothing to publish" in run("publish")
    assert repository.n_commits() == 1
    memory = paths.root / ".cache/steps/site.json"
    remembered = memory.read_text("utf-8")
    index = paths.root / "_site/index.html"
    page = index.read_text("utf-8")
    index.write_text(page.replace("<main", "<main data-forged", 1), "utf-8")
    forged = hash_inputs(paths.root, [paths.root / "_site", *documents(paths)])
    memory.write_text(json.dumps(json.loads(remembered) | {"outputs": forged}), "utf-8")
    said = run("publish")
    assert said.startswith("2 ") and "_site/ is not published: it is unverified" in said, said
    assert "_site/index.html is not what today's records and texts give" in said
    index.write_text(page, "utf-8")
    memory.write_text(remembered, "utf-8")
    cover = paths.root / "templates/pages/cover.md.j2"
    cover.write_text(cover.read_text("utf-8") + "\nAnother sentence.\n", "utf-8")
    said = run("publish")
    assert said.startswith("2 _site/ is not published: it is stale"), said
    assert run("pages").startswith("0 ")
    assert run("site").startswith("0 ")
    assert "Published" in run("publish")
    assert repository.n_commits() == 2
    assert repository.published() == read_folder(paths.root / "_site")
    record = next(paths.results.glob("*/ia3/*/*/record.json"))
    record.write_text(record.read_text("utf-8").replace('"n_trainable_params": ', '"n_trainable_params": 1'), "utf-8")
    said = run("publish", ALLOW="stale")
    assert said.startswith("2 ")
    assert "_site/ is not published: it is unverified" in said
    assert repository.n_commits() == 2
