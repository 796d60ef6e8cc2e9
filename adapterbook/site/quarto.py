"""Find, install and run Quarto.

Quarto writes the site into a new folder, which is put in place when it is complete. It makes no PDF: those of
:mod:`.embedded.pdf` are checked for screen readers, and the same whatever renders the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from adapterbook.common.errors import RenderError
from adapterbook.common.workdir import fresh_folder
from adapterbook.site.project import linked_resources, output_dir, read_config

OLDEST: Final = (1, 4)  # the first whose layout the pages fit
TRIED: Final = (1, 9)  # the oldest that the pages were tried with
N_ERROR_LINES: Final = 12
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ERROR_LINE: Final = re.compile(r"\s*(ERROR|FATAL|Error|error)\b")


def find_quarto() -> str | None:
    """Return the path of the ``quarto`` command, or ``None``."""
    return shutil.which("quarto")


def parse_version(text: str) -> tuple[int, ...]:
    """Return a version as numbers.

    Examples
    --------
    >>> parse_version("1.10.18")
    (1, 10, 18)
    >>> parse_version("no version")
    (0,)
    """
    match = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


class QuartoRenderer:
    """Render with ``quarto render``."""

    name = "quarto"

    def __init__(self, command: str) -> None:
        self._command = command
        self.version = self._run(["--version"], Path.cwd()).strip()

    def render_site(self, project: Path, finish: Callable[[Path], None] = lambda folder: None) -> None:
        """Render the website project into its output folder, completely or not at all; `finish` gets the new folder."""
        root = project.resolve()
        config = read_config(root)
        links = [f"{path.relative_to(root)}: delete it" for path in linked_resources(root, config)]
        if links:
            raise RenderError(f"{project}: Quarto would publish what these links lead to:", links)
        with fresh_folder(output_dir(root, config)) as folder:
            # Quarto joins the output folder to the project's, so it gets a relative path.
            self._run(["render", ".", "--output-dir", str(folder.relative_to(root))], root)
            if not (folder / "index.html").is_file():
                raise RenderError(f"{project}: quarto render ended well but wrote no index.html; see its output")
            finish(folder)

    def _run(self, arguments: Sequence[str], folder: Path) -> str:
        try:
            answer = subprocess.run(
                [self._command, *arguments],
                cwd=folder,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise RenderError(f"{self._command}: cannot be run: {error.strerror}; try RENDERER=embedded") from error
        if answer.returncode != 0:
            said = find_errors(answer.stderr.strip() or answer.stdout.strip())
            raise RenderError(f"quarto {' '.join(arguments)} failed with {answer.returncode}:", said)
        return answer.stdout


def find_errors(text: str) -> list[str]:
    """Return the errors among what Quarto said: from the first one on, or else its last lines; no colours, no repeats.

    Examples
    --------
    >>> find_errors("title: A\\n\\x1b[31mERROR: no such file\\x1b[0m\\n")
    ['ERROR: no such file']
    """
    lines = list(dict.fromkeys(line.rstrip() for line in COLOUR.sub("", text).splitlines() if line.strip()))
    first = next((number for number, line in enumerate(lines) if ERROR_LINE.match(line)), None)
    return lines[-N_ERROR_LINES:] if first is None else lines[first:][:N_ERROR_LINES]


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
    say("Quarto cannot be installed here (its download was not reached); the embedded renderer makes the site.")
    return False
