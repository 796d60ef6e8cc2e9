"""Check every number of a report, and train some of its runs again: `make verify`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
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
    from adapterbook.verification.findings import Finding


RETRAINED = ("", "none", "all", "random")
DEFAULT_BUDGET = "10min"
BUDGET = re.compile(r"(?P<n>[0-9]{1,6}(?:\.[0-9]{1,3})?) ?(?P<unit>s|min|h)")
UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


def read_budget(text: str) -> float:
    """Return a time in seconds.

    Examples
    --------
    >>> read_budget("10min"), read_budget("90s"), read_budget("1.5 h")
    (600.0, 90.0, 5400.0)
    """
    found = BUDGET.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"BUDGET={text[:200]!r}: expected a time for training again, such as 90s, 10min or 2h.")
    return float(found["n"]) * UNITS_S[found["unit"]]


def verify(
    root: Path,
    source: str,
    seeds: Sequence[int] | None,
    retrain: str,
    cell_timeout_s: float,
    console: Console,
    budget: str = DEFAULT_BUDGET,
) -> int:
    """Check every number of a report, print the findings, and return the exit status, 1 if there are any.

    Parameters and errors are those of `audit`.
    """
    done = audit(root, source, seeds, retrain, cell_timeout_s, console, budget)
    for finding in done.findings:
        say(console, f"  - {finding}")
    say(console, done.summary)
    if done.findings:
        say(console, f"{len(done.findings)} findings: this report failed verification.")
    return 1 if done.findings else 0


def audit(
    root: Path,
    source: str,
    seeds: Sequence[int] | None,
    retrain: str,
    cell_timeout_s: float,
    console: Console,
    budget: str = DEFAULT_BUDGET,
) -> Audit:
    """Check every number of a report against its record, predictions and weights, and return the findings.

    Parameters
    ----------
    retrain : str
        Id of the run to train again, ``all``, ``none``, or empty: those out of line with their neighbours, then those
        that a hash of all records chooses, as many as the budget allows. ``random``: as empty, but in another order
        each time.
    budget : str
        How long training again may take, such as ``10min``.

    Raises
    ------
    ConfigError
        If `retrain` is not a run of this report, or `budget` is not a time.
    """
    budget_s = read_budget(budget)
    paths = Paths(root)
    study, adapters = load_project(paths)
    name = choose_results(paths, source)
    seeds = seeds or recorded_seeds(paths, name) or study.seeds
    runs = [status.run for status in compute_statuses(paths, study, adapters, name, seeds, None)[1]]
    if not runs:
        raise ConfigError(f"{paths.shown(paths.study)} plans no run: there is nothing to verify.")
    if retrain not in (*RETRAINED, *(run.id for run in runs)):
        raise ConfigError(
            f"RETRAIN={retrain[:200]}: expected none, all, random or a run of {name}, such as {runs[0].id}."
        )
    from adapterbook.verification.audit import Retraining, audit_runs  # imported here: it loads torch

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
        done = audit_runs(runs, paths, resolved, Retraining(retrain, budget_s), shown, cell_timeout_s, console)
    return replace(done, findings=(*done.findings, *_find_typed_numbers(paths)))


def _find_typed_numbers(paths: Paths) -> list[Finding]:
    """Return the numbers that templates type, which are on the pages although no record gives them."""
    from adapterbook.pages.writing.typed_numbers import find_typed_numbers
    from adapterbook.verification.findings import Finding

    return [Finding("", number.place, number.message) for number in find_typed_numbers(paths)]
