"""Reads one combined document, the source of a PDF: its Typst options and the files it needs.

What both renderers have to know before they set it; how they set it is theirs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.errors import RenderError
from adapterbook.site.inventory import read_inventories
from adapterbook.site.project import Page, read_front_matter


def read_document(path: Path, cache: Cache = NO_CACHE) -> Page:
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
    return Page(source=path.name, path=path, metadata=read_front_matter(text, str(path)), text=text, cache=cache)


def typst_options(document: Page) -> dict[str, Any]:
    """Return the document's metadata with what ``format: typst:`` says on top, as Quarto reads them."""
    formats = document.metadata.get("format")
    own = formats.get("typst") if isinstance(formats, dict) else None
    return {**document.metadata, **own} if isinstance(own, dict) else dict(document.metadata)


def own_fonts(document: Path) -> Path:
    """Return where the fonts are that are cut for a document: beside its folder, one folder for each document.

    A character that is new in one language then leaves the PDF of the other as it is.
    """
    return document.parent.parent / "fonts" / document.stem


def font_folders(document: Page) -> list[Path]:
    """Return the folders of ``font-paths``, which are relative to the document; by default its own fonts."""
    named = typst_options(document).get("font-paths")
    if not named:
        return [own_fonts(document.path)]
    return [document.path.parent / str(path) for path in ([named] if isinstance(named, str) else named)]


def find_images(document: Page) -> list[Path]:
    """Return the files of the document's pictures."""
    targets = read_inventories([document], "typst", document.cache)[document.source].every_image
    return [document.path.parent / unquote(urlsplit(target).path) for target in targets]


def find_project(document: Path) -> Path:
    """Return the project that a document is of, or its own folder where it is of none."""
    folders = document.resolve().parents
    return next((folder for folder in folders if (folder / "_quarto.yml").is_file()), folders[0])


def stage_document(document: Page, stage: Path) -> Path:
    """Copy a document and what it needs into ``stage``, and return the copy; its fonts go to ``stage/fonts``.

    Typst reads nothing outside a root folder, and the pictures lie beside the document's folder, not in it: the copies
    lie to each other as the files do.
    """
    path = document.path.resolve()
    images = {image.resolve() for image in find_images(document) if image.is_file()}
    root = Path(os.path.commonpath([file.parent for file in (path, *images)]))
    for file in (path, *images):
        copy = stage / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    (stage / "fonts").mkdir(exist_ok=True)
    for font in (font for folder in font_folders(document) if folder.is_dir() for font in folder.iterdir()):
        shutil.copyfile(font, stage / "fonts" / font.name)
    return stage / path.relative_to(root)
