"""Train one run in a kernel. Imports runs, sources, config and common.

Every file of this folder is in the code stamp: a change makes every run stale. Nearly all of them load torch.
"""

from __future__ import annotations

import gc


def load_training() -> None:
    """Import everything that a run needs: torch, transformers, peft.

    The garbage collector is off meanwhile, and ignores the imported objects afterwards. Otherwise it would take a fifth
    of the import time, and a second at the end of the process.
    """
    gc.disable()
    try:
        import adapterbook.training.recording  # noqa: F401
    finally:
        gc.enable()
    gc.freeze()
