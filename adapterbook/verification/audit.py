"""Run the checks of `make verify` on every run, in order, and collect what they find.

A check whose input an earlier check found wrong is left out. Nothing under ``results/`` changes.
"""

from __future__ import annotations

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
from adapterbook.runs.record import Record, load_record
from adapterbook.sources.resolve import ResolvedSource
from adapterbook.training.trainer import current_device
from adapterbook.verification.findings import (
    Finding,
    find_links,
    find_setting_differences,
    find_state_problems,
    find_wrong_files,
)
from adapterbook.verification.probe import audit_probe
from adapterbook.verification.re_evaluation import Material, evaluate_adapter, load_material
from adapterbook.verification.recomputation import (
    find_inconsistencies,
    find_other_results,
    find_other_rows,
    find_other_source,
    find_wrong_metrics,
    read_predictions,
)
from adapterbook.verification.retraining import choose_run, train_again

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


def audit_runs(
    runs: Sequence[Run],
    paths: Paths,
    resolved: ResolvedSource | AdapterBookError,
    retrain: str,
    source: str,
    cell_timeout_s: float | None,
    console: Console,
) -> Audit:
    """Check every run, and train one of them again; the caller holds the lock of the results.

    Parameters
    ----------
    resolved : ResolvedSource or AdapterBookError
        The source of the runs, or why it is not available today.
    retrain : str
        Id of the run to train again, ``none``, or empty: the shortest of those without findings.
    source : str
        The source as the notebook gets it.
    """
    material, findings = _load(resolved, runs, console)
    identity = None if isinstance(resolved, AdapterBookError) else resolved.data_identity()
    sound: list[Record] = []
    for i, run in enumerate(track(runs, "verifying", console=console, disable=not console.is_terminal), start=1):
        stamps = compute_stamps(run, paths, identity or {}).model_dump(exclude=set() if identity else {"data"})
        found = audit_run(run, paths, stamps, material)
        if not found:
            sound.append(load_record(run.folder(paths)))
        findings += found
        if not console.is_terminal:
            outcome = f"findings: {len(found)}" if found else "matches its record"
            say(console, f"[{i:{len(str(len(runs)))}}/{len(runs)}] {run.id}  {outcome}")
    of_probe = audit_probe(paths, runs[0].source, stamp_probe(runs[0].data, identity), material)
    findings += of_probe
    if not console.is_terminal:
        say(console, f"{PROBE}  {f'findings: {len(of_probe)}' if of_probe else 'matches its record'}")
    verified = f"{len(runs)} runs" if len(sound) == len(runs) else f"{len(sound)} of {len(runs)} runs"
    summary = f"{verified} verified: {CHECKED}{', data, adapters' if material else ''}"
    if material is None or isinstance(resolved, AdapterBookError) or retrain == "none":
        return Audit(tuple(findings), f"{summary}; none trained again.")
    shortest = choose_run(sound)
    wanted = retrain or (shortest.run_id if shortest else "")
    chosen = next((run for run in runs if run.id == wanted), None)
    if chosen is None:
        return Audit(tuple(findings), f"{summary}; none without findings could be trained again.")
    say(console, f"Training {chosen.id} again, beside the results.")
    problems, outcome = repeat_run(chosen, paths, resolved, source, cell_timeout_s, console)
    return Audit((*findings, *problems), f"{summary}; {chosen.id} trained again: {outcome}.")


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


def audit_run(run: Run, paths: Paths, stamps: Mapping[str, str], material: Material | None) -> list[Finding]:
    """Return every finding about a run.

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
        return links
    status = status_of(run, paths, stamps)
    found = find_state_problems(status)
    record = status.record
    if record is None:
        return found
    found += find_wrong_files(record, folder)
    found += find_setting_differences(run, record, status.stale)
    if record.status != "completed":
        return found
    found += find_inconsistencies(record, folder)
    table, problems = read_predictions(record, folder)
    found += problems
    if table is not None:
        found += find_wrong_metrics(record, table)
    if material is None:
        return found
    others = find_other_source(record, material.info, material.splits)
    found += others
    if table is not None:
        found += find_other_rows(record, table, material.splits["test"])
    # With another model or another adapter every number would differ.
    if "config" in status.stale or any(finding.subject.endswith("_sha256") for finding in others):
        return found
    evaluation, problems = evaluate_adapter(run, record, folder, material)
    found += problems
    if evaluation is not None:
        same_device = record.environment.device == current_device()
        found += find_other_results(record, table, evaluation, material.splits, same_device=same_device)
    return found


def repeat_run(
    run: Run, paths: Paths, resolved: ResolvedSource, source: str, cell_timeout_s: float | None, console: Console
) -> tuple[list[Finding], str]:
    """Train a run again and compare; return the findings and the outcome in a few words."""
    try:
        if find_links(run, paths):
            raise RecordError("its folder holds a link")
        record = load_record(run.folder(paths))
        if record.status != "completed" or record.run_id != run.id:
            raise RecordError("there is no completed record to compare with")
        repetition = train_again(run, record, paths, resolved, source, cell_timeout_s, console)
    except AdapterBookError as error:
        return [
            Finding(run.id, "training it again", f"was not possible: {' '.join(str(error).split())}")
        ], "not possible"
    if repetition.findings:
        return list(repetition.findings), "not the same"
    if repetition.exact:
        return [], "identical bit for bit"
    return [], "the same within tolerances, since the machine or the packages are not those of its record"
