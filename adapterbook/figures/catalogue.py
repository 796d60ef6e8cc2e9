"""List the figures of a report, and draw them all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adapterbook.analysis.shapes import Report
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.files import write_atomically
from adapterbook.common.formatting import Language
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import BilingualText
from adapterbook.figures.answer import plan_answer
from adapterbook.figures.block import plan_block
from adapterbook.figures.calibration import plan_calibration
from adapterbook.figures.confusion import plan_confusion
from adapterbook.figures.curves import plan_accuracy, plan_batch_size, plan_curves, plan_learning_rate
from adapterbook.figures.directions import plan_directions
from adapterbook.figures.dots import plan_costs, plan_test_accuracy
from adapterbook.figures.epochs import plan_epochs, plan_eval_strategy
from adapterbook.figures.figure import Drawing, Figure
from adapterbook.figures.headline import plan_headline
from adapterbook.figures.learned import plan_learned
from adapterbook.figures.published import plan_published
from adapterbook.figures.render import Picture, render_pictures
from adapterbook.figures.style import PHONE_WIDTH
from adapterbook.figures.travel import plan_travel
from adapterbook.figures.words import FigureWords

LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
PHONE: Final = "phone"  # the folder of the drawings for narrow screens


def draw_figures(
    report: Report,
    folder: Path,
    phrases: Phrases,
    languages: Sequence[Language] = LANGUAGES,
    cache: Cache = NO_CACHE,
) -> dict[str, Figure]:
    """Draw every figure of a report, and remove those of an earlier report.

    Parameters
    ----------
    folder : Path
        Gets a subfolder a language, with one SVG a figure, and in its ``phone/`` those for narrow screens. An SVG there
        that is not of this report is removed. A file that is right as it is stays untouched.
    languages : sequence of str
        Those that get files; titles and alternative texts are in both.
    cache : Cache, optional
        Pictures drawn before, from ``render.open_figures_cache``.

    Returns
    -------
    dict
        By id. A figure that cannot be drawn is there too, with its ``reason`` and without a file.

    Raises
    ------
    ConfigError
        If ``phrases.yaml`` lacks a phrase, or a phrase has other placeholders than the figure fills.
    """
    figures, pictures = plan_report(report, folder, phrases, languages)
    for language in languages:
        (folder / language).mkdir(parents=True, exist_ok=True)
    for file, svg in zip(pictures, render_pictures(list(pictures.values()), cache), strict=True):
        if not _holds(file, svg):
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, svg)
    for language in languages:
        for file in (folder / language).rglob("*.svg"):
            if file not in pictures:
                file.unlink()
    return figures


def plan_report(
    report: Report, folder: Path, phrases: Phrases, languages: Sequence[Language] = LANGUAGES
) -> tuple[dict[str, Figure], dict[Path, Picture]]:
    """Return every figure of a report by its id, and the pictures to draw by their files; draw nothing."""
    plans = {language: plan_figures(report, FigureWords(phrases, language)) for language in LANGUAGES}
    pictures: dict[Path, Picture] = {}
    figures = {}
    for zh, en in zip(plans["zh"], plans["en"], strict=True):
        files: dict[Language, Path] = {}
        phone: dict[Language, Path] = {}
        for language in languages:
            drawing = {"zh": zh, "en": en}[language]
            if drawing.paint is None:
                continue
            files[language] = folder / language / f"{zh.id}.svg"
            pictures[files[language]] = Picture(zh.id, drawing.height, drawing.paint)
            if drawing.phone_height:
                phone[language] = folder / language / PHONE / f"{zh.id}.svg"
                pictures[phone[language]] = Picture(zh.id, drawing.phone_height, drawing.paint, PHONE_WIDTH)
        title, alt = BilingualText(zh=zh.title, en=en.title), BilingualText(zh=zh.alt, en=en.alt)
        finding = BilingualText(zh=zh.finding, en=en.finding) if zh.finding else None
        figures[zh.id] = Figure(zh.id, files, title, alt, zh.rows, zh.adapter, zh.reason, phone, finding)
    return figures, pictures


def plan_figures(report: Report, words: FigureWords) -> list[Drawing]:
    """Return every figure in one language, before any is drawn: the whole report's, then each adapter's."""
    costs = report.costs or (None,)
    drawings = [
        plan_answer(report, words),
        plan_headline(report, "submitted", words),
        plan_headline(report, "best", words),
        plan_travel(report, words),
        plan_learning_rate(report, words),
        plan_batch_size(report, words),
        plan_eval_strategy(report, words),
        plan_epochs(report, words),
        plan_test_accuracy(report, words),
        *(plan_costs(report, table, f"costs-{i}" if i > 1 else "costs", words) for i, table in enumerate(costs, 1)),
        plan_calibration(report, words),
        plan_block(report, words),
        plan_learned(report, words),
        plan_directions(report, words),
    ]
    slugs = _slugs(list(report.adapters))
    for adapter in report.adapters.values():
        slug = slugs[adapter.id]
        drawings += [
            plan_curves(report, adapter, f"curves-{slug}", words),
            plan_accuracy(report, adapter, f"accuracy-{slug}", words),
            plan_confusion(report, adapter, f"confusion-{slug}", words),
            plan_published(report, adapter, f"published-{slug}", words),
        ]
    return drawings


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and not file.is_symlink() and file.read_bytes() == text.encode()


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
