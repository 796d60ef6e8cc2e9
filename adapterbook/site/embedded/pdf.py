"""Makes a PDF of one combined document: pandoc writes Typst, the ``typst`` package sets it.

The look is in ``../typst/typst-template.typ``, which Quarto's own Typst format takes too.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Final

import typst

from adapterbook.errors import RenderError
from adapterbook.site.document import find_root, font_folders, read_document, typst_options
from adapterbook.site.pandoc import run_pandoc
from adapterbook.site.project import Page

__all__ = ["render_pdf"]

HERE: Final = Path(__file__).parent
TEMPLATE: Final = HERE.parent / "typst" / "report.typ"


def render_pdf(document: Path, output: Path) -> None:
    """Set ``document`` (a ``.qmd`` file) as a PDF at ``output``, complete or not at all.

    Raises
    ------
    RenderError
        If pandoc or Typst refuse it; the message carries Typst's own words.
    """
    page = read_document(document)
    source = run_pandoc(json.dumps(page.tree), pandoc_arguments(page), page=str(document), reader="json")
    # Typst resolves paths from the file that names them, so its source lies beside the document while it is set.
    descriptor, name = tempfile.mkstemp(prefix=".report-", suffix=".typ", dir=document.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(source)
        pdf = typst.compile(
            name,
            root=str(find_root(page)),
            font_paths=[str(path) for path in font_folders(page)],
            ignore_system_fonts=True,  # the same fonts everywhere give the same pages everywhere
        )
    except typst.TypstError as error:
        raise RenderError(f"{document}: Typst could not set it:", str(error).splitlines()) from error
    finally:
        Path(name).unlink(missing_ok=True)
    if not isinstance(pdf, bytes):
        raise RenderError(f"{document}: expected one PDF from Typst, got {type(pdf).__name__}")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    partial.write_bytes(pdf)
    partial.replace(output)


def pandoc_arguments(page: Page) -> list[str]:
    """Return what pandoc is told for a document: the filter, the template, and the title as it was typed."""
    arguments = [
        "--to=typst",
        f"--lua-filter={HERE / 'qmd.lua'}",
        f"--template={TEMPLATE}",
        "--syntax-highlighting=idiomatic",  # Typst colours code by itself
    ]
    options = typst_options(page)
    passed = [key for key in ("papersize", "mainfont", "fontsize", "toc-depth") if key in options]
    arguments += [f"--variable={key}={options[key]}" for key in passed]
    if options.get("toc"):
        arguments.append("--variable=toc=true")
    if options.get("number-sections"):
        arguments.append(f"--variable=section-numbering={options.get('section-numbering', '1.1')}")
    arguments += [f"--metadata=raw-{key}={page.metadata[key]}" for key in ("title", "subtitle") if key in page.metadata]
    return arguments
