"""Report + templates → Quarto pages in both languages.

Owns the writing of ``index.qmd``, ``report/zh/``, ``report/en/``, ``report/pdf/`` and ``report/_navigation.yml``. Takes
every number from the report and every sentence from ``templates/``; computes and renders nothing itself.
"""

from __future__ import annotations

from adapterbook.pages.build import write_pages

__all__ = ["write_pages"]
