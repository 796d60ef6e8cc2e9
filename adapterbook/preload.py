"""Loads what training needs, torch and its like, in the least time: for kernels before their first run, and the driver.

Owns how it is loaded. What is loaded stays for as long as the process lives, so nobody need look for garbage in it.
"""

from __future__ import annotations

import gc
import importlib

__all__ = ["load_training"]


def load_training() -> None:
    """Import everything that a run needs.

    The garbage collector rests meanwhile and passes over it from then on: it would take a fifth of the time of
    importing, and a second of the end of the process.
    """
    gc.disable()
    try:
        importlib.import_module("adapterbook.recording")
    finally:
        gc.enable()
    gc.freeze()
