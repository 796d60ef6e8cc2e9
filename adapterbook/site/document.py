"""Read a combined document, the source of a PDF: its Typst options and the files it needs."""

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
    """Read a document that is not a page of the website.

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
    """Return the document's metadata overlaid with those of ``format: typst:``, as Quarto reads them."""
    formats = document.metadata.get("format")
    own = formats.get("typst") if isinstance(formats, dict) else None
    return {**document.metadata, **own} if isinstance(own, dict) else dict(document.metadata)


def own_fonts(document: Path) -> Path:
    """Return the folder of a document's subset fonts: beside the documents' folder, one for each.

    A new character in one language then leaves the PDF of the other unchanged.
    """
    return document.parent.parent / "fonts" / document.stem


def font_folders(document: Page) -> list[Path]:
    """Return the folders of ``font-paths``, relative to the document; by default its :func:`own_fonts`."""
    named = typst_options(document).get("font-paths")
    if not named:
        return [own_fonts(document.path)]
    return [document.path.parent / str(path) for path in ([named] if isinstance(named, str) else named)]


def find_images(document: Page) -> list[Path]:
    """Return the files of the document's pictures."""
    targets = read_inventories([document], "typst", document.cache)[document.source].every_image
    return [document.path.parent / unquote(urlsplit(target).path) for target in targets]


def find_project(document: Path) -> Path:
    """Return the project that holds a document, or the document's folder where no project does."""
    folders = document.resolve().parents
    return next((folder for folder in folders if (folder / "_quarto.yml").is_file()), folders[0])


def copy_document(document: Page, folder: Path) -> Path:
    """Copy a document and its pictures into ``folder``, its fonts into ``folder/fonts``; return the document's copy.

    Typst reads nothing outside its root folder, and the pictures lie outside the document's folder. The copies keep
    their paths relative to each other.
    """
    path = document.path.resolve()
    images = {image.resolve() for image in find_images(document) if image.is_file()}
    root = Path(os.path.commonpath([file.parent for file in (path, *images)]))
    for file in (path, *images):
        copy = folder / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    (folder / "fonts").mkdir(exist_ok=True)
    for font in (font for fonts in font_folders(document) if fonts.is_dir() for font in fonts.iterdir()):
        shutil.copyfile(font, folder / "fonts" / font.name)
    return folder / path.relative_to(root)
