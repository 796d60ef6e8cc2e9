"""Records → numbers: what the pages and the figures show, as data.

Owns every statistic of the report. Reads what lies in the runs' folders and computes; it writes no file, makes no
sentence, and never raises for a run that is missing, failed, broken or stale: such a run is shown as what it is.
"""

from __future__ import annotations

from adapterbook.analysis.analyse import analyse
from adapterbook.analysis.shapes import Report

__all__ = ["Report", "analyse"]
