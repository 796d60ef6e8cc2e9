"""Execute notebooks that train nothing: a run is judged by its record, and whatever happens to it is a visible row."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from rich.console import Console

from adapterbook.common.errors import RunError
from adapterbook.common.workdir import temporary_folders
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_adapters, load_study
from adapterbook.execution.kernels import KernelPool
from adapterbook.execution.papermill_runs import LocalExecutor, train_runs
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.execution.results_folder import repair_results
from adapterbook.runs.plan import Run, plan_runs
from adapterbook.runs.record import Record, hash_files, load_record, write_record
from tests.support.factory import PROJECT, make_failed_record, make_record, write_results
from tests.support.processes import kernels_of, run_watched, wait_until

PARAMETERS = 'source = ""\nadapter = ""\nvariant = ""\nseed = 0\noutput = ""\nmicro_batches = 1'
COMPLETE = f"""
import json, pathlib
from {make_record.__module__} import make_predictions, make_record
from {write_record.__module__} import write_record
write_record(make_record(adapter, variant, seed, source__reason="the kernel does not know"), pathlib.Path(output))
make_predictions().to_parquet(pathlib.Path(output) / "predictions.parquet", index=False)
"""


# Says that it has begun, and goes on until it is stopped.
BUSY = "import time\nopen(f'{adapter}.busy', 'w').close()\ntime.sleep(600)"
# A driver of its own, in the project's folder.
TRAIN = "import pathlib; from tests.unit.execution.test_papermill_runs import Study; Study(pathlib.Path.cwd()).train()"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT.root)}


class Study:
    """A project whose notebook does what a test wants, and its runs."""

    def __init__(self, root: Path) -> None:
        if not root.joinpath("experiments").exists():
            write_results(root, adapters=["lora_1", "ia3"], variants={"submitted": {"title": "x"}})
        self.paths = Paths(root)
        study, adapters = load_study(self.paths.study), load_adapters(self.paths.experiments / "adapters")
        self.runs: list[Run] = plan_runs(study, adapters, "embedded")
        self.placeholders = {
            run.id: make_failed_record(run.adapter.id, source__reason="the driver knows") for run in self.runs
        }

    def only(self, adapter: str) -> list[Run]:
        """Return the run of one adapter."""
        return [run for run in self.runs if run.adapter.id == adapter]

    def write_notebook(self, *cells: str) -> None:
        """Make the notebook of these code cells, after the parameters."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (PARAMETERS, *cells)])
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.paths.notebook)

    def executor(self) -> LocalExecutor:
        """Return two kernels of this machine."""
        return LocalExecutor(KernelPool(self.paths.root, 2))

    def train(self, runs: list[Run] | None = None, *, cell_timeout_s: float | None = None) -> dict[str, Record]:
        """Train, and return what lies in the folders afterwards."""
        console = Console(file=io.StringIO())
        runs = self.runs if runs is None else runs
        ended = train_runs(runs, lambda: self.placeholders, self.paths, "embedded", self.executor(),
                           cell_timeout_s=cell_timeout_s, display=TrainingDisplay(len(runs), console))  # fmt: skip
        records = {run.adapter.id: load_record(run.folder(self.paths)) for run in runs}
        assert {record.run_id: record for record in ended} == {record.run_id: record for record in records.values()}
        return records


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two runs, each with an old completed record in its folder."""
    return Study(tmp_path / "project")


def _busy(study: Study) -> list[Path]:
    return list(study.paths.root.glob("*.busy"))


def _leftovers(paths: Paths) -> list[str]:
    kept = {"record.json", "predictions.parquet", "notebook.ipynb", ".lock", ".trainer"}
    return [file.name for file in paths.results.rglob("*") if file.is_file() and file.name not in kept]


def test_a_run_that_completes_replaces_the_one_before(study: Study) -> None:
    """The notebook's record counts; why the source was taken is the driver's to say."""
    study.write_notebook(COMPLETE)
    for name, record in study.train().items():
        expected = make_record(name, source__reason="the driver knows", files=record.files, seal=record.seal)
        assert expected == record
        assert record.seal == record.compute_seal()
        assert record.files == hash_files(study.paths.results / "embedded" / record.run_id)
        assert set(record.files) == {"notebook.ipynb", "predictions.parquet"}
        assert (study.paths.results / "embedded" / record.run_id / "notebook.ipynb").exists()
    assert _leftovers(study.paths) == []


def test_runs_that_follow_from_a_result_are_executed_too(study: Study) -> None:
    """A run that is found when another one has ended goes into the same kernels, and its time is counted."""
    study.write_notebook(COMPLETE)
    first, *others = study.runs
    found = [(run, study.placeholders[run.id]) for run in others]
    output = io.StringIO()
    ended = train_runs([first], lambda: {first.id: study.placeholders[first.id]}, study.paths, "embedded",
                       study.executor(), display=TrainingDisplay(1, Console(file=output)),
                       find_more=lambda: [found.pop() for _ in found])  # fmt: skip
    assert [record.run_id for record in ended] == [run.id for run in study.runs]
    assert {load_record(run.folder(study.paths)).status for run in study.runs} == {"completed"}
    assert "[1/1]" in output.getvalue() and "[2/2]" in output.getvalue()
    assert _leftovers(study.paths) == []


def test_a_failing_cell_is_a_failed_run_and_the_others_go_on(study: Study) -> None:
    """Type, message and cell are recorded, and the executed notebook is kept."""
    study.write_notebook("if adapter == 'ia3': raise ValueError('no luck')", COMPLETE)
    records = study.train()
    assert records["lora_1"].status == "completed"
    failed = records["ia3"]
    assert failed.error is not None
    assert (failed.status, failed.error.type, failed.error.message) == ("failed", "ValueError", "no luck")
    notebook = nbformat.read(study.paths.results / "embedded" / failed.run_id / "notebook.ipynb", as_version=4)
    assert any("no luck" in str(output) for output in notebook.cells[failed.error.cell].outputs)


def test_a_killed_kernel_is_a_failed_run(study: Study) -> None:
    """SIGKILL in the middle never yields a completed record, although a completed one was there before."""
    study.write_notebook("import os, signal\nif adapter == 'ia3': os.kill(os.getpid(), signal.SIGKILL)", COMPLETE)
    records = study.train()
    error = records["ia3"].error
    assert error is not None
    assert error.type == "DeadKernel"
    assert records["lora_1"].status == "completed"


MEMORY = "import torch\nif micro_batches == 1: torch.empty(10**15)"


def test_a_run_that_is_out_of_memory_has_a_second_try_at_half_the_batch(study: Study) -> None:
    """Real allocation failure; the record says what was split, and what the first try said."""
    study.write_notebook(MEMORY, COMPLETE)
    record = study.train(study.only("lora_1"))["lora_1"]
    smaller = record.smaller_batch
    assert smaller is not None
    assert record.status == "completed"
    assert (smaller.per_device_train_batch_size, smaller.gradient_accumulation_steps) == (8, 2)
    assert smaller.per_device_eval_batch_size == 8
    assert "you tried to allocate" in smaller.message


@pytest.mark.slow
def test_a_run_that_is_out_of_memory_twice_is_a_failed_run(study: Study) -> None:
    """…and says that the half batch was tried, too."""
    study.write_notebook("open('tries', 'a').write(f'{micro_batches} ')", "raise MemoryError", COMPLETE)
    record = study.train(study.only("lora_1"))["lora_1"]
    assert record.error is not None
    assert record.smaller_batch is not None
    assert (record.status, record.error.type, record.error.message) == ("failed", "OutOfMemory", "Memory ran out.")
    assert (study.paths.root / "tries").read_text("utf-8").split() == ["1", "2"]


def test_a_batch_that_has_no_half_is_not_tried_again(study: Study) -> None:
    """Seven rows in halves would be another batch."""
    study.write_notebook("open('tries', 'a').write(f'{micro_batches} ')", "raise MemoryError", COMPLETE)
    run = study.only("lora_1")[0]
    odd = replace(run, training=run.training.model_copy(update={"per_device_train_batch_size": 7}))
    record = study.train([odd])["lora_1"]
    assert record.status == "failed"
    assert record.smaller_batch is None
    assert (study.paths.root / "tries").read_text("utf-8").split() == ["1"]


def test_a_full_disk_while_a_cell_writes_is_a_failed_run(study: Study) -> None:
    """What the operating system says, under one name; what was written by then is cleared away."""
    write = "import errno, os\nopen(output + '/.record.json.half', 'w').write('{')\n"
    study.write_notebook(write + "raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), output + '/x')", COMPLETE)
    error = study.train(study.only("lora_1"))["lora_1"].error
    assert error is not None
    assert error.type == "DiskFull"
    assert _leftovers(study.paths) == []


def test_a_disk_that_takes_no_notebook_is_a_failed_run_and_the_old_one_is_not_shown(study: Study) -> None:
    """A real limit of 20 kB a file for this process: Papermill cannot write the notebook, the record still fits."""
    study.write_notebook("print('x' * 100_000)", COMPLETE)
    script = (
        "import pathlib, resource; from tests.unit.execution.test_papermill_runs import Study\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"study = Study(pathlib.Path({str(study.paths.root)!r})); study.train(study.only('lora_1'))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = load_record(study.only("lora_1")[0].folder(study.paths))
    assert record.error is not None
    assert (record.status, record.error.type) == ("failed", "DiskFull")
    assert _leftovers(study.paths) == []


@pytest.mark.slow
def test_a_disk_that_takes_nothing_at_all_ends_in_failed_runs_and_no_traceback(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the first record: the run is listed as failed, and the folder before stays."""
    study.write_notebook(COMPLETE)
    before = load_record(study.only("lora_1")[0].folder(study.paths))

    def refuse(record: Record, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("adapterbook.execution.papermill_runs.write_record", refuse)
    runs = study.only("lora_1")
    (ended,) = train_runs(runs, lambda: study.placeholders, study.paths, "embedded", study.executor(),
                          display=TrainingDisplay(1, Console(file=io.StringIO())))  # fmt: skip
    assert ended.error is not None
    assert (ended.status, ended.error.type) == ("failed", "DiskFull")
    assert "make room" in ended.error.message
    assert ended.run_id == before.run_id


def test_a_failure_s_message_tells_no_folder_of_this_machine(study: Study) -> None:
    """A failure's message names no folder of this machine: it goes into the record, and from there onto pages."""
    missing = uuid.uuid4().hex  # whatever else lies among the system's temporary files
    study.write_notebook(f"import tempfile\nopen(tempfile.gettempdir() + '/{missing}/y')", COMPLETE)
    error = study.train(study.only("lora_1"))["lora_1"].error
    assert error is not None
    assert error.message == f"[Errno 2] No such file or directory: '<tmp>/{missing}/y'"


def test_a_cell_that_takes_too_long_is_a_failed_run(study: Study) -> None:
    """A cell that takes too long is stopped, and the message says how to allow more."""
    study.write_notebook("import time; time.sleep(600)")
    error = study.train(study.only("lora_1"), cell_timeout_s=1)["lora_1"].error
    assert error is not None
    assert error.type == "Timeout"
    assert "CELL_TIMEOUT_S" in error.message


def test_a_notebook_that_writes_no_record_is_a_failed_run(study: Study) -> None:
    """Papermill calls it a success; the record says it did not reach its end."""
    study.write_notebook("pass")
    error = study.train(study.only("lora_1"))["lora_1"].error
    assert error is not None
    assert error == study.placeholders["lora_1/submitted/seed-224"].error


@pytest.mark.slow
def test_a_half_written_record_is_a_failed_run(study: Study) -> None:
    """A record cut in its middle is never completed."""
    study.write_notebook("open(output + '/record.json', 'w').write('{\"status\": \"completed\"')")
    error = study.train(study.only("lora_1"))["lora_1"].error
    assert error is not None
    assert error.type == "RecordError"


def test_an_executed_notebook_tells_no_folder_of_this_machine(study: Study) -> None:
    """Neither the project's folder nor Python's, not even in a traceback."""
    study.write_notebook("import os, json; print(os.getcwd(), json.__file__)\njson.loads('')")
    record = study.train(study.only("lora_1"))["lora_1"]
    text = (study.paths.results / "embedded" / record.run_id / "notebook.ipynb").read_text("utf-8")
    assert "JSONDecodeError" in text
    for folder in (str(study.paths.root), json.__file__.rpartition("/lib/")[0], str(Path.home())):
        assert folder not in text


def test_an_unknown_parameter_is_an_error(study: Study) -> None:
    """Papermill only warns; a notebook that ignores its seed would give the same run again and again."""
    study.write_notebook(COMPLETE)
    notebook = nbformat.read(study.paths.notebook, as_version=4)
    notebook.cells[0].source = PARAMETERS.replace("seed = 0\n", "")
    nbformat.write(notebook, study.paths.notebook)
    with pytest.raises(RunError, match="seed"):
        study.train()


def test_a_second_trainer_is_told_who_holds_the_lock(study: Study) -> None:
    """Two `make train` at once: the second one stops before it touches anything."""
    study.write_notebook(COMPLETE)
    before = {file: file.read_bytes() for file in study.paths.results.rglob("*") if file.is_file()}
    with FileLock(study.paths.results / ".lock"), pytest.raises(RunError, match="is training into experiments/results"):
        study.train()
    assert before == {file: file.read_bytes() for file in before}


def test_an_interrupt_stops_the_kernels_and_keeps_the_old_results(study: Study) -> None:
    """After Ctrl-C no process is left, and no run is replaced by a half one."""
    study.write_notebook(BUSY)
    before = {run.id: load_record(run.folder(study.paths)) for run in study.runs}

    class Interrupting(TrainingDisplay):
        def refresh(self) -> None:
            if len(_busy(study)) == 2:
                raise KeyboardInterrupt

    display = Interrupting(2, Console(file=io.StringIO()))
    with pytest.raises(KeyboardInterrupt):
        train_runs(study.runs, lambda: study.placeholders, study.paths, "embedded", study.executor(), display=display)
    assert before == {run.id: load_record(run.folder(study.paths)) for run in study.runs}
    assert kernels_of() == []


def test_recovery_puts_back_what_a_crash_left_between_two_renames(tmp_path: Path) -> None:
    """Old folder aside, new one not yet in place: the old one comes back; staging vanishes."""
    paths = write_results(tmp_path, adapters=["lora_1"], variants={"submitted": {"title": "x"}})
    final = paths.results / "embedded" / "lora_1" / "submitted" / "seed-224"
    record = load_record(final)
    final.rename(final.with_name(".seed-224.old"))
    (paths.results / ".staging" / "embedded" / "x").mkdir(parents=True)
    repair_results(paths, "embedded", due=())
    assert record == load_record(final)
    assert sorted(path.name for path in final.parent.iterdir()) == ["seed-224"]
    assert not (paths.results / ".staging").exists()


def test_a_trainer_that_is_killed_leaves_no_process_and_no_file(study: Study) -> None:
    """After SIGKILL of the driver its kernels end by themselves, and the next one clears its folders away."""
    study.write_notebook(BUSY)
    driver = subprocess.Popen([sys.executable, "-c", TRAIN], cwd=study.paths.root, env=ENVIRONMENT)
    wait_until(lambda: len(_busy(study)) == 2, driver)
    kernels = kernels_of(driver.pid)
    driver.kill()
    driver.wait()
    assert len(kernels) == 2
    wait_until(lambda: not any(kernel.is_running() for kernel in kernels))
    assert temporary_folders(study.paths.root, "kernel")
    repair_results(study.paths, "embedded", due=())
    assert temporary_folders(study.paths.root, "kernel") == []
    assert _leftovers(study.paths) == []


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(r"open .*/\.staging/.*record\.json.*", marks=pytest.mark.slow),
        r"os\.rename .*/\.seed-224\.old",
        pytest.param(r"os\.rename experiments/results/embedded/[^./]*/submitted/seed-224", marks=pytest.mark.slow),
    ],
    ids=["first record", "old run aside", "new run in place"],
)
def test_training_ends_as_if_the_first_try_had_not_been_killed(study: Study, tmp_path: Path, moment: str) -> None:
    """After SIGKILL at the moment of a write, every run completes, and no file of the first try is left."""
    study.write_notebook(COMPLETE)
    killed = run_watched(study.paths.root, tmp_path / "watch", "-c", TRAIN, moment=moment, number=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.output
    records = study.train()
    assert {record.status for record in records.values()} == {"completed"}
    assert _leftovers(study.paths) == []
    assert temporary_folders(study.paths.root, "kernel") == []


def test_the_display_says_run_epoch_loss_and_time_left(tmp_path: Path) -> None:
    """A terminal shows how far a run is while it trains, and one line when it ends."""
    output = io.StringIO()
    display = TrainingDisplay(2, Console(file=output, force_terminal=True, width=140))
    run = Study(tmp_path / "study").only("lora_1")[0]
    with display:
        display.started(run, tmp_path)
        (tmp_path / "progress.jsonl").write_text(
            '{"step": 24, "max_steps": 80, "epoch": 3.0, "loss": 0.6543, "eval_loss": 0.7}\n{"step": 25, "max'
        )
        display.refresh()
        wait_until(lambda: "epoch 3.0" in output.getvalue())
        display.ended(make_record("lora_1"))
    text = output.getvalue()
    for part in ("lora_1/submitted/seed-224", "epoch 3.0", "loss 0.6543", "left", "test accuracy"):
        assert part in text
