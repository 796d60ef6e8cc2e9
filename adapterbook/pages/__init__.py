"""Write the Quarto pages in both languages. Imports figures, analysis, runs, config and common.

Numbers come from the report, sentences from ``templates/``. Writes ``index.qmd``, ``report/zh/``, ``report/en/``,
``report/pdf/``, ``report/_navigation.yml`` and ``ro-crate-metadata.json``.
"""

from __future__ import annotations

from adapterbook.pages.build import write_pages

__all__ = ["write_pages"]
