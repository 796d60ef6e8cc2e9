"""Check a stored run's folder, stamps, seal, files and settings, without computing a number.

No check follows a link or changes a file. Every function ``find_…`` of this room returns all findings, not only the
first, and does not raise because a run is wrong. This module does not load torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adapterbook.common.errors import ConfigError
from adapterbook.common.files import find_intruders
from adapterbook.config.paths import Paths
from adapterbook.runs.live.record import LiveRecord, LiveStatus
from adapterbook.runs.plan import Run, RunStatus, package_versions, read_code_cells
from adapterbook.runs.probe import ProbeRecord, ProbeStatus
from adapterbook.runs.record import Record, hash_files

INJECTED = "injected-parameters"  # Papermill's tag of the cell with a run's parameters
STAMPED = {
    "config": "the settings of the adapter or the study, or the seed",
    "code": "the code of training",
    "notebook": "the code of the notebook",
    "data": "the base model or the data set",
    "packages": "the versions of the packages",
    "runs": "the runs that are shown",
    "program": "the program that prepares the page's files",
}


@dataclass(frozen=True)
class Finding:
    """Hold one thing about a run that is wrong, stale or failed.

    Attributes
    ----------
    run_id : str
        Empty where it is about all runs.
    subject : str
        The field of the record, or the file in the run's folder.
    message : str
        What is wrong with it; continues the subject.
    kind : "wrong", "stale" or "failed"
        Stale: the run is missing or out of date, and has to be trained. Failed: its training failed. Wrong: anything
        else.

    Examples
    --------
    >>> print(Finding("ia3/submitted/seed-224", "test.n", "is 31 in the record, 32 from predictions.parquet"))
    ia3/submitted/seed-224: test.n is 31 in the record, 32 from predictions.parquet
    """

    run_id: str
    subject: str
    message: str
    kind: Literal["wrong", "stale", "failed"] = "wrong"

    def __str__(self) -> str:
        text = f"{self.run_id}: {self.subject} {self.message}" if self.run_id else f"{self.subject} {self.message}"
        # File names and texts of a foreign record may hold control characters for the terminal.
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def find_links(run: Run, paths: Paths) -> list[Finding]:
    """Return what in a run's folder or above it is neither a file nor a folder, and must not be followed."""
    folder = run.folder(paths)
    found = []
    for path in find_intruders(folder, paths.results):
        kind = "a symbolic link" if path.is_symlink() else "neither a file nor a folder"
        name = path.relative_to(folder) if path.is_relative_to(folder) else path.relative_to(paths.results)
        subject = name.as_posix() if name.parts else "the run's folder"
        found.append(Finding(run.id, subject, f"is {kind}: nothing of this run was read"))
    return found


def find_state_problems(status: RunStatus | LiveStatus | ProbeStatus) -> list[Finding]:
    """Return why a run or the probe is missing, broken or failed, and each stamp that differs from today's."""
    if status.state == "missing":
        return [Finding(status.id, "record.json", "is missing: run `make train`", "stale")]
    problem = " ".join((status.problem or "").split())
    if status.state == "broken":
        return [Finding(status.id, "record.json", f"cannot be used: {problem}")]
    found = [Finding(status.id, "status", f"is failed: {problem}", "failed")] if status.state == "failed" else []
    changed = {name: f"differs from today's: {STAMPED[name]} changed: run `make train`" for name in status.stale}
    return found + [Finding(status.id, f"stamps.{name}", message, "stale") for name, message in changed.items()]


def find_wrong_files(record: Record | LiveRecord | ProbeRecord, folder: Path) -> list[Finding]:
    """Return where the seal and the hashes of the record do not match the record and the files.

    The folder must hold no links (`find_links`). A seal shows that a run was not changed by accident after it ended. It
    is not a signature: a forged seal is left to the checks that compute the numbers again.
    """
    if record.seal is None:
        message = "is missing: the record was not sealed; an older version made it, or it was written by hand"
        return [Finding(record.run_id, "seal", message)]
    found = []
    if record.seal != record.compute_seal():
        found.append(Finding(record.run_id, "seal", "does not fit record.json: it was edited after the run ended"))
    try:
        actual = hash_files(folder)
    except OSError as error:
        return [*found, Finding(record.run_id, "the run's folder", f"cannot be read: {error.strerror}")]
    for name in sorted(record.files.keys() | actual.keys()):
        if name not in actual:
            found.append(Finding(record.run_id, name, "is missing, but the record names it"))
        elif name not in record.files:
            found.append(Finding(record.run_id, name, "does not belong to this run: the record does not name it"))
        elif actual[name] != record.files[name]:
            found.append(Finding(record.run_id, name, "was changed after the run ended: its SHA-256 differs"))
    return found


def find_setting_differences(run: Run, record: Record, stale: Collection[str]) -> list[Finding]:
    """Return each setting that differs from today's although the stamps that cover it agree."""
    pairs: dict[str, tuple[Any, Any]] = {}
    if "config" not in stale:
        pairs |= {
            "adapter.peft_type": (record.adapter.peft_type, run.adapter.peft_type),
            "adapter.settings": (record.adapter.settings, run.adapter.keywords()),
            **_pairs("data", record.data.model_dump(), run.data.model_dump()),
            **_pairs("training", record.training.model_dump(), run.training.model_dump()),
        }
    if "packages" not in stale:
        pairs |= _pairs("environment.packages", record.environment.packages, package_versions())
    return [
        Finding(run.id, name, f"is {_json(theirs)} in the record, {_json(ours)} today")
        for name, (theirs, ours) in pairs.items()
        if _json(theirs) != _json(ours)
    ]


def find_other_code(run: Run, record: Record, folder: Path, notebook: Path) -> list[Finding]:
    """Return where a run's notebook, which is a page, shows other code than the project's, or other parameters."""
    subject = "notebook.ipynb"
    try:
        code = read_code_cells(folder / subject)
        own = read_code_cells(folder / subject, without_tag=INJECTED)
    except (ConfigError, AttributeError) as error:
        return [] if record.status == "failed" else [Finding(run.id, subject, f"cannot be read: {error}"[:500])]
    found = []
    if own != read_code_cells(notebook):
        found.append(Finding(run.id, subject, "shows other code than the project's notebook"))
    given = "\n".join(cell for cell in code if cell not in own)
    for name, value in (("adapter", run.adapter.id), ("variant", run.variant), ("seed", run.seed)):
        if f"\n{name} = {json.dumps(value)}\n" not in f"\n{given}\n":
            found.append(Finding(run.id, subject, f"was not given the parameter {name} = {json.dumps(value)}"))
    return found


def _pairs(name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {f"{name}.{key}": (theirs.get(key), ours[key]) for key in ours}


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
