"""Read a Quarto website project: ``_quarto.yml``, its metadata files, its menus, and the pages with their front matter.

Both renderers and the checks use this module, so they agree on the pages and their metadata. It follows Quarto's rules
(deep merge, lists appended, ``_metadata.yml`` folder by folder) for the keys that AdapterBook's pages use.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.errors import RenderError
from adapterbook.common.files import passes_a_link
from adapterbook.site.pandoc import plain_title

# As safe as yaml.safe_load, and ten times as fast where PyYAML was built with libyaml.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FRONT_MATTER: Final = re.compile(r"\A---[ \t]*\n(?P<yaml>.*?)^---[ \t]*$\n?", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """Hold one ``.qmd`` file.

    ``source`` is its path from the project's root, with slashes; ``path`` its path on disk; ``metadata`` the front
    matter over ``_metadata.yml`` and ``_quarto.yml``; ``text`` the whole file; ``cache`` the build cache.
    """

    source: str
    path: Path
    metadata: Mapping[str, Any]
    text: str
    cache: Cache = NO_CACHE

    @cached_property
    def title(self) -> str:
        """Return the title as plain text, for menus and the browser's tab."""
        title = str(self.metadata.get("title", ""))
        return plain_title(title, page=self.source, cache=self.cache) or Path(self.source).stem

    @property
    def language(self) -> str:
        return str(self.metadata.get("lang", "en"))

    @property
    def href(self) -> str:
        """Return the rendered page's path from the site's root."""
        return self.source.removesuffix(".qmd") + ".html"

    @property
    def bibliography(self) -> str:
        """Return the BibTeX of the works that the page can cite."""
        return "".join(path.read_text("utf-8") for path in self._named("bibliography"))

    @property
    def citation_style(self) -> Path | None:
        """Return the file of the style of its citations; None means pandoc's own."""
        return next(iter(self._named("csl")), None)

    def _named(self, key: str) -> list[Path]:
        """Return the files that a key of the front matter names, relative to the page."""
        named = self.metadata.get(key) or []
        paths = [self.path.parent / str(name) for name in (named if isinstance(named, list) else [named])]
        if missing := [f"{key}: {path} is not there; run `make pages`" for path in paths if not path.is_file()]:
            raise RenderError(f"{self.source}:", missing)
        return paths

    def line_of(self, text: str) -> int | None:
        """Return the number of the first line that contains ``text``, from 1, or ``None``."""
        at = self.text.find(text)
        return None if at < 0 else self.text.count("\n", 0, at) + 1


@dataclass(frozen=True)
class Project:
    """Hold a website project: its folder, merged configuration, pages by source path, and build cache."""

    root: Path
    config: Mapping[str, Any]
    pages: Mapping[str, Page]
    cache: Cache = NO_CACHE

    @property
    def output_dir(self) -> Path:
        return output_dir(self.root, self.config)

    @property
    def website(self) -> Mapping[str, Any]:
        return self.config.get("website") or {}

    @property
    def title(self) -> str:
        """Return the site's title as plain text."""
        return plain_title(str(self.website.get("title") or ""), page="_quarto.yml: title", cache=self.cache)

    def page_at(self, page: Page, target: str) -> Page | None:
        """Return the page that a relative link ``target`` of ``page`` leads to, or ``None``."""
        return self.pages.get(posixpath.normpath(posixpath.join(posixpath.dirname(page.source), target)))


def read_project(root: Path, cache: Cache = NO_CACHE) -> Project:
    """Read the website project in ``root``.

    Raises
    ------
    RenderError
        If ``_quarto.yml`` is missing or not YAML, a page's front matter is not YAML, or no page is found.
    """
    config = read_config(root)
    inherited = {key: value for key, value in config.items() if key not in ("project", "website", "metadata-files")}
    paths = _find_sources(root, config["project"])
    pages = {page.source: page for page in (_read_page(root, path, inherited, cache) for path in paths)}
    if not pages:
        raise RenderError(f"{root / '_quarto.yml'}: no page matches project.render; run `make pages`")
    return Project(root=root, config=config, pages=pages, cache=cache)


def read_config(root: Path) -> dict[str, Any]:
    """Read a project's ``_quarto.yml`` and merge its metadata files into it."""
    config_path = root / "_quarto.yml"
    if not config_path.is_file():
        raise RenderError(f"{config_path}: expected a Quarto website project, found no such file")
    config = _read_yaml(config_path)
    for name in config.get("metadata-files") or ():
        path = root / str(name)
        if not path.is_file():
            raise RenderError(f"{config_path}: metadata-files names {name}, which is not there; run `make pages`")
        config = merge_metadata(config, _read_yaml(path))
    if not isinstance(config.get("project"), dict):
        raise RenderError(f"{config_path}: expected a `project:` mapping, found {config.get('project')!r}")
    return config


def output_dir(root: Path, config: Mapping[str, Any]) -> Path:
    """Return the folder of a project's rendered site."""
    return root / str(config["project"].get("output-dir", "_site"))


def merge_metadata(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` merged in as Quarto does: mappings deeply, lists appended, the rest replaced.

    Examples
    --------
    >>> merge_metadata({"a": {"b": 1}, "l": [1]}, {"a": {"c": 2}, "l": [1, 2]})
    {'a': {'b': 1, 'c': 2}, 'l': [1, 2]}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge_metadata(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            merged[key] = [*old, *(item for item in value if item not in old)]
        else:
            merged[key] = value
    return merged


def _find_sources(root: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Return the pages that ``project.render`` names, without duplicates, in its order."""
    output = output_dir(root, {"project": settings})
    found: dict[Path, None] = {}
    for pattern in settings.get("render") or ["**/*.qmd"]:
        exclude = str(pattern).startswith("!")
        for path in find_files(root, str(pattern).removeprefix("!")):
            if exclude:
                found.pop(path, None)
            elif path.suffix == ".qmd" and not path.is_relative_to(output) and not _is_hidden(path.relative_to(root)):
                found[path] = None
    return list(found)


def find_files(root: Path, pattern: str) -> list[Path]:
    """Return the paths that match a pattern of ``_quarto.yml``; a leading slash means the project's folder.

    Symbolic links are left out: results from elsewhere must not publish other files of this machine.
    """
    return sorted(path for path in root.glob(pattern.removeprefix("/")) if not passes_a_link(path, root))


def linked_resources(root: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the resources that are symbolic links or lie behind one; Quarto would publish their targets."""
    patterns = [str(pattern).removeprefix("/") for pattern in config["project"].get("resources") or ()]
    return sorted({path for pattern in patterns for path in root.glob(pattern) if passes_a_link(path, root)})


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _read_page(root: Path, path: Path, inherited: Mapping[str, Any], cache: Cache) -> Page:
    source = path.relative_to(root)
    metadata = dict(inherited)
    for folder in reversed(source.parents[:-1]):
        if (shared := root / folder / "_metadata.yml").is_file():
            metadata = merge_metadata(metadata, _read_yaml(shared))
    text = path.read_text("utf-8")
    metadata = merge_metadata(metadata, read_front_matter(text, source.as_posix()))
    return Page(source=source.as_posix(), path=path, metadata=metadata, text=text, cache=cache)


def read_front_matter(text: str, name: str) -> dict[str, Any]:
    """Return the YAML between the first two ``---`` of a page; ``name`` names the page in errors."""
    match = FRONT_MATTER.match(text)
    return _parse_yaml(match["yaml"], f"{name}: front matter") if match else {}


def _read_yaml(path: Path) -> dict[str, Any]:
    return _parse_yaml(path.read_text("utf-8"), str(path))


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        value = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise RenderError(f"{name}: not valid YAML: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RenderError(f"{name}: expected a mapping, found {type(value).__name__}")
    return value


@dataclass(frozen=True)
class Item:
    """Hold an entry of a menu; ``href`` is empty for a heading without a page, ``contents`` if it has no children."""

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
    """Hold one entry of ``website.sidebar``; pages name it by its ``id``."""

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
