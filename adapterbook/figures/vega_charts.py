"""Write the curves' interactive charts in Vega-Lite, by Vega-Altair, one specification a quantity.

Colours, dashes and markers are those of the static figures. A specification holds no result: a page adds the curves
when it is opened. Altair is imported where a chart is made, and not before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from adapterbook.figures.style import GREY, LineStyle

QUANTITIES: Final = ("train_loss", "validation_loss", "validation_accuracy")
# Names by which the page's script gives a chart its curves, and the bounds that panels share.
DATA: Final = "curves"
BOUNDS: Final = ("first", "last", "low", "high")

INK: Final = "#1d2126"
LINE_WIDTH: Final = 1.8  # pixels, as in the static figures
MARKER_AREA, TARGET_AREA = 50, 400  # square pixels: the visible marker, and the area that reacts to the pointer
# Matplotlib's dashes, which are multiples of the line's width.
DASHES: Final[Mapping[str, Sequence[float]]] = {"-": (1, 0), "--": (3.7, 1.6), "-.": (6.4, 1.6, 1, 1.6), ":": (1, 1.65)}


def line_look(style: LineStyle) -> dict[str, Any]:
    """Return an adapter's style as SVG has it: colour, dashes in pixels, and the marker's outline within ±1."""
    dash = [round(LINE_WIDTH * length, 1) for length in DASHES[style.linestyle]]
    return {"color": style.color, "dash": dash, "shape": MARKERS[style.marker]}


def chart_spec(quantity: str, x_title: str, styles: Mapping[str, LineStyle], baseline: float) -> dict[str, Any]:
    """Return the chart of one quantity by epoch, without data.

    Parameters
    ----------
    quantity : str
        One of ``QUANTITIES``.
    styles : mapping
        By adapter's id.
    baseline : float
        Where the dotted line is: what a model gets that has learned nothing.

    Returns
    -------
    dict
        Vega-Lite. Its data are called ``DATA``, a row a point: ``adapter``, ``line`` (what points belong together),
        ``epoch``, ``value``, ``low`` and ``high``, and texts to be shown: ``name``, ``setting``,
        ``seed``, ``at``, ``shown``. The parameters ``first``, ``last``, ``low`` and ``high`` bound the axes.
    """
    import altair as alt

    looks = {adapter: line_look(style) for adapter, style in styles.items()}

    def scale_of(part: str) -> Any:
        return alt.Scale(domain=list(looks), range=[look[part] for look in looks.values()])

    first, last, low, high = (alt.ExprRef(name) for name in BOUNDS)
    levels = alt.Scale(zero=False, nice=False, domainMin=low, domainMax=high)
    number = ".0%" if quantity == "validation_accuracy" else ".4~r"
    x = alt.X(
        "epoch:Q",
        title=x_title,
        scale=alt.Scale(zero=False, nice=False, domainMin=first, domainMax=last),
        axis=alt.Axis(format=".4~r", tickMinStep=1, tickCount=6, grid=False),
    )
    y = alt.Y("value:Q", title=None, scale=levels, axis=alt.Axis(format=number, tickCount=6))
    color = alt.Color("adapter:N", scale=scale_of("color"), legend=None)
    same = {"x": x, "color": color, "detail": alt.Detail("line:N")}
    base = alt.Chart(alt.NamedData(name=DATA))
    level = (
        alt.Chart(alt.InlineData(values=[{"level": baseline}]))
        .mark_rule(color=GREY, strokeWidth=1, strokeDash=[1, 3])
        .encode(y=alt.Y("level:Q", title=None, scale=levels))
    )
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=None, scale=levels), y2=alt.Y2("high:Q"), **same)
    dash = alt.StrokeDash("adapter:N", scale=scale_of("dash"), legend=None)
    line = base.mark_line(strokeWidth=LINE_WIDTH).encode(y=y, strokeDash=dash, **same)
    shape = alt.Shape("adapter:N", scale=scale_of("shape"), legend=None)
    point = base.mark_point(filled=True, opacity=1, size=MARKER_AREA).encode(y=y, shape=shape, **same)
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("name", "setting", "seed", "at", "shown")]
    target = base.mark_point(filled=True, opacity=0, size=TARGET_AREA).encode(y=y, tooltip=tooltip, **same)
    chart = alt.layer(level, band, line, point, target).properties(height=280)
    # A test validates every chart against Vega-Lite's schema. Here that would take half of the page's time.
    spec: dict[str, Any] = chart.configure(**_configuration()).to_dict(validate=False)
    spec["params"] = [{"name": name, "value": 0} for name in BOUNDS]
    # `vega_script` fixes the version of Vega-Lite, so the specification need not name it.
    return {key: value for key, value in spec.items() if key != "$schema"}


def _configuration() -> dict[str, Any]:
    axis = {
        "gridColor": "#d9d9d9",
        "gridWidth": 0.6,
        "domainColor": GREY,
        "tickColor": GREY,
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    # The whole chart has an alternative text, and a table holds its numbers, so its marks need no texts.
    return {"aria": False, "background": "transparent", "font": "sans-serif", "view": {"stroke": None}, "axis": axis,
            "autosize": {"type": "fit", "contains": "padding"}}  # fmt: skip


def _outline(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.3g},{y:.3g}" for x, y in points) + "Z"


def _regular(corners: int, turn: float = 0.0, inner: float = 1.0) -> str:
    """Return a regular polygon with a corner on top, turned by a share of a circle; `inner` < 1 makes it a star."""
    n = corners if inner == 1 else 2 * corners
    angles = [2 * math.pi * (i / n + turn) for i in range(n)]
    radii = [inner if inner < 1 and i % 2 else 1.0 for i in range(n)]
    return _outline((r * math.sin(a), -r * math.cos(a)) for a, r in zip(angles, radii, strict=True))


def _cross(turn: float = 0.0) -> str:
    """Return a cross with thick arms."""
    arm = 0.36
    corners = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
               (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm)]  # fmt: skip
    sine, cosine = math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)
    return _outline((x * cosine - y * sine, x * sine + y * cosine) for x, y in corners)


# By Matplotlib's names of the markers.
MARKERS: Final[Mapping[str, str]] = {
    "o": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z",
    "s": _outline([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
    "D": _regular(4),
    "d": _outline([(0.0, -1.0), (0.6, 0.0), (0.0, 1.0), (-0.6, 0.0)]),
    "h": _regular(6),
    "p": _regular(5),
    "*": _regular(5, inner=0.4),
    "^": _regular(3),
    "v": _regular(3, turn=0.5),
    "<": _regular(3, turn=-0.25),
    ">": _regular(3, turn=0.25),
    "P": _cross(),
    "X": _cross(turn=0.125),
}
