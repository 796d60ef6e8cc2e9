"""Decide how many runs go side by side on this machine, and which GPU each gets. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence

import psutil

from adapterbook.common.errors import RunError
from adapterbook.common.machine import count_cores

GIB = 1024**3
# Memory planned for a run if JOBS is not set; DistilBERT with LoRA takes about 1.2 GiB.
MEMORY_PER_RUN_BYTES = 2 * GIB
GPU_MEMORY_PER_RUN_BYTES = 6 * GIB
LEAST_MEMORY_BYTES = 1 * GIB  # with less, a kernel cannot load torch and a model


def count_parallel_runs(jobs: int | None, *, n_runs: int, gpu_memory_bytes: Sequence[int] = ()) -> int:
    """Return how many runs go side by side.

    Parameters
    ----------
    jobs : int or None
        What the user asked for; None: one per core, each with 2 GiB of free memory and, on GPUs, 6 GiB of a GPU's
        memory.
    gpu_memory_bytes : sequence of int
        Memory of each GPU; empty: no GPU.

    Raises
    ------
    RunError
        If `jobs` is less than 1, or more than there is memory for.
    """
    if jobs is not None and jobs < 1:
        raise RunError(f"JOBS={jobs}: expected 1 or more, or nothing for as many as this machine has cores for.")
    free = psutil.virtual_memory().available
    if jobs is None:
        jobs = min(count_cores(), free // MEMORY_PER_RUN_BYTES)
        if gpu_memory_bytes:
            jobs = min(jobs, sum(max(1, memory // GPU_MEMORY_PER_RUN_BYTES) for memory in gpu_memory_bytes))
        return max(1, min(jobs, n_runs))
    jobs = min(jobs, n_runs)
    if jobs > 1 and jobs * LEAST_MEMORY_BYTES > free:
        fits = max(1, free // MEMORY_PER_RUN_BYTES)
        raise RunError(
            f"JOBS={jobs}: {jobs} runs side by side need {jobs * LEAST_MEMORY_BYTES / GIB:.0f} GiB of memory at least, "
            f"and {free / GIB:.1f} GiB are free: JOBS={fits} fits."
        )
    return jobs


def list_devices(n_gpus: int) -> list[str]:
    """Return the name of each GPU for ``CUDA_VISIBLE_DEVICES``.

    Examples
    --------
    >>> list_devices(2)
    ['0', '1']
    """
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:n_gpus] if len(named) >= n_gpus else [str(i) for i in range(n_gpus)]
