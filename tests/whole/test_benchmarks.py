"""benchmarks/: both sides of a comparison do the same, the arithmetic is right, and the READMEs quote the results."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from adapterbook.common.errors import RecordError, RunError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.plan import RunStatus, compute_stamps, plan_runs, status_of
from adapterbook.runs.record import load_record, seal_record, write_record
from adapterbook.runs.select import load_statuses
from adapterbook.sources.resolve import resolve_source
from benchmarks import measurements, verdict_stability
from benchmarks.finding import compute_finding, render_finding
from benchmarks.first_page import measure_first_page
from benchmarks.growth import fit_exponent, multiply_records
from benchmarks.measurements import TORCH, check_same, compute_shares, measure_rebuilds, measure_training
from benchmarks.project import Timed, copy_project, forget_what_was_made, keep_submitted, run_timed
from benchmarks.quantities import Quantity, load_quantities
from benchmarks.readme import COSTS, READMES, find_quotation, render_quotation, replace_quotation
from benchmarks.verdict_stability import count_contradictions, count_verdicts
from tests.support.browser import find_chromium
from tests.support.factory import PROJECT, make_record, write_results
from tests.support.small_project import cut_down, make_small_project

RESULTS = PROJECT.root / "benchmarks" / "results.json"
FINDING = PROJECT.root / "benchmarks" / "finding.json"


def quiet(text: str) -> None:
    """Take a line of progress."""


def test_imports() -> None:
    """Only the bare loop loads torch, nobody borrows from the tests, and the project does without benchmarks."""
    for path in (PROJECT.root / "benchmarks").glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        tops = {(node.module or "").split(".")[0] for node in nodes}
        assert "tests" not in tops
        assert ({"torch", "transformers"} & tops == set()) == (path.name != "bare_loop.py"), path.name
    for path in (PROJECT.root / "adapterbook").rglob("*.py"):
        assert "from benchmarks" not in path.read_text("utf-8"), path


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    """…whatever its factor."""
    sizes = [16, 160, 1600]
    assert fit_exponent(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power)


def test_the_shares_that_are_not_training() -> None:
    """Two workers for 100 s are 200 s; of three runs of 55 s two end last, 20 s apart: 15 s of other work remain."""
    ends = [datetime(2026, 11, 24, 12, 0, second, tzinfo=UTC) for second in (5, 50, 30)]
    records = [
        make_record(name, train_time_s=50.0, test_time_s=5.0).model_copy(update={"finished_at": end})
        for name, end in zip(("lora_1", "lora_2", "ia3"), ends, strict=True)
    ]
    assert compute_shares(records, 100.0, 2) == pytest.approx((0.075, 0.1))
    assert compute_shares(records, 200.0, 1) == pytest.approx((0.175, 0.0))


def test_a_quantity_keeps_its_limit_or_not() -> None:
    """The median decides, and the limit itself is allowed."""
    assert Quantity("x", "s", [1.0, 9.0, 2.0], 2.0).ok
    assert Quantity("x", "s", [1.0, 9.0, 2.1], 2.0).ok is False
    assert Quantity("x", "s", [1.0]).ok is None


def test_the_project_is_cut_down_to_its_adapters_as_submitted(tmp_path: Path) -> None:
    """Four runs of the default study, without the baseline; the copy has no results, the project is as it was."""
    before = PROJECT.study.read_bytes()
    paths = copy_project(PROJECT.root, tmp_path / "copy", results=False)
    runs = keep_submitted(paths)
    study = load_study(PROJECT.study)
    assert {run.id for run in runs} == {
        f"{name}/{study.submitted}/seed-{study.seeds[0]}" for name in ("lora_1", "lora_2", "lora_3", "ia3")
    }
    assert load_study(paths.study).training_of(study.submitted) == study.training_of(study.submitted)
    assert not paths.results.exists()
    assert PROJECT.study.read_bytes() == before


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    """The last lines of its output are in the message; a time is not made up."""
    with pytest.raises(RunError, match=r"(?s)ended with 2.*not inside an AdapterBook project"):
        run_timed(Paths(tmp_path), "status")


def test_memory_of_children_counts(tmp_path: Path) -> None:
    """A child's 150 MB and the command's own 100 MB, held at one time, are more than either."""
    child = "import time; held = bytes(range(256)) * 600_000; time.sleep(2)"
    (tmp_path / "probe.py").write_text(
        "import subprocess, sys\nheld = bytes(range(256)) * 400_000\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    done = run_timed(Paths(tmp_path), module="probe", watch_memory=True)
    assert done.peak_memory_bytes is not None
    assert 250e6 < done.peak_memory_bytes < 500e6
    assert done.wall_s > 1


def test_torch_is_noticed_in_every_process(tmp_path: Path) -> None:
    """…also in one that the command starts; a module that only begins with that name is none."""
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "torchish.py").write_text("")
    for name, found in (("torch", True), ("torchish", False)):
        (tmp_path / "probe.py").write_text(
            f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import {name}'], check=True)\n"
        )
        output = run_timed(Paths(tmp_path), module="probe", PYTHONPROFILEIMPORTTIME="1").output
        assert "import time" in output
        assert bool(TORCH.search(output)) is found


@pytest.mark.slow
def test_both_sides_train_the_same(tmp_path: Path) -> None:
    """The bare loop and `make train` end with the same validation losses, or there is no comparison."""
    paths = cut_down(make_small_project(tmp_path / "small"), ["head_only", "ia3", "lora_1"])
    assert len(keep_submitted(paths)) == 2
    found = {quantity.id: quantity for quantity in measure_training(paths, "embedded", 1, quiet)}
    assert found["training.ratio"].median == pytest.approx(
        found["training.make_train"].median / found["training.bare_loop"].median
    )
    assert 0 < found["training.not_training"].median < 1


def test_different_work_is_no_comparison() -> None:
    """A validation loss that differs by more than rounding, and an evaluation that is missing, are named."""
    record = make_record("lora_1")
    losses = [row.validation_loss or 0.0 for row in record.epochs]
    check_same([record], {"lora_1": [loss + 1e-4 for loss in losses]})
    for others in ([*losses[:-1], losses[-1] + 0.01], losses[:-1]):
        with pytest.raises(RunError, match=r"(?s)did not do the same work.*lora_1/submitted/seed-224"):
            check_same([record], {"lora_1": others})


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A project with one made-up run, which is up to date."""
    folder = tmp_path_factory.mktemp("reported")
    paths = write_results(folder / "project", adapters=("lora_1", "ia3"))
    shutil.copy(PROJECT.notebook, paths.experiments)
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copy(PROJECT.book, paths.book)
    shutil.copytree(PROJECT.report / "assets", paths.report / "assets")
    shutil.copy(PROJECT.root / "_quarto.yml", paths.root)
    assert multiply_records(paths, "embedded", (1, 1, 1)) == 1
    identity = resolve_source("embedded", paths).data_identity()
    for run in plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded"):
        record = load_record(run.folder(paths))
        record = record.model_copy(update={"stamps": compute_stamps(run, paths, identity)})
        write_record(seal_record(record, run.folder(paths)), run.folder(paths))
    statuses = load_statuses(paths.root, "embedded", None)
    assert all(status.up_to_date for status in statuses if isinstance(status, RunStatus))
    return paths


@pytest.mark.slow
def test_rebuilds_leave_everything_as_it_was(reported: Paths) -> None:
    """Every case is measured, no build loads torch, and templates and records are restored byte for byte."""
    files = [path for folder in (reported.templates, reported.results) for path in folder.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    found = {quantity.id: quantity for quantity in measure_rebuilds(reported, "embedded", 1, quiet)}
    assert {path: path.read_bytes() for path in files} == before
    assert set(found) == {
        f"rebuild.{name}" for name in ("from_nothing", "nothing", "one_word", "one_record", "builds_with_torch")
    }
    assert found["rebuild.builds_with_torch"].samples == [0]
    assert all(quantity.median > 0.1 for name, quantity in found.items() if quantity.unit == "s")
    forget_what_was_made(reported)
    assert {path.name for path in reported.root.iterdir()} == {
        "experiments",
        "templates",
        "report",
        "_quarto.yml",
        "book.yaml",
    }
    assert {path.name for path in reported.report.iterdir()} == {"assets"}


@pytest.mark.slow
def test_the_first_page_is_counted_by_the_browser(tmp_path: Path) -> None:
    """A page of 4,096 bytes with a picture of 1,000 far below its fold: fetched at once is the page alone."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium); set CHROMIUM to name one")
    folder = tmp_path / "report" / "zh"
    folder.mkdir(parents=True)
    (folder / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>'.ljust(1000))
    html = "<link rel=icon href='data:,'><p>text<p style='height: 9000px'></p><img src=picture.svg loading=lazy>"
    (folder / "index.html").write_text(f"<!doctype html>{html}".ljust(4096))
    found = {quantity.id: quantity.median for quantity in measure_first_page(tmp_path, 1, quiet)}
    for way in ("file", "http"):
        assert found[f"first_page.{way}_bytes"] == 4096
        assert found[f"first_page.{way}_all_bytes"] == 5096
        assert found[f"first_page.{way}_requests"] == 1
        assert found[f"first_page.{way}_first_paint"] > 0


def test_made_up_results_are_sealed_and_up_to_date(tmp_path: Path) -> None:
    """As many runs as the shape says, each with its own losses; the report takes them for real ones."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"))
    shutil.copy(PROJECT.notebook, paths.experiments)
    assert multiply_records(paths, "embedded", (3, 2, 2)) == 12
    runs = plan_runs(load_study(paths.study), load_adapters(paths.experiments / "adapters"), "embedded")
    curves = set()
    for run in runs:
        stamps = compute_stamps(run, paths, {}).model_dump(exclude={"data"})
        status = status_of(run, paths, stamps)
        assert status.up_to_date
        assert status.record is not None
        assert status.record.seal == status.record.compute_seal()
        curves.add(status.record.epochs)
    assert len(curves) == 12


def test_a_wrong_choice_is_named() -> None:
    """``--only x`` and ``--repeat 0`` end with what was expected, before anything is measured."""
    for arguments, message in ((["--only", "a,x"], "expected some of a, b, c, d, e, got x"),
                               (["--repeat", "0"], "expected 1 to 10, got 0")):  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=PROJECT.root, capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode == 2
        assert message in done.stderr


def test_a_change_that_does_not_show_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild that leaves the old site is not timed, nor is one whose site differs by itself. All is put back."""
    paths = write_results(tmp_path, adapters=("lora_1",))
    (paths.templates / "pages").mkdir(parents=True)
    (paths.templates / "pages" / "overview.qmd.j2").write_text("一句。")
    paths.report.mkdir()
    monkeypatch.setattr(measurements, "run_timed", lambda *_, **__: Timed(1.0, None, ""))
    sites = iter(["site", "site", "another word", "another record"])
    monkeypatch.setattr(measurements, "hash_site", lambda paths: next(sites))
    files = [path for folder in (paths.templates, paths.results) for path in folder.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert len(measure_rebuilds(paths, "embedded", 1, quiet)) == 5
    assert {path: path.read_bytes() for path in files} == before
    sites = iter(["site", "site", "site"])
    with pytest.raises(RunError, match="one_word changed made a site that is the same"):
        measure_rebuilds(paths, "embedded", 1, quiet)
    sites = iter(["site", "other"])
    with pytest.raises(RunError, match="nothing changed made a site that is not the same"):
        measure_rebuilds(paths, "embedded", 1, quiet)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents_quote_the_results(language: Literal["en", "zh"]) -> None:
    """Each table between markers is what `python -m benchmarks --quote` writes from results.json and finding.json."""
    costs, readme = ((PROJECT.root / names[language]).read_text("utf-8") for names in (COSTS, READMES))
    assert find_quotation(costs, "bench") == render_quotation(json.loads(RESULTS.read_text("utf-8")), language)
    assert find_quotation(readme, "finding") == render_finding(json.loads(FINDING.read_text("utf-8")), language)


def test_a_quotation_replaces_the_last_one() -> None:
    """What stands before and after the markers stays; the other markers' text, too."""
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n"
    assert replace_quotation(text, "x", "new\n") == text.replace("old", "new")
    assert find_quotation(text, "x") == "old\n" and find_quotation(text, "y") == ""


def test_the_finding_is_of_the_records(tmp_path: Path) -> None:
    """Each adapter's row has its best rate's accuracy and parameters; without results of one there is no finding."""
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"), accuracy={"lora_1/submitted": 0.75})
    shutil.copy(PROJECT.notebook, paths.notebook)
    for file in (paths.experiments / "adapters").glob("*.yaml"):
        if file.stem not in ("lora_1", "ia3"):
            file.unlink()
    finding = compute_finding(tmp_path, "embedded")
    row = next(row for row in finding["rows"] if row["adapter"] == "lora_1")
    assert row["test_accuracy"] == pytest.approx(0.75, abs=0.05)
    assert row["test_interval"][0] < row["test_accuracy"] < row["test_interval"][1]
    assert {row["adapter"] for row in finding["rows"]} == {"lora_1", "ia3"}
    for language in READMES:
        text = render_finding(finding, language)
        assert text.count("\n") == 6 and f"{row['n_adapter_params']:,}" in text
    shutil.rmtree(paths.results / "embedded" / "ia3")
    with pytest.raises(RecordError, match="none of ia3"):
        compute_finding(tmp_path, "embedded")


def test_the_quotation_is_of_the_medians() -> None:
    """Made-up results: the numbers, in the units of a reader; a row without its quantity is left out."""
    quantities = [Quantity("training.make_train", "s", [70.0, 71.2, 90.0]), Quantity("training.bare_loop", "s", [99.6]),
                  Quantity("training.not_training", "", [0.084]), Quantity("training.waiting", "", [0.05]),
                  Quantity("growth.exponent", "", [0.934])]  # fmt: skip
    results = {
        "date": "2026-01-02", "repeat": 3, "machine": {"n_cores": 2, "device_name": "CPU"},
        "quantities": [quantity.to_json() for quantity in quantities],
    }  # fmt: skip
    assert load_quantities(results)["training.bare_loop"] == quantities[1]
    for language in READMES:
        text = render_quotation(results, language)
        assert all(part in text for part in ("2026-01-02", "71 s", "100 s", "8%", "0.93"))
        assert text.count("\n") == 5


def rows_right(share: float) -> np.ndarray:
    """Return 500 test rows of which the first are right."""
    return np.arange(500) < share * 500


def test_verdicts_of_few_seeds_are_counted_against_the_rest() -> None:
    """One bad seed of four: alone it reverses the verdict of the other three, which do not stay decided with it."""
    a, b = [rows_right(share) for share in (0.9, 0.9, 0.9, 0.1)], [rows_right(0.5)] * 4
    counts = count_verdicts(a, b, 1, 0.05)
    assert counts == {("worse", "better"): 4, ("better", "not_distinguishable"): 12}
    assert count_contradictions(counts) == 4
    same = count_verdicts([rows_right(0.5)] * 4, b, 2, 0.05)
    assert same == {("same", "same"): 36} and count_contradictions(same) == 0


def test_the_stability_of_verdicts_is_read_from_two_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script finds the seeds of two adapters, prints its counts, and refuses a folder without them."""
    accuracy = {"lora_1/submitted": 0.9, "ia3/submitted": 0.6}
    paths = write_results(tmp_path, adapters=("lora_1", "ia3"), seeds=(1, 2, 3, 4), accuracy=accuracy)
    folders = [str(paths.results / "embedded" / name / "submitted") for name in ("lora_1", "ia3")]
    assert verdict_stability.main([*folders, "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "36  better from 2, better from the others" in shown
    assert "0  of 36 contradict each other" in shown
    assert verdict_stability.main([folders[0], str(tmp_path)]) == 2
    assert "expected the runs of at least two seeds, got 0" in capsys.readouterr().err
    assert verdict_stability.main([*folders, "--seeds", "4"]) == 2
    assert "and some left over" in capsys.readouterr().err
