"""Try to install Quarto from its package at set-up; it is optional."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from adapterbook.site.quarto import find_quarto

TIMEOUT_S = 300.0


def install_quarto(requirements: Path, *, say: Callable[[str], None] = print, timeout_s: float = TIMEOUT_S) -> bool:
    """Install the ``quarto-cli`` package if no Quarto is on the PATH; a failure is not an error.

    Parameters
    ----------
    requirements : Path
        The file that pins the package.
    timeout_s : float
        Time limit: the package downloads Quarto from GitHub, which a firewall may block silently.

    Returns
    -------
    bool
        Whether Quarto is installed now.
    """
    found = find_quarto()
    if found is not None:
        say("Quarto is already installed.")
        return True
    say("Trying to install Quarto, which its package downloads from GitHub …")
    # With hashes and the installed setuptools, so nothing is installed that no lock names. The package's dependency,
    # Jupyter, is for pages that compute; ours do not.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps",
               "--no-build-isolation", "--require-hashes", "-r", str(requirements)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is not None and done.returncode == 0:
        say("Quarto is installed.")
        return True
    if done is not None and "DO NOT MATCH THE HASHES" in done.stderr:
        say(f"Quarto is not installed: its package is not the file that {requirements.name} names by its hash.")
        return False
    say("Quarto cannot be installed here (its download is out of reach); the embedded renderer makes the site.")
    return False
