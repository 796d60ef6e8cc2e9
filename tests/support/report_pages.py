"""Write the pages and the site of made-up studies, and read them."""

from __future__ import annotations

import atexit
import html
import json
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterbook.analysis import analyse
from adapterbook.analysis.shapes import Report
from adapterbook.common.cache import Cache, Step, open_cache
from adapterbook.common.formatting import Language
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_published
from adapterbook.config.study import load_adapters, load_study
from adapterbook.figures import Figure
from adapterbook.figures.catalogue import plan_report
from adapterbook.pages import outline, write_pages
from adapterbook.site.embedded import EmbeddedRenderer
from adapterbook.site.embedded.html import body_job
from adapterbook.site.inventory import inventory_job
from adapterbook.site.pandoc import Job, convert_ahead, convert_all
from adapterbook.site.project import read_project
from tests.support.factory import PHRASES, PROJECT, read_statuses, write_results
from tests.support.probe import write_probe

# As wide as a figure of the project.
BLANK_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="460.8pt" height="280pt" viewBox="0 0 460.8 280"/>'
LANGUAGES: tuple[Language, ...] = ("zh", "en")
NUMBER = re.compile(r"\[([^][]*)\]\{\.n ([^}]*)\}")
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


@dataclass(frozen=True)
class Number:
    """Hold a number on a page, with its stated origin."""

    text: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Qmd:
    """Hold one written page."""

    path: Path
    text: str

    @property
    def tree(self) -> dict[str, Any]:
        """Return pandoc's tree of the page."""
        return parse_markdown(self.text)

    @property
    def front_matter(self) -> dict[str, Any]:
        """Return the page's own metadata."""
        content: dict[str, Any] = yaml.safe_load(self.text.split("---\n")[1])
        return content

    @property
    def numbers(self) -> list[Number]:
        """Return every number with an origin, in order."""
        return [
            Number(html.unescape(text), {key: html.unescape(value) for key, value in ATTRIBUTE.findall(attributes)})
            for text, attributes in NUMBER.findall(self.text)
        ]

    def elements(self, *kinds: str) -> list[dict[str, Any]]:
        """Return pandoc's elements of some kinds, in order."""
        return [node for node in each_node(self.tree) if node["t"] in kinds]

    def text_of(self, node: Any) -> str:
        """Return the plain text of a piece of the tree; a no-break space is a space."""
        return "".join(text_pieces(node)).replace("\u00a0", " ")


@dataclass(frozen=True)
class MadePages:
    """Hold a study's report and the pages made of it."""

    report: Report
    figures: dict[str, Figure]
    paths: Paths
    files: list[Path]

    def page(self, name: str) -> Qmd:
        """Return a page by its path below ``report/``, or ``index`` for the cover."""
        path = self.paths.root / "index.qmd" if name == "index" else self.paths.report / f"{name}.qmd"
        return Qmd(path, path.read_text("utf-8"))

    @cached_property
    def pages(self) -> list[Qmd]:
        """Return every page of the site, including the cover."""
        return [Qmd(path, path.read_text("utf-8")) for path in self.files
                if path.suffix == ".qmd" and path.parent.name != "pdf"]  # fmt: skip

    def parse_pages(self) -> MadePages:
        """Parse all pages at once, for the tests that look at the trees of most of them."""
        parse_all([page.text for page in self.pages])
        return self


def make_study_pages(
    root: Path, *, stale: Mapping[str, Collection[str]] | None = None, probe: float | None = None, **options: Any
) -> MadePages:
    """Write a made-up study and its pages; figures are planned, not drawn.

    Parameters
    ----------
    stale : mapping, optional
        Stamps by run id.
    probe : float, optional
        Test accuracy of a linear probe; None: there is none.
    """
    paths = write_results(root, **options)
    if probe is not None:
        write_probe(paths, options.get("source", "embedded"), accuracy=probe)
    (paths.templates / "pages").mkdir(parents=True)  # for those that a test lays over the project's
    shutil.copy(PROJECT.book, paths.book)
    shutil.copy(PROJECT.notebook, paths.notebook)
    report = analyse_project(paths, options.get("source", "embedded"), stale)
    figures = plan_without_drawing(report, paths)
    return MadePages(report, figures, paths, write_pages(report, figures, paths))


def analyse_project(
    paths: Paths, source: str = "embedded", stale: Mapping[str, Collection[str]] | None = None
) -> Report:
    """Return the report on a written project."""
    published = {file.stem: load_published(file) for file in (paths.experiments / "published").glob("*.yaml")}
    adapters = load_adapters(paths.experiments / "adapters")
    return analyse(read_statuses(paths, source, stale), paths, load_study(paths.study), adapters, published)


def write_site_files(paths: Paths) -> None:
    """Copy into a written project the other files that its site needs: scripts, menu, book and notebook."""
    shutil.copytree(PROJECT.report / "assets", paths.report / "assets")
    for source, target in ((PROJECT.notebook, paths.notebook), (PROJECT.book, paths.book)):
        shutil.copy(source, target)
    shutil.copy(PROJECT.root / "_quarto.yml", paths.root)


def make_site(paths: Paths, looked_at: str, n_run_pages: int | None = None) -> Report:
    """Make the pages and the site of a written project, with blank figures, and return the report.

    Parameters
    ----------
    looked_at : str
        Pattern of the pages below a language's folder that tests look at, such as ``lab|method``; every other page is
        its title alone, which saves most of the rendering.
    n_run_pages : int, optional
        As in `few_run_pages`; None: every run has a page.
    """
    report = analyse_project(paths)
    figures = plan_without_drawing(report, paths)
    write_blank_figures(figures)
    with nullcontext() if n_run_pages is None else few_run_pages(n_run_pages):
        write_pages(report, figures, paths)
    for folder in (paths.report / language for language in LANGUAGES):
        for page in folder.rglob("*.qmd"):
            if not re.fullmatch(looked_at, page.relative_to(folder).with_suffix("").as_posix()):
                front_matter = page.read_text("utf-8").split("---\n")[1]
                page.write_text(f"---\n{front_matter}---\n", "utf-8")
    render_site(paths.root)
    return report


def render_site(root: Path) -> Path:
    """Render a project's site with the embedded renderer, unchecked and without PDFs, and return its folder."""
    cache = shared_cache("site")
    pages = read_project(root, cache).pages.values()
    # Pandoc reads each page once for both.
    convert_ahead([job for page in pages for job in (inventory_job(page, "html"), body_job(page))], cache)
    EmbeddedRenderer(cache).render_site(root)
    return root / "_site"


@cache
def shared_cache(step: Step) -> Cache:
    """Return the build cache of a step for all tests of this process; it depends on contents alone."""
    folder = Path(tempfile.mkdtemp(prefix="adapterbook-cache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return open_cache(folder, step)


def write_blank_figures(figures: Mapping[str, Figure]) -> None:
    """Write an empty picture for each figure, for pages whose pictures no test looks at."""
    for figure in figures.values():
        for path in (*figure.paths.values(), *figure.phone_paths.values()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(BLANK_SVG, "utf-8")


@contextmanager
def few_run_pages(n: int) -> Iterator[None]:
    """Give so many runs a page of their own, as a study of very many runs has them, to save rendering the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outline, "MAX_RUN_PAGES", n)
        yield


def plan_without_drawing(report: Report, paths: Paths) -> dict[str, Figure]:
    """Return the figures of a report as ``draw_figures`` does, without the seconds that drawing takes."""
    return plan_report(report, paths.report / "figures", PHRASES)[0]


@cache
def parse_markdown(text: str) -> dict[str, Any]:
    """Return pandoc's tree of a text."""
    return parse_all([text])[0]


def parse_all(texts: Collection[str]) -> list[dict[str, Any]]:
    """Return pandoc's trees of some texts, all made by a few processes; several tests look at the same pages."""
    answers = convert_all([Job(f"text {number}", text) for number, text in enumerate(texts)], shared_cache("site"))
    return [json.loads(answer) for answer in answers]


def each_node(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every element of pandoc's tree, parents first."""
    if isinstance(tree, list):
        for item in tree:
            yield from each_node(item)
    elif isinstance(tree, dict):
        if "t" in tree:
            yield tree
        for item in tree.values():
            yield from each_node(item)


def text_pieces(tree: Any) -> Iterator[str]:
    """Yield the pieces of a tree's text, code included; a formula counts as a letter."""
    if isinstance(tree, list):
        for item in tree:
            yield from text_pieces(item)
    elif isinstance(tree, dict):
        kind = tree.get("t")
        if kind == "Str":
            yield tree["c"]
        elif kind in ("Space", "SoftBreak", "LineBreak"):
            yield " "
        elif kind in ("Code", "CodeBlock", "RawBlock"):
            yield tree["c"][1]
        elif kind == "Math":
            yield "x"
        else:
            for item in tree.values():
                yield from text_pieces(item)


def parts_of(thing: Any) -> Iterator[Any]:
    """Yield a report and everything in it that a number may be derived from."""
    if is_dataclass(thing) and not isinstance(thing, type):
        yield thing
        for field in fields(thing):
            yield from parts_of(getattr(thing, field.name))
    elif isinstance(thing, dict):
        for item in thing.values():
            yield from parts_of(item)
    elif isinstance(thing, list | tuple):
        for item in thing:
            yield from parts_of(item)
