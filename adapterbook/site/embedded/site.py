"""Renders a whole website with packages alone: pages, styles, scripts, fonts, search index, copied files.

Writes only into the folder it is given. The caller (:mod:`adapterbook.site.renderer`) puts that folder in place.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from adapterbook.common.errors import RenderError
from adapterbook.common.safe_paths import passes_a_link
from adapterbook.site.embedded.html import Frame, render_bodies, render_page, words_of
from adapterbook.site.embedded.search import index_page, render_index
from adapterbook.site.embedded.webfonts import write_fonts
from adapterbook.site.inventory import Inventory, read_inventories
from adapterbook.site.navigation import read_navbar, read_sidebars
from adapterbook.site.project import Page, Project, find_files

HERE: Final = Path(__file__).parent
ASSETS: Final = ("site.css", "site.js", "theme.js")


def write_site(project: Project, folder: Path) -> None:
    """Write the site of ``project`` into the empty ``folder``.

    Raises
    ------
    RenderError
        With the problems of all pages.
    """
    frame = Frame(project, read_navbar(project), read_sidebars(project))
    bodies = render_bodies(project.pages, project.cache)
    pages = {source: render_page(page, bodies[source], frame) for source, page in project.pages.items()}
    for source, page in project.pages.items():
        _write(folder / page.href, pages[source])
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    for name in ASSETS:
        shutil.copyfile(HERE / name, assets / name)
    for language in {page.language for page in project.pages.values()}:
        entries = [
            entry
            for source, page in project.pages.items()
            if page.language == language
            for entry in index_page(page.href, page.title, bodies[source].body, project.cache)
        ]
        _write(assets / f"search-{language}.js", render_index(entries))
    written = "".join(word for language in ("zh-TW", "en") for word in words_of(language).values())
    write_fonts(pages, project.pages, written, assets, project.cache)
    _copy_files(project, folder)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _copy_files(project: Project, folder: Path) -> None:
    """Copy the resources that ``_quarto.yml`` names and every local file that a page shows or links to."""
    wanted = {
        path
        for pattern in project.config["project"].get("resources") or ()
        for path in find_files(project.root, str(pattern))
    }
    if favicon := project.website.get("favicon"):
        wanted.add(project.root / str(favicon))
    for name, inventory in read_inventories(project.pages.values(), "html", project.cache).items():
        wanted.update(_linked_files(project.pages[name], inventory))
    root = project.root.resolve()
    for path in sorted(wanted):
        source = path.resolve()
        if not source.is_relative_to(root) or passes_a_link(path, project.root):
            raise RenderError(
                f"{path}: a page or _quarto.yml names a file outside the project, or a link; put the file inside"
            )
        destination = folder / source.relative_to(root)
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True)
        elif source.is_file():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)


def _linked_files(page: Page, inventory: Inventory) -> set[Path]:
    files = set()
    for address in (*inventory.every_image, *inventory.every_link):
        target = urlsplit(address)
        path = page.path.parent / unquote(target.path)
        if not target.scheme and not target.netloc and target.path and path.suffix != ".qmd" and path.is_file():
            files.add(path)
    return files
