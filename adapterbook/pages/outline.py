"""List the pages, in the order of the menus and the combined documents, for both languages alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adapterbook.analysis.shapes import AdapterReport, Report, RunReport
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import BilingualText
from adapterbook.pages.scripts import LAB, VEGA

# With more runs than this, not each gets a page: the site would take too long to make and to load.
MAX_RUN_PAGES = 200
# With more adapters than this, the combined document has no chapters about them: setting it would take minutes.
MAX_ADAPTER_CHAPTERS = 12

EXPLORER = (
    VEGA,
    *(f"assets/{name}.js" for name in ("explorer-chart", "explorer-tables", "explorer-panels", "explorer")),
)
LIVE = tuple(f"assets/live/{name}" for name in ("live.css", "tokenizer.js", "encoder.js", "page.js"))
NOT_IN_A_SLUG = re.compile(r"[^a-z0-9]+")
# Methods that a page has been written about; any other gets a general one.
METHODS_WITH_A_PAGE = {"LORA": "lora", "IA3": "ia3"}


@dataclass(frozen=True)
class PageSpec:
    """Describe one page; both languages have the same.

    Attributes
    ----------
    stem : str
        Path below ``report/<language>/`` without ``.qmd``, such as ``adapters/lora_1``.
    template : str
        Name below ``templates/<language>/``.
    title, description : BilingualText
        Plain text.
    section : str
        Key of the label of the menu's section; empty for a page at the menu's top, None for one that is not in it.
    in_pdf : bool
        Whether it is a chapter of the combined document.
    runs : tuple of RunReport
        The planned runs that the page is about, in any state.
    scripts : tuple of str
        The scripts that it loads beside the site's own, as paths below ``report/``.
    heading : BilingualText or None
        What stands above the page itself, in place of the title that leads to it.
    names : mapping
        What the template sees beside the names that all templates see.
    """

    stem: str
    template: str
    title: BilingualText
    description: BilingualText
    section: str | None = ""
    in_pdf: bool = True
    runs: tuple[RunReport, ...] = ()
    scripts: tuple[str, ...] = ()
    names: Mapping[str, Any] = field(default_factory=dict)
    heading: BilingualText | None = None

    @property
    def slug(self) -> str:
        """Return the beginning of all identifiers on the page, unique in the report."""
        return slug_of(self.stem)

    @property
    def depth(self) -> int:
        """Return the number of folders between ``report/<language>/`` and the page."""
        return self.stem.count("/")


def slug_of(text: str) -> str:
    """Return a text as part of an identifier.

    Examples
    --------
    >>> slug_of("adapters/lora_1")
    'adapters-lora-1'
    """
    return NOT_IN_A_SLUG.sub("-", text.lower()).strip("-")


def make_outline(report: Report, phrases: Phrases) -> list[PageSpec]:
    """Return every page of the report, in reading order, stems and slugs unique."""

    def page(stem: str, template: str, key: str, **more: Any) -> PageSpec:
        words = phrases.pages[key]
        return PageSpec(stem, f"{template}.qmd.j2", words.title, words.description, **{"runs": report.runs, **more})

    shown = choose_run_pages(report, MAX_RUN_PAGES)
    chapters = len(report.adapters) <= MAX_ADAPTER_CHAPTERS
    pages = [
        page("index", "overview", "overview", names={"chapters": chapters}),
        page("method", "method", "method", section="how", scripts=(LAB,)),
        page("lab", "lab", "lab", section="how", in_pdf=False, scripts=(LAB,)),
    ]
    for method, adapters in by_method(report).items():
        if method in METHODS_WITH_A_PAGE:
            name = METHODS_WITH_A_PAGE[method]
            names = {"adapters": adapters}
            pages.append(page(f"mechanism-{name}", f"mechanism_{name}", name, section="how", names=names))
        else:
            other = page(f"mechanism-{slug_of(method)}", "mechanism_other", "other_method", section="how",
                         names={"adapters": adapters, "method": method})  # fmt: skip
            title = BilingualText(zh=other.title.zh.format(method=method), en=other.title.en.format(method=method))
            pages.append(replace(other, title=title))
    pages += [replace(_adapter_page(adapter, phrases), in_pdf=chapters) for adapter in report.adapters.values()]
    pages += [
        page("comparison", "comparison", "comparison", section="results"),
        page("explorer", "explorer", "explorer", section="results", in_pdf=False, scripts=EXPLORER),
        page(
            "sentences",
            "test_sentences",
            "sentences",
            section="results",
            in_pdf=False,
            runs=report.sentences.runs,
            scripts=("assets/sentences.js",),
        ),
        page("live", "live", "live", section="results", in_pdf=False, scripts=LIVE),
        page("reproduction", "reproduction", "reproduction", section="results"),
        page(
            "notebooks/index",
            "notebooks",
            "notebooks",
            section="results",
            in_pdf=False,
            names={"n_run_pages": len(shown)},
        ),
        *(_notebook_page(run, report, phrases) for run in shown),
        page("glossary", "glossary", "glossary", section="reference"),
        page("references", "references", "references", section="reference"),
    ]
    return _with_unique_stems(pages)


def by_method(report: Report) -> dict[str, list[AdapterReport]]:
    """Return the adapters without the baselines, by PEFT's name of their method: those with a page about them first."""
    trained = [adapter for adapter in report.adapters.values() if adapter.baseline is None]
    methods = dict.fromkeys(adapter.config.peft_type for adapter in trained)
    in_order = sorted(methods, key=lambda name: (name not in METHODS_WITH_A_PAGE, name == "IA3"))  # IA³ after LoRA
    return {name: [adapter for adapter in trained if adapter.config.peft_type == name] for name in in_order}


def choose_run_pages(report: Report, most: int) -> list[RunReport]:
    """Return the runs that get a page, in the study's order.

    If there are more than `most`, runs with faults come first, then one run of each adapter and variant, the one whose
    numbers other pages show, then the others. Each of the three is in the study's order.
    """
    if len(report.runs) <= most:
        return list(report.runs)
    groups = [group for adapter in report.adapters.values() for group in adapter.groups.values()]
    representatives = {group.representative.id for group in groups if group.representative is not None}
    ranks = [0 if run.faulty else 1 if run.id in representatives else 2 for run in report.runs]
    chosen = sorted(sorted(range(len(ranks)), key=ranks.__getitem__)[:most])  # sorted is stable
    return [report.runs[index] for index in chosen]


def index_outline(outline: Iterable[PageSpec]) -> dict[str | tuple[type, str], PageSpec]:
    """Return the pages by their stems, and by the kind and id of the adapter or run that they are about."""
    index: dict[str | tuple[type, str], PageSpec] = {}
    for page in outline:
        index[page.stem] = page
        for value in page.names.values():
            if isinstance(value, AdapterReport | RunReport):
                index.setdefault((type(value), value.id), page)
    return index


def _adapter_page(adapter: AdapterReport, phrases: Phrases) -> PageSpec:
    return PageSpec(
        f"adapters/{adapter.id}",
        "adapter.qmd.j2",
        adapter.config.title,
        phrases.pages["adapter"].description,
        section="adapters",
        runs=tuple(run for group in adapter.groups.values() for run in group.runs),
        names={"adapter": adapter},
    )


def _notebook_page(run: RunReport, report: Report, phrases: Phrases) -> PageSpec:
    variant = report.study.variants[run.run.variant].title
    seed = "" if report.n_seeds == 1 else f" · {run.run.seed}"
    title = run.run.adapter.title
    return PageSpec(
        f"notebooks/{run.id.replace('/', '-')}",
        "notebook.qmd.j2",
        BilingualText(zh=f"{title.zh} · {variant.zh}{seed}", en=f"{title.en} · {variant.en}{seed}"),
        phrases.pages["notebook"].description,
        section=None,
        in_pdf=False,
        runs=(run,),
        names={"run": run},
    )


def _with_unique_stems(pages: Iterable[PageSpec]) -> list[PageSpec]:
    """Return the pages, a later one renamed where its identifiers would be an earlier one's (``a.b`` and ``a-b``)."""
    taken: set[str] = set()
    unique = []
    for page in pages:
        stem, number = page.stem, 2
        while slug_of(stem) in taken:
            stem, number = f"{page.stem}-{number}", number + 1
        taken.add(slug_of(stem))
        unique.append(replace(page, stem=stem))
    return unique
