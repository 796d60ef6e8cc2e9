"""docs/colab.ipynb: its cells set up, train and show the site, from an empty folder."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from adapterbook.runs.record import load_record
from tests.support.factory import ADAPTERS, PROJECT
from tests.support.small_project import STUDY

NOTEBOOK = PROJECT.root / "docs" / "colab.ipynb"


def code_of(notebook: Any) -> str:
    """Return the code of a notebook's cells."""
    return "\n".join(cell["source"] for cell in notebook.cells if cell["cell_type"] == "code")


def test_it_is_committed_without_outputs_and_names_nobody_s_repository() -> None:
    """The one cell for it takes an address to clone; left empty, it takes the checkout that the notebook lies in."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell for cell in notebook.cells if cell["cell_type"] == "code" and cell["outputs"]] == []
    assert re.findall(r"github\.com/(\w+)", code_of(notebook)) == ["NAME"]
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell["metadata"].get("tags", ()))
    assert parameters["source"].startswith('repository = ""')


def make_small_repository(folder: Path) -> Path:
    """Clone the project, and cut its study down in one commit: the notebook clones that."""
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", PROJECT.root.as_uri(), folder], check=True)
    study = folder / "experiments" / "study.yaml"
    text = study.read_text("utf-8")
    for old, new in STUDY.items():
        text = text.replace(old, new)
    study.write_text(text, "utf-8")
    me = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *me, "commit", "--quiet", "--all", "--message", "Smaller"], cwd=folder, check=True)
    return folder


@pytest.mark.slow
def test_its_cells_run_from_an_empty_folder(tmp_path: Path) -> None:
    """A clone, a set-up from the locks with this Python's torch, four trained runs, and a site that a browser gets."""
    shown = []

    def look(cell: Any, **_: Any) -> None:
        """Fetch the page that the last cell shows, while the kernel still serves it."""
        for output in cell.get("outputs", ()):
            html = output.get("data", {}).get("text/html", "")
            for address in re.findall(r"http://127\.0\.0\.1:\d+/index\.html", html):
                with urllib.request.urlopen(address) as answer:
                    shown.append(answer.read().decode("utf-8"))

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    next(cell for cell in notebook.cells if "parameters" in cell["metadata"].get("tags", ()))["source"] = (
        f"repository = {make_small_repository(tmp_path / 'project').as_uri()!r}"
    )
    client = NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}},
        on_cell_executed=look,
    )  # fmt: skip
    client.execute()
    study = tmp_path / "adapterbook-checkout" / "studies" / "as-submitted"
    records = [load_record(file.parent) for file in study.glob("experiments/results/*/*/*/*/record.json")]
    assert sorted(record.adapter.id for record in records) == sorted(ADAPTERS)
    assert {(record.variant, record.status) for record in records} == {("submitted", "completed")}
    assert len(shown) == 1
    assert "report/en/" in shown[0]
    assert all((study / "_site" / f"report-{language}.pdf").is_file() for language in ("zh", "en"))
