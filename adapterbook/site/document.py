"""Reads one combined document, the source of a PDF: its Typst options and the files it needs.

What both renderers have to know before they set it; how they set it is theirs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from adapterbook.errors import RenderError
from adapterbook.site.pandoc import each_element
from adapterbook.site.project import Page, read_front_matter

__all__ = ["find_images", "find_root", "font_folders", "read_document", "typst_options"]

# Where build_site puts the fonts it cuts: report/fonts, beside report/pdf.
DEFAULT_FONTS: Final = "../fonts"


def read_document(path: Path) -> Page:
    """Read a document that belongs to no website.

    Raises
    ------
    RenderError
        If it cannot be read or its front matter is not YAML.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise RenderError(f"{path}: cannot be read ({error.strerror}); run `make pages`") from error
    return Page(source=path.name, path=path, metadata=read_front_matter(text, str(path)), text=text)


def typst_options(document: Page) -> dict[str, Any]:
    """Return the document's metadata with what ``format: typst:`` says on top, as Quarto reads them."""
    formats = document.metadata.get("format")
    own = formats.get("typst") if isinstance(formats, dict) else None
    return {**document.metadata, **own} if isinstance(own, dict) else dict(document.metadata)


def font_folders(document: Page) -> list[Path]:
    """Return the folders of ``font-paths``, which are relative to the document; by default ``../fonts``."""
    named = typst_options(document).get("font-paths") or [DEFAULT_FONTS]
    return [document.path.parent / str(path) for path in ([named] if isinstance(named, str) else named)]


def find_images(document: Page) -> list[Path]:
    """Return the files of the document's pictures."""
    targets = [element["c"][2][0] for element in each_element(document.tree["blocks"]) if element["t"] == "Image"]
    return [document.path.parent / unquote(urlsplit(target).path) for target in targets]


def find_root(document: Page) -> Path:
    """Return the folder that holds the document and all its pictures: Typst reads nothing outside it."""
    folders = [path.resolve().parent for path in (document.path, *find_images(document))]
    return Path(os.path.commonpath(folders))
