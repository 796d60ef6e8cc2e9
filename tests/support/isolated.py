"""Run a program whose packages do not go together with ours, in an environment that uv makes for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def run_isolated(packages: Sequence[str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with some packages of the registry, at these versions, and with this Python."""
    uv = [sys.executable, "-m", "uv", "--no-config", "run", "--quiet", "--no-project", "--isolated"]
    chosen = [f"--with={package}" for package in packages]
    return subprocess.run([*uv, "--python", sys.executable, *chosen, *command], capture_output=True, text=True,
                          timeout=300, check=False)  # fmt: skip
