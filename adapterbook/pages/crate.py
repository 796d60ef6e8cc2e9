"""Describe the site as a Workflow Run RO-Crate, for archives and programs: ``ro-crate-metadata.json``.

The workflow is the notebook, an action is one run of it: with which parameters, packages and device, when, by whom, and
with which record and executed notebook. rocrate writes the crate; the validator's profiles are of RO-Crate 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from rocrate.model.computerlanguage import ComputerLanguage
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

import adapterbook
from adapterbook.analysis.shapes import Report
from adapterbook.config.book import Book
from adapterbook.config.study import BilingualText
from adapterbook.pages.citations import cite_report
from adapterbook.pages.head import LANGUAGE_TAGS, both
from adapterbook.pages.numbers.provenance import Provenance
from adapterbook.runs.record import Record

CRATE: Final = "ro-crate-metadata.json"
WORKFLOW: Final = "experiments/experiment.ipynb"
PROFILES: Final[Mapping[str, str]] = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
WORKFLOW_PROFILE: Final = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
# Terms that the context of RO-Crate 1.1 lacks.
TERMS: Final = {
    "environment": "https://w3id.org/ro/terms/workflow-run#environment",
    "sha256": "http://schema.org/sha256",
}
CODE_LICENCE: Final = "https://spdx.org/licenses/Apache-2.0"
STATUS: Final = {
    "completed": "http://schema.org/CompletedActionStatus",
    "failed": "http://schema.org/FailedActionStatus",
}
NOTEBOOK_FORMAT: Final = "application/x-ipynb+json"


def _describe(crate: ROCrate, kind: str, identifier: str, **properties: Any) -> Any:
    """Return the entity of an identifier, added if it is not there yet: several runs share some."""
    known = {key: value for key, value in properties.items() if value is not None}
    identifier = identifier if "://" in identifier else f"#{identifier}"
    return crate.get(identifier) or crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **known}))


def _flat(values: list[Any]) -> Any:
    """Return the value itself where there is only one, as RO-Crate has it."""
    return values[0] if len(values) == 1 else values


def _value(crate: ROCrate, kind: str, name: str, value: str | int, **properties: Any) -> Any:
    """Return the entity of a parameter's value, or of a fact on the environment."""
    path = f"{kind}/{name}/{quote(str(value), safe='')}"
    return _describe(crate, "PropertyValue", path, name=name, value=value, **properties)


def render_crate(report: Report, book: Book, origin: Provenance | None) -> str:
    """Return the text of the crate; the same records and settings give the same bytes."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms |= TERMS
    records = [run.record for run in report.runs if run.record is not None]
    authors = [_describe(crate, "Person", f"author-{number}", name=name, alternateName=other)
               for number, (name, other) in enumerate(_authors(book), start=1)]  # fmt: skip
    workflow = _add_workflow(crate, records, book)
    actions = [_add_action(crate, workflow, record, report, authors) for record in records]
    for language in LANGUAGE_TAGS:
        crate.add_file(dest_path=f"report-{language}.pdf", properties={
            "name": book.title.in_language(language), "inLanguage": LANGUAGE_TAGS[language],
            "encodingFormat": "application/pdf"})  # fmt: skip
    facts = {
        "name": both(book.title),
        "description": both(book.subtitle),
        "datePublished": None if origin is None else origin.last.isoformat(),
        "author": _flat(authors) or None,
        "license": _licence(crate, book),
        "url": book.site_url,
        "isBasedOn": book.repository,
        "conformsTo": [_describe(crate, "CreativeWork", address, name=name, version=address.rpartition("/")[2])
                       for address, name in PROFILES.items()],
        "mentions": _flat(actions),
    }  # fmt: skip
    for key, value in facts.items():
        if value is not None:
            crate.root_dataset[key] = value
    return json.dumps(crate.metadata.generate(), ensure_ascii=False, indent=1) + "\n"


def _authors(book: Book) -> Iterator[tuple[str, str | None]]:
    """Yield each author's name, and the same in English where both languages name as many."""
    chinese, english = (cite_report(book, language, None).authors for language in LANGUAGE_TAGS)
    same = len(chinese) == len(english)
    for number, name in enumerate(chinese):
        other = english[number] if same else name
        yield name, None if other == name else other


def _licence(crate: ROCrate, book: Book) -> Any:
    """Return the text's licence; the profiles require one, so it is also said that none is stated."""
    text = book.licence or BilingualText(zh="未註明授權", en="No licence is stated")
    return _describe(crate, "CreativeWork", book.licence_url or "licence", name=both(text))


def _add_workflow(crate: ROCrate, records: list[Record], book: Book) -> Any:
    """Add the notebook with a formal parameter for each value that `_parameters` gives a run."""
    language = crate.add(ComputerLanguage(crate, "https://jupyter.org/", properties={"name": "Jupyter Notebook"}))
    licence = _describe(crate, "CreativeWork", CODE_LICENCE, name="Apache License 2.0")
    workflow = crate.add_workflow(dest_path=WORKFLOW, main=True, lang=language, properties={
        "name": "AdapterBook: experiment", "encodingFormat": NOTEBOOK_FORMAT, "version": adapterbook.__version__,
        "license": {"@id": licence.id}, **({"url": book.repository} if book.repository else {})})  # fmt: skip
    names = {name: value for record in records[:1] for name, value in _parameters(record)}
    workflow["conformsTo"] = _describe(crate, "CreativeWork", WORKFLOW_PROFILE, name="Bioschemas ComputationalWorkflow")
    workflow["input"] = [
        crate.add_formal_parameter(name, "Integer" if isinstance(value, int) else "Text", f"#parameter-{name}")
        for name, value in names.items()
    ]
    return workflow


def _parameters(record: Record) -> Iterator[tuple[str, str | int]]:
    yield from (("adapter", record.adapter.id), ("variant", record.variant), ("seed", record.seed))
    yield from (("base_model", record.source.base_model), ("dataset", record.source.dataset))


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")  # a form that the profile takes


def _facts(record: Record) -> Iterator[tuple[str, str | int]]:
    """Yield what a run's environment was."""
    found = record.environment
    yield from (("device", found.device_name), ("platform", found.platform), ("python", found.python))
    yield "n_threads", found.n_threads
    yield from found.packages.items()
    if record.git is not None:
        yield "commit", f"{record.git.commit}{' (files differed)' if record.git.dirty else ''}"


def _add_action(crate: ROCrate, workflow: Any, record: Record, report: Report, authors: list[Any]) -> Any:
    """Add a run of the notebook, with the files of it that the site holds."""
    folder = f"experiments/results/{record.source.name}/{record.run_id}"
    files = {"record.json": "application/json", "notebook.ipynb": NOTEBOOK_FORMAT}
    results = [
        crate.add_file(dest_path=f"{folder}/{name}", properties={
            "name": f"{record.run_id}: {name}", "encodingFormat": encoding,
            **({"sha256": record.files[name]} if name in record.files else {})})
        for name, encoding in files.items() if name == "record.json" or name in record.files
    ]  # fmt: skip
    return crate.add_action(
        workflow,
        f"#run/{record.run_id}",
        object=[
            _value(crate, "parameter", name, value, exampleOfWork={"@id": f"#parameter-{name}"})
            for name, value in _parameters(record)
        ],
        result=_flat(results),
        properties={
            "name": record.run_id,
            "description": both(report.adapters[record.adapter.id].config.title),
            "startTime": _moment(record.started_at),
            "endTime": _moment(record.finished_at),
            "actionStatus": STATUS[record.status],
            "environment": [{"@id": _value(crate, "environment", *fact).id} for fact in _facts(record)],
            **({"agent": _flat([{"@id": author.id} for author in authors])} if authors else {}),
            **({"error": record.error.message} if record.error is not None else {}),
        },
    )
