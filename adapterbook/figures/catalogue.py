"""Report → files: which figures there are, and one call that draws them all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from adapterbook.analysis.shapes import Report
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.files import write_atomically
from adapterbook.figures.block import plan_block
from adapterbook.figures.confusion import plan_confusion
from adapterbook.figures.curves import plan_accuracy, plan_batch_size, plan_curves, plan_learning_rate
from adapterbook.figures.dots import plan_costs, plan_test_accuracy
from adapterbook.figures.epochs import plan_epochs
from adapterbook.figures.figure import Figure, Language
from adapterbook.figures.headline import plan_headline
from adapterbook.figures.learned import plan_learned
from adapterbook.figures.published import plan_published
from adapterbook.figures.render import Picture, render_pictures
from adapterbook.figures.strategy import plan_eval_strategy
from adapterbook.figures.style import Drawing


def draw_figures(
    report: Report, folder: Path, languages: Sequence[Language] = ("zh", "en"), cache: Cache = NO_CACHE
) -> dict[str, Figure]:
    """Draw every figure of a report in every language, and remove those of an earlier report.

    Parameters
    ----------
    folder : Path
        Gets a subfolder a language, with one SVG a figure; an SVG there that is no figure of this report is removed.
        A file that is right as it is stays untouched.
    cache : Cache, optional
        Pictures drawn before, from ``render.open_figures_cache``.

    Returns
    -------
    dict
        By id. A figure that cannot be drawn is there too, with its ``reason`` and without a file.
    """
    drawings = plan_figures(report)
    pictures = [
        Picture(drawing.id, language, drawing.height, drawing.paint)
        for drawing in drawings
        if drawing.paint is not None
        for language in languages
    ]
    files = [folder / picture.language / f"{picture.id}.svg" for picture in pictures]
    for language in languages:
        (folder / language).mkdir(parents=True, exist_ok=True)
    for file, svg in zip(files, render_pictures(pictures, cache), strict=True):
        if not _holds(file, svg):
            write_atomically(file, svg)
    paths: dict[str, dict[Language, Path]] = {drawing.id: {} for drawing in drawings}
    for picture, file in zip(pictures, files, strict=True):
        paths[picture.id][picture.language] = file
    figures = {
        drawing.id: Figure(
            drawing.id, paths[drawing.id], drawing.title, drawing.alt, drawing.rows, drawing.adapter, drawing.reason
        )
        for drawing in drawings
    }
    drawn = set(files)
    for language in languages:
        for file in (folder / language).glob("*.svg"):
            if file not in drawn:
                file.unlink()
    return figures


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and not file.is_symlink() and file.read_bytes() == text.encode()


def plan_figures(report: Report) -> list[Drawing]:
    """Return every figure, before any is drawn: those of the whole report, then those of each adapter."""
    costs = report.costs or (None,)
    drawings = [
        plan_headline(report, "submitted"),
        plan_headline(report, "best"),
        plan_learning_rate(report),
        plan_batch_size(report),
        plan_eval_strategy(report),
        plan_epochs(report),
        plan_test_accuracy(report),
        *(plan_costs(report, table, "costs" if not i else f"costs-{i + 1}") for i, table in enumerate(costs)),
        plan_block(report),
        plan_learned(report),
    ]
    slugs = _slugs(list(report.adapters))
    for adapter in report.adapters.values():
        slug = slugs[adapter.id]
        drawings += [
            plan_curves(report, adapter, f"curves-{slug}"),
            plan_accuracy(report, adapter, f"accuracy-{slug}"),
            plan_confusion(report, adapter, f"confusion-{slug}"),
            plan_published(report, adapter, f"published-{slug}"),
        ]
    return drawings


def _slugs(adapters: Sequence[str]) -> dict[str, str]:
    """Return each adapter's part of a figure's id; where two would be the same, the later gets a number."""
    slugs: dict[str, str] = {}
    for adapter in adapters:
        slug = re.sub("[^a-z0-9]", "-", adapter.lower())
        number = 2
        while slug in slugs.values():
            slug = f"{re.sub('[^a-z0-9]', '-', adapter.lower())}-{number}"
            number += 1
        slugs[adapter] = slug
    return slugs
