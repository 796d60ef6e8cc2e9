"""Read the settings of a command that come as text: from an option, an environment variable, or a call of make."""

from __future__ import annotations

import re
from typing import Final

from adapterbook.common.errors import AdapterBookError

SCHEDULER_ADDRESS: Final = re.compile(r"(tcp|tls)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def read_seeds(text: str) -> list[int] | None:
    """Return the seeds, None for an empty text."""
    try:
        seeds = [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise AdapterBookError(f"SEEDS={text!r}: expected whole numbers, such as SEEDS='1 2 3'.") from None
    if len(set(seeds)) != len(seeds):
        raise AdapterBookError(f"SEEDS={text!r}: each seed once.")
    return seeds or None


def read_jobs(text: str) -> int | None:
    """Return a number of runs side by side, None for an empty text."""
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise AdapterBookError(f"JOBS={text!r}: expected a whole number of runs side by side.") from None


def read_yes(name: str, text: str) -> bool:
    """Tell whether a setting is yes; an empty text is no."""
    answer = text.strip().lower()
    if answer not in ("", "yes", "no"):
        raise AdapterBookError(f"{name}={text[:200]!r}: expected yes or no.")
    return answer == "yes"


def read_scheduler(executor: str, address: str, jobs: str) -> str | None:
    """Return the address of the cluster that runs go to; None: they stay on this machine."""
    executor, address = executor.strip() or "local", address.strip()
    if executor == "local":
        return None
    if executor != "dask":
        raise AdapterBookError(f"EXECUTOR={executor[:200]}: expected local or dask.")
    if not SCHEDULER_ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 2**16:
        got = f"SCHEDULER={address[:200]}" if address else "nothing"
        raise AdapterBookError(
            f"EXECUTOR=dask needs the address of a scheduler, such as SCHEDULER=tcp://host:8786 (or tls://), got {got}."
        )
    if jobs.strip():
        raise AdapterBookError(
            f"JOBS={jobs.strip()[:200]} is for this machine: how many runs go side by side on a cluster is for its "
            "workers' threads and GPUs to say. Leave JOBS out."
        )
    return address
