"""Read the linear probe of a report's source."""

from __future__ import annotations

from adapterbook.analysis.shapes import ProbeReport
from adapterbook.analysis.single_run import read_predicted_rows
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.config.paths import Paths
from adapterbook.config.study import PROBE, DataConfig
from adapterbook.runs.probe import probe_folder, probe_status, stamp_probe


def describe_probe(source: str, data: DataConfig, paths: Paths, cache: Cache = NO_CACHE) -> ProbeReport:
    """Return the linear probe of a source; its data stamp is not compared, as with the runs of a report."""
    status = probe_status(paths, source, stamp_probe(data, None))
    if status.record is None:
        return ProbeReport(None, problem=status.problem, reason="missing" if status.state == "missing" else "broken")
    rows, reason, problem = read_predicted_rows(PROBE, status.record.test, probe_folder(paths, source), cache)
    return ProbeReport(status.record, status.stale, rows, problem, reason)
