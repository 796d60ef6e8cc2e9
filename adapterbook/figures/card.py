"""Draw the preview picture for links to the site: the book's title over the headline curves, one a language.

Its file is ``<folder>/<language>/social-card.png``. The lines are those of the headline figure, drawn by the same
functions: a preview shows nothing that the pages do not.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unicodedata import east_asian_width

from adapterbook.analysis.shapes import Report
from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.common.formatting import Language
from adapterbook.config.phrases import Phrases
from adapterbook.config.study import BilingualText
from adapterbook.figures.catalogue import LANGUAGES
from adapterbook.figures.headline import headline_lines
from adapterbook.figures.render import Picture
from adapterbook.figures.style import (
    GREY,
    Line,
    baselines_of,
    draw_band,
    format_percent_axis,
    mark_epochs,
    settings_of,
)
from adapterbook.figures.words import FigureWords, Labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME: Final = "social-card"
DPI: Final = 100
WIDTH, HEIGHT = 12.0, 6.3  # inches: 1200 by 630 pixels
MARGIN: Final = 0.045  # of the width
INK, QUIET, ACCENT = "#1d2126", "#56606a", "#0b5a8f"
MAX_LINES: Final = 8  # of the legend


def draw_cards(
    report: Report,
    title: BilingualText,
    subtitle: BilingualText,
    folder: Path,
    phrases: Phrases,
    cache: Cache = NO_CACHE,
) -> dict[Language, Path]:
    """Draw the card of each language; none, where no run has a curve.

    Parameters
    ----------
    folder : Path
        Has a folder a language. A file that is right as it is stays untouched.
    cache : Cache, optional
        Cards drawn before, from ``render.open_figures_cache``.
    """
    cards: dict[Language, Path] = {}
    for language in LANGUAGES:
        words = FigureWords(phrases, language)
        lines = headline_lines(report, "submitted", words) or headline_lines(report, "best", words)
        if not lines:
            remove_cards(folder)
            return {}
        labels = words.labels("validation_loss", "validation_accuracy", "epoch")
        paint = partial(_paint, title.in_language(language), subtitle.in_language(language), lines, labels,
                        baselines_of(report)["validation_accuracy"])  # fmt: skip
        picture = Picture(NAME, HEIGHT, paint)
        png = cache.get("png", [picture.identity()], partial(_draw, picture))
        cards[language] = folder / language / f"{NAME}.png"
        cards[language].parent.mkdir(parents=True, exist_ok=True)
        if not cards[language].is_file() or cards[language].read_bytes() != png:
            cards[language].write_bytes(png)
    return cards


def remove_cards(folder: Path) -> None:
    """Remove the cards of an earlier report."""
    for path in folder.glob(f"*/{NAME}.png"):
        path.unlink()


def _draw(picture: Picture) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings_of(picture.id))
        mpl.rcParams.update({"lines.linewidth": 3.0, "lines.markersize": 7.0, "axes.titlesize": 15, "font.size": 14,
                             "xtick.labelsize": 13, "ytick.labelsize": 13, "axes.labelsize": 13,
                             "legend.fontsize": 14})  # fmt: skip
        canvas = Canvas(figsize=(WIDTH, picture.height), dpi=DPI, facecolor="white")
        picture.paint(canvas)
        buffer = io.BytesIO()
        # Without the version of what drew it: the same picture is the same bytes.
        canvas.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return buffer.getvalue()


def _paint(title: str, subtitle: str, lines: Sequence[Line], labels: Labels, level: float, canvas: Canvas) -> None:
    from matplotlib.patches import Rectangle

    canvas.add_artist(Rectangle((0, 0.975), 1, 0.025, color=ACCENT, transform=canvas.transFigure))
    _write(canvas, title, 0.925, largest=34, color=INK)
    _write(canvas, subtitle, 0.805, largest=19, color=QUIET)
    loss = canvas.add_axes((0.07, 0.21, 0.405, 0.44))
    accuracy = canvas.add_axes((0.565, 0.21, 0.405, 0.44))
    for line in lines:
        draw_band(loss, line.curve, "validation_loss", line.style, line.label)
        draw_band(accuracy, line.curve, "validation_accuracy", line.style, line.label)
    loss.axhline(math.log(2), color=GREY, linewidth=1.5, linestyle=(0, (1, 3)))
    accuracy.axhline(level, color=GREY, linewidth=1.5, linestyle=(0, (1, 3)))
    for axes, name in ((loss, "validation_loss"), (accuracy, "validation_accuracy")):
        axes.set_title(labels[name], loc="left")
        mark_epochs(axes, labels["epoch"])
    format_percent_axis(accuracy.yaxis)
    handles, names = loss.get_legend_handles_labels()
    canvas.legend(handles[:MAX_LINES], names[:MAX_LINES], loc="lower center", ncols=min(len(names), 5),
                  bbox_to_anchor=(0.5, 0.0), columnspacing=1.6)  # fmt: skip


def _write(canvas: Canvas, text: str, top: float, *, largest: float, color: str) -> None:
    """Write one line from the left margin, in letters as large as fit; what would be too small to read is cut."""
    smallest = 15.0
    widths = [1.0 if east_asian_width(letter) in "WF" else 0.56 for letter in text]
    room = (1 - 2 * MARGIN) * WIDTH * 72  # points
    while sum(widths) * smallest > room:
        text, widths = f"{text.removesuffix('…')[:-1]}…", [*widths[:-2], 1.0]
    size = min(largest, room / max(sum(widths), 1.0))
    canvas.text(MARGIN, top, text, size=size, color=color, va="top")
