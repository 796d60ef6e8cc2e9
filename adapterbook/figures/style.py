"""Set how figures look: colours, sizes, fonts, axes, legends.

The homework's adapters always have the same style. A study's other adapters differ from them and from each other; the
baselines are grey whatever their ids. All settings hold inside a context: of Matplotlib's global state only the
font that gets registered is touched. Matplotlib is imported where something is drawn and not before: a report whose
figures are all there does without it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from adapterbook.analysis.shapes import Curve, Reason, Report
from adapterbook.common.fonts import use_cjk_font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH = 6.4  # inches: in a column of 44 rem a letter of 10 pt is 15 px high
COLUMNS, PHONE_COLUMNS = 3, 2  # panels side by side, at the most
PHONE_WIDTH = 3.7  # inches, 355 px: on a phone of 390 px a letter of 9 pt is 12 px high
GREY = "#6b6b6b"
LEAST_SPAN = 0.1  # nat: a scale of a loss shows at least so much
LEGEND_POINTS = 10
LEGEND_ROWS = 6  # that the heights of figures make room for
LEGEND_HANDLE_EM = 5.6  # the line's sample, the gap after it, and the gap between columns


@dataclass(frozen=True)
class LineStyle:
    """Hold colour, dashes and marker; two lines differ in colour and marker, so that colour alone never parts them."""

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
    "lora_2": LineStyle("#d55e00", "-", "s"),
    "lora_3": LineStyle("#009e73", "-", "^"),
    "ia3": LineStyle("#a4508b", "-", "D"),
}
# Of more adapters a figure names so many at the most; the others are lines that show where most adapters are.
MAX_NAMED = 10
QUIET = LineStyle("#bdbdbd", "-", "")
# An adapter's line is solid and a baseline's dashed. Of other adapters there may be more than hues: dashes help there.
BASELINES = {"head_only": LineStyle("#8f8f8f", "--", "h"), "full_fine_tuning": LineStyle("#4d4d4d", "--", "d")}
OTHER_COLORS = ("#7d5f1f", "#26305e", "#1f1f1f", "#b012d8")
OTHER_LINES = ("-", "--", "-.", ":")
OTHER_MARKERS = ("v", "P", "X", "*", "<", ">", "p")
# An ordered ramp for settings such as learning rates: each next colour has more contrast with the page in both themes,
# and none is an adapter's.
RAMP = ("#b09000", "#b0561c", "#a01c4c", "#56106e", "#141414")
VARIANT_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")


def adapter_styles(adapters: Iterable[str]) -> dict[str, LineStyle]:
    """Return the style of each of a study's adapters, which are given in its order.

    The homework's adapters always have the same one. The others take the hues that are left, one after the other, and
    share a hue, with other dashes, only when all are taken.
    """
    names = tuple(adapters)
    hues = (*OTHER_COLORS, *(style.color for name, style in KNOWN_ADAPTERS.items() if name not in names))
    others = [name for name in names if name not in KNOWN_ADAPTERS]
    styles = {name: KNOWN_ADAPTERS[name] for name in names if name in KNOWN_ADAPTERS}
    for number, name in enumerate(others):
        line, marker = OTHER_LINES[number // len(hues) % len(OTHER_LINES)], OTHER_MARKERS[number % len(OTHER_MARKERS)]
        styles[name] = LineStyle(hues[number % len(hues)], line, marker)
    return styles


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
    if baseline is not None:
        return BASELINES[baseline]
    return adapter_styles(name for name, other in report.adapters.items() if other.baseline is None)[adapter]


def named_adapters(report: Report) -> frozenset[str]:
    """Return the adapters that figures name: all, or of very many the baselines and those of the best test accuracy."""
    if len(report.adapters) <= MAX_NAMED:
        return frozenset(report.adapters)

    def place(name: str) -> tuple[bool, float]:
        adapter = report.adapters[name]
        accuracy = adapter.best.test_accuracy if adapter.best is not None else None
        return adapter.baseline is None, -1.0 if accuracy is None else -accuracy.mean

    return frozenset(sorted(report.adapters, key=place)[:MAX_NAMED])


def variant_style(position: int, n: int) -> LineStyle:
    """Return the style of the variant at a position among ``n`` in order of their value: its place on the ramp."""
    return LineStyle(ramp_color(position / max(n - 1, 1)), "-", VARIANT_MARKERS[position % len(VARIANT_MARKERS)])


def ramp_color(share: float) -> str:
    """Return the colour at a share of the ramp's length."""
    stop = min(int(share * (len(RAMP) - 1)), len(RAMP) - 2)
    part = share * (len(RAMP) - 1) - stop
    ends = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in RAMP[stop : stop + 2]]
    return "#" + "".join(f"{round(low + part * (high - low)):02x}" for low, high in zip(*ends, strict=True))


def ink_on(ground: Sequence[float]) -> str:
    """Return black or white, whichever has more contrast with a colour of red, green and blue in [0, 1] (WCAG 2)."""
    channels = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in ground]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), channels, strict=True))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


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
    if style == QUIET:
        options |= {"zorder": 1.8, "linewidth": 1.0}
    elif style in BASELINES.values():
        options["zorder"] = 1.9  # under the adapters' lines, which it is there to be compared with
    axes.plot(epochs, [value.mean for _, value in points], label=label, **options)
    if style != QUIET and all(value.known for _, value in points):
        low, high = [value.low for _, value in points], [value.high for _, value in points]
        axes.fill_between(epochs, low, high, color=style.color, alpha=0.18, linewidth=0)


def show_at_least(panel: Axes, span: float = LEAST_SPAN) -> None:
    """Widen a scale that is narrower than a span, so that it does not make a trend of noise."""
    low, high = panel.get_ylim()
    if high - low < span:
        middle = (low + high) / 2
        panel.set_ylim(middle - span / 2, middle + span / 2)


def mark_epochs(axes: Axes, label: str | None = None) -> None:
    """Make the x axis one of whole epochs; a single point, as after a training of one epoch, has a single mark."""
    from matplotlib.ticker import MaxNLocator

    class Epochs(MaxNLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            first, last = axes.xaxis.get_data_interval()
            return [first] if first == last else super().tick_values(vmin, vmax)

    axes.xaxis.set_major_locator(Epochs(nbins=6, integer=True))
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
    """Show shares as per cents, at ticks that need few digits."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 1):g}%"))


@dataclass(frozen=True)
class End:
    """Hold the last point of a line, and the name that stands beside it."""

    x: float
    y: float
    name: str
    color: str


def end_of(line: Line, quantity: str) -> End | None:
    """Return where a line of one quantity ends, or None where it has no points or no name."""
    points = line.curve.values(quantity)
    if not points or not line.label or line.style == QUIET:
        return None
    return End(points[-1][0], points[-1][1].mean, line.label, line.style.color)


def name_ends(axes: Axes, ends: Sequence[End | None], height: float) -> bool:
    """Write each name beside the end of its line, moved up or down so that no two meet.

    Parameters
    ----------
    height : float
        About the height of the panel, in inches.

    Returns
    -------
    bool
        False, and nothing is written, where the panel is too low for so many names: they need a legend.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    found = sorted((end for end in ends if end is not None), key=lambda end: end.y)
    size = float(FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points())
    step, room = 1.2 * size, height * 72
    if len(found) * step > room:
        return False
    low, high, *heights = axes.yaxis.get_transform().transform([*axes.get_ylim(), *(end.y for end in found)])
    wanted = [room * float((height - low) / (high - low)) for height in heights]
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + step) if places else max(place, size / 2))
    for i in reversed(range(len(places))):
        places[i] = min(places[i], places[i + 1] - step if i + 1 < len(places) else room - size / 2)
    for end, place, aim in zip(found, places, wanted, strict=True):
        color = GREY if end.color == BASELINES["head_only"].color else end.color  # pale enough for lines, not for text
        axes.annotate(end.name, (end.x, end.y), (8, place - aim), textcoords="offset points", va="center", ha="left",
                      fontsize=size, color=color, annotation_clip=False)  # fmt: skip
    return True


def name_level(axes: Axes, level: float, name: str) -> None:
    """Draw a horizontal line of comparison, and write above its left end what it is."""
    axes.axhline(level, color=GREY, linewidth=1, linestyle=(0, (1, 3)))
    axes.annotate(name, (0, level), (3, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                  color=GREY, fontsize=8.5, va="bottom")  # fmt: skip


def mark_size(canvas: Canvas) -> float:
    """Return the size of a label that belongs to all panels, in points."""
    return 9 if on_phone(canvas) else 11


def columns_of(canvas: Canvas, n: int) -> int:
    """Return how many of ``n`` panels stand side by side, in rows as even as can be."""
    columns = min(n, PHONE_COLUMNS if on_phone(canvas) else COLUMNS)
    return math.ceil(n / math.ceil(n / columns))


def heights_of(n: int, margin: float, row: float) -> tuple[float, float]:
    """Return the heights of a figure of ``n`` panels, in inches: on a page, and on a phone."""
    on_page, on_a_phone = (margin + row * math.ceil(n / columns) for columns in (COLUMNS, PHONE_COLUMNS))
    return on_page, on_a_phone


def panels_of(canvas: Canvas, n: int, *, sharey: bool = False) -> list[Axes]:
    """Return ``n`` panels with one horizontal axis; its numbers stand below the lowest panel of each column."""
    columns = columns_of(canvas, n)
    panels = list(canvas.subplots(math.ceil(n / columns), columns, sharex=True, sharey=sharey, squeeze=False).flat)
    for unused in panels[n:]:
        unused.remove()
    for panel in panels[max(0, n - columns) : n]:  # where the lowest row is not full, the one above needs numbers too
        panel.tick_params(labelbottom=True)
    return panels[:n]


def text_length(text: str, points: float = LEGEND_POINTS) -> float:
    """Return about how long a text is, in points: a Chinese letter is as wide as high, another about half."""
    return points * sum(1.0 if east_asian_width(letter) in "WF" else 0.54 for letter in text)


def legend_above(
    canvas: Canvas, axes: Axes | Sequence[Axes], *, first: Sequence[str] = (), only: Sequence[str] | None = None
) -> None:
    """Put one legend of all panels above them, each entry once, in as many columns as fit.

    A long legend makes the figure higher, so that it takes no room from the panels.

    Parameters
    ----------
    first : sequence of str
        Labels in the order wanted; those that no panel has are passed over, all others follow.
    only : sequence of str, optional
        Labels that get an entry; None: all.
    """
    panels = list(axes) if isinstance(axes, Sequence) else [axes]
    entries: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            if only is None or label in only:
                entries.setdefault(label, handle)
    if not entries:
        return
    labels = [*(label for label in first if label in entries), *(label for label in entries if label not in first)]
    handles = [entries[label] for label in labels]
    n_columns = _columns_that_fit(labels, canvas.get_figwidth())
    more_rows = max(0, -(-len(labels) // n_columns) - LEGEND_ROWS)
    canvas.set_figheight(canvas.get_figheight() + more_rows * 1.5 * LEGEND_POINTS / 72)
    canvas.legend(handles, labels, loc="outside upper center", ncols=n_columns)


def _columns_that_fit(labels: Sequence[str], width: float) -> int:
    """Return the most columns whose labels fit the width."""
    import numpy as np

    widths = [text_length(label, 1) for label in labels]
    for n in range(min(4, len(labels)), 1, -1):
        columns = np.array_split(widths, n)  # as Matplotlib does
        em = sum(float(column.max()) + LEGEND_HANDLE_EM for column in columns)
        if em * LEGEND_POINTS <= width * 72:
            return n
    return 1


def on_phone(canvas: Canvas) -> bool:
    """Tell whether a canvas is as narrow as a phone."""
    return float(canvas.get_figwidth()) < WIDTH - 1


def settings_of(hash_salt: str, width: float = WIDTH) -> Any:
    """Return Matplotlib's settings for one figure; typed loosely, since its stubs want each key as a literal."""
    phone = {} if width >= WIDTH else dict.fromkeys(
        ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9
    )  # fmt: skip
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
    } | phone


@functools.cache
def _font_family() -> str:
    return use_cjk_font()
