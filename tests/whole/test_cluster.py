"""Train on a real scheduler and workers on loopback, which share no folder with the driver."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, Final

import psutil
import pytest
from rich.console import Console

from adapterbook.commands import train
from adapterbook.common.errors import AdapterBookError, RunError
from adapterbook.common.settings import read_scheduler
from adapterbook.config.paths import Paths
from adapterbook.execution.papermill_runs import TrainingContext, train_runs
from adapterbook.execution.progress import TrainingDisplay
from adapterbook.runs.plan import Run
from adapterbook.runs.record import Record, hash_files, load_record, seal_record, write_record
from adapterbook.sources.resolve import resolve_source
from tests.support.factory import PROJECT
from tests.support.processes import kernels_of, wait_until
from tests.support.small_project import SETTINGS, copy_project, cut_down, make_small_project, run_adapterbook
from tests.unit.execution.test_papermill_runs import COMPLETE, Study

distributed = pytest.importorskip("distributed", reason="Dask is optional: requirements-dask.txt")
from adapterbook.execution.cluster import driver as cluster  # noqa: E402  they import Dask
from adapterbook.execution.cluster import worker as cluster_worker  # noqa: E402
from adapterbook.execution.cluster.parcel import pack_folder  # noqa: E402

# What differs between any two runs of the same configuration.
OF_STEPS: Final[dict[str, Any]] = {"steps": {"__all__": {"seconds"}}}
OWN = {"started_at", "finished_at", "train_time_s", "train_samples_per_s", "test_time_s", "evaluation_time_s",
       "train_cpu_s", "latency",
       "peak_memory_bytes", "git", "seal", "files"}  # fmt: skip

# Says how far it is, and goes on once the driver has shown it.
PROGRESS = """
import json, pathlib, time
line = json.dumps({{"step": 24, "max_steps": 80, "epoch": 3.0, "loss": 0.6543}})
(pathlib.Path(output) / "progress.jsonl").write_text(line + "\\n")
while not pathlib.Path({shown!r}).exists(): time.sleep(0.05)
"""
# Says that it has begun, and goes on until it is stopped.
BUSY = "import pathlib, time\npathlib.Path({folder!r}, f'{{adapter}}.busy').touch()\ntime.sleep(600)"


class Loopback:
    """A scheduler and its workers: processes of their own, with working folders of their own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.workers = folder, dict[str, subprocess.Popen[bytes]]()
        folder.mkdir(parents=True, exist_ok=True)
        # Not the project's folder: a scheduler does not have this package.
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", "scheduler.json",
                                     environment={"PYTHONPATH": ""} | settings)  # fmt: skip

    @cached_property
    def address(self) -> str:
        """The scheduler's address, once its whole note is written."""
        note = self.folder / "scheduler.json"
        wait_until(lambda: note.exists() and note.read_text("utf-8").rstrip().endswith("}"))
        return str(json.loads(note.read_text("utf-8"))["address"])

    def add_worker(self, name: str, *options: str, python_path: Path | None = PROJECT.root, **settings: str) -> None:
        """Start a worker without a nanny: one that is killed does not come back."""
        path = str(python_path) if python_path else ""
        self.workers[name] = self._start(
            "worker", self.address, "--no-nanny", "--name", name, "--local-directory", str(self.folder / name),
            *(options or ("--nthreads", "1")), environment={"PYTHONPATH": path} | settings,
        )  # fmt: skip

    def _start(self, what: str, *options: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, "--host", "127.0.0.1", "--no-dashboard"]
        with (self.folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen([*command, *options], cwd=self.folder, env=os.environ | environment, stderr=log)

    def kernels(self) -> list[psutil.Process]:
        """Return the kernels of the workers that live."""
        alive = [worker for worker in self.workers.values() if worker.poll() is None]
        return [kernel for worker in alive for kernel in kernels_of(worker.pid)]

    def sites(self) -> list[Path]:
        """Return what drivers left on the workers."""
        return list(self.folder.glob("*/dask-scratch-space/*/adapterbook-*"))

    def close(self) -> None:
        """Kill all of it."""
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    """A scheduler that gives a run up with the first worker that dies over it, and two workers."""
    loopback = Loopback(tmp_path / "loopback", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    try:
        for name in ("first", "second"):
            loopback.add_worker(name)
        yield loopback
    finally:
        loopback.close()


def _train(study: Study, address: str, display: TrainingDisplay | None = None) -> dict[str, Record]:
    """Train on a cluster, and return what lies in the folders afterwards."""
    display = display or TrainingDisplay(len(study.runs), Console(file=io.StringIO()))
    with cluster.connect(address) as client:
        project = cluster.pack_study(study.paths, resolve_source("embedded", study.paths))
        executor = cluster.ClusterExecutor(client, project)
        executor.check_workers()
        ended = train_runs(
            study.runs,
            lambda: study.placeholders,
            study.paths,
            "embedded",
            executor,
            cell_timeout_s=300,
            display=display,
        )
    records = {run.adapter.id: load_record(run.folder(study.paths)) for run in study.runs}
    assert {record.run_id: record for record in ended} == {record.run_id: record for record in records.values()}
    assert not (study.paths.results / ".staging").exists()
    return records


# ---- the same runs, the same records


def _results(paths: Paths) -> dict[str, Any]:
    """Return all that a run's result is, for every run: its record, and its predictions and adapter, bit for bit."""
    found = {}
    for path in sorted(paths.results.glob("*/*/*/*/record.json")):
        record = load_record(path.parent)
        assert record.files == hash_files(path.parent)
        assert record.seal == record.compute_seal()
        files = {name: digest for name, digest in record.files.items() if name != "notebook.ipynb"}
        found[record.run_id] = (json.loads(record.model_dump_json(exclude=dict.fromkeys(OWN, True) | OF_STEPS)), files)
    return found


@pytest.mark.slow
def test_a_cluster_of_which_a_worker_is_killed_leaves_what_this_machine_leaves(
    trained_project: Paths, tmp_path: Path
) -> None:
    """A worker is killed while it has a run of the real study; another one takes it over, and every bit is the same."""
    paths = cut_down(copy_project(trained_project, tmp_path / "project"), ["ia3"], ["submitted", "lr-1e-3"])
    expected = _results(paths)
    assert len(expected) == 2
    shutil.rmtree(paths.results)
    loopback = Loopback(tmp_path / "loopback")  # with Dask's own settings
    try:
        for name in ("first", "second"):
            loopback.add_worker(name)
        environment = os.environ | SETTINGS | {"EXECUTOR": "dask", "SCHEDULER": loopback.address}
        command = [sys.executable, "-m", "adapterbook", "train"]
        driver = subprocess.Popen(command, cwd=paths.root, env=environment, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)  # fmt: skip
        killed = loopback.workers["first"]
        wait_until(lambda: kernels_of(killed.pid), driver)
        killed.kill()
        said, _ = driver.communicate(timeout=900)
        assert driver.returncode == 0, said
        assert "2 at a time, on the cluster at" in said
        assert "2 runs completed, 0 failed" in said
        wait_until(lambda: not loopback.kernels())
        assert [site for site in loopback.sites() if "second" in str(site)] == []
    finally:
        loopback.close()
    assert expected == _results(paths)
    done = run_adapterbook(paths, "train", EXECUTOR="dask", SCHEDULER="tcp://127.0.0.1:1")
    assert "nothing to train" in done.stdout  # and no cluster is asked


# ---- what goes wrong with a run


@pytest.mark.slow
def test_whatever_happens_to_a_run_is_a_visible_row(loopback: Loopback, tmp_path: Path) -> None:
    """A cell that fails; its message, its notebook, where it was, and the reason that only the driver knows.

    Meanwhile the driver's terminal shows how far the run on the worker is.
    """
    study = Study(tmp_path / "study")
    output, shown = io.StringIO(), tmp_path / "shown"
    fail = "if adapter == 'ia3': raise ValueError('no luck')"
    study.write_notebook(PROGRESS.format(shown=str(shown)), fail, COMPLETE)

    class Display(TrainingDisplay):
        def refresh(self) -> None:
            super().refresh()
            if "epoch 3.0, loss 0.6543" in output.getvalue():
                shown.touch()

    records = _train(study, loopback.address, Display(2, Console(file=output, width=150, force_terminal=True)))
    assert records["lora_1"].status == "completed"
    assert records["lora_1"].source.reason == "the driver knows"
    assert records["lora_1"].seal == records["lora_1"].compute_seal()
    error = records["ia3"].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "no luck")
    assert records["ia3"].environment != study.placeholders[records["ia3"].run_id].environment
    assert set(records["ia3"].files) == {"notebook.ipynb"}
    assert shown.exists()
    assert "ia3/submitted/seed-224  FAILED" in output.getvalue()
    assert loopback.sites() == []


@pytest.mark.slow
def test_a_run_that_kills_its_workers_is_a_failed_run_and_the_others_go_on(loopback: Loopback, tmp_path: Path) -> None:
    """Its kernel takes the worker with it; the scheduler gives up after as many workers as it is told to."""
    study = Study(tmp_path / "study")
    kill = "import os, signal\nif adapter == 'ia3': os.kill(os.getppid(), signal.SIGKILL)"
    study.write_notebook(kill, COMPLETE)
    records = _train(study, loopback.address)
    error = records["ia3"].error
    assert error is not None
    assert (error.type, error.message.partition(" over")[0]) == ("DeadWorker", "1 workers died")
    assert "127.0.0.1" not in error.message
    assert records["lora_1"].status == "completed"


@pytest.mark.slow
def test_each_run_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    """A worker with two of them and four threads: two runs at a time, each with another CUDA_VISIBLE_DEVICES."""
    loopback = Loopback(tmp_path / "loopback")
    try:
        loopback.add_worker("gpus", "--nthreads", "4", "--resources", "GPU=2", CUDA_VISIBLE_DEVICES="3,5")
        loopback.add_worker("none", "--nthreads", "4")
        study = Study(tmp_path / "study")
        study.write_notebook(
            f"import os, pathlib, time; seen = pathlib.Path({str(tmp_path)!r}, f'{{adapter}}.gpu')\n"
            "seen.write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
            "while len(list(seen.parent.glob('*.gpu'))) < 2: time.sleep(0.05)",  # so they go side by side
            COMPLETE,
        )
        with cluster.connect(loopback.address) as client:
            client.wait_for_workers(2)
            project = cluster.pack_study(study.paths, resolve_source("embedded", study.paths))
            assert len(cluster.ClusterExecutor(client, project)) == 2
        _train(study, loopback.address)
        assert {(tmp_path / f"{adapter}.gpu").read_text("utf-8") for adapter in ("ia3", "lora_1")} == {"3", "5"}
    finally:
        loopback.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_driver_that_stops_leaves_no_kernel_on_the_workers(
    loopback: Loopback, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, or a driver that is killed: nothing goes on or stays on the workers, and no result was replaced."""
    study = Study(tmp_path / "study")
    study.write_notebook(BUSY.format(folder=str(tmp_path)))
    before = {run.id: load_record(run.folder(study.paths)) for run in study.runs}
    script = (
        "import pathlib, signal; from tests.whole.test_cluster import Study, _train\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # it is ignored where the tests run in background
        f"_train(Study(pathlib.Path({str(study.paths.root)!r})), {loopback.address!r})"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT.root, stderr=subprocess.PIPE)
    wait_until(lambda: len(list(tmp_path.glob("*.busy"))) == 2, driver)
    assert len(loopback.kernels()) == 2
    driver.send_signal(number)
    _, said = driver.communicate(timeout=300)
    assert number == signal.SIGKILL or said.strip().endswith(b"KeyboardInterrupt")
    wait_until(lambda: not loopback.kernels() and not loopback.sites())
    assert before == {run.id: load_record(run.folder(study.paths)) for run in study.runs}


def test_a_scheduler_that_goes_is_one_message(loopback: Loopback, tmp_path: Path) -> None:
    """…and not as many failed records as there are runs."""
    study = Study(tmp_path / "study")
    study.write_notebook("import time; time.sleep(600)")
    before = {run.id: load_record(run.folder(study.paths)) for run in study.runs}

    class Killing(TrainingDisplay):
        def started(self, run: Any, staging: Path) -> None:
            super().started(run, staging)
            loopback.scheduler.kill()

    with (
        pytest.raises(RunError, match="The scheduler is gone"),
        cluster.connect(loopback.address) as client,
    ):
        project = cluster.pack_study(study.paths, resolve_source("embedded", study.paths))
        display, executor = Killing(2, Console(file=io.StringIO())), cluster.ClusterExecutor(client, project)
        train_runs(study.runs, lambda: study.placeholders, study.paths, "embedded", executor, display=display)
    assert before == {run.id: load_record(run.folder(study.paths)) for run in study.runs}


class _Client:
    """A client of a cluster whose worker answers every task with one folder."""

    def __init__(self, record: Record, folder: Path) -> None:
        self.answer = cluster_worker.RunParcel(record, pack_folder(folder))

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {}}

    def subscribe_topic(self, topic: str, handler: object) -> None:
        """Hear nothing."""

    def get_executor(self, **settings: object) -> Any:
        done = Future[cluster_worker.RunParcel]()
        done.set_result(self.answer)
        return SimpleNamespace(submit=lambda *arguments, **named: done)


def test_what_is_not_the_run_that_was_asked_for_is_not_taken(tmp_path: Path) -> None:
    """A record of another run, with other stamps, or whose files were changed on the way is a failed run."""
    study = Study(tmp_path)
    study.write_notebook(COMPLETE)
    project = cluster.pack_study(study.paths, resolve_source("embedded", study.paths))
    run, other = study.runs
    folder = run.folder(study.paths)
    good = seal_record(load_record(folder), folder)
    write_record(good, folder)

    def ask_for(wanted: Run, skeleton: Record) -> Record:
        client: Any = _Client(good, folder)
        executor = cluster.ClusterExecutor(client, project)
        work = TrainingContext({wanted.id: skeleton}, study.paths, "embedded", None, lambda run, staging: None, Event())
        return executor.collect_record(executor.submit(wanted, work), wanted, work)

    skeleton = study.placeholders[run.id].model_copy(update={"stamps": good.stamps})
    assert ask_for(run, skeleton) == good
    stamps = good.stamps.model_copy(update={"data": "0" * 64})
    answers = {
        f"expected embedded/{other.id}, got embedded/{run.id}": ask_for(other, study.placeholders[other.id]),
        "stamps": ask_for(run, skeleton.model_copy(update={"stamps": stamps})),
    }
    (folder / "notebook.ipynb").write_text("{}", "utf-8")
    answers["the files are not those"] = ask_for(run, skeleton)
    for message, record in answers.items():
        assert record.status == "failed"
        assert record.error is not None
        assert record.error.type == "RecordError"
        assert message in record.error.message


@pytest.mark.slow
def test_a_worker_keeps_a_study_for_its_runs_and_clears_it_away_when_none_comes(tmp_path: Path) -> None:
    """One folder and its kernel serve all runs of a driver; without a run for a while both go, and come back."""
    study = Study(tmp_path / "study")
    note = f"import os; open({str(tmp_path / 'note')!r}, 'a').write(f'{{os.getcwd()}} {{os.getpid()}}\\n')"
    study.write_notebook(note, COMPLETE)
    loopback = Loopback(tmp_path / "loopback")
    try:
        loopback.add_worker("only")
        with cluster.connect(loopback.address) as client:
            project = cluster.pack_study(study.paths, resolve_source("embedded", study.paths))
            executor = cluster.ClusterExecutor(client, project)
            work = TrainingContext(
                study.placeholders, study.paths, "embedded", None, lambda run, staging: None, Event()
            )

            def train(*runs: Run) -> None:
                futures = [(executor.submit(run, work), run) for run in runs]
                assert {executor.collect_record(future, run, work).status for future, run in futures} == {"completed"}

            train(*study.runs)
            assert len(loopback.sites()) == 1
            client.run(lambda: setattr(sys.modules["adapterbook.execution.cluster.worker"], "IDLE_S", 0.1))
            train(study.runs[0])
            wait_until(lambda: not loopback.sites() and not loopback.kernels())
            train(study.runs[1])
    finally:
        loopback.close()
    first, second, third, fourth = (tmp_path / "note").read_text("utf-8").splitlines()
    assert first == second == third != fourth


# ---- what is refused before the first run


@pytest.mark.slow
def test_workers_that_are_set_up_otherwise_are_refused_by_name(loopback: Loopback, tmp_path: Path) -> None:
    """Another version of a package, other code, no code at all: each is named, and the good ones are not."""
    other = tmp_path / "other"
    shutil.copytree(PROJECT.root / "adapterbook", other / "adapterbook", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "adapterbook" / "training" / "trainer.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    information = other / "peft-0.0.1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.0.1\n", "utf-8")
    loopback.add_worker("other", python_path=other)
    loopback.add_worker("none", python_path=None)
    paths = make_small_project(tmp_path / "project")
    with cluster.connect(loopback.address) as client:
        client.wait_for_workers(4)
        addresses = {worker["name"]: address for address, worker in client.scheduler_info()["workers"].items()}
    done = run_adapterbook(paths, "train", EXECUTOR="dask", SCHEDULER=loopback.address)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for part in (
        f"{addresses['other']}:", "peft: expected 0.21.2, got 0.0.1", "another training/trainer.py",
        f"{addresses['none']}: ModuleNotFoundError(\"No module named 'adapterbook'\"): start it in a checkout",
    ):  # fmt: skip
        assert part in done.stderr
    assert addresses["first"] not in done.stderr
    assert list(paths.results.rglob("record.json")) == []
    # One that joins later is refused by its own look at the first task.
    for name in ("first", "second", "none"):
        loopback.workers[name].kill()
    study = Study(tmp_path / "study")
    study.write_notebook(COMPLETE)
    with cluster.connect(loopback.address) as client, pytest.raises(RunError, match=r"cannot be used:[^$]*peft"):
        project = cluster.pack_study(study.paths, resolve_source("embedded", study.paths))
        executor = cluster.ClusterExecutor(client, project)
        train_runs(study.runs, lambda: study.placeholders, study.paths, "embedded", executor,
                   display=TrainingDisplay(2, Console(file=io.StringIO())))  # fmt: skip


def test_a_source_that_a_worker_cannot_have_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    """A folder that is not on the worker, or holds something else: the driver's content is not sent."""
    study = Study(tmp_path / "study")
    study.write_notebook(COMPLETE)
    resolved = resolve_source("embedded", study.paths)
    with cluster.connect(loopback.address) as client:
        project = cluster.pack_study(study.paths, resolved)
        project = replace(project, data_identity={**project.data_identity, "dataset": "files:0"})
        with pytest.raises(RunError, match=r"dataset: expected files:0, got package:5d7c06e0"):
            cluster.ClusterExecutor(client, project).check_workers()


def test_a_scheduler_that_does_not_answer_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens there; the message names the address and what to do."""
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    with (
        pytest.raises(RunError, match=r"SCHEDULER=tcp://127\.0\.0\.1:1: no scheduler answers within 1 s"),
        cluster.connect("tcp://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_without_a_worker_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """…after a time in which a batch system may have started one."""
    monkeypatch.setattr(cluster, "WORKERS_S", 1.0)
    loopback = Loopback(tmp_path)
    try:
        with pytest.raises(RunError, match="has no worker"), cluster.connect(loopback.address):
            pass
    finally:
        loopback.close()


@pytest.mark.parametrize(
    ("executor", "address", "jobs", "message"),
    [
        ("other", "", "", "EXECUTOR=other: expected local or dask"),
        ("dask", "", "", "such as SCHEDULER=tcp://host:8786 .*, got nothing"),
        ("dask", "host:8786", "", "got SCHEDULER=host:8786"),
        ("dask", "http://host:8786", "", "got SCHEDULER=http://host:8786"),
        ("dask", "tcp://host", "", "got SCHEDULER=tcp://host"),
        ("dask", "tcp://host:99999", "", "got SCHEDULER=tcp://host:99999"),
        ("dask", "tcp://host:8786; rm", "", "got SCHEDULER=tcp://host:8786; rm"),
        ("dask", "tcp://host:8786", "4", "JOBS=4 is for this machine"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(executor: str, address: str, jobs: str, message: str) -> None:
    """Each by one message that says what was expected and what came."""
    with pytest.raises(AdapterBookError, match=message):
        read_scheduler(executor, address, jobs)


def test_where_runs_go() -> None:
    """To a cluster only when asked: an address alone, such as one set for other days, changes nothing."""
    assert read_scheduler("dask", "tcp://[::1]:8786", "") == "tcp://[::1]:8786"
    assert read_scheduler("dask", " tls://node-1.example.org:8786 ", "") == "tls://node-1.example.org:8786"
    assert read_scheduler("local", "tcp://host:8786", "2") is None
    assert read_scheduler("", "", "") is None


def test_without_dask_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match="`make setup EXECUTOR=dask` installs it"):
        train._connect("tcp://host:8786", Console(file=io.StringIO()))
