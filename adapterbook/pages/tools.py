"""Give a template the functions that depend on its page: numbers, figures, references, links, files.

A link to another page is a relative path on the site. In the combined document (the PDF) it is the chapter's
identifier, or, for what only the site has, an address of the site if that is known. Identifiers begin with the page's
slug, so no two in the combined document are the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from markupsafe import Markup

from adapterbook.analysis.shapes import AdapterReport, Report, RunReport
from adapterbook.common.files import is_plain_file
from adapterbook.common.formatting import Language
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import Phrases
from adapterbook.figures import Figure
from adapterbook.figures.words import FigureWords
from adapterbook.pages.explorer import explorer_block
from adapterbook.pages.lab import lab_block
from adapterbook.pages.notebook import FAILED_CELL
from adapterbook.pages.numbers.number import FieldPath, derived_span, number_span
from adapterbook.pages.numbers.provenance import RECORD_ANCHOR
from adapterbook.pages.numbers.record_link import RecordLink, link_of_derived, link_of_number, link_of_row
from adapterbook.pages.outline import PageSpec, slug_of
from adapterbook.pages.tables.figure_table import make_figure_table
from adapterbook.pages.writing.escape import as_markup, escape_attribute, escape_text, python_block
from adapterbook.pages.writing.markdown import adapter_code, call_code, training_code

# The cover belongs to the site too, but lies beside the report's folder.
Target = Literal["site", "cover", "pdf"]
Name = str | Sequence[str | int]
# The section with the study's settings; on its page, a setting does not link to itself.
SETTINGS = "protocol"
# The most runs that a list of the PDF shows, and the most faults that a box names.
MAX_RUNS_IN_PDF = 12
MAX_FAULTS_NAMED = 40


@lru_cache(maxsize=10_000)  # every number leads to a page
def page_path(paths: Paths, language: Language, stem: str) -> Path:
    """Return the path of a page of the site."""
    return paths.report / language / f"{stem}.qmd"


@dataclass(frozen=True)
class Faults:
    """Hold the runs that failed, are missing or are stale.

    Attributes
    ----------
    runs, named : list of RunReport
        All of them, and those that a box has room for.
    only_stale : bool
        Whether all of them have results, so that being stale is their only fault.
    some_stale, some_fresh : bool
        Whether there are stale results, and results that are up to date.
    split : list of RunReport
        Runs whose batches were split, because memory ran out; they may be without fault.
    """

    runs: list[RunReport]
    named: list[RunReport]
    only_stale: bool
    some_stale: bool
    some_fresh: bool
    split: list[RunReport]


def find_faults(runs: Sequence[RunReport]) -> Faults:
    """Return which of some runs have faults."""
    faulty = [run for run in runs if run.faulty]
    return Faults(
        runs=faulty,
        named=_worst(runs, MAX_FAULTS_NAMED),
        only_stale=all(run.reason is None for run in faulty),
        some_stale=any(run.completed and run.stale for run in faulty),
        some_fresh=any(run.completed and not run.stale for run in runs),
        split=[run for run in runs if run.record is not None and run.record.smaller_batch is not None],
    )


@dataclass(frozen=True)
class PageTools:
    """Answer what the template of one page asks for, in one language, for the site or for the combined document."""

    page: PageSpec
    language: Language
    target: Target
    report: Report
    outline: Mapping[str | tuple[type, str], PageSpec]
    figures: Mapping[str, Figure]
    paths: Paths
    phrases: Phrases
    short_names: Mapping[str, str]
    site_url: str | None = None
    lab_obstacle: str | None = None

    def names(self) -> dict[str, Any]:
        """Return the functions and values that the template sees, by name."""
        return {
            "page": self.page,
            "number": self.number,
            "derived": self.derived,
            "pdf": self.target == "pdf",
            "figure": self.figure,
            "picture": self.picture,
            "figure_of": self.figure_of,
            "figure_ids": self.figure_ids,
            "listed": self.listed,
            "faults": find_faults,
            "fig": self.figure_reference,
            "tbl": self.table_reference,
            "sec": lambda name: self._identifier("sec", name),
            "eq": lambda name: self._identifier("eq", name),
            "equation": lambda name: Markup(f"@eq-{self.page.slug}-{name}"),
            "link": self.link,
            "on_site": self.on_site,
            "site_link": None if self.site_url is None else Markup(f"[{escape_text(self.site_url)}]({self.site_url})"),
            "record_link": self.record_link,
            "cell_link": self.cell_link,
            "record_anchor": Markup(f"{{#{RECORD_ANCHOR}}}"),
            "cell_anchor": Markup(f"{{#{FAILED_CELL}}}"),
            "config_code": self.config_code,
            "explorer": self.explorer,
            "lab": self.lab,
            "no_lab": self.no_lab,
            "training_code": lambda arguments: python_block(training_code(arguments)),
        }

    @cached_property
    def folder(self) -> Path:
        """Return the folder that the page, or the combined document, lies in."""
        if self.target == "pdf":
            return self.paths.report / "pdf"
        if self.target == "cover":
            return self.paths.root
        return page_path(self.paths, self.language, self.page.stem).parent

    def number(self, run: RunReport, field: FieldPath, kind: str) -> Markup:
        """Return a number of a run's record as a link to its line in the record."""
        return self._linked(number_span(run, field, kind, self.language), link_of_number(run, field))

    def derived(self, thing: Any, field: FieldPath, kind: str) -> Markup:
        """Return a number of the analysis as a link to the runs or settings behind it."""
        return self._linked(derived_span(thing, field, kind, self.language), link_of_derived(thing, field, self.report))

    def figure(self, id: str, caption: str | None = None, *, finding: bool = True, numbers: bool = True) -> Markup:
        """Return a figure with caption and alternative text, and a table of its numbers unless another page has it.

        Without a caption of its own it is the figure's title, after its finding, if there is one and it is asked for.
        """
        figure = self.figures[id]
        title = figure.title.in_language(self.language)
        if not figure.drawn:
            reason = self.phrases.text("reasons", str(figure.reason), self.language)
            heading = escape_attribute(f"{self.phrases.text('labels', 'no_figure', self.language)}{title}")
            return Markup(f'::: {{.callout-note title="{heading}"}}\n{escape_text(reason)}\n:::')
        text = as_markup(title if caption is None else caption)
        if caption is None and finding and figure.finding is not None:
            stated = escape_text(figure.finding.in_language(self.language))
            text = Markup(f"**{stated}**。{text}" if self.language == "zh" else f"**{stated}.** {text}")
        image = self._image(figure, text, f"#{self._figure_id(figure)} ")
        if not numbers:
            return image

        def lead(row: Mapping[str, Any], shown: Markup) -> Markup:
            return self._linked(shown, link_of_row(figure, row, self.report))

        wording = self.report.source.wording
        classes = () if wording is None else [label.in_language(self.language) for label in wording.labels]
        table = make_figure_table(figure, self.language, self.phrases, self.short_names, lead, classes)
        if table is None or self.target == "pdf":
            return image
        heading = escape_attribute(self.phrases.text("labels", "numbers_of_figure", self.language))
        return Markup(
            f'{image}\n\n:::: {{.callout-note collapse="true" appearance="simple" title="{heading}"}}\n{table}\n::::'
        )

    def picture(self, id: str) -> Markup:
        """Return a figure with its title and without a number, for a page that is not a chapter; empty if not drawn."""
        figure = self.figures[id]
        return self._image(figure, escape_text(figure.title.in_language(self.language))) if figure.drawn else Markup("")

    def _image(self, figure: Figure, caption: str, name: str = "") -> Markup:
        source = _relative(figure.paths[self.language], self.folder)
        alt = escape_attribute(figure.alt.in_language(self.language))
        phone = figure.phone_paths.get(self.language)
        narrow = "" if phone is None or self.target == "pdf" else f' phone="{_relative(phone, self.folder)}"'
        return Markup(f'![{_one_line(caption)}]({source}){{{name}fig-alt="{alt}"{narrow}}}')

    def figure_of(self, kind: str, adapter: AdapterReport, caption: str | None = None) -> Markup:
        """Return one of an adapter's own figures: ``curves``, ``accuracy``, ``confusion`` or ``published``."""
        return self.figure(self._id_of(kind, adapter), caption)

    def figure_ids(self, kind: str) -> list[str]:
        """Return the ids of the figures of one kind, such as ``costs``, ``costs-2``, … (one a device)."""
        return [id for id in self.figures if id == kind or id.removeprefix(f"{kind}-").isdecimal()]

    def listed(self, runs: Sequence[RunReport]) -> list[RunReport]:
        """Return the runs that a list shows: all, or in the PDF, if there are too many, those with faults."""
        if self.target != "pdf" or len(runs) <= MAX_RUNS_IN_PDF:
            return list(runs)
        return _worst(runs, MAX_RUNS_IN_PDF)

    def figure_reference(self, id: str, adapter: AdapterReport | None = None) -> Markup | None:
        """Return a cross-reference to a figure of this page, ``None`` if it could not be drawn."""
        figure = self.figures[id if adapter is None else self._id_of(id, adapter)]
        return Markup(f"@{self._figure_id(figure)}") if figure.drawn else None

    def table_reference(self, name: Name) -> Markup:
        """Return a cross-reference to a table of this page."""
        return Markup(f"@tbl-{self.page.slug}-{_joined(name)}")

    def link(self, target: str | AdapterReport | RunReport, text: str | None = None, section: str = "") -> Markup:
        """Return a link to a page: by its stem, by the adapter it is about, or by the run whose notebook it shows."""
        page = self._find(target)
        if isinstance(page, RunReport):
            return self.record_link(page, page.id if text is None else text)
        shown = text if text is not None else page.title.in_language(self.language)
        escaped = as_markup(shown)
        anchor = f"#sec-{page.slug}-{section}" if section else ""
        if self.target == "pdf" and page.in_pdf:
            return Markup(f"[{escaped}]({anchor or f'#sec-{page.slug}'})")
        if page == self.page:
            return Markup(f"[{escaped}]({anchor})") if anchor else Markup(escaped)
        return self._led(escaped, page_path(self.paths, self.language, page.stem), anchor)

    def on_site(self, text: str, section: str = "") -> Markup:
        """Return a link from the PDF to the same page of the site, or the text alone if the site has no address."""
        anchor = f"#sec-{self.page.slug}-{section}" if section else ""
        return self._led(escape_text(text), page_path(self.paths, self.language, self.page.stem), anchor)

    def record_link(self, run: RunReport, text: str, name: str = "record.json") -> Markup:
        """Return a link to a file of a run's folder, or the text alone if there is no such file."""
        path, shown = run.run.folder(self.paths) / name, as_markup(text)
        return self._led(shown, path) if is_plain_file(path, self.paths.results) else shown

    def address(self, place: RecordLink) -> str | None:
        """Return a place's address as the rendered page needs it, for links that a script makes; `None` in the PDF."""
        page, anchor = self._find(place.of), self._anchor_of(place)
        if self.target == "pdf":
            return None
        if isinstance(page, RunReport):
            path = page.run.folder(self.paths) / "record.json"
            return _relative(path, self.folder) if is_plain_file(path, self.paths.results) else None
        rendered = page_path(self.paths, self.language, page.stem).with_suffix(".html")
        return f"{_relative(rendered, self.folder)}#{anchor}"

    def explorer(self) -> Markup | None:
        """Return the data of the curve explorer, ``None`` if there is no curve."""
        return explorer_block(self.report, FigureWords(self.phrases, self.language), self.short_names, self.address)

    def lab(self, knob: str = "") -> Markup:
        """Return the place of the training lab, or of its form of one knob; nothing in the PDF or without a lab."""
        if self.target == "pdf" or self.lab_obstacle is not None:
            return Markup()
        return lab_block(knob, self.phrases, self.language)

    @property
    def no_lab(self) -> str | None:
        """Return why there is no training lab, None if there is one."""
        key = self.lab_obstacle
        return None if key is None else self.phrases.text("lab", ["reason", key], self.language)

    def cell_link(self, run: RunReport, text: str) -> Markup:
        """Return a link to the cell of a failed run's notebook in which it failed."""
        return self._linked(escape_text(text), RecordLink(run, FAILED_CELL))

    def config_code(self, adapter: AdapterReport) -> Markup:
        """Return the code that made an adapter, from its first record, or without one the settings of its YAML file."""
        records = [run.record for group in adapter.groups.values() for run in group.runs if run.record is not None]
        if not records:
            return python_block(call_code("dict", {"peft_type": adapter.config.peft_type, **adapter.config.settings}))
        made = records[0].adapter
        return python_block(adapter_code(made.config_class, made.settings, train_adapter=adapter.config.train_adapter))

    def _linked(self, shown: Markup, place: RecordLink | None) -> Markup:
        """Return something as a link, except a setting on the page that it would link to."""
        if place is None:
            return shown
        page = self._find(place.of)
        if isinstance(page, RunReport):
            return self.record_link(page, shown)
        anchor = self._anchor_of(place)
        if page == self.page and place.section == SETTINGS:
            return shown
        if page == self.page and self.target != "pdf":
            return Markup(f"[{shown}](#{anchor})")
        return self._led(shown, page_path(self.paths, self.language, page.stem), f"#{anchor}")

    def _led(self, shown: str, path: Path, anchor: str = "") -> Markup:
        """Return a link to a file of the site; from the PDF by its address, or the text alone if there is none."""
        if self.target != "pdf":
            return Markup(f"[{shown}]({_relative(path, self.folder)}{anchor})")
        if self.site_url is None:
            return Markup(shown)
        page = path.with_suffix(".html") if path.suffix == ".qmd" else path
        return Markup(f"[{shown}]({self.site_url}/{_relative(page, self.paths.root)}{anchor})")

    def _anchor_of(self, place: RecordLink) -> str:
        page = self._find(place.of)
        if isinstance(place.of, RunReport) or isinstance(page, RunReport):
            return place.section
        return f"sec-{page.slug}-{place.section}"

    def _find(self, target: str | AdapterReport | RunReport) -> PageSpec | RunReport:
        """Return a page, or a run that has no page, so that its record is linked instead."""
        page = self.outline.get(target if isinstance(target, str) else (type(target), target.id))
        if page is not None:
            return page
        if isinstance(target, RunReport):
            return target
        raise LookupError(f"link: there is no page {target if isinstance(target, str) else target.id!r}")

    def _identifier(self, kind: str, name: Name) -> Markup:
        return Markup(f"{{#{kind}-{self.page.slug}-{_joined(name)}}}")

    def _figure_id(self, figure: Figure) -> str:
        """Return a figure's identifier; in the combined document all chapters have one, as it shows a figure once."""
        return f"fig-{figure.id}" if self.target == "pdf" else f"fig-{self.page.slug}-{figure.id}"

    def _id_of(self, kind: str, adapter: AdapterReport) -> str:
        for figure in self.figures.values():
            if figure.adapter == adapter.id and figure.id.startswith(f"{kind}-"):
                return figure.id
        raise LookupError(f"there is no figure {kind!r} of the adapter {adapter.id} ({kind}-{slug_of(adapter.id)})")


def _worst(runs: Sequence[RunReport], most: int) -> list[RunReport]:
    """Return at most this many runs with faults, those without a result first."""
    faulty = [run for run in runs if run.faulty]
    return sorted(faulty, key=lambda run: run.reason is None)[:most]  # sorted is stable


def _joined(name: Name) -> str:
    return name if isinstance(name, str) else "-".join(map(str, name))


@lru_cache(maxsize=10_000)
def _relative(path: Path, folder: Path) -> str:
    """Return the relative path of a link from a folder."""
    return quote(Path(os.path.relpath(path, folder)).as_posix(), safe="/.~-_")


def _one_line(text: str) -> str:
    return " ".join(str(text).split("\n"))
