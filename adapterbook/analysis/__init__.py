"""Compute every number of the report from the records. Imports runs, config and common.

It writes no file and no sentence. A run that is missing, failed, broken or stale raises no error: the report says so.
"""

from __future__ import annotations

from adapterbook.analysis.analyse import analyse
from adapterbook.analysis.shapes import Report

__all__ = ["Report", "analyse"]
