"""List a page's ids, references, links and pictures from pandoc's tree.

:mod:`.check` judges them. The tree is large and is dropped at once; an inventory is small and is cached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.site.links import read_start_tags
from adapterbook.site.pandoc import Element, Job, convert_all, each_element, flatten_text
from adapterbook.site.project import Page

Target = Literal["html", "typst"]

REFERENCE: Final = re.compile(r"(fig|tbl|eq|sec|lst)-")
EQUATION_LABEL: Final = re.compile(r"\{#(eq-[\w-]+)\}")


@dataclass
class Inventory:
    """Hold a page's ids and references, in the order of the page.

    ``every_link`` and ``every_image`` are the addresses in the whole source; the others leave out what the target
    format hides.
    """

    ids: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    every_link: list[str] = field(default_factory=list)
    every_image: list[str] = field(default_factory=list)


def read_inventories(pages: Iterable[Page], target: Target, cache: Cache = NO_CACHE) -> dict[str, Inventory]:
    """Return the inventories of pages, as rendered in ``html`` or ``typst``, by source path.

    Raises
    ------
    RenderError
        If pandoc cannot read a page.
    """
    jobs = [inventory_job(page, target) for page in pages]
    answers = convert_all(jobs, cache)
    return {job.name: Inventory(**json.loads(answer)) for job, answer in zip(jobs, answers, strict=True)}


def inventory_job(page: Page, target: Target) -> Job:
    """Return the job that :func:`read_inventories` gives to pandoc."""
    return Job(page.source, page.text, distil={"html": _for_html, "typst": _for_typst}[target])


def _for_html(answer: str) -> str:
    return _distilled(answer, "html")


def _for_typst(answer: str) -> str:
    return _distilled(answer, "typst")


def _distilled(answer: str, target: Target) -> str:
    tree: Mapping[str, Any] = json.loads(answer)
    return json.dumps(asdict(take_inventory(tree["blocks"], target)), ensure_ascii=False)


def take_inventory(blocks: list[Element], target: Target) -> Inventory:
    """Collect ids, references, links and pictures of pandoc's tree of a page."""
    inventory = Inventory()
    for element in each_element(blocks):
        if element["t"] in ("Link", "Image"):
            named = inventory.every_link if element["t"] == "Link" else inventory.every_image
            named.append(element["c"][2][0])
    for element in _visible(blocks, target):
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
            _add_raw_html(inventory, content[1])
    return inventory


def _add_id(inventory: Inventory, name: str) -> None:
    if name:
        inventory.ids.append(name)


def _visible(node: object, target: str) -> Iterator[Element]:
    """Yield the elements that a format shows, parents first; headings that become titles of tabs are left out."""
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


def _add_raw_html(inventory: Inventory, html: str) -> None:
    for tag, attributes in read_start_tags(html):
        for name, value in attributes.items():
            if name == "id" and value:
                inventory.ids.append(value)
            elif name == "href" and tag == "a" and value:
                inventory.links.append(value)
            elif name == "src" and value:
                inventory.images.append(value)
