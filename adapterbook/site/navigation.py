"""Read ``website.navbar`` and ``website.sidebar``: the menus, and the pages before and after a page.

The items are Quarto's: a path, ``{text, href}``, ``{section, href, contents}``, and ``---`` as a rule. Links are paths
from the site's root; the layout adds the path from the page to the root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapterbook.common.errors import RenderError
from adapterbook.site.project import Page, Project


@dataclass(frozen=True)
class Item:
    """An entry of a menu; ``href`` is empty for a heading without a page, ``contents`` for one without children."""

    text: str
    href: str
    contents: tuple[Item, ...] = ()
    page: Page | None = None

    @property
    def is_external(self) -> bool:
        return "://" in self.href

    def holds(self, href: str) -> bool:
        """Tell whether the item, or one below it, leads to the page ``href``."""
        return self.href == href or any(item.holds(href) for item in self.contents)


@dataclass(frozen=True)
class Sidebar:
    """One entry of ``website.sidebar``; pages name it by its ``id``."""

    id: str
    title: str
    items: tuple[Item, ...]


def read_navbar(project: Project) -> tuple[Item, ...]:
    """Return the navbar's items, those on its left first."""
    navbar = project.website.get("navbar") or {}
    return tuple(_read_item(project, item) for side in ("left", "right") for item in navbar.get(side) or ())


def read_sidebars(project: Project) -> dict[str, Sidebar]:
    """Return the sidebars by id."""
    declared = project.website.get("sidebar") or []
    sidebars = [declared] if isinstance(declared, dict) else declared
    read: dict[str, Sidebar] = {}
    for number, sidebar in enumerate(sidebars):
        key = str(sidebar.get("id", number))
        items = tuple(_read_item(project, item) for item in sidebar.get("contents") or () if item != "---")
        read[key] = Sidebar(id=key, title=str(sidebar.get("title", "")), items=items)
    return read


def sidebar_of(page: Page, sidebars: Mapping[str, Sidebar]) -> Sidebar | None:
    """Return the sidebar that the page names, else the one that lists it, else ``None``."""
    named = page.metadata.get("sidebar")
    if named is False:
        return None
    if isinstance(named, str) and named in sidebars:
        return sidebars[named]
    return next((bar for bar in sidebars.values() if any(item.holds(page.href) for item in bar.items)), None)


def neighbours(page: Page, sidebar: Sidebar | None) -> tuple[Item | None, Item | None]:
    """Return the items before and after the page, in the sidebar's order."""
    order = [item for item in _flatten(sidebar.items if sidebar else ()) if item.page]
    at = next((i for i, item in enumerate(order) if item.href == page.href), None)
    if at is None:
        return None, None
    return (order[at - 1] if at else None), (order[at + 1] if at + 1 < len(order) else None)


def _flatten(items: tuple[Item, ...]) -> Iterator[Item]:
    for item in items:
        if item.href:
            yield item
        yield from _flatten(item.contents)


def _read_item(project: Project, value: Any) -> Item:
    if isinstance(value, str):
        value = {"href": value}
    if not isinstance(value, dict):
        raise RenderError(f"_quarto.yml: expected a path or a mapping as an item of a menu, found {value!r}")
    contents = value.get("contents") or ()
    if contents == "auto" or isinstance(contents, str):
        raise RenderError(f"_quarto.yml: a section's contents must be a list of pages here, found {contents!r}")
    href = str(value.get("href") or value.get("file") or "")
    section = str(value.get("section") or "")
    if section.endswith(".qmd"):  # a section may be named by its page
        href, section = section, ""
    page = project.pages.get(href)
    if href.endswith(".qmd"):
        if page is None:
            raise RenderError(f"_quarto.yml: a menu names {href}, which is not a page of project.render")
        href = page.href
    text = section or str(value.get("text") or "") or (page.title if page else href)
    return Item(text, href, tuple(_read_item(project, item) for item in contents if item != "---"), page)
