"""The steps of ``make``: train what is due, make the pages, make the site, verify.

Owns the order of things and which results a report is about. Everything it does is done by a module named after it.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console

from adapterbook.capacity import count_workers, list_devices
from adapterbook.config import (
    IDENTIFIER,
    MAX_SEED,
    AdapterConfig,
    Paths,
    StudyConfig,
    load_adapters,
    load_published,
    load_source,
    load_study,
)
from adapterbook.display import TrainingDisplay, format_duration
from adapterbook.errors import AdapterBookError, ConfigError, RecordError, SourceError
from adapterbook.runs import Run, RunStatus, plan_runs, stamp_runs, status_of
from adapterbook.sources import ResolvedSource, resolve_source
from adapterbook.stages import hash_inputs, installed_packages, run_stage
from adapterbook.staging import clear_leftovers, hold_lock
from adapterbook.workplace import hold_workplace
from adapterbook.yamlfile import load_yaml

__all__ = ["TrainOutcome", "load_statuses", "make_pages", "make_site", "train", "verify"]


@dataclass(frozen=True)
class TrainOutcome:
    """What `train` did.

    Attributes
    ----------
    source : str
        Name of the source, which is the name of its folder under ``results/``.
    exit_code : int
        1 where a run failed, else 0.
    """

    source: str
    exit_code: int


def train(
    root: Path, source: str, seeds: Sequence[int] | None, jobs: int | None, cell_timeout_s: float, console: Console
) -> TrainOutcome:
    """Train every run that is missing, failed or stale."""
    paths = Paths(root)
    study, adapters = _load_study(paths)
    resolved = resolve_source(source, paths)
    _say(console, f"Source {resolved.config.name}: {resolved.reason}")
    seeds = seeds or default_seeds(study)
    statuses = _statuses(paths, study, adapters, resolved.config.name, seeds, resolved)
    due = [status.run for status in statuses if not status.up_to_date]
    if not due:
        clear_leftovers(paths, resolved.config.name)
        _say(console, f"All {len(statuses)} runs are up to date: nothing to train.")
        return TrainOutcome(resolved.config.name, 0)
    _say(console, f"{len(due)} of {len(statuses)} runs are to be trained.")
    return TrainOutcome(resolved.config.name, _train(due, paths, source, resolved, jobs, cell_timeout_s, console))


def _train(
    due: Sequence[Run],
    paths: Paths,
    choice: str,
    resolved: ResolvedSource,
    jobs: int | None,
    cell_timeout_s: float,
    console: Console,
) -> int:
    # Here and not above: they load torch, which a report that is up to date does not need.
    import torch

    from adapterbook.execution import train_runs
    from adapterbook.recording import preflight

    n_gpus = torch.cuda.device_count()
    memory = [torch.cuda.get_device_properties(i).total_memory for i in range(n_gpus)]
    n_workers = count_workers(jobs, n_runs=len(due), gpu_memory_bytes=memory)
    with console.status("Fetching the base model and the data, checking every adapter …"):
        skeletons = preflight(due, paths, resolved)
    device = next(iter(skeletons.values())).environment.device_name
    _say(console, f"{n_workers} at a time, on {device}.")
    records = train_runs(
        due,
        skeletons,
        paths,
        _source_for_notebook(paths, choice, resolved),
        n_workers=n_workers,
        devices=list_devices(n_gpus),
        cell_timeout_s=cell_timeout_s,
        display=TrainingDisplay(len(due), console),
    )
    failed = [record for record in records if record.status == "failed"]
    busy_s = sum((record.finished_at - record.started_at).total_seconds() for record in records)
    _say(
        console,
        f"{len(records) - len(failed)} runs completed, {len(failed)} failed; {format_duration(busy_s)} of work.",
    )
    for record in failed:
        notebook = paths.results / record.source.name / record.run_id / "notebook.ipynb"
        where = f"cell {record.error.cell} of {paths.shown(notebook)}" if record.error else ""
        _say(console, f"  - {record.run_id}: {record.error.message if record.error else ''} See {where}.")
    return 1 if failed else 0


def load_statuses(root: Path, source: str, seeds: Sequence[int] | None) -> list[RunStatus]:
    """Return what lies in each run's folder, compared with today's stamps.

    Raises
    ------
    SourceError
        If the source cannot be resolved.
    """
    paths = Paths(root)
    study, adapters = _load_study(paths)
    resolved = resolve_source(source, paths)
    return _statuses(paths, study, adapters, resolved.config.name, seeds or default_seeds(study), resolved)


def verify(
    root: Path, source: str, seeds: Sequence[int] | None, retrain: str, cell_timeout_s: float, console: Console
) -> int:
    """Check that every number of a report can be believed; return the exit status, 1 where one cannot.

    Parameters
    ----------
    retrain : str
        Id of the run to train again, ``none``, or empty: the shortest of those that nothing was found about.

    Raises
    ------
    ConfigError
        If `retrain` is no run of this report.
    """
    paths = Paths(root)
    study, adapters = _load_study(paths)
    name = choose_results(paths, source)
    runs = plan_runs(study, adapters, name, seeds or recorded_seeds(paths, name) or study.seeds)
    if not runs:
        raise ConfigError(f"{paths.shown(paths.study)} plans no run: there is nothing to verify.")
    if retrain not in ("", "none", *(run.id for run in runs)):
        raise ConfigError(f"RETRAIN={retrain}: expected none or a run of {name}, such as {runs[0].id}.")
    from adapterbook.verification.audit import audit_runs  # here and not above: it loads torch

    choice = source if source != "auto" else _choice_of(paths, name)
    with hold_lock(paths):
        resolved: ResolvedSource | AdapterBookError
        try:
            resolved = resolve_source(choice, paths)
            shown = _source_for_notebook(paths, choice, resolved)
            if resolved.config.name != name:
                resolved = SourceError(f"{choice} is named {resolved.config.name}, the results are of {name}.")
        except AdapterBookError as error:
            resolved, shown = error, ""
        audit = audit_runs(runs, paths, resolved, retrain, shown, cell_timeout_s, console)
    for finding in audit.findings:
        _say(console, f"  - {finding}")
    _say(console, audit.summary)
    if audit.findings:
        _say(console, f"{len(audit.findings)} findings: not every number of this report can be believed.")
    return 1 if audit.findings else 0


def make_pages(root: Path, source: str, seeds: Sequence[int] | None, console: Console) -> None:
    """Make the figures and the pages from the records of one source.

    The source is not resolved: pages are made on machines that can reach nothing. So whether the data on the Hub has
    moved on since is not seen here, but by `train` and `load_statuses`.
    """
    paths = Paths(root)
    study, adapters = _load_study(paths)
    name = choose_results(paths, source)
    study = study.model_copy(update={"seeds": tuple(seeds or recorded_seeds(paths, name) or study.seeds)})
    statuses = _statuses(paths, study, adapters, name, study.seeds, None)

    def make() -> None:
        from adapterbook.analysis import analyse
        from adapterbook.figures import draw_figures, open_figures_memo
        from adapterbook.pages import make_pages as write_pages
        from adapterbook.remember import open_memo

        start = time.monotonic()
        published = {file.stem: load_published(file) for file in _published_files(paths)}
        with hold_workplace(root, lambda text: _say(console, text)):
            numbers, pictures, texts = open_memo(root, "analysis"), open_figures_memo(root), open_memo(root, "pages")
            report = analyse(statuses, paths, study, adapters, published, numbers)
            figures = draw_figures(report, paths.report / "figures", memo=pictures)
            written = write_pages(report, figures, paths, texts)
            for memo in (numbers, pictures, texts):
                memo.forget_unused()
        took = format_duration(time.monotonic() - start)
        _say(console, f"{len(written)} files under report/ from {len(statuses)} runs of {name}, {took}.")

    runs = [path for status in statuses for path in _report_files(status.run.folder(paths))]
    written_by_hand = [paths.study, paths.experiments / "adapters", *_published_files(paths), paths.notebook]
    states = [(status.run.id, status.state, status.stale, status.problem) for status in statuses]
    inputs = hash_inputs(
        root, [*runs, *written_by_hand, paths.templates, *_own_code()], name, study.seeds, states, *_surroundings()
    )
    outputs = [root / "index.qmd", *(paths.report / part for part in ("zh", "en", "pdf", "figures", "_navigation.yml"))]
    if not run_stage("pages", root, inputs, outputs, make):
        _say(console, f"The pages of {len(statuses)} runs of {name} are up to date.")


def make_site(root: Path, renderer: str, console: Console) -> None:
    """Render the pages into ``_site/``, and the PDFs."""

    def make() -> None:
        from adapterbook.site import build_site

        build_site(root, renderer, say=lambda text: _say(console, text))

    paths = Paths(root)
    results = [path for folder in sorted(paths.results.glob("*/*/*/*")) for path in _report_files(folder)]
    # Its own cut-down fonts lie in report/fonts.
    report = [path for path in sorted(paths.report.glob("*")) if path.name != "fonts"]
    pages = [root / "_quarto.yml", root / "index.qmd", *report, *results, *_own_code()]
    inputs = hash_inputs(root, pages, renderer, *_surroundings())
    settings = load_yaml(root / "_quarto.yml").get("project")
    site = root / str(settings.get("output-dir", "_site") if isinstance(settings, dict) else "_site")
    if not run_stage("site", root, inputs, [site], make):
        _say(console, f"The site is up to date: {paths.shown(site / 'index.html')}")


def _report_files(folder: Path) -> list[Path]:
    """Return the files of a run that a report is made from, or publishes."""
    return [folder / name for name in ("record.json", "predictions.parquet", "notebook.ipynb")]


def _published_files(paths: Paths) -> list[Path]:
    return sorted((paths.experiments / "published").glob("*.yaml"))


def _own_code() -> list[Path]:
    """Return this package's files: code, layouts, styles, filters."""
    files = sorted(Path(__file__).parent.rglob("*"))
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def _surroundings() -> list[object]:
    """Return what else a page's look depends on: packages, fonts named by hand, the Quarto that would be found."""
    fonts = sorted((key, value) for key, value in os.environ.items() if key.startswith("ADAPTERBOOK_"))
    quarto = shutil.which("quarto")
    return [installed_packages(), fonts, quarto and (quarto, Path(quarto).stat().st_size, Path(quarto).stat().st_mtime)]


def choose_results(paths: Paths, source: str) -> str:
    """Return the name of the source that a report is about.

    Parameters
    ----------
    source : str
        ``auto``: the one trained last. Else a source's name, or the path of its YAML file.

    Raises
    ------
    RecordError
        If there is no record of it.
    """
    if source.endswith((".yaml", ".yml")):
        return load_source(Path(source)).name
    if not IDENTIFIER.fullmatch(source):
        raise SourceError(f"SOURCE={source[:200]}: expected auto, a source's name or the path of a YAML file.")
    records = sorted(paths.results.glob(f"{'*' if source == 'auto' else source}/*/*/*/record.json"),
                     key=lambda path: path.stat().st_mtime)  # fmt: skip
    if not records:
        where = paths.shown(paths.results if source == "auto" else paths.results / source)
        raise RecordError(f"There is no record under {where}: run `make train` first.")
    return records[-1].relative_to(paths.results).parts[0]


def _choice_of(paths: Paths, name: str) -> str:
    """Return what to choose to get the source of a name; the name itself where no file of ``sources/`` has it."""
    files = sorted((paths.experiments / "sources").glob("*.yaml"))
    return next((file.stem for file in files if load_source(file).name == name), name)


def _source_for_notebook(paths: Paths, choice: str, resolved: ResolvedSource) -> str:
    """Return the source as the notebook gets it: a name, or the path of a YAML file from the project's folder."""
    if choice == "auto":
        return resolved.config.name
    is_name = (paths.experiments / "sources" / f"{choice}.yaml").exists()
    return choice if is_name else os.path.relpath(choice, paths.root)


def default_seeds(study: StudyConfig) -> tuple[int, ...]:
    """Return the seeds of a study on this machine: those for a GPU where there is one."""
    return study.seeds_on_gpu if study.seeds_on_gpu and has_gpu() else study.seeds


def has_gpu() -> bool:
    """Tell whether torch would find a CUDA device, without loading torch."""
    if metadata.version("torch").endswith("+cpu") or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/dxg").exists()  # Linux, and Windows' Linux


def recorded_seeds(paths: Paths, source: str) -> list[int]:
    """Return every seed that a source has a record of, in order; a folder whose name is of no run is passed over."""
    names = {path.parent.name for path in (paths.results / source).glob("*/*/seed-*/record.json")}
    seeds = (int(match[1]) for name in names if (match := re.fullmatch(r"seed-(0|[1-9][0-9]{0,9})", name)))
    return sorted(seed for seed in seeds if seed <= MAX_SEED)


def _load_study(paths: Paths) -> tuple[StudyConfig, dict[str, AdapterConfig]]:
    return load_study(paths.study), load_adapters(paths.experiments / "adapters")


def _statuses(
    paths: Paths,
    study: StudyConfig,
    adapters: dict[str, AdapterConfig],
    source: str,
    seeds: Sequence[int] | None,
    resolved: ResolvedSource | None,
) -> list[RunStatus]:
    identity = resolved.data_identity() if resolved else {}
    runs = plan_runs(study, adapters, source, seeds)
    ignored = {"data"} if resolved is None else set()
    stamps = [stamp.model_dump(exclude=ignored) for stamp in stamp_runs(runs, paths, identity)]
    return [status_of(run, paths, stamp) for run, stamp in zip(runs, stamps, strict=True)]


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
