"""Tell how many cores this machine has and whether torch could find a GPU, without loading torch."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.metadata import version


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Tell whether torch would find a GPU: its build supports one, a driver is there, and none is hidden."""
    build = version("torch").partition("+")[2]
    if build == "cpu" or sys.platform == "darwin":
        return False
    if build.startswith("rocm"):
        return os.environ.get("HIP_VISIBLE_DEVICES") not in ("", "-1")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    try:
        ctypes.CDLL("libcuda.so.1")  # as torch itself looks for it, which finds it under WSL too
    except OSError:
        return False
    return True
