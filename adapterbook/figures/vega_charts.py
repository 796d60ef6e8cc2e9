"""Write the interactive charts' one specification in Vega-Lite, by Vega-Altair.

Colours, dashes and markers are those of the static figures. A specification holds no result: a page adds the curves
when it is opened. Altair is imported where a chart is made, and not before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from adapterbook.figures.style import GREY, LineStyle, ramp_color

QUANTITIES: Final = ("train_loss", "validation_loss", "validation_accuracy")
# Names by which the page's script gives a chart its curves, its baseline, and the bounds that panels share.
DATA: Final = "curves"
LEVEL: Final = "level"
BOUNDS: Final = ("first", "last", "low", "high")

INK: Final = "#1d2126"
LINE_WIDTH: Final = 1.8  # pixels, as in the static figures
MARKER_AREA: Final = 50  # square pixels
# The static figures' colours of an ordered setting, such as the learning rate, from low to high. The steps are so many
# that up to seven lines get the very colours of a figure with as many.
RAMP: Final = tuple(ramp_color(step / 60) for step in range(61))
# Matplotlib's dashes, which are multiples of the line's width.
DASHES: Final[Mapping[str, Sequence[float]]] = {"-": (1, 0), "--": (3.7, 1.6), "-.": (6.4, 1.6, 1, 1.6), ":": (1, 1.65)}


def line_look(style: LineStyle) -> dict[str, Any]:
    """Return an adapter's style as SVG has it: colour, dashes in pixels, and the marker's outline within ±1."""
    dash = [round(LINE_WIDTH * length, 1) for length in DASHES[style.linestyle]]
    return {"color": style.color, "dash": dash, "shape": MARKERS[style.marker]}


def chart_spec() -> dict[str, Any]:
    """Return a chart of curves, without data.

    Returns
    -------
    dict
        Vega-Lite, its layers with names. Its data are called ``DATA``, a row a point: ``line`` (what points belong
        together), ``x``, ``value``, ``low`` and ``high``, ``bar`` where these are a bar and not a band, ``raw`` where
        ``value`` is smoothed, and the look of the line: ``color``, ``dash``, ``shape``. The data ``LEVEL`` say by
        ``level`` where the dotted line of the baseline is. The parameters ``first``, ``last``, ``low`` and ``high``
        bound the axes.
    """
    import altair as alt

    first, last, low, high = (alt.ExprRef(name) for name in BOUNDS)

    def upright(field: str) -> Any:
        scale = alt.Scale(zero=False, nice=False, domainMin=low, domainMax=high)
        return alt.Y(field, title=None, scale=scale, axis=alt.Axis(format=".4~r", tickCount=6))

    across = alt.Scale(zero=False, nice=False, domainMin=first, domainMax=last)
    same = {
        "x": alt.X("x:Q", title="", scale=across, axis=alt.Axis(format=".4~r", tickCount=6, grid=False)),
        "color": alt.Color("color:N", scale=None, legend=None),
        "detail": alt.Detail("line:N"),
    }
    base = alt.Chart(alt.NamedData(name=DATA))
    level = alt.Chart(alt.NamedData(name=LEVEL)).mark_rule(color=GREY, strokeWidth=1, strokeDash=[1, 3])
    ends = {"y": upright("low:Q"), "y2": alt.Y2("high:Q"), **same}
    value = {"y": upright("value:Q"), **same}
    dash = alt.StrokeDash("dash:N", scale=None, legend=None)
    shape = alt.Shape("shape:N", scale=None, legend=None)
    points = base.transform_filter("datum.shape").mark_point(filled=True, opacity=1, size=MARKER_AREA, clip=True)
    layers = {
        "level": level.encode(y=upright("level:Q")),
        "band": base.transform_filter("!datum.bar").mark_area(opacity=0.18, clip=True).encode(**ends),
        "bars": base.transform_filter("datum.bar").mark_rule(opacity=0.6, clip=True).encode(**ends),
        "raw": base.mark_line(opacity=0.3, strokeWidth=1, clip=True).encode(y=upright("raw:Q"), **same),
        "lines": base.mark_line(strokeWidth=LINE_WIDTH, clip=True).encode(strokeDash=dash, **value),
        "points": points.encode(shape=shape, **value),
    }
    chart = alt.layer(*(layer.properties(name=name) for name, layer in layers.items())).properties(height=300)
    # A test validates the chart against Vega-Lite's schema. Here that would take half of the page's time.
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
