"""Render with the packages of requirements.txt alone: pandoc, Jinja2, Typst, HarfBuzz."""

from adapterbook.site.embedded.renderer import EmbeddedRenderer

__all__ = ["EmbeddedRenderer"]
