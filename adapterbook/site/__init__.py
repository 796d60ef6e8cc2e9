"""From ``.qmd`` pages to a static site and its PDFs: two renderers, Quarto's and our own, behind one interface.

Imports no torch and nothing of the training: a laptop rebuilds the site in seconds.
"""

from adapterbook.site.check import check_project
from adapterbook.site.renderer import Renderer, build_site, choose_renderer

__all__ = ["Renderer", "build_site", "check_project", "choose_renderer"]
