"""Find, install and run Quarto.

Quarto writes the site into a new folder, which is put in place when it is complete. For a PDF it works on a copy of the
document and its pictures, so that nothing is left in the project and Typst finds all files below its root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from adapterbook.common.errors import RenderError
from adapterbook.common.files import write_atomically
from adapterbook.common.workdir import fresh_folder, temporary_prefix
from adapterbook.site.document import copy_document, find_project, read_document
from adapterbook.site.embedded.pdf import render_pdf as render_with_package
from adapterbook.site.project import linked_resources, merge_metadata, output_dir, read_config

OLDEST: Final = (1, 4)  # the first whose layout the pages fit
TRIED: Final = (1, 9)  # the oldest that the pages were tried with
N_TAIL_LINES: Final = 30
TEMPLATE_FOLDER: Final = Path(__file__).parent / "typst"
PARTIALS: Final = ("typst-template.typ", "typst-show.typ")


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

    def render_pdf(self, document: Path, output: Path) -> None:
        """Set one combined document as a PDF with Quarto's Typst format and our template.

        Quarto contains a Typst. That of an older Quarto is too old for the template and would load the callouts' icons
        over the network, so there the ``typst`` package sets the PDF.
        """
        if parse_version(self.version) < TRIED:
            render_with_package(document, output)
            return
        with tempfile.TemporaryDirectory(prefix=temporary_prefix(find_project(document), "pdf")) as temporary:
            folder = Path(temporary)
            copy = _copy_document(document.resolve(), folder)
            self._run(["render", copy.relative_to(folder).as_posix(), "--to", "typst"], folder)
            made = copy.with_suffix(".pdf")
            if not made.is_file():
                raise RenderError(f"{document}: quarto render ended well but made no {made.name}; see its output")
            output.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(output, made.read_bytes(), sync=False)

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
            tail = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-N_TAIL_LINES:]
            raise RenderError(f"quarto {' '.join(arguments)} failed with {answer.returncode}:", tail)
        return answer.stdout


def _copy_document(document: Path, folder: Path) -> Path:
    """Make ``folder`` a Quarto project of one document, and return the document's copy in it."""
    copy = copy_document(read_document(document), folder)
    options: dict[str, Any] = {
        "template-partials": list(PARTIALS),
        "font-paths": ["/fonts"],  # to Quarto a leading slash means the project's folder
        "section-numbering": "1.1",
        "tbl-colwidths": False,  # widths follow the contents, as on the site
        "code-annotations": False,  # else `# <1>` at the end of a line of code would vanish
    }
    config: dict[str, Any] = {"project": {"type": "default"}, "format": {"typst": options}}
    own = document.parent / "_quarto.yml"
    if own.is_file():
        config = merge_metadata(config, yaml.safe_load(own.read_text("utf-8")) or {})
    (folder / "_quarto.yml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    for name in PARTIALS:
        # Quarto resolves a path in _quarto.yml against the project's folder; older versions, against the document's.
        for place in {folder, copy.parent}:
            shutil.copyfile(TEMPLATE_FOLDER / name, place / name)
    return copy


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
