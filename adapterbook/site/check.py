"""Finds what would come out wrong, before anything is rendered, and says all of it at once.

Quarto only warns of an unresolved cross-reference and says nothing of a missing picture; here both are errors, in both
renderers. Reads the sources; :mod:`.links` looks at what was rendered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from adapterbook.errors import RenderError
from adapterbook.site.document import read_document
from adapterbook.site.navigation import read_navbar, read_sidebars
from adapterbook.site.pandoc import Element, flatten_text
from adapterbook.site.project import Page, Project, read_project, read_trees

__all__ = ["PDF_SOURCES", "check_project"]

# Where the page generator puts the combined documents: report-zh.qmd becomes report-zh.pdf in the site's root.
PDF_SOURCES: Final = "report/pdf/report-*.qmd"

REFERENCE: Final = re.compile(r"(fig|tbl|eq|sec|lst)-")
EQUATION_LABEL: Final = re.compile(r"\{#(eq-[\w-]+)\}")
SHORTCODE: Final = re.compile(r"\{\{<")


@dataclass
class Inventory:
    """What a page defines and what it asks for."""

    ids: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def check_project(project: Path) -> None:
    """Check a website project and its combined documents.

    Raises
    ------
    RenderError
        With every problem found: missing pictures, links to pages, anchors or files that are not there, unresolved
        cross-references, an id used twice on a page, shortcodes, pages without title or counterpart,
        menus that name no page.
    """
    read = read_project(project)
    inventories = {source: take_inventory(page, "html") for source, page in read.pages.items()}
    problems = [problem for source in read.pages for problem in _page_problems(read, source, inventories)]
    problems += _counterpart_problems(read)
    try:
        read_navbar(read)
        read_sidebars(read)
    except RenderError as error:
        problems.append(str(error))
    documents = [read_document(path) for path in sorted(project.glob(PDF_SOURCES))]
    read_trees(documents)
    for document in documents:
        problems += _document_problems(document)
    if problems:
        raise RenderError(f"{project}: the pages are not ready to render:", problems)


def take_inventory(page: Page, target: str) -> Inventory:
    """Collect ids, references, links and pictures of a page, as they will be in ``html`` or ``typst``."""
    inventory = Inventory()
    for element in _visible(page.tree["blocks"], target):
        kind, content = element["t"], element.get("c", [])
        if kind in ("Div", "Span", "CodeBlock", "Code", "Figure", "Table", "Link", "Image"):
            _add_id(inventory, content[0][0])
        if kind == "Header":
            _add_id(inventory, content[1][0])
        elif kind == "Link":
            inventory.links.append(content[2][0])
        elif kind == "Image":
            inventory.images.append(content[2][0])
        elif kind == "Cite":
            inventory.references += [cite["citationId"] for cite in content[0] if REFERENCE.match(cite["citationId"])]
        elif kind == "Para" and (label := EQUATION_LABEL.fullmatch(flatten_text(content[-1:]))):
            _add_id(inventory, label[1])
        elif kind in ("RawBlock", "RawInline") and content[0].startswith("html") and target == "html":
            _RawHtml(inventory).feed(content[1])
    return inventory


def _add_id(inventory: Inventory, name: str) -> None:
    if name:
        inventory.ids.append(name)


def _visible(node: object, target: str) -> Iterator[Element]:
    """Yield the elements that a format shows, parents first, without the headings that become titles of tabs."""
    if isinstance(node, list):
        for child in node:
            yield from _visible(child, target)
    elif isinstance(node, dict) and "t" in node:
        content = node.get("c", [])
        if node["t"] in ("Div", "Span"):
            (_, classes, attributes), inner = content[0], content[1]
            if not _is_shown(classes, dict(attributes), target):
                return
            if node["t"] == "Div":
                inner = _without_titles(inner, classes)
            yield node
            yield from _visible(inner, target)
            return
        yield node
        yield from _visible(content, target)


def _is_shown(classes: list[str], attributes: dict[str, str], target: str) -> bool:
    names = {target, {"html": "html:js", "typst": "pdf"}[target]}
    matches = attributes.get("when-format", target) in names and attributes.get("unless-format") not in names
    if "content-visible" in classes:
        return matches
    return not ("content-hidden" in classes and matches)


def _without_titles(blocks: list[Element], classes: list[str]) -> list[Element]:
    if "panel-tabset" in classes:
        levels = [block["c"][0] for block in blocks if block["t"] == "Header"]
        return [block for block in blocks if not (block["t"] == "Header" and block["c"][0] == levels[0])]
    if any(name.startswith("callout-") for name in classes) and blocks and blocks[0]["t"] == "Header":
        return blocks[1:]
    return blocks


class _RawHtml(HTMLParser):
    """Adds what a raw HTML block defines and asks for."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__()
        self._inventory = inventory

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self._inventory.ids.append(value)
            elif name == "href" and tag == "a" and value:
                self._inventory.links.append(value)
            elif name == "src" and value:
                self._inventory.images.append(value)


def _page_problems(project: Project, source: str, inventories: dict[str, Inventory]) -> Iterator[str]:
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


def _link_problems(project: Project, page: Page, target: str, inventories: dict[str, Inventory]) -> Iterator[str]:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return
    anchor, place = unquote(parts.fragment), _place(page, target)
    if not parts.path:
        if anchor and anchor not in inventories[page.source].ids:
            yield f"{place}: link to #{anchor}: no such id on this page"
        return
    path = unquote(parts.path)
    other = project.page_at(page, re.sub(r"\.html$", ".qmd", path))
    if other is not None:
        if anchor and anchor not in inventories[other.source].ids:
            yield f"{place}: link to {target}: {other.source} has no id {anchor}"
    elif path.endswith((".qmd", ".html")):
        yield f"{place}: link to {target}: no such page in project.render"
    elif not _is_made_or_there(project, page.path.parent / path):
        yield f"{place}: link to {target}: no such file"


def _is_made_or_there(project: Project, path: Path) -> bool:
    """Tell whether a file is there, or is one of the PDFs that are made after the pages."""
    if path.exists():
        return True
    found = path.resolve()
    return found.parent == project.root.resolve() and any(
        source.with_suffix(".pdf").name == found.name for source in project.root.glob(PDF_SOURCES)
    )


def _counterpart_problems(project: Project) -> Iterator[str]:
    """Yield the pages that are not there in the other language; pages in the project's root are for all."""
    for source, page in project.pages.items():
        if "/" not in source:
            continue
        target = page.metadata.get("translation")
        if not target:
            yield f"{source}: no `translation:` in the front matter; name the same page in the other language"
            continue
        other = project.page_at(page, str(target))
        if other is None:
            yield f"{source}: translation {target} is no page of project.render"
        elif project.page_at(other, str(other.metadata.get("translation", ""))) is not page:
            yield f"{source}: its translation {other.source} does not name it as its own translation"
        elif other.language == page.language:
            yield f"{source}: its translation {other.source} has the same language, {page.language}"


def _document_problems(document: Page) -> Iterator[str]:
    inventory = take_inventory(document, "typst")
    yield from _common_problems(document, inventory)
    for target in inventory.links:
        if target.startswith("#") and unquote(target[1:]) not in inventory.ids:
            yield f"{_place(document, target)}: link to {target}: no such id in this document"


def _place(page: Page, text: str) -> str:
    line = page.line_of(text)
    return page.source if line is None else f"{page.source}:{line}"
