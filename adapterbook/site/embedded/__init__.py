"""The renderer that needs nothing but the packages of requirements.txt: pandoc, Jinja2, Typst, fontTools."""

from __future__ import annotations

from pathlib import Path

from adapterbook.site.embedded.pdf import render_pdf
from adapterbook.site.embedded.site import write_site
from adapterbook.site.pandoc import pandoc_version
from adapterbook.site.project import read_project
from adapterbook.site.swap import fresh_folder

__all__ = ["EmbeddedRenderer"]


class EmbeddedRenderer:
    """Renders with pandoc, one Lua filter and a Jinja2 layout; PDFs with Typst."""

    name = "embedded"

    @property
    def version(self) -> str:
        return f"pandoc {pandoc_version()}"

    def render_site(self, project: Path) -> None:
        """Render the website project into its output folder, complete or not at all."""
        read = read_project(project)
        with fresh_folder(read.output_dir) as folder:
            write_site(read, folder)

    def render_pdf(self, document: Path, output: Path) -> None:
        """Set one combined document as a PDF."""
        render_pdf(document, output)
