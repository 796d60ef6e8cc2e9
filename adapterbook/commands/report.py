"""Make the pages and the site from the records, unless their inputs are the same: `make pages`, `make site`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adapterbook.common.cache import PACKAGE, hash_inputs, installed_packages, is_made, run_step
from adapterbook.common.formatting import format_duration, format_number, say
from adapterbook.common.progress import show_progress
from adapterbook.common.workdir import hold_workplace
from adapterbook.common.yaml_files import list_yaml_files, load_yaml
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import load_phrases
from adapterbook.config.source import load_published
from adapterbook.config.study import LIVE, PROBE
from adapterbook.runs.live.record import live_folder
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.probe import FEATURES, probe_folder
from adapterbook.runs.select import load_report

RENDERERS = ("auto", "quarto", "embedded")
# What a report is made of, in the folder of a run or of the linear probe.
RUN_FILES = ("record.json", "predictions.parquet", "notebook.ipynb", FEATURES)
# What `make pages` writes: beside _quarto.yml, and under report/.
BESIDE = ("index.qmd", "ro-crate-metadata.json")
REPORT_PARTS = ("zh", "en", "pdf", "figures", "scripts", "_navigation.yml", "references.bib", "references-zh.csl")


@dataclass(frozen=True)
class Step:
    """Describe a step of ``make``: the hash of all that its outputs depend on, and the outputs."""

    name: str
    inputs: str
    outputs: tuple[Path, ...]


def pages_step(paths: Paths, source: str, seeds: Sequence[int], statuses: Sequence[RunStatus]) -> Step:
    """Return the step that makes the pages of a source's runs."""
    folders = [
        probe_folder(paths, source),
        live_folder(paths, source),
        *(status.run.folder(paths) for status in statuses),
    ]
    runs = [path for folder in folders for path in _report_files(folder)]
    settings = [paths.experiments / name for name in ("adapters", "sources")]
    written_by_hand = [paths.book, paths.study, *settings, *published_files(paths), paths.notebook]
    states = [(status.run.id, status.state, status.stale, status.problem) for status in statuses]
    files = [*runs, *written_by_hand, *paths.template_folders, *_own_code()]
    inputs = hash_inputs(paths.root, files, source, tuple(seeds), states, *_surroundings())
    beside, parts = (paths.root / name for name in BESIDE), (paths.report / part for part in REPORT_PARTS)
    return Step("pages", inputs, (*beside, *parts))


def site_step(paths: Paths, renderer: str) -> Step:
    """Return the step that makes the site with a renderer."""
    return _site_steps(paths, [renderer])[0]


def find_unmade(root: Path, source: str, seeds: Sequence[int] | None) -> str | None:
    """Return which part of the report is out of date with its records, texts or programs; None if all is up to date.

    Returns
    -------
    str or None
        ``"pages"`` or ``"site"``, which ``make site`` would make again. Any renderer may have made the site.
    """
    paths = Paths(root)
    name, study, _, statuses = load_report(paths, source, seeds)
    pages = pages_step(paths, name, study.seeds, statuses)
    if not is_made(pages.name, root, pages.inputs, pages.outputs):
        return pages.name
    sites = _site_steps(paths, RENDERERS)
    return None if any(is_made(site.name, root, site.inputs, site.outputs) for site in sites) else "site"


def documents(paths: Paths) -> tuple[Path, ...]:
    """Return the files of the site that are made in the project's folder, from where Quarto copies them."""
    return tuple(paths.root / name for name in ("report-zh.pdf", "report-en.pdf", "404.html"))


def site_folder(root: Path) -> Path:
    """Return the site's folder, as ``_quarto.yml`` says."""
    settings = load_yaml(root / "_quarto.yml").get("project")
    return root / str(settings.get("output-dir", "_site") if isinstance(settings, dict) else "_site")


def published_files(paths: Paths) -> list[Path]:
    """Return the files of published results."""
    return list_yaml_files(paths.experiments / "published")


def _site_steps(paths: Paths, renderers: Sequence[str]) -> list[Step]:
    """Return the step of each renderer, with the files read once."""
    folders = sorted(
        [*paths.results.glob(f"*/{PROBE}"), *paths.results.glob(f"*/{LIVE}"), *paths.results.glob("*/*/*/*")]
    )
    results = [path for folder in folders for path in _report_files(folder)]
    # The site's own cut fonts lie in report/fonts.
    report = [path for path in sorted(paths.report.glob("*")) if path.name != "fonts"]
    beside = [paths.notebook, *(paths.root / name for name in ("_quarto.yml", *BESIDE))]
    pages = [*beside, *report, *results, *_own_code()]
    files = hash_inputs(paths.root, pages, *_surroundings())
    outputs = (site_folder(paths.root), *documents(paths))
    return [Step("site", hash_inputs(paths.root, [], files, renderer), outputs) for renderer in renderers]


def _documents_step(paths: Paths) -> Step:
    """Return the step that makes the PDFs and 404.html; their inputs are among the site's."""
    return Step("documents", site_step(paths, "any").inputs, documents(paths))


def _report_files(folder: Path) -> list[Path]:
    """Return the files of a run, the linear probe or the live adapters that a report uses or publishes."""
    return [folder / name for name in RUN_FILES]


def _own_code() -> list[Path]:
    """Return the files of this package: code, layouts, styles and filters."""
    files = sorted(PACKAGE.rglob("*"))
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


def _surroundings() -> list[object]:
    """Return the other things that a page depends on: packages, fonts set by variables, and the Quarto on the PATH."""
    fonts = sorted((key, value) for key, value in os.environ.items() if key.startswith("ADAPTERBOOK_"))
    quarto = shutil.which("quarto")
    return [installed_packages(), fonts, quarto and (quarto, Path(quarto).stat().st_size, Path(quarto).stat().st_mtime)]


def update_pages(root: Path, source: str, seeds: Sequence[int] | None, console: Console) -> None:
    """Make the figures and the pages from the records of one source.

    The source is not resolved, because pages are made without network. So `train` and `load_statuses` see whether the
    data on the Hub has changed, but this does not.
    """
    paths = Paths(root)
    name, study, adapters, statuses = load_report(paths, source, seeds)

    def make() -> None:
        from adapterbook.analysis import analyse
        from adapterbook.common.cache import open_cache
        from adapterbook.figures import draw_cards, draw_figures, open_figures_cache, remove_cards
        from adapterbook.pages import write_pages

        start = time.monotonic()
        book, phrases = load_book(paths.book), load_phrases(*paths.template_folders)
        published = {file.stem: load_published(file) for file in published_files(paths)}
        with show_progress(console), hold_workplace(root, lambda text: say(console, text)):
            numbers, pictures, texts = open_cache(root, "analysis"), open_figures_cache(root), open_cache(root, "pages")
            report = analyse(statuses, paths, study, adapters, published, numbers)
            figures = draw_figures(report, paths.report / "figures", phrases, cache=pictures)
            if book.site_url is None:  # a card needs the site's address
                remove_cards(paths.report / "figures")
                cards = {}
            else:
                cards = draw_cards(report, book.title, book.subtitle, paths.report / "figures", phrases, pictures)
            written = write_pages(report, figures, paths, texts, has_cards=bool(cards))
            for cache in (numbers, pictures, texts):
                cache.forget_unused()
        took = format_duration(time.monotonic() - start)
        live = report.live.record
        if live is not None and live.inexact:
            worst = max(live.adapters, key=lambda adapter: adapter.mean_difference)
            difference = format_number(worst.mean_difference, "points_unsigned", "en")
            say(console, f"The page on which readers try the adapters is inexact: in 8 bits a weight the probabilities "
                         f"of {worst.run_id} differ by {difference} points in the mean. The page says so.")  # fmt: skip
        say(console, f"{len(written)} files under report/ from {len(statuses)} runs of {name}, {took}.")

    step = pages_step(paths, name, study.seeds, statuses)
    if not run_step(step.name, root, step.inputs, step.outputs, make):
        say(console, f"The pages of {len(statuses)} runs of {name} are up to date.")


def update_documents(root: Path, console: Console) -> None:
    """Make the PDFs and 404.html in the project's folder: with them, a plain `quarto render` makes the whole site."""

    def make() -> None:
        from adapterbook.site import make_documents

        with show_progress(console):
            make_documents(root, say=lambda text: say(console, text))

    step = _documents_step(Paths(root))
    run_step(step.name, root, step.inputs, step.outputs, make)


def update_site(root: Path, renderer: str, console: Console) -> None:
    """Render the pages into ``_site/``, and the PDFs."""

    def make() -> None:
        from adapterbook.site import build_site

        with show_progress(console):
            build_site(root, renderer, say=lambda text: say(console, text))
        made = _documents_step(paths)
        run_step(made.name, root, made.inputs, made.outputs, lambda: None)  # they are made

    paths = Paths(root)
    step = site_step(paths, renderer)
    if not run_step(step.name, root, step.inputs, step.outputs, make):
        say(console, f"The site is up to date: {paths.shown(step.outputs[0] / 'index.html')}")
