"""Check every number of a report, and train one run again: `make verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from adapterbook.common.errors import AdapterBookError, ConfigError, SourceError
from adapterbook.common.formatting import say
from adapterbook.config.paths import Paths
from adapterbook.execution.results_folder import hold_lock
from adapterbook.runs.select import (
    choose_results,
    choose_source,
    compute_statuses,
    load_project,
    name_source,
    recorded_seeds,
)
from adapterbook.sources.resolve import ResolvedSource, resolve_source

if TYPE_CHECKING:
    from adapterbook.verification.audit import Audit


def verify(
    root: Path, source: str, seeds: Sequence[int] | None, retrain: str, cell_timeout_s: float, console: Console
) -> int:
    """Check every number of a report, print the findings, and return the exit status, 1 if there are any.

    Parameters and errors are those of `audit`.
    """
    done = audit(root, source, seeds, retrain, cell_timeout_s, console)
    for finding in done.findings:
        say(console, f"  - {finding}")
    say(console, done.summary)
    if done.findings:
        say(console, f"{len(done.findings)} findings: this report failed verification.")
    return 1 if done.findings else 0


def audit(
    root: Path, source: str, seeds: Sequence[int] | None, retrain: str, cell_timeout_s: float, console: Console
) -> Audit:
    """Check every number of a report against its record, predictions and weights, and return the findings.

    Parameters
    ----------
    retrain : str
        Id of the run to train again, ``none``, or empty for the shortest run without a finding.

    Raises
    ------
    ConfigError
        If `retrain` is not a run of this report.
    """
    paths = Paths(root)
    study, adapters = load_project(paths)
    name = choose_results(paths, source)
    seeds = seeds or recorded_seeds(paths, name) or study.seeds
    runs = [status.run for status in compute_statuses(paths, study, adapters, name, seeds, None)[1]]
    if not runs:
        raise ConfigError(f"{paths.shown(paths.study)} plans no run: there is nothing to verify.")
    if retrain not in ("", "none", *(run.id for run in runs)):
        raise ConfigError(f"RETRAIN={retrain}: expected none or a run of {name}, such as {runs[0].id}.")
    from adapterbook.verification.audit import audit_runs  # imported here: it loads torch

    choice = source if source != "auto" else choose_source(paths, name)
    with hold_lock(paths):
        resolved: ResolvedSource | AdapterBookError
        try:
            resolved = resolve_source(choice, paths)
            shown = name_source(paths, choice, resolved)
            if resolved.config.name != name:
                resolved = SourceError(f"{choice} is named {resolved.config.name}, the results are of {name}.")
        except AdapterBookError as error:
            resolved, shown = error, ""
        return audit_runs(runs, paths, resolved, retrain, shown, cell_timeout_s, console)
