"""Choose a renderer, and build the site: check the pages, render them and the PDFs, check the result.

:mod:`.quarto` and :mod:`.embedded` are the renderers. The PDFs and 404.html lie in the project's folder, from where a
plain ``quarto render`` copies them into the site.
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
from adapterbook.common.workdir import hold_workplace
from adapterbook.site.check import PDF_SOURCES, check_project
from adapterbook.site.document import own_fonts
from adapterbook.site.embedded import EmbeddedRenderer
from adapterbook.site.embedded.pdf import render_pdf
from adapterbook.site.extras import write_extras
from adapterbook.site.font_files import text_of_files, write_pdf_fonts
from adapterbook.site.links import find_site_problems
from adapterbook.site.not_found import NOT_FOUND, write_not_found
from adapterbook.site.pandoc import pandoc_version
from adapterbook.site.project import output_dir, read_config
from adapterbook.site.quarto import OLDEST, TRIED, QuartoRenderer, find_quarto, parse_version


class Renderer(Protocol):
    """Render a website project as a site."""

    @property
    def name(self) -> str:
        """Return ``"quarto"`` or ``"embedded"``."""

    @property
    def version(self) -> str:
        """Return the version of the underlying program."""

    def render_site(self, project: Path, finish: Callable[[Path], None] = ...) -> None:
        """Render the project into its output folder, completely or not at all; raise RenderError.

        `finish` is called with the new folder before it is put in place.
        """


def choose_renderer(name: str = "auto", cache: Cache = NO_CACHE) -> Renderer:
    """Return the renderer of that name.

    Parameters
    ----------
    name : str
        ``"quarto"``, ``"embedded"``, or ``"auto"``: Quarto where it is on the PATH and new enough (with a warning if it
        is older than those tried), else the embedded one.
    cache : Cache
        The build cache of the embedded renderer. Quarto always renders everything.

    Raises
    ------
    RenderError
        If no renderer has that name, or if Quarto is asked for and is missing or too old.
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
        Prints a line of progress.

    Raises
    ------
    RenderError
        If anything is wrong with the pages or their rendering. The previous site stays as it was.
    """
    started = time.monotonic()
    cache = open_site_cache(project)
    chosen = choose_renderer(renderer, cache)
    config = read_config(project)
    site, website = output_dir(project, config), config.get("website") or {}
    with hold_workplace(project, say), ThreadPoolExecutor() as pool:
        documents = sorted(project.glob(PDF_SOURCES))
        # Cutting fonts and running pandoc need a core each, so they go side by side.
        fonts = pool.submit(_cut_fonts, documents, cache)
        if isinstance(chosen, EmbeddedRenderer):
            chosen.read_ahead(project)
        check_project(project, cache)
        say(f"rendering with {chosen.name} ({chosen.version})")
        fonts.result()
        made = _submit_documents(pool, project, documents, cache)
        if chosen.name == "quarto":  # Quarto alone fills the machine
            wait(made.values())
        chosen.render_site(project, lambda folder: _finish(folder, chosen, website, made, cache, say))
        cache.forget_unused()
    n_pages = sum(1 for _ in site.rglob("*.html"))
    say(f"{site}: {n_pages} pages in {time.monotonic() - started:.1f} s")
    return site


def make_documents(project: Path, *, say: Callable[[str], None] = print) -> None:
    """Make the PDFs and 404.html without the site.

    Raises
    ------
    RenderError
        If a document cannot be set.
    """
    cache = open_site_cache(project)
    with hold_workplace(project, say), ThreadPoolExecutor() as pool:
        documents = sorted(project.glob(PDF_SOURCES))
        _cut_fonts(documents, cache)
        _wait_for(_submit_documents(pool, project, documents, cache), say)


def open_site_cache(project: Path) -> Cache:
    """Open the build cache of a project's sites and PDFs."""
    return open_cache(project, "site", [f"pandoc {pandoc_version()}"])


def _cut_fonts(documents: Sequence[Path], cache: Cache) -> None:
    for document in documents:
        write_pdf_fonts(text_of_files([document]), own_fonts(document), cache)


def _submit_documents(
    pool: ThreadPoolExecutor, project: Path, documents: Sequence[Path], cache: Cache
) -> dict[Path, Future[None]]:
    """Start making the PDFs and 404.html in the project's folder; return their futures by path."""
    pdfs = {document: project / document.with_suffix(".pdf").name for document in documents}
    made = {pdf: pool.submit(render_pdf, document, pdf, cache) for document, pdf in pdfs.items()}
    return {**made, project / NOT_FOUND: pool.submit(write_not_found, project, cache)}


def _wait_for(made: Mapping[Path, Future[None]], say: Callable[[str], None]) -> None:
    """Wait until all documents are made; raise what went wrong."""
    for path, done in made.items():
        done.result()
        if path.suffix == ".pdf":
            say(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


def _finish(
    folder: Path,
    renderer: Renderer,
    website: Mapping[str, Any],
    made: Mapping[Path, Future[None]],
    cache: Cache,
    say: Callable[[str], None],
) -> None:
    """Add the documents and the extra files to a new site, and check it before it is put in place."""
    _wait_for(made, say)
    for path in made:
        shutil.copyfile(path, folder / path.name)
    write_extras(folder, website, cache)
    problems = find_site_problems(folder, cache)
    if problems and renderer.name == "embedded":
        raise RenderError("The rendered site is not sound:", problems)
    for problem in problems:
        say(f"warning: {problem}")  # Quarto's own parts hold links that only its scripts use
