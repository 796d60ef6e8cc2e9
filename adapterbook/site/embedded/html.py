"""Render the pages of the site as HTML: the body with pandoc, the frame around it with one Jinja2 layout.

:mod:`.renderer` writes the files.
"""

from __future__ import annotations

import functools
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml
from markupsafe import Markup

from adapterbook.common.cache import Cache
from adapterbook.site.pandoc import Job, convert_all, pandoc_version, plain_title
from adapterbook.site.project import Item, Page, Project, Sidebar, neighbours, sidebar_of

HERE: Final = Path(__file__).parent
FILTER: Final = HERE / "qmd.lua"
# Everything comes from the site, but for inline styles, which pandoc writes into formulas and code. `file:` is needed
# for a page that is opened from a folder, which 'self' does not cover.
POLICY: Final = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data:; "
    "font-src 'self' file:; base-uri 'none'; form-action 'none'"
)
PART: Final = "\n<!--part-->\n"
# Pandoc's invisible anchor before each line of code.
LINE_ANCHOR: Final = re.compile(r'<a href="#[^"]+" aria-hidden="true" tabindex="-1"></a>')
# An empty table head; a screen reader must not announce it as a heading.
EMPTY_HEAD: Final = re.compile(r"<th([^>]*)></th>")
# Pandoc's style in every table cell; a class of the style sheet is shorter.
ALIGNMENT: Final = re.compile(r'(<t[dh]) style="text-align: (left|right);"')
IMAGE: Final = re.compile(r'<(?:img|source)\s+(?:[^>"]|"[^"]*")*?src(?:set)?="([^"]+)"')


@dataclass(frozen=True)
class Body:
    """Hold the parts of a page that pandoc rendered, each as HTML."""

    title: str
    subtitle: str
    toc: str
    body: str


@dataclass(frozen=True)
class Frame:
    """Hold the parts that all pages of a site share."""

    project: Project
    navbar: tuple[Item, ...]
    sidebars: Mapping[str, Sidebar]


def render_bodies(pages: Mapping[str, Page], cache: Cache) -> dict[str, Body]:
    """Return the pages' contents as HTML, by source path.

    Raises
    ------
    RenderError
        With the problems of all pages: what pandoc refuses, and cross-references without a target.
    """
    answers = convert_all([body_job(page) for page in pages.values()], cache)
    return {source: _read_body(page, answer) for (source, page), answer in zip(pages.items(), answers, strict=True)}


def body_job(page: Page) -> Job:
    """Return the job that :func:`render_bodies` gives to pandoc."""
    options = _html_options(page)
    metadata: dict[str, str | bool] = {"lang": page.language}
    if page.metadata.get("number-sections", options.get("number-sections", False)):
        metadata["number-sections"] = True
    metadata |= {f"raw-{key}": str(page.metadata[key]) for key in ("title", "subtitle") if key in page.metadata}
    has_toc = page.metadata.get("toc", options.get("toc", True))
    return Job(
        page.source,
        page.text,
        writer="html5",
        filter=FILTER,
        template=HERE / "body.html",
        toc_depth=int(page.metadata.get("toc-depth", options.get("toc-depth", 3))) if has_toc else None,
        metadata=metadata,
        bibliography=page.bibliography,
        citation_style=page.citation_style,
        distil=_tidy,
    )


def _tidy(answer: str) -> str:
    """Remove from pandoc's HTML the parts that no reader needs."""
    answer = ALIGNMENT.sub(lambda cell: cell[1] + (' class="right"' if cell[2] == "right" else ""), answer)
    return EMPTY_HEAD.sub(r"<td\1></td>", LINE_ANCHOR.sub("", answer))


def _read_body(page: Page, answer: str) -> Body:
    title, subtitle, toc, body = answer.split(PART, 3)
    return Body(title.strip(), subtitle.strip(), toc.strip(), _size_images(page, body).strip())


def render_page(page: Page, body: Body, frame: Frame) -> str:
    """Return the whole page: ``body`` in the layout."""
    project = frame.project
    sidebar = sidebar_of(page, frame.sidebars)
    previous, following = neighbours(page, sidebar)
    root = "../" * page.href.count("/")
    values: dict[str, Any] = {
        "page": page,
        "words": words_of(page.language),
        "root": root,
        "home": home_of(project),
        "policy": POLICY,
        "pandoc": pandoc_version(),
        "site_title": _book_title(page, project),
        "description": _description(page, project),
        "favicon": project.website.get("favicon"),
        "head": Markup("\n".join(_header_texts(page))),
        "navbar": [item for item in frame.navbar if belongs(item, page, sidebar)],
        "sidebar": sidebar,
        "previous": previous,
        "next": following,
        "other": _other_language(page, project),
        "title": Markup(body.title),
        "subtitle": Markup(body.subtitle),
        "date": str(page.metadata.get("date") or ""),
        "toc": Markup(body.toc),
        "body": Markup(body.body),
        "footer": Markup(_render_footer(project, root, page.language)),
    }
    return _layout().render(values)


def words_of(language: str) -> dict[str, str]:
    """Return the layout's words in a language, or in English if it has none."""
    return _labels().get(language.split("-")[0].lower()) or _labels()["en"]


def home_of(project: Project) -> str:
    """Return the front page's path from the site's root, or an empty text if there is none."""
    return next((page.href for page in project.pages.values() if page.href == "index.html"), "")


def belongs(item: Item, page: Page, sidebar: Sidebar | None) -> bool:
    """Tell whether a page shows a navbar item.

    It leaves out items that its sidebar lists, and items of another language: the header's language switch leads there.
    The cover, which has no counterpart, shows all.
    """
    if sidebar is not None and any(entry.holds(item.href) for entry in sidebar.items):
        return False
    if "translation" not in page.metadata or item.is_external:
        return True
    if item.page is not None:
        return item.page.language == page.language or "translation" not in item.page.metadata
    ending = re.search(r"-(zh|en)\.\w+$", item.href)
    return ending is None or ending[1] == page.language.split("-")[0]


@functools.cache
def _labels() -> dict[str, dict[str, str]]:
    labels: dict[str, dict[str, str]] = yaml.safe_load((HERE / "labels.yml").read_text("utf-8"))
    return labels


@functools.cache
def _layout() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, lstrip_blocks=True
    )
    return environment.get_template("page.html")


def _html_options(page: Page) -> Mapping[str, Any]:
    formats = page.metadata.get("format")
    own = formats.get("html") if isinstance(formats, dict) else None
    return own if isinstance(own, dict) else {}


def _header_texts(page: Page) -> list[str]:
    """Return the HTML that ``include-in-header`` puts into the page's head."""
    included = _html_options(page).get("include-in-header") or []
    texts = []
    for entry in included if isinstance(included, list) else [included]:
        if isinstance(entry, dict) and "text" in entry:
            texts.append(str(entry["text"]).strip())
        elif isinstance(entry, dict) and "file" in entry:
            texts.append((page.path.parent / str(entry["file"])).read_text("utf-8"))
        elif isinstance(entry, str):
            texts.append((page.path.parent / entry).read_text("utf-8"))
    return texts


def _description(page: Page, project: Project) -> str:
    text = str(page.metadata.get("description") or project.website.get("description") or "")
    return plain_title(" ".join(text.split()), page=page.source, cache=project.cache)


def _book_title(page: Page, project: Project) -> str:
    """Return the title of the whole site: in the page's language where its metadata give one."""
    own = page.metadata.get("book-title")
    return plain_title(str(own), page=page.source, cache=project.cache) if own else project.title


def _other_language(page: Page, project: Project) -> dict[str, str] | None:
    """Return the page's counterpart: its address from this page, its language, and the language's name."""
    target = page.metadata.get("translation")
    other = project.page_at(page, str(target)) if target else None
    if other is None:
        return None
    link = re.sub(r"\.qmd$", ".html", str(target))
    return {"link": link, "language": other.language, "name": words_of(other.language)["name"]}


@functools.lru_cache(maxsize=16)
def _footer_html(markdown: str, cache: Cache) -> str:
    return convert_all([Job("_quarto.yml: page-footer", markdown, writer="html5", filter=FILTER)], cache)[0]


def _render_footer(project: Project, root: str, language: str) -> str:
    """Return the footer; its source has links from the site's root, such as ``/report-zh.pdf``, as Quarto expects."""
    footer = project.website.get("page-footer") or ""
    parts = [footer] if isinstance(footer, str) else [footer.get(side) for side in ("left", "center", "right")]
    texts = [part for part in parts if isinstance(part, str)]
    html = "\n".join(f"<div>{_footer_html(text, project.cache).strip()}</div>" for text in texts if text)
    return re.sub(r'href="(?!\w+:|#)/?', f'href="{root}', html)


def _size_images(page: Page, body: str) -> str:
    """Give each SVG its width and height, so that the text does not jump when the picture arrives."""

    def add_size(match: re.Match[str]) -> str:
        size = _svg_size(page.path.parent / match[1]) if match[1].endswith(".svg") else None
        return match[0] if size is None else f'{match[0]} width="{size[0]}" height="{size[1]}"'

    return IMAGE.sub(add_size, body)


def _svg_size(path: Path) -> tuple[int, int] | None:
    """Return an SVG's size in CSS pixels, or ``None`` where the file does not tell it."""
    try:
        with path.open("rb") as file:
            _, element = next(ET.iterparse(file, events=("start",)))
    except (OSError, ET.ParseError):
        return None
    sizes = [re.fullmatch(r"([\d.]+)(px|pt|)", element.get(name, "")) for name in ("width", "height")]
    if not all(sizes):
        return None
    per_unit = {"px": 1.0, "": 1.0, "pt": 4 / 3}
    width, height = (round(float(size[1]) * per_unit[size[2]]) for size in sizes if size)
    return width, height
