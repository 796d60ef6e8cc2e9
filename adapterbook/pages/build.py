"""Render the templates with the report, and write the ``.qmd`` pages, menus and combined documents.

All texts are rendered before the first file is written. A text whose inputs have not changed is taken from the cache.
The same records and templates give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml
from markupsafe import Markup

from adapterbook.analysis.shapes import Report, RunReport
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.files import is_plain_file
from adapterbook.common.formatting import Language
from adapterbook.common.progress import watch
from adapterbook.common.workdir import put_in_place
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import load_phrases
from adapterbook.figures import Figure
from adapterbook.figures.words import FigureWords, short_names
from adapterbook.pages.cache_key import hash_page_inputs, hash_templates
from adapterbook.pages.citations import WORKS, Bibliography, cite_report
from adapterbook.pages.crate import CRATE, render_crate
from adapterbook.pages.head import (
    LANGUAGE_TAGS,
    both,
    commit_link,
    cover_head,
    document_fields,
    page_footer,
    page_head,
    signature,
)
from adapterbook.pages.lab import lab_scripts, open_lab
from adapterbook.pages.live import live_scripts
from adapterbook.pages.notebook import notebook_body, prose_of
from adapterbook.pages.numbers.number import Number, look_up
from adapterbook.pages.numbers.provenance import format_date, provenance_of, record_block
from adapterbook.pages.outline import PageSpec, by_method, index_outline, make_outline, slug_of
from adapterbook.pages.scripts import VEGA, head_of, vega_script
from adapterbook.pages.tables.report_tables import ReportTables
from adapterbook.pages.tools import PageTools, Target, page_path
from adapterbook.pages.words import Words
from adapterbook.pages.writing.environment import make_environment, render_template
from adapterbook.pages.writing.escape import (
    code_block,
    escape_metadata,
    escape_text,
    front_matter,
    guard_from_typst,
)
from adapterbook.pages.writing.markdown import close_gaps, join_lines, squeeze_blank_lines
from adapterbook.pages.writing.typed_numbers import check_typed_numbers

LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
# Quarto would set an ASCII colon after the number of a Chinese caption.
CAPTIONS: Final[Mapping[Language, Mapping[str, Any]]] = {"zh": {"crossref": {"title-delim": "："}}, "en": {}}
LANGUAGE_NAMES: Final[Mapping[Language, str]] = {"zh": "中文", "en": "English"}
# Without this, a page that shows a line ```{python} inside a longer fence would start Jupyter.
ENGINE: Final = {"engine": "markdown"}
# Numbers of the study that a template writes by one word.
SHORT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "n_train": ("study", "data", "n_train"),
    "n_validation": ("study", "data", "n_validation"),
    "n_selection": ("study", "data", "n_selection"),
    "n_test": ("study", "data", "n_test"),
    "n_epochs": ("study", "training", "num_train_epochs"),
    "n_seeds": ("n_seeds",),
    "submitted_rate": ("study", "training", "learning_rate"),
}
REFERENCES: Final = "references"
# A figure stands alone on its line.
FIGURE: Final = re.compile(r"^!\[.*\]\([^)]*\)\{#(fig-[\w-]+) .*\}$", re.MULTILINE)
MENU_SECTIONS: Final = ("", "how", "adapters", "results", "reference")


def write_pages(
    report: Report, figures: Mapping[str, Figure], paths: Paths, cache: Cache = NO_CACHE, *, has_cards: bool = False
) -> list[Path]:
    """Write every page in both languages, the menus, and the combined documents for the PDFs.

    Parameters
    ----------
    report : Report
        From ``analysis.analyse``.
    figures : mapping
        From ``figures.draw_figures``, by id; their files must be there already.
    paths : Paths
        Templates are looked up in ``paths.template_folders``; ``index.qmd``, the crate and parts of ``report/`` are
        written.
    cache : Cache, optional
        Texts that were rendered before.
    has_cards : bool
        Whether ``figures.draw_cards`` drew the pictures for previews of links.

    Returns
    -------
    list of Path
        The files of the report, sorted; unchanged ones have not been touched.

    Raises
    ------
    RenderError
        Naming the template and the line that failed, or that types a number. Nothing has been written then.
    ConfigError
        If ``book.yaml``, ``templates/phrases.yaml`` or ``templates/glossary.yaml`` is not valid.
    """
    check_typed_numbers(paths)
    texts = _Builder(report, figures, paths, cache, has_cards=has_cards).build()
    put_in_place(texts, paths.root, paths.report, (*LANGUAGES, "pdf", "scripts"))
    return sorted(texts)


class _Builder:
    """Render all texts of one report."""

    def __init__(
        self, report: Report, figures: Mapping[str, Figure], paths: Paths, cache: Cache, *, has_cards: bool
    ) -> None:
        self.report = report
        self.figures = figures
        self.paths = paths
        self.cache = cache
        self.book = load_book(paths.book)
        self.phrases = load_phrases(*paths.template_folders)
        self.finding = figures["answer"].finding if figures["answer"].drawn else None
        self.outline = [
            replace(page, heading=self.finding) if page.stem == "index" else page
            for page in make_outline(report, self.phrases)
        ]
        self.index = index_outline(self.outline)
        self.short_names = {
            language: short_names(report, FigureWords(self.phrases, language)) for language in LANGUAGES
        }
        self.prose = prose_of(paths.notebook) if paths.notebook.exists() else frozenset()
        # Pages show no folder of this machine. The longest comes first, because the home folder holds the others.
        self.hidden = {str(paths.root.resolve()): ".", str(paths.root): ".", str(Path.home()): "~"}
        self.words = {
            language: Words(language, report, self.phrases, self.short_names[language], self.hidden)
            for language in LANGUAGES
        }
        self.templates: dict[str, str] = {}  # hashes by name
        self.card = figures["headline" if figures["headline"].drawn else "headline-best"].alt if has_cards else None
        self.bibliography = Bibliography(paths.template_folders)
        self.origin = provenance_of(report.runs)
        self.lab = open_lab(report, paths)
        self.inputs = f"{hash_page_inputs(report, figures, paths, self.hidden)} {self.lab.obstacle}"

    def build(self) -> dict[Path, str]:
        """Return every file's content by its path."""
        texts: dict[Path, str] = {}
        for language in LANGUAGES:
            cited: set[str] = set()
            pages = watch(self.outline, f"pages, {language}", len(self.outline))
            for page in pages:  # the list of references, the last page, has what the others cite
                listed = tuple(sorted(cited)) if page.stem == REFERENCES else ()
                text = self._kept("page", language, [page], partial(self._page, page, language, listed), *listed)
                texts[page_path(self.paths, language, page.stem)] = text
                cited |= set() if "run" in page.names else set(self.bibliography.cited(text))
            texts[self.paths.report / language / "_metadata.yml"] = _yaml(
                {
                    "lang": LANGUAGE_TAGS[language],
                    "sidebar": language,
                    "book-title": str(escape_metadata(self.book.title.in_language(language))),
                    **CAPTIONS[language],
                }
            )
            texts[self.paths.report / "pdf" / f"report-{language}.qmd"] = self._document(language)
        texts[self.paths.report / "pdf" / "_quarto.yml"] = _yaml({"project": {"type": "default"}})
        texts[self.paths.report / "_navigation.yml"] = _yaml(self._navigation())
        texts[self.paths.root / "index.qmd"] = self._cover()
        texts[self.paths.root / CRATE] = render_crate(self.report, self.book, self.origin)
        texts[self.paths.report / VEGA] = vega_script(self.cache)
        made = lab_scripts(self.lab, self.report, self.phrases)
        texts |= {self.paths.report / name: text for name, text in made.items()}
        texts |= live_scripts(self.report.live, self.paths)
        texts |= {self.paths.report / name: text for name, text in self.bibliography.files().items()}
        return texts

    def _kept(
        self, kind: str, language: Language, pages: Sequence[PageSpec], make: Callable[[], str], *also: str
    ) -> str:
        """Return a text made from some pages' templates, from the cache if nothing that it depends on has changed."""
        return self.cache.get(kind, [*self._parts(language, pages), *also], lambda: make().encode()).decode()

    def _parts(self, language: Language, pages: Sequence[PageSpec]) -> list[str]:
        """Return what a text made from some pages' templates depends on: the key of the cache."""
        templates = [f"pages/{page.template}" for page in pages]
        for name in templates:
            if name not in self.templates:
                self.templates[name] = hash_templates(self.paths.template_folders, name)
        return [
            self.inputs,
            str(self.card is None),
            language,
            *(page.stem for page in pages),
            *(self.templates[name] for name in templates),
        ]

    @cached_property
    def environments(self) -> dict[Language, jinja2.Environment]:
        """Make the environments of both languages when the first template is rendered."""
        return {language: self._environment(language) for language in LANGUAGES}

    def _environment(self, language: Language) -> jinja2.Environment:
        methods = by_method(self.report)
        terms = {key: term for key, term in self.phrases.terms.items()
                 if not term.methods or {*term.methods} & {*methods}}  # fmt: skip
        cite = cite_report(self.book, language, self.origin)
        names = {
            **self.words[language].names(),
            "report": self.report,
            **{name: Number(look_up(self.report, path), self.report, path) for name, path in SHORT_NAMES.items()},
            "names": lambda adapters: [self.words[language].name(adapter) for adapter in adapters],
            "terms": [(Markup(f"{{#glossary-{slug_of(key)}}}"), term.name.in_language(language),
                       term.name.in_language(_other(language)), term.meaning.in_language(language))
                      for key, term in terms.items()],
            "works": WORKS,
            "cite": {"authors": cite.authors, "year": cite.year, "title": cite.title,
                     "link": None if cite.address is None else Markup(f"[{cite.address}]({cite.address})"),
                     "bibtex": code_block(cite.bibtex, "bibtex")},
            "methods": list(methods),
            "n_trained": sum(map(len, methods.values())),
            "provenance": provenance_of,
            "commit_link": lambda commit: commit_link(self.book, commit),
            "signature": signature(self.book, language),
            "subtitle": self.book.subtitle.in_language(language),
            "finding": None if self.finding is None else self.finding.in_language(language),
            "date": lambda day: format_date(day, language),
            "record_block": lambda record, name: record_block(record, name, self.hidden),
            "notebook_body": lambda run: self._notebook(run, language),
        }  # fmt: skip
        return make_environment(self.paths.template_folders, language, names)

    def _tools(self, page: PageSpec, language: Language, target: Target) -> PageTools:
        return PageTools(
            page, language, target, self.report, self.index, self.figures, self.paths, self.phrases,
            self.short_names[language], self.book.site_url, self.lab.obstacle,
        )  # fmt: skip

    def _body(self, page: PageSpec, language: Language, target: Target) -> str:
        tools = self._tools(page, language, target)
        names = {**tools.names(), "tables": ReportTables(tools, self.words[language]), **page.names}
        return render_template(self.environments[language], f"pages/{page.template}", **names)

    def _page(self, page: PageSpec, language: Language, listed: Sequence[str]) -> str:
        other = _other(language)
        up = "../" * (page.depth + 1)
        translation = f"{up}{other}/{page.stem}"
        head = [page_head(page, language, self.book, self.card, self.origin), *head_of(page.scripts, up)]
        fields = {
            "title": escape_metadata((page.heading or page.title).in_language(language)),
            "description": page.description.in_language(language),
            **ENGINE,
            "translation": f"{translation}.qmd",
            **(
                {"search-group": self.index["notebooks/index"].title.in_language(language)}
                if "run" in page.names
                else {}
            ),
            "format": {"html": {"include-in-header": [{"text": "\n".join(head)}]}},
        }
        switch = (
            f"::: {{.language-switch}}\n[{LANGUAGE_NAMES[other]}]({translation}.qmd)"
            f'{{lang="{LANGUAGE_TAGS[other]}" hreflang="{LANGUAGE_TAGS[other]}"}}\n:::\n'
        )
        body = self._body(page, language, "site")
        if listed or ("run" not in page.names and self.bibliography.cited(body)):
            fields |= self.bibliography.fields(language, up, listed)
        if "bibliography" in fields and WORKS not in body:
            title = self.phrases.pages[REFERENCES].title.in_language(language)
            before, mark, after = body.rpartition("\n::: {.provenance}")
            body = f"{before}\n## {escape_text(title)} {{#sec-{page.slug}-works}}\n\n{WORKS}\n{mark}{after}"
        return front_matter(fields) + "\n" + _finish(f"{switch}\n{body}", language)

    def _document(self, language: Language) -> str:
        """Return the combined document: each page of the report that is a chapter, its title as heading."""
        front = replace(self.outline[0], template="paper_front.qmd.j2")  # the cover and the abstract
        chapters = [front, *(page for page in self.outline if page.in_pdf)]
        for page in chapters:  # keep the chapters in the cache, also if the whole document is there
            self.cache.use("chapter", self._parts(language, [page]))
        return self._kept("document", language, chapters, partial(self._whole_document, chapters, language))

    def _whole_document(self, chapters: Sequence[PageSpec], language: Language) -> str:
        parts: list[str] = []
        for page in chapters:
            title = escape_text(page.title.in_language(language))
            body = self._kept("chapter", language, [page], partial(self._body, page, language, "pdf"))
            parts.append(f"# {title} {{#sec-{page.slug}}}\n\n{body.strip()}\n" if parts else f"{body.strip()}\n")
        fields = {
            **document_fields(self.book, language, self.origin),
            **self.bibliography.fields(language, "../"),
            "lang": LANGUAGE_TAGS[language],
            **ENGINE,
            "toc": True,
            "toc-depth": 2,
            "number-sections": True,
            "format": {"typst": {"papersize": "a4"}},
        }
        text = _without_repeats("\n".join(parts))
        return front_matter(fields) + "\n" + guard_from_typst(_finish(text, language))

    def _cover(self) -> str:
        """Return the cover, which has both languages; its script shows the one that the visitor chooses."""
        page = PageSpec("cover", "cover.md.j2", self.book.title, self.book.subtitle)
        choice = " ".join(
            f'[{name}](#{language}){{lang="{LANGUAGE_TAGS[language]}"}}' for language, name in LANGUAGE_NAMES.items()
        )
        parts = [f"::: {{.cover-languages}}\n{choice}\n:::\n"]
        for language in LANGUAGES:
            body = self._kept("cover", language, [page], partial(self._body, page, language, "cover"))
            opening = f'::: {{#{language} .cover lang="{LANGUAGE_TAGS[language]}"}}'
            parts.append(f"{opening}\n{_finish(body.strip(), language)}:::\n")
        fields = {
            "title": escape_metadata(both(self.book.title)),
            # Quarto would show a `description` below the title, and each language has the subtitle.
            "description-meta": escape_metadata(both(self.book.subtitle)),
            "lang": LANGUAGE_TAGS["zh"],
            **ENGINE,
            "sidebar": False,
            "toc": False,
            "search": False,  # the overview says the same, in one language
            "format": {"html": {"include-in-header": [{"text": cover_head(self.book, self.card, self.origin)}]}},
        }
        return front_matter(fields) + "\n" + "\n".join(parts)

    def _navigation(self) -> dict[str, Any]:
        sidebars = []
        for language in LANGUAGES:
            contents: list[Any] = []
            for section in MENU_SECTIONS:
                pages = [self._menu_item(page, language) for page in self.outline if page.section == section]
                if section and pages:
                    contents.append({"section": self.phrases.text("menus", section, language), "contents": pages})
                else:
                    contents += pages
            sidebars.append({"id": language, "title": LANGUAGE_NAMES[language], "style": "docked",
                             "contents": contents})  # fmt: skip
        left = [{"text": LANGUAGE_NAMES[language], "href": f"report/{language}/index.qmd"} for language in LANGUAGES]
        address = {} if self.book.site_url is None else {"site-url": self.book.site_url}
        return {"website": {"title": str(escape_metadata(both(self.book.title))),
                            "description": str(escape_metadata(both(self.book.subtitle))), **address,
                            "page-navigation": True, "navbar": {"left": left}, "sidebar": sidebars,
                            "page-footer": page_footer(self.book, self.phrases)}}  # fmt: skip

    def _menu_item(self, page: PageSpec, language: Language) -> str | dict[str, str]:
        """Return a page's entry in the menu; where it has another heading than its title, with the title."""
        file = f"report/{language}/{page.stem}.qmd"
        if page.heading is None:
            return file
        return {"text": str(escape_metadata(page.title.in_language(language))), "href": file}

    def _notebook(self, run: RunReport, language: Language) -> Markup | None:
        file = run.run.folder(self.paths) / "notebook.ipynb"
        if not is_plain_file(file, self.paths.results):
            return None
        error = None if run.record is None else run.record.error
        failed_cell = None if error is None else error.cell
        body = notebook_body(file, language, trusted=self.prose, hidden=self.hidden, failed_cell=failed_cell)
        return None if body is None else Markup(body)


def _other(language: Language) -> Language:
    return "en" if language == "zh" else "zh"


def _without_repeats(text: str) -> str:
    """Return a combined document in which each figure stands once, where it comes first."""
    seen: set[str] = set()

    def keep(figure: re.Match[str]) -> str:
        is_new = figure[1] not in seen
        seen.add(figure[1])
        return figure[0] if is_new else ""

    return FIGURE.sub(keep, text)


def _finish(text: str, language: Language) -> str:
    """Return a rendered template as it is written."""
    return squeeze_blank_lines(close_gaps(join_lines(text)) if language == "zh" else text).strip() + "\n"


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=False, width=10_000)
