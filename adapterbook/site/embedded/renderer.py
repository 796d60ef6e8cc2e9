"""Render the website without Quarto.

A site is pages, style sheets, scripts, fonts, search indexes and the files that pages link to.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.errors import RenderError
from adapterbook.common.files import passes_a_link
from adapterbook.common.progress import watch
from adapterbook.common.workdir import fresh_folder
from adapterbook.site.check import PDF_SOURCES
from adapterbook.site.document import read_document
from adapterbook.site.embedded.html import Frame, body_job, render_bodies, render_page, words_of
from adapterbook.site.embedded.pdf import typst_job
from adapterbook.site.embedded.search import group_of, index_page, render_index
from adapterbook.site.font_files import write_site_fonts
from adapterbook.site.inventory import Inventory, inventory_job, read_inventories
from adapterbook.site.pandoc import convert_ahead, pandoc_version
from adapterbook.site.project import Page, Project, find_files, read_navbar, read_project, read_sidebars

HERE: Final = Path(__file__).parent
ASSETS: Final = ("site.css", "content.css", "site.js", "theme.js")


class EmbeddedRenderer:
    """Render pages with pandoc, a Lua filter and a Jinja2 layout."""

    name = "embedded"

    def __init__(self, cache: Cache = NO_CACHE) -> None:
        self._cache = cache

    @property
    def version(self) -> str:
        return f"pandoc {pandoc_version()}"

    def read_ahead(self, project: Path) -> None:
        """Fill the cache with all that pandoc will be asked for, so that it reads each page once."""
        pages = read_project(project, self._cache).pages.values()
        documents = [read_document(path, self._cache) for path in sorted(project.glob(PDF_SOURCES))]
        jobs = [job for page in pages for job in (inventory_job(page, "html"), body_job(page))]
        jobs += [job for page in documents for job in (inventory_job(page, "typst"), typst_job(page))]
        convert_ahead(jobs, self._cache)

    def render_site(self, project: Path, finish: Callable[[Path], None] = lambda folder: None) -> None:
        """Render the website project into its output folder, completely or not at all; `finish` gets the new folder."""
        read = read_project(project, self._cache)
        with fresh_folder(read.output_dir) as folder:
            _write_site(read, folder)
            finish(folder)


def _write_site(project: Project, folder: Path) -> None:
    """Write the site of ``project`` into the empty ``folder``.

    Raises
    ------
    RenderError
        With the problems of all pages.
    """
    frame = Frame(project, read_navbar(project), read_sidebars(project))
    bodies = render_bodies(project.pages, project.cache)
    pages = {}
    for source, page in watch(project.pages.items(), "pages", len(project.pages)):
        pages[source] = render_page(page, bodies[source], frame)
        _write(folder / page.href, pages[source])
    assets = folder / "assets"
    assets.mkdir(exist_ok=True)
    for name in ASSETS:
        shutil.copyfile(HERE / name, assets / name)
    for language in {page.language for page in project.pages.values()}:
        entries = [
            entry
            for source, page in project.pages.items()
            if page.language == language and page.metadata.get("search") is not False
            for entry in index_page(page.href, page.title, bodies[source].body, group_of(page), project.cache)
        ]
        _write(assets / f"search-{language}.js", render_index(entries))
    written = "".join(word for language in ("zh-TW", "en") for word in words_of(language).values())
    write_site_fonts(pages, project.pages, written, assets, project.cache)
    _copy_files(project, folder)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _copy_files(project: Project, folder: Path) -> None:
    """Copy the resources that ``_quarto.yml`` names, and every local file that a page shows or links to."""
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
