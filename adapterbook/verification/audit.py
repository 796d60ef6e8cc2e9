"""Run the checks of `make verify` on every run, in order, and collect what they find.

A check whose input an earlier check found wrong is left out. Nothing under ``results/`` changes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track

from adapterbook.common.errors import AdapterBookError, RecordError
from adapterbook.common.formatting import say
from adapterbook.config.paths import Paths
from adapterbook.config.study import PROBE
from adapterbook.runs.plan import Run, compute_stamps, status_of
from adapterbook.runs.probe import stamp_probe
from adapterbook.runs.record import load_record
from adapterbook.runs.select import load_live
from adapterbook.sources.resolve import ResolvedSource
from adapterbook.training.reloading import tolerance_of
from adapterbook.training.trainer import current_device
from adapterbook.verification.choice import Choice, SoundRun, order_runs
from adapterbook.verification.findings import (
    Finding,
    find_links,
    find_other_code,
    find_setting_differences,
    find_state_problems,
    find_wrong_files,
)
from adapterbook.verification.live import audit_live
from adapterbook.verification.probe import audit_probe
from adapterbook.verification.re_evaluation import Material, evaluate_adapter, load_material, measure_fit
from adapterbook.verification.recomputation import (
    find_inconsistencies,
    find_other_results,
    find_other_rows,
    find_other_source,
    find_wrong_metrics,
    read_predictions,
)
from adapterbook.verification.retraining import Repetition, count_side_by_side, train_again

CHECKED = "stamps, seals, files, metrics"


@dataclass(frozen=True)
class Audit:
    """Hold the findings, and a summary of the checks.

    Attributes
    ----------
    findings : tuple of Finding
        Empty if every number passed.
    summary : str
        For people, without the findings.
    """

    findings: tuple[Finding, ...]
    summary: str


@dataclass(frozen=True)
class Retraining:
    """Say which runs are trained again.

    Attributes
    ----------
    runs : str
        Id of a run, ``all``, ``none``, ``random``, or empty: in the order of `choice.order_runs`.
    budget_s : float
        How long training again may take; the first runs are trained whatever it says. Not for ``all`` and an id.
    """

    runs: str
    budget_s: float


def audit_runs(
    runs: Sequence[Run],
    paths: Paths,
    resolved: ResolvedSource | AdapterBookError,
    retraining: Retraining,
    source: str,
    cell_timeout_s: float | None,
    console: Console,
) -> Audit:
    """Check every run, and train some of them again; the caller holds the lock of the results.

    Parameters
    ----------
    resolved : ResolvedSource or AdapterBookError
        The source of the runs, or why it is not available today.
    source : str
        The source as the notebook gets it.
    """
    material, findings = _load(resolved, runs, console)
    identity = None if isinstance(resolved, AdapterBookError) else resolved.data_identity()
    sound: list[SoundRun] = []
    for i, run in enumerate(track(runs, "verifying", console=console, disable=not console.is_terminal), start=1):
        stamps = compute_stamps(run, paths, identity or {}).model_dump(exclude=set() if identity else {"data"})
        audited = audit_run(run, paths, stamps, material)
        if audited.sound is not None:
            sound.append(audited.sound)
        findings += audited.findings
        if not console.is_terminal:
            outcome = f"findings: {len(audited.findings)}" if audited.findings else "matches its record"
            say(console, f"[{i:{len(str(len(runs)))}}/{len(runs)}] {run.id}  {outcome}")
    of_probe = audit_probe(paths, runs[0].source, stamp_probe(runs[0].data, identity), material)
    findings += of_probe
    findings += audit_live(
        paths, runs[0].source, load_live(paths, runs[0].source)[1], material.folder if material else None
    )
    if not console.is_terminal:
        say(console, f"{PROBE}  {f'findings: {len(of_probe)}' if of_probe else 'matches its record'}")
    verified = f"{len(runs)} runs" if len(sound) == len(runs) else f"{len(sound)} of {len(runs)} runs"
    summary = f"{verified} verified: {CHECKED}{', data, adapters' if material else ''}"
    if material is None or isinstance(resolved, AdapterBookError) or retraining.runs == "none":
        return Audit(tuple(findings), f"{summary}; none trained again.")
    queue = _choose(runs, sound, retraining)
    if not queue:
        return Audit(tuple(findings), f"{summary}; none without findings could be trained again.")
    budget_s = retraining.budget_s if retraining.runs in ("", "random") else None
    problems, outcome = repeat_runs(queue, budget_s, runs, paths, resolved, source, cell_timeout_s, console)
    return Audit((*findings, *problems), f"{summary}; {outcome}.")


def _choose(runs: Sequence[Run], sound: Sequence[SoundRun], retraining: Retraining) -> list[Choice]:
    """Return the runs to train again, in order."""
    if retraining.runs in ("", "random", "all"):
        return order_runs(sound, os.urandom(16) if retraining.runs == "random" else b"")
    return [Choice(run.id) for run in runs if run.id == retraining.runs]


def _load(
    resolved: ResolvedSource | AdapterBookError, runs: Sequence[Run], console: Console
) -> tuple[Material | None, list[Finding]]:
    """Load today's base model and rows, or report why they are not available."""
    try:
        if isinstance(resolved, AdapterBookError):
            raise resolved
        with console.status("Fetching the base model and the data …"):
            return load_material(resolved, runs[0].data), []
    except AdapterBookError as error:
        message = f"is not available, so neither data nor adapters were checked and no run was trained again: {error}"
        return None, [Finding("", "the source", " ".join(message.split()))]


@dataclass(frozen=True)
class RunAudit:
    """Hold the findings about a run, or the run itself if there are none."""

    findings: list[Finding]
    sound: SoundRun | None = None


def audit_run(run: Run, paths: Paths, stamps: Mapping[str, str], material: Material | None) -> RunAudit:
    """Check a run.

    Parameters
    ----------
    stamps : mapping of stamp name to hash
        Today's; only those given are compared.
    material : Material or None
        Today's base model and rows. None: they are not available, and what needs them is not checked.
    """
    folder = run.folder(paths)
    links = find_links(run, paths)
    if links:
        return RunAudit(links)
    status = status_of(run, paths, stamps)
    found = find_state_problems(status)
    record = status.record
    if record is None:
        return RunAudit(found)
    found += find_wrong_files(record, folder)
    found += find_setting_differences(run, record, status.stale)
    if "notebook" not in status.stale:
        found += find_other_code(run, record, folder, paths.notebook)
    if record.status != "completed":
        return RunAudit(found)
    found += find_inconsistencies(record, folder)
    table, problems = read_predictions(record, folder)
    found += problems
    if table is not None:
        found += find_wrong_metrics(record, table)
    if material is None:
        return RunAudit(found, None if found else SoundRun(record, None))
    others = find_other_source(record, material.info, material.splits)
    found += others
    if table is not None:
        found += find_other_rows(record, table, material.splits["test"])
    # With another model or another adapter every number would differ.
    if "config" in status.stale or any(finding.subject.endswith("_sha256") for finding in others):
        return RunAudit(found)
    evaluation, problems = evaluate_adapter(run, record, folder, material)
    found += problems
    if evaluation is not None:
        tolerance = tolerance_of(record.training, same_device=record.environment.device == current_device())
        found += find_other_results(record, table, evaluation, material.splits, tolerance)
    fit = measure_fit(evaluation, material) if evaluation is not None else None
    return RunAudit(found, None if found else SoundRun(record, fit))


def repeat_runs(
    queue: Sequence[Choice],
    budget_s: float | None,
    runs: Sequence[Run],
    paths: Paths,
    resolved: ResolvedSource,
    source: str,
    cell_timeout_s: float | None,
    console: Console,
) -> tuple[list[Finding], str]:
    """Train runs again, as many as a budget allows, and compare; return the findings and the outcome in a few words.

    Parameters
    ----------
    queue : sequence of Choice
        In order; the first are trained at any rate.
    budget_s : float or None
        None: all are trained.
    """
    started, slowest_s, n_done = time.monotonic(), 0.0, 0
    repetitions: dict[str, Repetition] = {}
    n_side_by_side = count_side_by_side(len(queue))
    while n_done < len(queue):
        left_s = None if budget_s is None else budget_s - (time.monotonic() - started)
        now = queue[n_done : n_done + count_affordable(n_side_by_side, slowest_s, left_s)]
        if not now:
            break
        for choice in now:
            why = f" first: {choice.reason}" if choice.reason else ""
            say(console, f"Training {choice.run_id} again, beside the results{why}.")
        start = time.monotonic()
        repetitions |= _repeat(now, runs, paths, resolved, source, cell_timeout_s, n_side_by_side, console)
        slowest_s = max(slowest_s, (time.monotonic() - start) / -(-len(now) // n_side_by_side))
        n_done += len(now)
    findings = [finding for repetition in repetitions.values() for finding in repetition.findings]
    return findings, _outcome(repetitions, len(runs))


def count_affordable(n_side_by_side: int, round_s: float, left_s: float | None) -> int:
    """Return how many runs may still be trained again.

    Parameters
    ----------
    round_s : float
        How long it took to train as many runs as go side by side; 0: not known yet, since a record's own times are not
        trusted.
    left_s : float or None
        What is left of the budget; None: there is none.

    Examples
    --------
    >>> count_affordable(2, 0.0, 600.0), count_affordable(2, 150.0, 450.0), count_affordable(2, 150.0, 149.0)
    (2, 6, 0)
    """
    if left_s is None:
        return sys.maxsize
    return n_side_by_side * max(0, int(left_s / round_s)) if round_s else n_side_by_side


def _repeat(
    choices: Sequence[Choice],
    runs: Sequence[Run],
    paths: Paths,
    resolved: ResolvedSource,
    source: str,
    cell_timeout_s: float | None,
    n_side_by_side: int,
    console: Console,
) -> dict[str, Repetition]:
    """Train runs again; a run that has nothing to compare with, or that cannot be trained, is a finding."""
    planned, stored, done = {run.id: run for run in runs}, [], {}
    for choice in choices:
        run = planned[choice.run_id]
        try:
            if find_links(run, paths):
                raise RecordError("its folder holds a link")
            record = load_record(run.folder(paths))
            if record.status != "completed" or record.run_id != run.id:
                raise RecordError("there is no completed record to compare with")
            stored.append((run, record))
        except AdapterBookError as error:
            done[run.id] = _not_possible(run, error)
    try:
        if stored:
            done |= train_again(stored, paths, resolved, source, cell_timeout_s, n_side_by_side, console)
    except AdapterBookError as error:
        done |= {run.id: _not_possible(run, error) for run, _ in stored}
    return done


def _not_possible(run: Run, error: AdapterBookError) -> Repetition:
    message = f"was not possible: {' '.join(str(error).split())}"
    return Repetition(False, (Finding(run.id, "training it again", message),))


def _outcome(repetitions: Mapping[str, Repetition], n_runs: int) -> str:
    """Return in a few words what training again showed."""
    different = [name for name, repetition in repetitions.items() if repetition.findings]
    exact = sum(repetition.exact for name, repetition in repetitions.items() if name not in different)
    near = len(repetitions) - len(different) - exact
    parts = [
        (exact, "identical bit for bit"),
        (near, "the same within tolerances, since the machine or the packages are not those of their record"),
        (len(different), f"not the same ({', '.join(different[:5])})"),
    ]
    said = ", ".join(f"{n} {what}" for n, what in parts if n)
    return f"{len(repetitions)} of {n_runs} runs trained again: {said}"
