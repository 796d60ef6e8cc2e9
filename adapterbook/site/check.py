"""Check the pages' sources before anything is rendered, and report every problem at once.

Quarto only warns of an unresolved cross-reference and ignores a missing picture; here both are errors, in both
renderers. :mod:`.links` checks the rendered site.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.errors import RenderError
from adapterbook.site.document import read_document
from adapterbook.site.inventory import Inventory, read_inventories
from adapterbook.site.project import Page, Project, read_navbar, read_project, read_sidebars

# Where the page generator puts the combined documents: report-zh.qmd becomes report-zh.pdf in the site's root.
PDF_SOURCES: Final = "report/pdf/report-*.qmd"

SHORTCODE: Final = re.compile(r"\{\{<")


def check_project(project: Path, cache: Cache = NO_CACHE) -> None:
    """Check a website project and its combined documents.

    Raises
    ------
    RenderError
        With every problem found: missing pictures, links to pages, anchors or files that are not there, unresolved
        cross-references, an id used twice on a page, shortcodes, pages without title or counterpart,
        menus that name no page.
    """
    read = read_project(project, cache)
    inventories = read_inventories(read.pages.values(), "html", cache)
    problems = [problem for source in read.pages for problem in _page_problems(read, source, inventories)]
    problems += _counterpart_problems(read)
    try:
        read_navbar(read)
        read_sidebars(read)
    except RenderError as error:
        problems.append(str(error))
    documents = {path.name: read_document(path, cache) for path in sorted(project.glob(PDF_SOURCES))}
    for name, inventory in read_inventories(documents.values(), "typst", cache).items():
        problems += _document_problems(documents[name], inventory)
    if problems:
        raise RenderError(f"{project}: the pages are not ready to render:", problems)


def _page_problems(project: Project, source: str, inventories: Mapping[str, Inventory]) -> Iterator[str]:
    page, inventory = project.pages[source], inventories[source]
    if not str(page.metadata.get("title") or "").strip():
        yield f"{source}: no title in the front matter; add `title:`"
    yield from _common_problems(page, inventory)
    for target in inventory.links:
        yield from _link_problems(project, page, target, inventories)


def _common_problems(page: Page, inventory: Inventory) -> Iterator[str]:
    """Yield the problems that a page and a combined document can both have."""
    for match in SHORTCODE.finditer(page.text):
        line = page.text.count("\n", 0, match.start()) + 1
        yield f"{page.source}:{line}: a shortcode, {{{{<; Quarto would run it: write &#123;&#123;&lt;"
    for name, n in Counter(inventory.ids).items():
        if n > 1:
            yield f"{page.source}: id {name} is used {n} times; ids are unique on a page"
    for reference in dict.fromkeys(inventory.references):
        if reference not in inventory.ids:
            yield f"{_place(page, '@' + reference)}: cross-reference @{reference} leads nowhere; nothing has that id"
    for image in dict.fromkeys(inventory.images):
        parts = urlsplit(image)
        if parts.scheme == "data":
            continue
        if parts.scheme or parts.netloc:
            yield f"{_place(page, image)}: picture {image} lies on another host; copy it into the project"
        elif not (page.path.parent / unquote(parts.path)).is_file():
            yield f"{_place(page, image)}: picture {image} is not there; run `make pages`, or mend the path"


def _link_problems(project: Project, page: Page, target: str, inventories: Mapping[str, Inventory]) -> Iterator[str]:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return
    anchor = unquote(parts.fragment)
    if not parts.path:
        if anchor and anchor not in inventories[page.source].ids:
            yield f"{_place(page, target)}: link to #{anchor}: no such id on this page"
        return
    path = unquote(parts.path)
    other = project.page_at(page, re.sub(r"\.html$", ".qmd", path))
    if other is not None:
        if anchor and anchor not in inventories[other.source].ids:
            yield f"{_place(page, target)}: link to {target}: {other.source} has no id {anchor}"
    elif path.endswith((".qmd", ".html")):
        yield f"{_place(page, target)}: link to {target}: no such page in project.render"
    elif not _is_made_or_there(project, page.path.parent / path):
        yield f"{_place(page, target)}: link to {target}: no such file"


def _is_made_or_there(project: Project, path: Path) -> bool:
    """Tell whether a file exists, or is one of the PDFs that are made after the pages."""
    if path.exists():
        return True
    found = path.resolve()
    return found.parent == project.root.resolve() and any(
        source.with_suffix(".pdf").name == found.name for source in project.root.glob(PDF_SOURCES)
    )


def _counterpart_problems(project: Project) -> Iterator[str]:
    """Yield the pages without a counterpart in the other language; pages in the project's root need none."""
    for source, page in project.pages.items():
        if "/" not in source:
            continue
        target = page.metadata.get("translation")
        if not target:
            yield f"{source}: no `translation:` in the front matter; name the same page in the other language"
            continue
        other = project.page_at(page, str(target))
        if other is None:
            yield f"{source}: translation {target} is not a page of project.render"
        elif project.page_at(other, str(other.metadata.get("translation", ""))) is not page:
            yield f"{source}: its translation {other.source} does not name it as its own translation"
        elif other.language == page.language:
            yield f"{source}: its translation {other.source} has the same language, {page.language}"


def _document_problems(document: Page, inventory: Inventory) -> Iterator[str]:
    yield from _common_problems(document, inventory)
    for target in inventory.links:
        if target.startswith("#") and unquote(target[1:]) not in inventory.ids:
            yield f"{_place(document, target)}: link to {target}: no such id in this document"


def _place(page: Page, text: str) -> str:
    line = page.line_of(text)
    return page.source if line is None else f"{page.source}:{line}"
