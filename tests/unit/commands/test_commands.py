"""Choose results and seeds for a report, and check what the command line says."""

import io
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from rich.console import Console

from adapterbook.cli import EPILOG, app
from adapterbook.commands import report, train
from adapterbook.common.errors import RecordError, RunError
from adapterbook.common.machine import has_gpu
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_study
from adapterbook.runs import select as selection
from adapterbook.runs.probe import stamp_probe
from adapterbook.sources.resolve import FetchedSource, resolve_source
from tests.support.factory import PROJECT, write_results
from tests.support.live import seal_runs, write_base_model
from tests.support.probe import write_probe
from tests.support.small_project import run_adapterbook

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
SUBMITTED = {"submitted": {"title": "As submitted"}}


def _project(root: Path, seeds: tuple[int, ...] = (224,)) -> Paths:
    """Write a project of made-up results that pages can be made of."""
    paths = write_results(root, adapters=["lora_1", "ia3"], variants=SUBMITTED, seeds=seeds)
    shutil.copytree(PROJECT.templates, root / "templates")
    shutil.copy(PROJECT.book, root / "book.yaml")
    shutil.copy(PROJECT.notebook, paths.notebook)
    return paths


def test_a_report_is_about_the_source_that_was_trained_last(tmp_path: Path) -> None:
    """SOURCE=auto follows the records; a name or a YAML file names the source."""
    paths = _project(tmp_path)
    assert selection.choose_results(paths, "auto") == "embedded"
    other = write_results(tmp_path / "other", adapters=["lora_1"], variants=SUBMITTED, source="hub")
    shutil.copytree(other.results / "hub", paths.results / "hub")
    for path in (paths.results / "embedded").rglob("record.json"):
        os.utime(path, (1, 1))
    assert selection.choose_results(paths, "auto") == "hub"
    assert selection.choose_results(paths, "embedded") == "embedded"
    assert selection.choose_results(paths, str(paths.experiments / "sources" / "hub.yaml")) == "hub"


def test_a_probe_that_cannot_be_fitted_is_said_and_the_next_train_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with 1 and the reason; a probe that is up to date is left alone, and stands in `make status`."""
    paths, source = _project(tmp_path), resolve_source("embedded", PROJECT)
    data, told = load_study(paths.study).data, io.StringIO()

    def fail(*arguments: object) -> None:
        raise RunError("all rows have label 1")

    monkeypatch.setattr("adapterbook.training.probe.make_probe", fail)
    assert train._update_probe(data, paths, source, Console(file=told)) == 1
    assert "all rows have label 1" in told.getvalue()
    write_probe(paths, stamps=stamp_probe(data, source.data_identity()))
    assert train._update_probe(data, paths, source, Console(file=told)) == 0
    status = selection.load_statuses(tmp_path, "embedded", None)[-1]
    assert (status.id, status.state, status.up_to_date) == ("linear_probe", "completed", True)


def test_the_adapters_for_readers_are_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the runs the page's files are made and stand in `make status`; a book that does not want them has none."""
    paths, source = _project(tmp_path), resolve_source("embedded", PROJECT)
    seal_runs(paths)
    base = write_base_model(tmp_path / "base")
    monkeypatch.setattr(train, "fetch_source", lambda resolved: FetchedSource(base, base))
    said = []
    for _ in range(2):
        told = io.StringIO()
        train._update_live(paths, source, Console(file=told, width=300))
        said.append(told.getvalue())
    assert said[0].startswith("2 adapters can be tried on a page") and said[1] == ""
    status = selection.load_statuses(tmp_path, "embedded", None)[-2]
    assert (status.id, status.state, status.up_to_date) == ("live_adapters", "completed", True)
    book = paths.book.read_text("utf-8")
    paths.book.write_text(book.replace("live_adapters: null", "live_adapters: false"), "utf-8")
    assert selection.load_live(paths, "embedded") == ({}, None)


def test_no_record_at_all_says_what_to_do(tmp_path: Path) -> None:
    """Without any record the message says to train."""
    paths = Paths(tmp_path)
    for source in ("auto", "hub"):
        with pytest.raises(RecordError, match=r"There is no record under experiments/results.*make train"):
            selection.choose_results(paths, source)


@pytest.mark.slow
def test_pages_show_every_seed_that_was_run(tmp_path: Path) -> None:
    """After training with SEEDS="1 2 3" `make pages` without it shows those three."""
    paths = _project(tmp_path, seeds=(3, 1, 2))
    assert selection.recorded_seeds(paths, "embedded") == [1, 2, 3]
    output = io.StringIO()
    report.update_pages(tmp_path, "auto", None, Console(file=output, width=200))
    assert "from 6 runs of embedded" in output.getvalue()
    assert (tmp_path / "report/en/index.qmd").exists()


def test_a_gpu_gives_three_seeds_and_a_cpu_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the seeds for a GPU are taken, unless the study does not name any."""
    study = load_study(PROJECT.study).model_copy(update={"seeds": (224,), "seeds_on_gpu": (1, 2, 3)})
    monkeypatch.setattr(selection, "has_gpu", lambda: False)
    assert selection.default_seeds(study) == (224,)
    monkeypatch.setattr(selection, "has_gpu", lambda: True)
    assert selection.default_seeds(study) == (1, 2, 3)
    assert selection.default_seeds(study.model_copy(update={"seeds_on_gpu": None})) == (224,)


def test_a_hidden_gpu_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty CUDA_VISIBLE_DEVICES hides the GPU, as it does for torch."""
    monkeypatch.setattr("adapterbook.common.machine.version", lambda name: "2.13.0")
    monkeypatch.setattr("ctypes.CDLL", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not has_gpu()


def test_help_lists_every_command(tmp_path: Path) -> None:
    """The help has a whole line for each command, then examples, and what the exit status means."""
    done = run_adapterbook(_project(tmp_path), "--help", COLUMNS="80")
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    shown = {name for name, command in COMMANDS.items() if not command.hidden}
    assert {line.split()[0] for line in listed} == shown
    assert not [line for line in listed if not line.endswith(".") or line.endswith("...")]
    for part in ("Examples:", "Exit status:", "  0 ", "  1 ", "  2 ", "  130 "):
        assert part in done.stdout


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not command.hidden])
def test_every_setting_is_explained_and_make_hands_it_on(name: str) -> None:
    """Each option has a help text and an environment variable, which the Makefile exports."""
    lines = re.findall(r"(?m)^export (.*)$", (PROJECT.root / "Makefile").read_text("utf-8"))
    exported = {variable for line in lines for variable in line.split()}
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), parameter.name
            assert parameter.envvar in exported, parameter.name


def test_every_command_of_the_help_can_be_run() -> None:
    """The examples of the help name commands and options that exist."""
    for line in re.findall(r"python -m adapterbook ([^\n]*?)(?:   |$)", EPILOG):
        words = shlex.split(line)
        options = {option for parameter in COMMANDS[words[0]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_outside_a_project_one_is_told_so(tmp_path: Path) -> None:
    """Outside a project a command ends with exit status 2 and says so."""
    done = run_adapterbook(Paths(tmp_path), "status")
    assert done.returncode == 2
    assert "is not inside an AdapterBook project" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_names_each_run_and_why_it_is_not_up_to_date(tmp_path: Path) -> None:
    """If no stamp agrees, `status` calls every run stale and exits with 1."""
    paths = _project(tmp_path)
    shutil.copy(PROJECT.root / "_quarto.yml", tmp_path)
    done = run_adapterbook(paths, "status", COLUMNS="200")
    assert done.returncode == 1
    for part in ("ia3/submitted/seed-224", "lora_1/submitted/seed-224", "stale", "config, code"):
        assert part in done.stdout
