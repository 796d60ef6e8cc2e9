"""Read what was prepared for the page on which readers try the adapters."""

from __future__ import annotations

from collections.abc import Sequence

from adapterbook.analysis.shapes import LiveReport
from adapterbook.config.paths import Paths
from adapterbook.config.study import StudyConfig
from adapterbook.runs.live.record import live_folder, look_up_live
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.record import hash_files


def describe_live(study: StudyConfig, statuses: Sequence[RunStatus], paths: Paths) -> LiveReport:
    """Return the prepared adapters, or why there are none."""
    chosen, status = look_up_live(study, statuses, paths)
    if status is None:
        return LiveReport(reason="off" if chosen else "missing")
    if status.record is None:
        return LiveReport(reason="missing" if status.state == "missing" else "broken", problem=status.problem)
    folder = live_folder(paths, status.record.source.name)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name in status.record.files}
    if sizes != status.record.sizes or hash_files(folder) != status.record.files:
        return LiveReport(reason="broken", problem="A file is not what the record says: run `make train`.")
    return LiveReport(status.record, status.stale, reason=status.record.refusal)
