"""Check that figures' files are small, and that nothing has moved by as much as a reader could see."""

import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure as Canvas

from adapterbook.figures.catalogue import plan_figures
from adapterbook.figures.figure import Drawing
from adapterbook.figures.style import WIDTH, settings_of
from adapterbook.figures.svg import compact_path, draw_svg, shrink_svg
from tests.support.factory import ADAPTERS, FIGURE_WORDS, read_report, write_results

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]


def points_of(path: str) -> list[Point]:
    """Return the absolute points of a path with relative commands, in order: a reader of SVG in a few lines."""
    here = start = (0.0, 0.0)
    points = []
    for command, arguments in re.findall(r"([mlhvqcz])([^mlhvqcz]*)", path):
        values = [float(value) for value in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", arguments)]
        if command in "hv":  # along one axis: the other number is 0
            values = [number for value in values for number in ((value, 0.0) if command == "h" else (0.0, value))]
        size = {"m": 2, "l": 2, "h": 2, "v": 2, "q": 4, "c": 6, "z": 1}[command]
        for i in range(0, len(values), size):
            pairs = zip(values[i : i + size : 2], values[i + 1 : i + size : 2], strict=True)
            group = [(here[0] + x, here[1] + y) for x, y in pairs]
            points += group
            here = group[-1]
            start = here if command == "m" else start
        if command == "z":
            here = start
    return points


def plotted(tmp_path: Path) -> Drawing:
    """Return the drawing of a headline figure."""
    drawings = plan_figures(read_report(write_results(tmp_path)), FIGURE_WORDS["zh"])
    return next(drawing for drawing in drawings if drawing.id == "headline")


coordinates = st.floats(-999, 999, allow_nan=False).map(lambda value: round(value, 6))


@given(st.lists(st.tuples(st.sampled_from("MLQCz"), st.lists(coordinates, min_size=6, max_size=6)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_paths_keep_every_point(commands: list[tuple[str, list[float]]]) -> None:
    """Read back, each point is where it was to half a hundredth: rounding errors do not add up."""
    sizes = {"M": 2, "L": 2, "Q": 4, "C": 6, "z": 0}
    path = "M 1 2 \n" + "".join(
        f"{letter} {' '.join(map(str, values[: sizes[letter]]))} \n" for letter, values in commands
    )
    numbers = [float(value) for value in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", path)]
    expected = list(zip(numbers[::2], numbers[1::2], strict=True))
    found = points_of(compact_path(path, 1.0, 2))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, abs=0.00501)


def test_paths_are_written_as_short_as_can_be() -> None:
    """Repeated letters, leading zeros and needless spaces are left out; glyphs are scaled to whole numbers."""
    assert compact_path("M 0.5 1.25 \nL 1 1 \nL 0.5 1.25 \nz \n", 1.0, 2) == "m.5 1.25l.5-.25-.5 .25z"
    assert compact_path("M 80 160 \nL 160 80 \nz \nM 8 8 \nQ 16 8 16 24 \nz \n", 1 / 8, 0) == (
        "m10 20l10-10zm-9-19q1 0 1 2z"
    )
    assert compact_path("M 0 0 \nL 5 0 \nL 5 -3 \nL 6 -4 \n", 1.0, 2) == "m0 0h5v-3l1-1"
    assert compact_path("", 1.0, 2) == ""


def test_a_figure_is_half_as_large_and_looks_the_same(tmp_path: Path) -> None:
    """A shrunk file has the same shapes with the same styles, in less than 60 % of the bytes, below 50 KB."""
    drawing = plotted(tmp_path)
    assert drawing.paint is not None
    with mpl.rc_context(settings_of(drawing.id)):
        canvas = Canvas(figsize=(WIDTH, drawing.height), layout="constrained")
        drawing.paint(canvas)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", transparent=True)
    full, small = buffer.getvalue(), shrink_svg(buffer.getvalue())
    assert len(small) < 0.6 * len(full) and len(small) < 50_000
    before, after = ElementTree.fromstring(full), ElementTree.fromstring(small)
    for tag in ("path", "use", "clipPath", "rect"):
        assert len(list(after.iter(SVG + tag))) == len(list(before.iter(SVG + tag))), tag
    classes = dict(re.findall(r"\.(\w+)\{([^}]*)\}", next(after.iter(f"{SVG}style")).text or ""))
    assert [style_of(e, classes) for e in after.iter(f"{SVG}path")] == [
        (e.attrib.get("style") or "").replace("; ", ";").replace(": ", ":") for e in before.iter(f"{SVG}path")
    ]
    ids = [element.attrib["id"] for element in after.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"|url\()#(\w+)", small)) == set(ids)


def style_of(element: ElementTree.Element, classes: dict[str, str]) -> str:
    """Return what an element looks like, by its own style or its class."""
    return element.attrib.get("style") or classes.get(element.attrib.get("class", ""), "")


@pytest.mark.slow
def test_every_figure_stays_below_50_kb(tmp_path: Path) -> None:
    """With the baseline and all learning rates, no file of either language is heavy."""
    report = read_report(write_results(tmp_path / "p", adapters=(*ADAPTERS, "head_only")))
    for drawing in plan_figures(report, FIGURE_WORDS["zh"]):
        if drawing.paint is not None and drawing.adapter in (None, "lora_1"):
            svg = draw_svg(drawing.id, drawing.height, drawing.paint)
            assert len(svg.encode()) < 50_000, drawing.id
