"""Render the pages as a static site and PDFs, with Quarto or with the embedded renderer. Imports common."""

from adapterbook.site.check import check_project
from adapterbook.site.renderer import Renderer, build_site, choose_renderer, make_documents

__all__ = ["Renderer", "build_site", "check_project", "choose_renderer", "make_documents"]
