"""Make the pages and the site from the records: `make pages`, `make site`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adapterbook.commands.inputs import pages_step, published_files, site_step
from adapterbook.common.console import format_duration, say
from adapterbook.common.steps import run_step
from adapterbook.common.workdir import hold_workplace
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import load_phrases
from adapterbook.config.published import load_published
from adapterbook.runs.select import load_report


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
        with hold_workplace(root, lambda text: say(console, text)):
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
        say(console, f"{len(written)} files under report/ from {len(statuses)} runs of {name}, {took}.")

    step = pages_step(paths, name, study.seeds, statuses)
    if not run_step(step.name, root, step.inputs, step.outputs, make):
        say(console, f"The pages of {len(statuses)} runs of {name} are up to date.")


def update_site(root: Path, renderer: str, console: Console) -> None:
    """Render the pages into ``_site/``, and the PDFs."""

    def make() -> None:
        from adapterbook.site import build_site

        build_site(root, renderer, say=lambda text: say(console, text))

    paths = Paths(root)
    step = site_step(paths, renderer)
    if not run_step(step.name, root, step.inputs, step.outputs, make):
        say(console, f"The site is up to date: {paths.shown(step.outputs[0] / 'index.html')}")
