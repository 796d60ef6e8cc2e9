"""Make a PDF of a combined document: pandoc writes Typst, the ``typst`` package sets it.

The layout is ``../typst/typst-template.typ``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Final

from adapterbook.common.cache import NO_CACHE, Cache, Part
from adapterbook.common.errors import RenderError
from adapterbook.common.files import write_atomically
from adapterbook.common.workdir import temporary_prefix
from adapterbook.site.document import copy_document, find_project, read_document, typst_options
from adapterbook.site.pandoc import Job, convert_all
from adapterbook.site.project import Page

HERE: Final = Path(__file__).parent
FILTER: Final = HERE / "qmd.lua"
TEMPLATE: Final = HERE.parent / "typst" / "report.typ"
PROGRAM: Final = HERE / "set_pdf.py"
# Side by side, the documents of a large study exceed the memory of a small machine.
ONE_AT_A_TIME: Final = threading.Lock()


def render_pdf(document: Path, output: Path, cache: Cache = NO_CACHE) -> None:
    """Set ``document`` (a ``.qmd`` file) as a PDF at ``output``, completely or not at all.

    Typst works in a temporary folder with copies of the document, its pictures and its fonts. A PDF depends only on
    them, so it is taken from the cache where they are the same.

    Raises
    ------
    RenderError
        If pandoc or Typst refuses it; the message quotes Typst.

    Warns
    -----
    UserWarning
        If it cannot be PDF/UA-1, because a picture lacks its alternative text or a level of headings is skipped. The
        PDF is made all the same.
    """
    page = read_document(document, cache)
    source = convert_all([typst_job(page)], cache)[0]
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(find_project(document), "pdf")) as temporary:
        folder = Path(temporary)
        copy = copy_document(page, folder)
        typst_file = copy.with_suffix(".typ")
        typst_file.write_text(source, "utf-8")
        copy.unlink()  # Typst does not read it
        parts = _contents(folder)
        pdf = cache.find("pdf", parts)
        if pdf is None:
            pdf, lacks = _compile(document, typst_file, folder)
            if lacks:  # not cached, so that the warning appears each time
                warnings.warn(f"{document}: set, but not as PDF/UA-1: {lacks}", stacklevel=2)
            else:
                cache.store("pdf", parts, pdf)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, pdf, sync=False)


def _contents(folder: Path) -> list[Part]:
    """Return the names and the contents of all files in a folder."""
    parts: list[Part] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts += [path.relative_to(folder).as_posix(), path.read_bytes()]
    return parts


def _compile(document: Path, typst_file: Path, folder: Path) -> tuple[bytes, str]:
    """Return the PDF, and what it lacks to be PDF/UA-1, if anything."""
    pdf = typst_file.with_suffix(".pdf")
    command = [sys.executable, str(PROGRAM), str(folder), str(typst_file), str(pdf)]
    with ONE_AT_A_TIME:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode < 0:
        raise RenderError(f"{document}: Typst was killed, probably out of memory; close other programs")
    if done.returncode > 0:
        raise RenderError(f"{document}: Typst could not set it:", done.stderr.splitlines())
    return pdf.read_bytes(), done.stderr.strip()


def typst_job(page: Page) -> Job:
    """Return the job that :func:`render_pdf` gives to pandoc; the filter gets the titles as they were typed."""
    options = typst_options(page)
    variables: dict[str, str] = {
        key: str(options[key]) for key in ("papersize", "mainfont", "fontsize", "toc-depth") if key in options
    }
    if options.get("toc"):
        variables["toc"] = "true"
    if options.get("number-sections"):
        variables["section-numbering"] = str(options.get("section-numbering", "1.1"))
    return Job(
        page.source,
        page.text,
        writer="typst",
        filter=FILTER,
        template=TEMPLATE,
        metadata={f"raw-{key}": str(page.metadata[key]) for key in ("title", "subtitle") if key in page.metadata},
        bibliography=page.bibliography,
        citation_style=page.citation_style,
        variables=variables,
    )
