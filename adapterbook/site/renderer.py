"""The one interface to both renderers, the choice between them, and the whole way from pages to a published folder.

Knows nothing of how a page is rendered: see :mod:`.quarto` and :mod:`.embedded`.
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from adapterbook.common.cache import NO_CACHE, Cache, open_cache
from adapterbook.common.errors import RenderError
from adapterbook.common.workdir import hold_workplace, workplace_of
from adapterbook.site.check import PDF_SOURCES, check_project
from adapterbook.site.document import own_fonts
from adapterbook.site.embedded import EmbeddedRenderer
from adapterbook.site.extras import write_extras
from adapterbook.site.font_files import text_of_files, write_pdf_fonts
from adapterbook.site.links import find_site_problems
from adapterbook.site.pandoc import pandoc_version
from adapterbook.site.project import output_dir, read_config
from adapterbook.site.quarto import OLDEST, TRIED, QuartoRenderer, find_quarto, parse_version


class Renderer(Protocol):
    """What turns a website project into a site, and a combined document into a PDF."""

    @property
    def name(self) -> str:
        """``"quarto"`` or ``"embedded"``."""

    @property
    def version(self) -> str:
        """The version of the program that does the work."""

    def render_site(self, project: Path, finish: Callable[[Path], None] = ...) -> None:
        """Render the project into its output folder, complete or not at all; raise RenderError.

        `finish` is called with the new folder before that is put in place.
        """

    def render_pdf(self, document: Path, output: Path) -> None:
        """Render one document as a PDF, complete or not at all; raise RenderError."""


def choose_renderer(name: str = "auto", cache: Cache = NO_CACHE) -> Renderer:
    """Return the renderer of that name.

    Parameters
    ----------
    name : str
        ``"quarto"``, ``"embedded"``, or ``"auto"``: Quarto where it is on the PATH in a version that serves (a warning
        where that is older than those tried), else the embedded one.
    cache : Cache
        Where the embedded renderer finds what it made before. Quarto makes everything anew.

    Raises
    ------
    RenderError
        If there is no renderer of that name, or Quarto is asked for and missing or too old.
    """
    if name == "embedded":
        return EmbeddedRenderer(cache)
    if name not in ("auto", "quarto"):
        raise RenderError(f"RENDERER={name}: expected auto, quarto or embedded")
    command = find_quarto()
    if command is None:
        if name == "auto":
            return EmbeddedRenderer(cache)
        raise RenderError("RENDERER=quarto: no quarto on the PATH; install it, or use RENDERER=embedded")
    quarto = QuartoRenderer(command)
    version = parse_version(quarto.version)
    wanted = ".".join(map(str, OLDEST))
    if version < OLDEST:
        if name == "auto":
            return EmbeddedRenderer(cache)
        raise RenderError(
            f"RENDERER=quarto: expected Quarto {wanted} or newer, found {quarto.version}; update it, or use "
            "RENDERER=embedded"
        )
    if version < TRIED:
        tried = ".".join(map(str, TRIED))
        warnings.warn(f"Quarto {quarto.version} is older than {tried}, the oldest tried here", stacklevel=2)
    return quarto


def build_site(project: Path, renderer: str = "auto", *, say: Callable[[str], None] = print) -> Path:
    """Check the pages, render them and the PDFs, and return the folder of the finished site.

    Parameters
    ----------
    project : Path
        The folder with ``_quarto.yml``.
    renderer : str
        See :func:`choose_renderer`.
    say : callable
        Takes each line of progress.

    Raises
    ------
    RenderError
        If anything is wrong with the pages or their rendering. The site of before stays as it was.
    """
    started = time.monotonic()
    cache = open_site_cache(project)
    chosen = choose_renderer(renderer, cache)
    config = read_config(project)
    site, website = output_dir(project, config), config.get("website") or {}
    with hold_workplace(project, say), ThreadPoolExecutor() as pool:
        documents = sorted(project.glob(PDF_SOURCES))
        # The fonts are cut while pandoc is busy: the two need a core each.
        fonts = pool.submit(_cut_fonts, documents, cache)
        if isinstance(chosen, EmbeddedRenderer):
            chosen.read_ahead(project)
        check_project(project, cache)
        say(f"rendering with {chosen.name} ({chosen.version})")
        fonts.result()
        pdfs = _submit_pdfs(pool, chosen, documents, workplace_of(project) / "pdf")
        if chosen.name == "quarto":  # fills the machine by itself
            wait(pdfs.values())
        chosen.render_site(project, lambda folder: _finish(folder, chosen, website, pdfs, cache, say))
        cache.forget_unused()
    n_pages = sum(1 for _ in site.rglob("*.html"))
    say(f"{site}: {n_pages} pages in {time.monotonic() - started:.1f} s")
    return site


def open_site_cache(project: Path) -> Cache:
    """Open the build cache of a project's sites and PDFs."""
    return open_cache(project, "site", [f"pandoc {pandoc_version()}"])


def _cut_fonts(documents: Sequence[Path], cache: Cache) -> None:
    for document in documents:
        write_pdf_fonts(text_of_files([document]), own_fonts(document), cache)


def _submit_pdfs(
    pool: ThreadPoolExecutor, renderer: Renderer, documents: Sequence[Path], folder: Path
) -> dict[Path, Future[None]]:
    """Have the PDFs of documents made in `folder`; return what waits for each, by its path."""
    folder.mkdir()
    pdfs = {document: folder / document.with_suffix(".pdf").name for document in documents}
    return {pdf: pool.submit(renderer.render_pdf, document, pdf) for document, pdf in pdfs.items()}


def _finish(
    folder: Path,
    renderer: Renderer,
    website: Mapping[str, Any],
    pdfs: Mapping[Path, Future[None]],
    cache: Cache,
    say: Callable[[str], None],
) -> None:
    """Put the PDFs and what servers look for into a new site, and look at it as a whole before it is put in place."""
    for pdf, done in pdfs.items():
        done.result()
        say(f"{pdf.name}: {pdf.stat().st_size / 1024:.0f} KiB")
        shutil.copyfile(pdf, folder / pdf.name)
    write_extras(folder, website, cache)
    problems = find_site_problems(folder, cache)
    if problems and renderer.name == "embedded":
        raise RenderError("The rendered site is not sound:", problems)
    for problem in problems:
        say(f"warning: {problem}")  # in Quarto's own parts a link may be there for a script alone
