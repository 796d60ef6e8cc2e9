"""Choose which runs a command is about: which study, source and seeds, and what lies in their folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from adapterbook.common.errors import RecordError, SourceError
from adapterbook.common.machine import has_gpu
from adapterbook.common.yaml_files import list_yaml_files
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.config.study import IDENTIFIER, MAX_SEED, AdapterConfig, StudyConfig, load_adapters, load_study
from adapterbook.runs.live.record import LiveStatus, Setting, look_up_live
from adapterbook.runs.plan import Run, RunStatus, hash_config, status_of, today_stamps
from adapterbook.runs.probe import ProbeStatus, probe_status, stamp_probe
from adapterbook.runs.search import Outcome, plan_study
from adapterbook.sources.resolve import ResolvedSource, resolve_source


def load_statuses(root: Path, source: str, seeds: Sequence[int] | None) -> list[RunStatus | LiveStatus | ProbeStatus]:
    """Return the status of each run, of the live adapters if they are wanted, and of the linear probe.

    Raises
    ------
    SourceError
        If the source cannot be resolved.
    """
    paths = Paths(root)
    study, adapters = load_project(paths)
    resolved = resolve_source(source, paths)
    seeds = seeds or default_seeds(study)
    statuses = compute_statuses(paths, study, adapters, resolved.config.name, seeds, resolved)[1]
    probe_stamps = stamp_probe(study.data, resolved.data_identity())
    live = load_live(paths, resolved.config.name)[1]
    return [*statuses, *([] if live is None else [live]), probe_status(paths, resolved.config.name, probe_stamps)]


def load_report(
    paths: Paths, source: str, seeds: Sequence[int] | None
) -> tuple[str, StudyConfig, dict[str, AdapterConfig], list[RunStatus]]:
    """Return the source's name, the study with its seeds, the adapters and the runs of a report.

    The source is not resolved: a report is made without network.
    """
    study, adapters = load_project(paths)
    name = choose_results(paths, source)
    study = study.model_copy(update={"seeds": tuple(seeds or recorded_seeds(paths, name) or study.seeds)})
    study, statuses = compute_statuses(paths, study, adapters, name, study.seeds, None)
    return name, study, adapters, statuses


def load_live(paths: Paths, source: str) -> tuple[dict[tuple[str, Setting], RunStatus], LiveStatus | None]:
    """Return the runs that readers can try, and the status of what their page needs; None where it is not wanted.

    The runs are those of the source's records, as in a report, whatever seeds are due.
    """
    try:
        _, study, _, statuses = load_report(paths, source, None)
    except RecordError:  # nothing has been trained
        return {}, None
    chosen, status = look_up_live(study, statuses, paths)
    return ({}, None) if status is None else (chosen, status)


def choose_results(paths: Paths, source: str) -> str:
    """Return the name of the source that a report is about.

    Parameters
    ----------
    source : str
        ``auto`` for the one trained last, a source's name, or the path of its YAML file.

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


def choose_source(paths: Paths, name: str) -> str:
    """Return the SOURCE that gives the source of a name; the name itself if no file of ``sources/`` has it."""
    files = list_yaml_files(paths.experiments / "sources")
    return next((file.stem for file in files if load_source(file).name == name), name)


def name_source(paths: Paths, choice: str, resolved: ResolvedSource) -> str:
    """Return the source for the notebook: a name, or the path of a YAML file relative to the project's folder."""
    if choice == "auto":
        return resolved.config.name
    is_name = (paths.experiments / "sources" / f"{choice}.yaml").exists()
    return choice if is_name else os.path.relpath(choice, paths.root)


def default_seeds(study: StudyConfig) -> tuple[int, ...]:
    """Return the seeds of a study on this machine: those for a GPU if it has one."""
    return study.seeds_on_gpu if study.seeds_on_gpu and has_gpu() else study.seeds


def recorded_seeds(paths: Paths, source: str) -> list[int]:
    """Return every seed of a source's records, in order; folders with other names are ignored."""
    names = {path.parent.name for path in (paths.results / source).glob("*/*/seed-*/record.json")}
    seeds = (int(match[1]) for name in names if (match := re.fullmatch(r"seed-(0|[1-9][0-9]{0,9})", name)))
    return sorted(seed for seed in seeds if seed <= MAX_SEED)


def load_project(paths: Paths) -> tuple[StudyConfig, dict[str, AdapterConfig]]:
    """Return a project's study and its adapters, by id."""
    return load_study(paths.study), load_adapters(paths.experiments / "adapters")


def compute_statuses(
    paths: Paths,
    study: StudyConfig,
    adapters: dict[str, AdapterConfig],
    source: str,
    seeds: Sequence[int],
    resolved: ResolvedSource | None,
) -> tuple[StudyConfig, list[RunStatus]]:
    """Return the study with a variant for each learning rate of its search, and the status of each planned run.

    Statuses are compared with today's stamps. The search follows the results that are up to date.

    Parameters
    ----------
    source : str
        Name of the source.
    resolved : ResolvedSource or None
        None: no stamp decides what the search follows, and the data stamp is not compared.
    """
    stamps = today_stamps(paths, resolved.data_identity() if resolved else None)
    known: dict[str, RunStatus] = {}

    def status(run: Run) -> RunStatus:
        if run.id not in known:
            known[run.id] = status_of(run, paths, {"config": hash_config(run)} | stamps)
        return known[run.id]

    def outcome_of(run: Run) -> Outcome | None:
        found = status(run)
        if found.record is None or (found.stale and resolved is not None):
            return None
        return Outcome(found.record.selection if found.state == "completed" else None)

    study, runs = plan_study(study, adapters, source, seeds, outcome_of)
    return study, [status(run) for run in runs]
