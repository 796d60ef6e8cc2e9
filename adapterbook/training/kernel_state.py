"""Load what a kernel needs, and reset it between two runs without reloading torch, the model or the data.

A run in a used kernel must give the same bits as one in a fresh kernel; a test compares them.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from IPython.core.getipython import get_ipython

from adapterbook.common.machine import has_gpu

Kept = TypeVar("Kept")

TORCH_DEFAULT_SEED = 67280421310721  # c10::detail::default_rng_seed_val: the seed of a new process
CLEAR_REFS = Path("/proc/self/clear_refs")
LAUNCHERS = {"LOCAL_RANK", "RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE",
             "NVIDIA_TF32_OVERRIDE"}  # fmt: skip
RESET_PEAK = "5"  # proc(5): resets the peak resident set size


_kept: dict[str, tuple[object, Any]] = {}


def reuse(name: str, key: object, make: Callable[[], Kept]) -> Kept:
    """Return what an earlier run of this kernel made for this name and key, or make it now and keep it.

    One value is kept for each name, so the kernel does not grow. Callers must not change the value.

    Examples
    --------
    >>> reuse("rows", 1, lambda: ["a"]), reuse("rows", 1, lambda: ["b"]), reuse("rows", 2, lambda: ["c"])
    (['a'], ['a'], ['c'])
    """
    if name not in _kept or _kept[name][0] != key:
        _kept[name] = (key, make())
    kept: Kept = _kept[name][1]
    return kept


def gpu_memory_bytes() -> list[int]:
    """Return the memory of each GPU; loads torch only if there may be a GPU."""
    if not has_gpu():
        return []
    import torch

    return [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]


def ignore_launchers() -> None:
    """Remove what Accelerate's launcher and the like leave in the environment: it changes numbers without a word.

    ``ACCELERATE_MIXED_PRECISION=bf16`` would round every product, and ``WORLD_SIZE`` would divide the rows.
    """
    for name in [name for name in os.environ if name.startswith("ACCELERATE_") or name in LAUNCHERS]:
        del os.environ[name]


def reset_kernel() -> None:
    """Clear the names, memory, random state and settings of the run before."""
    shell = get_ipython()
    if shell is not None:
        shell.reset(new_session=True)  # type: ignore[no-untyped-call]
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)  # a traceback keeps every object that its frames hold
    random.seed()
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    gc.collect()
    if "torch" in sys.modules:
        import numpy as np
        import torch

        np.random.seed()
        torch.manual_seed(TORCH_DEFAULT_SEED)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    _release_memory()
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text(RESET_PEAK)


def _release_memory() -> None:
    """Return freed memory to the system; glibc would keep it, and the next run's peak would include it."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as runs do on a CPU."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Keep Transformers' report on the new head and its progress bars off the terminal."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
