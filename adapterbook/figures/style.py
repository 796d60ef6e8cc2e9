"""Set how figures look: colours, sizes, fonts, axes, legends.

An adapter's style depends on its id alone, so that it does not change when adapters come and go; the baselines
are grey whatever their ids. All settings hold inside a context: of Matplotlib's global state only the
font that gets registered is touched. Matplotlib is imported where something is drawn and not before: a report whose
figures are all there does without it.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from adapterbook.analysis.shapes import Curve, Reason, Report
from adapterbook.common.fonts import use_cjk_font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH = 6.4  # inches: at 390 px a letter of 10 pt is still 8 px high, in a 46 rem column 16 px
GREY = "#6b6b6b"
LEGEND_POINTS = 10
LEGEND_ROWS = 6  # that the heights of figures make room for
LEGEND_HANDLE_EM = 5.6  # the line's sample, the gap after it, and the gap between columns


@dataclass(frozen=True)
class LineStyle:
    """Hold colour, dashes and marker: two lines differ in all three, so that colour alone never tells them apart."""

    color: str
    linestyle: str
    marker: str


@dataclass(frozen=True)
class Line:
    """Hold a curve as it is drawn; an empty label gives no entry in the legend."""

    curve: Curve
    style: LineStyle
    label: str


# Okabe & Ito 2008, "Color Universal Design", without the colours that white paper swallows: each line stands out 3 to 1
# from the page in both themes, and any two are told apart by readers who see no red, no green or no blue.
KNOWN_ADAPTERS = {
    "lora_1": LineStyle("#0072b2", "-", "o"),
    "lora_2": LineStyle("#d55e00", "--", "s"),
    "lora_3": LineStyle("#009e73", "-.", "^"),
    "ia3": LineStyle("#a4508b", ":", "D"),
}
BASELINES = {"head_only": LineStyle("#8f8f8f", "-", "h"), "full_fine_tuning": LineStyle("#4d4d4d", "--", "d")}
OTHER_COLORS = ("#7d5f1f", "#26305e", "#1f1f1f", "#b012d8")
OTHER_LINES = ("-", "--", "-.", ":")
OTHER_MARKERS = ("v", "P", "X", "*", "<", ">", "p")
VARIANT_STYLES = (
    LineStyle("#7d5f1f", "-", "o"),
    LineStyle("#0072b2", "--", "s"),
    LineStyle("#d55e00", "-.", "^"),
    LineStyle("#333333", ":", "D"),
    LineStyle("#009e73", "-", "v"),
    LineStyle("#a4508b", "--", "P"),
)


def adapter_style(adapter: str) -> LineStyle:
    """Return the style of an adapter, which follows from its id alone."""
    if adapter in KNOWN_ADAPTERS:
        return KNOWN_ADAPTERS[adapter]
    number = int.from_bytes(hashlib.sha256(adapter.encode()).digest()[:4], "big")
    number, color = divmod(number, len(OTHER_COLORS))
    number, line = divmod(number, len(OTHER_LINES))
    return LineStyle(OTHER_COLORS[color], OTHER_LINES[line], OTHER_MARKERS[number % len(OTHER_MARKERS)])


def baselines_of(report: Report) -> dict[str, float]:
    """Return by quantity what a model gets that has learned nothing.

    Its loss is that of finding all labels equally likely, its validation accuracy that of always predicting the most
    frequent label of the validation rows.
    """
    majority = report.validation_majority
    guess = math.log(report.source.n_labels)
    return {"train_loss": guess, "validation_loss": guess,
            "validation_accuracy": 1 / report.source.n_labels if majority is None else majority}  # fmt: skip


def style_of(report: Report, adapter: str) -> LineStyle:
    """Return the style of one of the report's adapters; a baseline is a quiet grey."""
    baseline = report.adapters[adapter].baseline
    return adapter_style(adapter) if baseline is None else BASELINES[baseline]


def variant_style(position: int) -> LineStyle:
    """Return the style of a variant, by its place among those drawn."""
    return VARIANT_STYLES[position % len(VARIANT_STYLES)]


def why_nothing(report: Report, otherwise: Reason) -> Reason:
    """Return why a figure of the whole report shows nothing: no run was planned, or why the first has no result.

    Parameters
    ----------
    otherwise : str
        The reason where there are results, but not of the kind that the figure needs.
    """
    if any(run.completed for run in report.runs):
        return otherwise
    return next((run.reason for run in report.runs if run.reason is not None), "no_runs")


def draw_band(axes: Axes, curve: Curve, quantity: str, style: LineStyle, label: str | None, **line: Any) -> None:
    """Draw one quantity of a curve: its mean, and from three seeds on the band from lowest to highest."""
    points = curve.values(quantity)
    if not points:
        return
    epochs = [epoch for epoch, _ in points]
    options = {"color": style.color, "linestyle": style.linestyle, "marker": style.marker} | line
    if style in BASELINES.values():
        options["zorder"] = 1.9  # under the adapters' lines, which it is there to be compared with
    axes.plot(epochs, [value.mean for _, value in points], label=label, **options)
    if all(value.known for _, value in points):
        low, high = [value.low for _, value in points], [value.high for _, value in points]
        axes.fill_between(epochs, low, high, color=style.color, alpha=0.18, linewidth=0)


def mark_epochs(axes: Axes, label: str | None = None) -> None:
    """Make the x axis one of whole epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if label is not None:
        axes.set_xlabel(label)


def mark_log_axis(axis: Any, factor: float = 1.0, unit: str = "") -> None:
    """Label a logarithmic axis with plain numbers, also where it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def shown(value: float, _: object) -> str:
        number = factor * value
        return f"{number:,.0f}{unit}" if number >= 10 else f"{number:g}{unit}"

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 30 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(shown))
    axis.set_minor_formatter(NullFormatter())


def format_percent_axis(axis: Any) -> None:
    """Show shares as whole per cents."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))


def legend_above(canvas: Canvas, axes: Axes | Sequence[Axes], *, first: Sequence[str] = ()) -> None:
    """Put one legend of all panels above them, each entry once, in as many columns as fit.

    A long legend makes the figure higher, so that it takes no room from the panels.

    Parameters
    ----------
    first : sequence of str
        Labels in the order wanted; those that no panel has are passed over, all others follow.
    """
    panels = list(axes) if isinstance(axes, Sequence) else [axes]
    entries: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = [*(label for label in first if label in entries), *(label for label in entries if label not in first)]
    handles = [entries[label] for label in labels]
    n_columns = _columns_that_fit(labels)
    more_rows = max(0, -(-len(labels) // n_columns) - LEGEND_ROWS)
    canvas.set_figheight(canvas.get_figheight() + more_rows * 1.5 * LEGEND_POINTS / 72)
    canvas.legend(handles, labels, loc="outside upper center", ncols=n_columns)


def _columns_that_fit(labels: Sequence[str]) -> int:
    """Return the most columns whose labels fit the width: a Chinese letter is as wide as high, another about half."""
    import numpy as np

    widths = [sum(1.0 if east_asian_width(letter) in "WF" else 0.54 for letter in label) for label in labels]
    for n in range(min(4, len(labels)), 1, -1):
        columns = np.array_split(widths, n)  # as Matplotlib does
        em = sum(float(column.max()) + LEGEND_HANDLE_EM for column in columns)
        if em * LEGEND_POINTS <= WIDTH * 72:
            return n
    return 1


def settings_of(hash_salt: str) -> Any:
    """Return Matplotlib's settings for one figure; typed loosely, since its stubs want each key as a literal."""
    return {
        "font.family": [_font_family(), "DejaVu Sans"],  # the second has letters that the first may lack
        "font.size": 11,
        "axes.titlesize": 11,
        "axes.titleweight": "normal",
        "axes.labelsize": 11,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.fontsize": LEGEND_POINTS,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.unicode_minus": False,
        "axes.ymargin": 0.09,  # room for rings around the lowest and the highest point
        "grid.color": "#d9d9d9",
        "grid.linewidth": 0.6,
        "axes.edgecolor": GREY,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "svg.fonttype": "path",
        "svg.hashsalt": hash_salt,
        "text.parse_math": False,  # a title is text, also where it holds a dollar sign
    }


@functools.cache
def _font_family() -> str:
    return use_cjk_font()
