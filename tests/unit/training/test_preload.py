"""Test that load_training loads what training needs, and that the garbage collector then works as before."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, sys
from adapterbook.training import load_training
assert "torch" not in sys.modules
load_training()
assert {"torch", "transformers", "peft", "datasets", "adapterbook.training.recording"} <= set(sys.modules)
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
"""


def test_everything_is_loaded_and_garbage_is_collected_again() -> None:
    """In a new process everything is loaded, the collector skips the loaded objects, and it is at work again."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
