"""Read results that no run of ours made: pages are made from anything in a run's folder, and no other file is read."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from adapterbook.common.errors import RecordError, RenderError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.figures import draw_figures
from adapterbook.pages import write_pages
from adapterbook.runs.plan import plan_runs, status_of
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import Record, load_record, write_record
from adapterbook.runs.select import recorded_seeds
from adapterbook.site import build_site
from adapterbook.site.quarto import QuartoRenderer
from tests.support.factory import PHRASES, PROJECT, make_failed_record, make_predictions, make_record, write_results
from tests.support.properties import how_many, try_each
from tests.support.report_pages import (
    analyse_project,
    plan_without_drawing,
    shared_cache,
    write_blank_figures,
    write_site_files,
)

SECRET = "canary-7f3a-secret"

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 10**12, 10**30, -(10**30), 10**4000, 0.0, -0.0, 1e-300, 5e-324, 0.5, 1.5, 1e12,
    1e300, 1e308, -1e308, float("nan"), float("inf"), "", " ", "x", "\0", "\ud800", "<script>pwned=1</script>",
    "{{< env HOME >}}", "../../x", "/etc/passwd", "\u202eabc", "x" * 5000, [], [None], [[]], {}, {"a": 1}, {"": None},
    "1970-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", 253402300800, "NaN", "1e5",
)  # fmt: skip
RECORDS = tuple(
    json.loads(record.model_dump_json())
    for record in (
        make_record("lora_1", "lr-1e-3"),
        make_record("ia3", "submitted"),
        make_failed_record("lora_1", "lr-1e-3"),
        make_record("lora_1", "eval-steps"),
    )
)


def like(value: Any) -> list[Any]:
    """Return the hostile values of a value's own kind, which a schema is likely to take."""
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return list(HOSTILE)
    kinds = (int, float) if isinstance(value, int | float) else (type(value),)
    return [other for other in HOSTILE if isinstance(other, kinds) and not isinstance(other, bool)]


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the content of a real record with one to three things replaced, taken away or added."""
    content: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(RECORDS)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = content
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
            if not inner or draw(st.integers(0, 2)) == 0:
                break
            place = place[draw(st.sampled_from(inner))]
        what = draw(st.sampled_from(["like"] * 8 + ["any", "delete", "add"]))
        if what == "add" and isinstance(place, dict):
            place[draw(st.sampled_from(["", "zz", "\0"]))] = draw(st.sampled_from(HOSTILE))
        elif keys and what == "delete":
            del place[draw(st.sampled_from(keys))]
        elif keys:
            key = draw(st.sampled_from(keys))
            values = like(place[key]) if what == "like" else list(HOSTILE)
            place[key] = copy.deepcopy(draw(st.sampled_from(values)))
    return content


# Files that are not records: not JSON, not an object, or JSON that breaks its readers.
ODD_FILES = (
    b"", b"\0", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"{", b"[]", b"null", b"1", b'"x"', b"NaN", b"{}", b"[" * 100_000,
    b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b'{"status": "completed"}', b"9" * 10_000, b"1e999", b"x" * 1_000_000,
    b'{"a": 1, "a": 2}', b'"\\ud800"', b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1",
)  # fmt: skip


def as_json(content: Any) -> bytes:
    """Return JSON of a value that may hold numbers of any length."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(content).encode()
    finally:
        sys.set_int_max_str_digits(limit)


@how_many(50, 400)
def test_any_record_is_taken_or_refused(tmp_path: Path, n: int) -> None:
    """A record can be written again and put on a page, or a RecordError names its file."""
    folder = tmp_path / "embedded/lora_1/lr-1e-3/seed-224"
    folder.mkdir(parents=True)

    def check(content: bytes) -> None:
        (folder / "record.json").write_bytes(content)
        try:
            record = load_record(folder)
        except RecordError as error:
            assert "record.json" in str(error)
        else:
            assert Record.model_validate_json(record.model_dump_json()) == record

    try_each(records().map(as_json) | st.sampled_from(ODD_FILES) | st.binary(max_size=80), n, check)


COLUMNS = ("row_id", "text", "label", "prediction", "probability")
ODD_COLUMNS: tuple[Any, ...] = (
    ["0", "1", "0", "1"],
    [0, 1, 2, 1],
    [0.0, 1.0, 0.0, 1.0],
    [0.5, float("nan"), 0.1, 0.2],
    [float("inf"), 0.5, 0.5, 0.5],
    [None, None, None, None],
    [0, 1, None, 1],
    ["a", None, "b", "c"],
    [True, False, True, False],
    [b"\xff", b"a", b"b", b"c"],
    [[0], [1], [0], [1]],
    [{"a": 1}] * 4,
    pd.to_datetime(["2026-01-01"] * 4),
    pd.Categorical(["a", "b", "a", "b"]),
    [2**63 - 1, -(2**63), 0, 1],
    np.array([0, 1, 0, 1], dtype="uint8"),
    ["x" * 100_000, "\0", "\u202e", "<script>"],
    [1e-320, 1.0, 0.0, -0.0],
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a table of predictions with a column or two of another kind, gone, renamed or added."""
    table = make_predictions(n=4).astype({"text": object})
    for _ in range(draw(st.integers(1, 2))):
        column = draw(st.sampled_from(COLUMNS))
        what = draw(st.sampled_from(["odd", "odd", "odd", "drop", "rename", "add", "empty", "index"]))
        if what == "odd" and len(table) == 4:
            table[column] = draw(st.sampled_from(ODD_COLUMNS))
        elif what == "drop":
            table = table.drop(columns=[column], errors="ignore")
        elif what == "rename":
            table = table.rename(columns={column: draw(st.sampled_from(["", "Text", "\0"]))})
        elif what == "add":
            table["more"] = 1
        elif what == "index" and column in table:
            table = table.set_index(column)
        elif what == "empty":
            table = table.head(0)
    return table


@how_many(50, 400)
def test_any_predictions_are_taken_or_refused(tmp_path: Path, n: int) -> None:
    """Predictions have the five columns with their types and no gap, or a RecordError says what is wrong."""
    file = tmp_path / "predictions.parquet"

    def check(content: pd.DataFrame | bytes) -> None:
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            try:
                content.to_parquet(file)
            except (ValueError, TypeError):  # Parquet cannot hold it
                return
        try:
            table = load_predictions(tmp_path)
        except RecordError as error:
            assert "predictions.parquet" in str(error)
        else:
            assert list(table.columns) == list(COLUMNS)
            assert table["probability"].between(0, 1).all()
            assert set(table["label"]) | set(table["prediction"]) <= {0, 1}
            assert all(isinstance(text, str) for text in table["text"])

    try_each(tables() | st.sampled_from(ODD_FILES) | st.binary(max_size=80), n, check)


# Values that are not text, for cells and outputs.
HOSTILE_DATA = {
    "text/plain": "plain <script>pwned=1</script>",
    "text/html": "<script>window.pwned = 1</script><img src=x onerror='pwned=1'>",
    "application/javascript": "window.pwned = 1",
    "image/svg+xml": "<svg onload='pwned=1'><script>pwned=1</script></svg>",
    "image/png": "../../../../../../etc/passwd",
    "text/markdown": "![](/etc/passwd) {{< include /etc/passwd >}}",
    "text/latex": "\\input{/etc/passwd}",
    "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(HOSTILE[-24:]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
outputs = st.fixed_dictionaries(
    {"output_type": st.sampled_from(["stream", "display_data", "execute_result", "error", "update", ""]) | json_values},
    optional={
        "name": st.sampled_from(["stdout", "stderr"]) | json_values,
        "text": st.sampled_from(["\x1b[31mred\x1b[0m\r\rx", ["a\n", 1, None]]) | json_values,
        "data": st.just(HOSTILE_DATA) | json_values,
        "traceback": json_values,
        "ename": json_values,
        "evalue": json_values,
    },
)
cells = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw", "heading"]) | json_values},
    optional={
        "source": st.sampled_from(["print(1)", "::: {.x}", "```", "```{=html}\n<b>\n```", "{{< env HOME >}}", "\ud800"])
        | json_values,
        "metadata": st.fixed_dictionaries({"tags": st.just(["zh"]) | json_values}) | json_values,
        "outputs": st.lists(outputs, max_size=3) | json_values,
        "attachments": st.just({"a.png": {"image/png": "x"}}),
    },
)
notebooks = st.fixed_dictionaries({"cells": st.lists(cells | json_values, max_size=4) | json_values}) | json_values


def make_big_project(root: Path, n: int) -> Paths:
    """Write a project of ``n`` adapters, each with one completed run in each of two variants."""
    variants = {
        "submitted": {"title": "As submitted"},
        "lr-1e-3": {"title": "Faster", "training": {"learning_rate": 1.0e-3}},
    }
    names = ["lora_1", *(f"odd_{number}" for number in range(1, n))]
    paths = write_results(root, adapters=names, variants=variants, n_test=24)
    write_site_files(paths)
    return paths


@how_many(1, 5)
def test_any_results_give_pages(tmp_path_factory: pytest.TempPathFactory, n: int) -> None:
    """Figures and pages are made of six hostile runs at a time, with hostile notebooks, beside two sound ones."""
    six = st.lists(st.tuples(records(), notebooks), min_size=6, max_size=6)
    try_each(six, n, lambda odd: make_odd_pages(tmp_path_factory.mktemp("odd"), odd))


def make_odd_pages(root: Path, odd: list[tuple[Any, Any]]) -> None:
    """Replace the first runs of a study by hostile records and notebooks, and make its pages."""
    paths = make_big_project(root, 4)
    runs = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded")
    for run, (record, notebook) in zip(runs[: len(odd)], odd, strict=True):
        if isinstance(record.get("adapter"), dict):
            record["adapter"]["id"] = run.adapter.id
        record |= {"variant": run.variant, "seed": run.seed}
        if isinstance(record.get("source"), dict):
            record["source"]["name"] = run.source
        (run.folder(paths) / "record.json").write_bytes(as_json(record))
        (run.folder(paths) / "notebook.ipynb").write_bytes(as_json(notebook))
    report = analyse_project(paths)
    figures = draw_figures(report, paths.report / "figures", PHRASES, cache=shared_cache("figures"))
    written = write_pages(report, figures, paths)
    assert len(written) > 40
    for path in written:
        path.read_text("utf-8")


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Collect every path that Python opens from now on; the interpreter cannot remove such a hook."""
    opened: list[str] = []
    _listeners.append(opened)
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked.append(True)
    try:
        yield opened
    finally:
        _listeners.remove(opened)


_listeners: list[list[str]] = []
_hooked: list[bool] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes):
        for opened in _listeners:
            opened.append(os.path.realpath(os.fsdecode(arguments[0])))


LINKED = ("record.json", "predictions.parquet", "notebook.ipynb", "adapter", "more.txt", "seed-224", "lr-1e-3", "fifo")


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Paths, list[str], Path]:
    """Build a project with a run for each kind of link or pipe; return it, the opened files, and the outside folder.

    Each link leads to a sound file or folder of the kind that belongs in its place, with a secret inside.
    """
    root, outside = tmp_path_factory.mktemp("linked"), tmp_path_factory.mktemp("outside")
    paths = make_big_project(root, 5)
    runs = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded")
    for name, run in zip(LINKED, runs[-len(LINKED) :], strict=True):
        sound = shutil.copytree(run.folder(paths), outside / "sound" / name)
        _poison(run.folder(paths))
        _lead_out(run.folder(paths), name, outside / name)
        for file in sound.iterdir():  # only a link leads to the secret
            if file.is_file() and file.name != name and name not in ("seed-224", "lr-1e-3"):
                shutil.copy(file, run.folder(paths))
    with opened_files() as opened:
        report = analyse_project(paths)
        figures = plan_without_drawing(report, paths)  # figures see the report alone
        write_blank_figures(figures)
        write_pages(report, figures, paths)
        build_site(root, "embedded", say=lambda line: None)
    return paths, opened, outside


def _poison(folder: Path) -> None:
    """Put the secret into a sound run's record, predictions and notebook."""
    record = load_record(folder)
    environment = record.environment.model_copy(update={"device_name": SECRET})
    write_record(record.model_copy(update={"environment": environment}), folder)
    table = load_predictions(folder)
    table["text"] = SECRET
    table.to_parquet(folder / "predictions.parquet")
    notebook = json.loads((folder / "notebook.ipynb").read_text("utf-8"))
    notebook["cells"][2]["source"] = f"secret = '{SECRET}'"
    (folder / "notebook.ipynb").write_text(json.dumps(notebook), "utf-8")
    (folder / "adapter" / "README.md").write_text(SECRET, "utf-8")
    (folder / "more.txt").write_text(SECRET, "utf-8")


def _lead_out(folder: Path, name: str, outside: Path) -> None:
    """Move a part of a run's folder, or a folder above it, to the outside, and leave a link in its place."""
    if name == "fifo":
        os.mkfifo(folder / "more.fifo")
        return
    place = next((path for path in (folder, folder.parent) if path.name == name), folder / name)
    shutil.move(place, outside)
    place.symlink_to(outside)


def test_a_link_makes_a_run_broken(linked: tuple[Paths, list[str], Path]) -> None:
    """Each run with a link is broken, the link is named, and the other runs do not change."""
    paths, _, _ = linked
    report = analyse_project(paths)
    broken = {run.id: run.problem or "" for run in report.runs if run.state == "broken"}
    assert len(broken) == len(LINKED)
    assert all("neither a plain file nor a folder" in problem for problem in broken.values())
    assert report.n_by_state["completed"] == len(report.runs) - len(broken)


def test_nothing_behind_a_link_is_read_or_published(linked: tuple[Paths, list[str], Path]) -> None:
    """The secret is on no page and in no file of the site, and no file outside the project is ever opened for it."""
    paths, opened, outside = linked
    assert not [name for name in opened if Path(name).is_relative_to(outside.resolve())]
    site = [path for folder in ("report", "_site") for path in (paths.root / folder).rglob("*") if path.is_file()]
    assert len(site) > 60
    assert not [path for path in site if SECRET.encode() in path.read_bytes()]
    assert not [path for path in site if path.is_symlink()]


def test_only_the_project_is_read(linked: tuple[Paths, list[str], Path]) -> None:
    """Every opened file is in the project, among temporary files, or belongs to Python, its packages or the fonts."""
    paths, opened, _ = linked
    allowed = [paths.root, PROJECT.root, Path(sys.prefix), Path(sys.base_prefix), Path("/proc"), Path("/usr/share"),
               Path("/usr/lib"), Path("/dev"), Path("/sys"), Path("/etc/mime.types"), Path("/etc/localtime"),
               Path.home() / ".cache", Path.home() / ".config" / "matplotlib"]  # fmt: skip
    folders = [str(path.resolve()) for path in allowed]
    temporary = os.path.realpath(os.environ.get("TMPDIR", "/tmp"))
    elsewhere = [name for name in opened if not name.startswith((*folders, f"{temporary}/adapterbook"))]
    assert not elsewhere


def test_quarto_is_not_let_near_a_link(linked: tuple[Paths, list[str], Path], tmp_path: Path) -> None:
    """Quarto renders nothing if a resource is a link, because it would copy the target."""
    program = tmp_path / "quarto"
    program.write_text(f"#!/bin/sh\n[ $1 = render ] && touch {tmp_path}/rendered\necho 1.10.18\n", "utf-8")
    program.chmod(0o755)
    with pytest.raises(RenderError, match=r"notebook\.ipynb: delete it"):
        QuartoRenderer(str(program)).render_site(linked[0].root)
    assert not (tmp_path / "rendered").exists()


@pytest.mark.parametrize(
    "name", ["seed-x", "seed-", "seed--1", "seed-1.5", "seed-007", "seed-99999999999", "seed-1 ", "seed-١"]
)
def test_a_folder_that_is_no_run_is_passed_over(tmp_path: Path, name: str) -> None:
    """Only folders with the names of runs give seeds."""
    for folder in (name, "seed-3"):
        (tmp_path / "experiments/results/embedded/a/b" / folder).mkdir(parents=True)
        (tmp_path / "experiments/results/embedded/a/b" / folder / "record.json").touch()
    assert recorded_seeds(Paths(tmp_path), "embedded") == [3]


@pytest.mark.parametrize(
    "changes", [{"adapter__id": "../../x"}, {"variant": "../../x"}, {"source__name": "/etc"}, {"seed": -1}]
)
def test_a_record_that_names_another_place_is_broken(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A record that names another run than its folder does is broken."""
    paths = write_results(tmp_path, adapters=("lora_1",), variants={"submitted": {"title": "S"}}, n_test=8)
    run = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded")[0]
    write_record(make_record("lora_1", **changes), run.folder(paths))
    status = status_of(run, paths, {})
    assert status.state == "broken"
    assert "lies in the folder of embedded/lora_1/submitted/seed-224" in (status.problem or "")
