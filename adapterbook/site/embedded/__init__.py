"""The renderer that needs nothing but the packages of requirements.txt: pandoc, Jinja2, Typst, HarfBuzz."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.workdir import fresh_folder
from adapterbook.site.check import PDF_SOURCES
from adapterbook.site.document import read_document
from adapterbook.site.embedded.html import body_job
from adapterbook.site.embedded.pdf import render_pdf, typst_job
from adapterbook.site.embedded.site import write_site
from adapterbook.site.inventory import inventory_job
from adapterbook.site.pandoc import convert_ahead, pandoc_version
from adapterbook.site.project import read_project

__all__ = ["EmbeddedRenderer"]


class EmbeddedRenderer:
    """Renders with pandoc, one Lua filter and a Jinja2 layout; PDFs with Typst."""

    name = "embedded"

    def __init__(self, cache: Cache = NO_CACHE) -> None:
        self._cache = cache

    @property
    def version(self) -> str:
        return f"pandoc {pandoc_version()}"

    def read_ahead(self, project: Path) -> None:
        """Let pandoc do at once all that it will be asked for, so that it reads no page twice."""
        pages = read_project(project, self._cache).pages.values()
        documents = [read_document(path, self._cache) for path in sorted(project.glob(PDF_SOURCES))]
        jobs = [job for page in pages for job in (inventory_job(page, "html"), body_job(page))]
        jobs += [job for page in documents for job in (inventory_job(page, "typst"), typst_job(page))]
        convert_ahead(jobs, self._cache)

    def render_site(self, project: Path, finish: Callable[[Path], None] = lambda folder: None) -> None:
        """Render the website project into its output folder, complete or not at all; `finish` sees it before."""
        read = read_project(project, self._cache)
        with fresh_folder(read.output_dir) as folder:
            write_site(read, folder)
            finish(folder)

    def render_pdf(self, document: Path, output: Path) -> None:
        """Set one combined document as a PDF."""
        render_pdf(document, output, self._cache)
