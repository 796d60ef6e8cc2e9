"""Test which check finds a forgery: every field of a record, changed and sealed again, and what else a page shows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import nbformat
import pytest
from pydantic import ValidationError

from adapterbook.config.study import load_study
from adapterbook.runs.record import Record, load_record
from adapterbook.verification.comparison import UNREPEATABLE, compare_runs
from tests.support.factory import PROJECT, make_record
from tests.unit.verification.test_verification import Book, change_record

FoundBy = Literal["the schema", "audit", "training again", "nothing"]

# Fields whose forgery is found without training again, from the record, its files and the project's settings alone.
# `learned` and the results of the kept checkpoint are also compared with what the saved adapter gives today.
FOUND_BY_AUDIT = {
    "adapter.id", "adapter.peft_type", "adapter.settings", "adapter_file_bytes", "best.epoch", "best.metric",
    "best.value", "data", "environment.packages", "epochs.epoch", "epochs.validation_accuracy", "files",
    "learned.update_norm", "n_adapter_params", "n_head_params", "n_trainable_params", "seal", "seed", "source.name",
    "splits.test", "splits.train.n", "splits.validation.n", "stamps", "status", "strategies.epoch", "strategies.test",
    "test", "train_samples_per_s", "train_time_s", "training", "variant",
}  # fmt: skip


def leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the place of each value of a record, of lists the first row's."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*place, name))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from leaves(value[0], (*place, "0"))
    elif value is not None:
        yield place


STUDY = load_study(PROJECT.study)
WITHOUT_SEARCH = STUDY.model_copy(update={"data": STUDY.data.model_copy(update={"n_selection": 0})})
RECORD = make_record(study=WITHOUT_SEARCH).model_dump(mode="json")
PLACES = ["/".join(place) for place in leaves(RECORD)]


def forge(content: dict[str, Any], place: str) -> None:
    """Change one value a little."""
    *parts, last = place.split("/")
    part: Any = content
    for name in parts:
        part = part[int(name)] if isinstance(part, list) else part[name]
    value = part[last]
    if isinstance(value, bool):
        part[last] = not value
    elif isinstance(value, int):
        part[last] = value + 1
    elif isinstance(value, float):
        part[last] = value * 0.99 if value else 0.001
    elif isinstance(value, list):
        part[last] = value[:-1] if value else [1.0]
    elif place.endswith("_at"):
        part[last] = value.replace("T09", "T07").replace("T1", "T0")
    else:
        forged = re.sub(r"[0-9A-Za-z]", lambda letter: "1" if letter[0] == "0" else "0", value, count=1)
        part[last] = forged if forged != value else f"{value}。"


def kind_of(place: str) -> str:
    """Return the name of a field, without the numbers of rows."""
    return ".".join(part for part in place.split("/") if not part.isdigit())


def starts(kind: str, names: set[str] | frozenset[str]) -> bool:
    """Return whether a field is one of those named, or lies in one."""
    return any(kind == name or kind.startswith(f"{name}.") for name in names)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Make two sound runs, once."""
    return Book(tmp_path_factory.mktemp("book"))


@pytest.fixture
def book(pristine: Book, tmp_path: Path) -> Iterator[Book]:
    """Give two sound runs, whose files are put back afterwards."""
    kept = Path(shutil.copytree(pristine.folder, tmp_path / "kept"))
    yield pristine
    shutil.rmtree(pristine.folder)
    shutil.copytree(kept, pristine.folder)


def find(book: Book, again: Path) -> FoundBy:
    """Return the first check that finds something; `again` holds the run as it was trained."""
    if book.audit():
        return "audit"
    first, second = load_record(book.folder), load_record(again)
    return "training again" if list(compare_runs(first, book.folder, second, again, exact=True)) else "nothing"


@pytest.mark.parametrize("place", PLACES)
def test_every_field_of_a_record_is_found_or_named_as_unprovable(book: Book, tmp_path: Path, place: str) -> None:
    """A forged field is found by the audit or by training again; else it is one that is named as unrepeatable."""
    again, kind = Path(shutil.copytree(book.folder, tmp_path / "again")), kind_of(place)
    try:
        change_record(book.folder, lambda content: forge(content, place), seal=kind not in ("seal", "files"))
    except ValidationError:
        return  # the schema refuses it, so no page can show it
    found = find(book, again)
    if starts(kind, FOUND_BY_AUDIT):
        assert found == "audit", place
    elif starts(kind, UNREPEATABLE):
        assert found in ("nothing", "audit"), place
    else:
        assert found in ("training again", "audit"), place


def edit_notebook(folder: Path, change: Callable[[Any], None]) -> None:
    """Change a run's notebook, and seal the run again."""
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    change(notebook)
    nbformat.write(notebook, folder / "notebook.ipynb")
    change_record(folder, lambda content: None)


def _code(notebook: Any, index: int) -> Any:
    return [cell for cell in notebook.cells if cell.cell_type == "code"][index]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda nb: _code(nb, 4).outputs[0].update(text="epoch=4 train_loss=0.001\n"), "training again"),
        (lambda nb: _code(nb, 4).outputs.append(nbformat.v4.new_output("stream", text="more")), "training again"),
        (lambda nb: _code(nb, 4).update(source="print('99.9 %')"), "audit"),
        (lambda nb: nb.cells.append(nbformat.v4.new_code_cell("1 + 1")), "audit"),
        (lambda nb: _code(nb, 1).update(source=_code(nb, 1).source.replace("224", "7")), "audit"),
        (lambda nb: _code(nb, 4).outputs[0].update(text=_code(nb, 4).outputs[0].text.replace("1.4", "7.9")), "nothing"),
    ],
)
def test_a_forged_notebook_is_found(book: Book, tmp_path: Path, change: Callable[[Any], None], found: FoundBy) -> None:
    """Outputs are compared when the run is trained again, code and parameters always; a time is not compared."""
    again = Path(shutil.copytree(book.folder, tmp_path / "again"))
    edit_notebook(book.folder, change)
    assert find(book, again) == found


def test_a_notebook_that_cannot_be_read_is_a_finding(book: Book) -> None:
    """A notebook that is not JSON is a finding, not a traceback."""
    (book.folder / "notebook.ipynb").write_text("{", "utf-8")
    change_record(book.folder, lambda content: None)
    assert book.subjects() == {"notebook.ipynb"}


def test_where_rounding_differs_words_are_compared(book: Book, tmp_path: Path) -> None:
    """On another processor numbers of a notebook may differ, words and a changed loss may not."""
    again = Path(shutil.copytree(book.folder, tmp_path / "again"))
    edit_notebook(
        book.folder,
        lambda nb: (
            _code(nb, 4).outputs[0].update(text="epoch=4 train_loss=0.5 {'test_runtime': 3, 'test_loss': 0.3}\n")
        ),
    )
    pair = load_record(book.folder), book.folder, load_record(again), again
    assert list(compare_runs(*pair, exact=False)) == []
    assert [finding.subject for finding in compare_runs(*pair, exact=True)] == ["notebook.ipynb"]
    edit_notebook(book.folder, lambda nb: _code(nb, 4).outputs[0].update(text="nothing to see\n"))
    assert [finding.subject for finding in compare_runs(*pair, exact=False)] == ["notebook.ipynb"]


def test_what_nobody_can_prove_is_said() -> None:
    """The page on verification names every field that neither a check nor training again can confirm."""
    text = (PROJECT.root / "docs" / "verification.md").read_text("utf-8")
    assert [name for name in sorted(UNREPEATABLE) if f"`{name}`" not in text] == []
    known = json.dumps(Record.model_json_schema())
    assert [name for name in UNREPEATABLE if f'"{name.rpartition(".")[2]}"' not in known] == []
