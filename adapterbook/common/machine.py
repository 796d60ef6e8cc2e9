"""Tell whether torch could find a GPU, without loading torch, which takes seconds."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.metadata import version


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
        ctypes.CDLL("libcuda.so.1")  # as torch itself looks for it; Windows' Linux has it, too
    except OSError:
        return False
    return True
