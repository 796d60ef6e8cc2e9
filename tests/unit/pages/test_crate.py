"""The crate of a report: what it says of each run, that it is the same each time, and that it is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterbook.config.book import Book, load_book
from adapterbook.pages.crate import CRATE, WORKFLOW, render_crate
from adapterbook.pages.numbers.provenance import provenance_of
from tests.support.factory import PROJECT
from tests.support.isolated import run_isolated
from tests.support.report_pages import MadePages, make_study_pages

# The project's book.yaml leaves these open.
BOOK: dict[str, Any] = {
    "title": "報告",
    "subtitle": "A report",
    "author": {"zh": "李明、王美", "en": "Ming Li, Mei Wang"},
    "repository": "https://example.org/code",
    "site_url": "https://example.org/site",
    "licence": "CC BY 4.0",
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
}
# What the validator recommends, and a report cannot follow.
NOT_FOLLOWED = {
    "process-run-crate-0.5_5.1": "it takes a licence's page and a language for programs",
    "workflow-ro-crate-1.0_6.1": "a site has no README.md",
    "workflow-ro-crate-1.0_6.2": "a site has no README.md",
    "ro-crate-1.1_30.2": "nobody asks for an author's affiliation",
    "ro-crate-1.1_30.3": "nobody asks for an author's affiliation",
    "ro-crate-1.1_22.3": "a report has no publisher",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """Return the pages of a study with a failed and a missing run."""
    return make_study_pages(
        tmp_path_factory.mktemp("crate") / "project",
        adapters=("lora_1", "ia3"),
        failed=["lora_1/submitted/seed-224"],
        missing=["ia3/submitted/seed-224"],
    )


def graph_of(text: str) -> dict[str, dict[str, Any]]:
    """Return a crate's entities by their ids."""
    return {entity["@id"]: entity for entity in json.loads(text)["@graph"]}


def crate_of(made: MadePages) -> dict[str, dict[str, Any]]:
    """Return the entities of the crate that was written beside the cover."""
    return graph_of((made.paths.root / CRATE).read_text("utf-8"))


def test_every_run_with_a_record_is_an_action(made: MadePages) -> None:
    """Its parameters, times, packages and outcome are the record's; a run without a record is none."""
    graph = crate_of(made)
    actions = {name: entity for name, entity in graph.items() if entity["@type"] == "CreateAction"}
    assert any(action["actionStatus"].endswith("Failed" + "ActionStatus") for action in actions.values())
    recorded = {f"#run/{run.id}": run.record for run in made.report.runs if run.record is not None}
    assert set(actions) == set(recorded)
    assert {reference["@id"] for reference in graph["./"]["mentions"]} == set(actions)
    assert len(recorded) == len(made.report.runs) - 1
    for name, record in recorded.items():
        action = actions[name]
        given = {graph[value["@id"]]["name"]: graph[value["@id"]]["value"] for value in action["object"]}
        assert given == {"adapter": record.adapter.id, "variant": record.variant, "seed": record.seed,
                         "base_model": record.source.base_model, "dataset": record.source.dataset}  # fmt: skip
        around = {graph[fact["@id"]]["name"]: graph[fact["@id"]]["value"] for fact in action["environment"]}
        assert record.environment.packages.items() <= around.items()
        assert around["python"] == record.environment.python
        assert action["actionStatus"].endswith(f"/{record.status.capitalize()}ActionStatus")
        assert action["endTime"] == record.finished_at.isoformat(timespec="seconds")
        assert ("error" in action) == (record.status == "failed")


def test_every_file_that_the_crate_names_is_published(made: MadePages) -> None:
    """Its files are among the site's resources or are its PDFs; a notebook has the record's hash."""
    config = yaml.safe_load((PROJECT.root / "_quarto.yml").read_text("utf-8"))
    patterns = [str(pattern).removeprefix("/") for pattern in config["project"]["resources"]]
    published = {path.relative_to(made.paths.root) for pattern in patterns for path in made.paths.root.glob(pattern)}
    graph = crate_of(made)
    parts = {Path(part["@id"]) for part in graph["./"]["hasPart"]}
    assert parts - published == {Path("report-en.pdf"), Path("report-zh.pdf")}  # made with the site
    assert {Path(CRATE), Path(WORKFLOW)} <= published
    for run in made.report.runs:
        if run.record is not None:
            folder = run.run.folder(made.paths).relative_to(made.paths.root)
            assert folder / "record.json" in parts
            names = {name: digest for name, digest in run.record.files.items() if name == "notebook.ipynb"}
            assert {name: graph[f"{folder.as_posix()}/{name}"]["sha256"] for name in names} == names


def test_who_wrote_it_is_said_in_both_languages(made: MadePages) -> None:
    """Authors with the same number of names are persons with both; the licence and the addresses are book.yaml's."""
    graph = graph_of(render_crate(made.report, Book.model_validate(BOOK), None))
    people = [(entity["name"], entity["alternateName"]) for entity in graph.values() if entity["@type"] == "Person"]
    assert people == [("李明", "Ming Li"), ("王美", "Mei Wang")]
    assert graph["./"]["license"] == {"@id": BOOK["licence_url"]}
    assert (graph["./"]["url"], graph["./"]["isBasedOn"]) == (BOOK["site_url"], BOOK["repository"])
    action = next(entity for entity in graph.values() if entity["@type"] == "CreateAction")
    assert action["agent"] == [{"@id": "#author-1"}, {"@id": "#author-2"}]


def test_the_same_records_give_the_same_bytes(made: MadePages) -> None:
    """No time of today and no random name is in it: `make publish` compares it with one built again."""
    text = render_crate(made.report, load_book(made.paths.book), provenance_of(made.report.runs))
    assert text == (made.paths.root / CRATE).read_text("utf-8")


@pytest.mark.slow  # it brings the validator's packages into an environment that is thrown away
@pytest.mark.parametrize("open_questions", [False, True])
def test_the_validator_of_ro_crates_finds_it_valid(made: MadePages, tmp_path: Path, open_questions: bool) -> None:
    """A Workflow Run Crate by its own rules; with a complete book.yaml it also follows what they recommend."""
    site = tmp_path / "site"
    book = load_book(made.paths.book) if open_questions else Book.model_validate(BOOK)
    text = render_crate(made.report, book, provenance_of(made.report.runs))
    for part in graph_of(text)["./"]["hasPart"]:
        file = site / part["@id"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}", "utf-8")
    (site / CRATE).write_text(text, "utf-8")
    found = validate(site)
    assert [line for line in found if "REQUIRED" in line] == []
    if not open_questions:
        assert {line.split()[0] for line in found} <= set(NOT_FOLLOWED), found
    (site / CRATE).write_text(text.replace('"instrument"', '"tool"'), "utf-8")
    assert any("REQUIRED The Action MUST have an instrument" in line for line in validate(site))


def validate(site: Path) -> list[str]:
    """Return what the validator objects to; it needs an older rich than we have."""
    packages = ("roc-validator==0.13.0", "rocrate==0.16.0")
    done = run_isolated(packages, str(PROJECT.root / "tests/support/validate_crate.py"), str(site))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
