"""Draw pictures as small SVG texts, the same bytes for the same data.

Matplotlib's SVG is more than twice as large as it has to be: six decimals of a point, absolute coordinates, glyphs
under long names, the style of a marker repeated at every point. No line moves by more than a hundredth of a point, no
part of a letter by more than a fortieth.

Measured on the 50 figures of the 19 baseline runs, all together, uncompressed and after gzip -9: as Matplotlib writes
them 2,853 and 573 KB, shrunk 1,167 and 334 KB. Without ``compact_path`` (coordinates rounded but absolute) it would be
1,522 and 402 KB, so it saves 17 % after gzip. ``_share_styles`` saves 12 % before gzip and 1 % after it.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from adapterbook.figures.style import WIDTH, settings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SVG = "http://www.w3.org/2000/svg"
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
GLYPH_SCALE = "scale(0.015625)"  # Matplotlib draws glyphs 64 times as large as they are
COARSER = 16  # a sixteenth of that is a fortieth of a point at most at the sizes used here
DIGITS = 2  # of a coordinate in points
MARKER = re.compile("#m[0-9a-f]+")
MOVE = re.compile(r"translate\((\S+) (\S+)\)")

ElementTree.register_namespace("", SVG)


def draw_svg(id: str, height: float, paint: Callable[[Canvas], None], width: float = WIDTH) -> str:
    """Paint into an empty canvas and return the SVG; Matplotlib's settings on this machine make no difference.

    Parameters
    ----------
    id : str
        The figure's, which also tells the ids inside the SVG from another figure's.
    height, width : float
        Inches.
    paint : callable
        Draws into the canvas that it gets.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings_of(id, width))
        canvas = Canvas(figsize=(width, height), layout="constrained")
        paint(canvas)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return shrink_svg(buffer.getvalue())


def shrink_svg(text: str) -> str:
    """Remove from Matplotlib's SVG what a reader cannot see: comments, metadata, digits, repetition."""
    root = ElementTree.fromstring(text)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    names = _short_names(root)
    for element in root.iter():
        element.text = element.text if element.text and element.text.strip() else None
        element.tail = None
        _hoist_style(element)
    for element in root.iter():
        _shorten_references(element, names)
        _shorten_numbers(element)
    _unwrap(root)
    _share_styles(root)
    content = ElementTree.tostring(root, encoding="unicode", xml_declaration=False).replace(" />", "/>")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{content}\n'


def _short_names(root: ElementTree.Element) -> dict[str, str]:
    """Return a short id for each one that something refers to, by its place in the file."""
    referred = set(re.findall(r"#([\w-]+)", " ".join(value for e in root.iter() for value in e.attrib.values())))
    ids = [element.attrib["id"] for element in root.iter() if element.attrib.get("id") in referred]
    return {name: f"g{number:x}" for number, name in enumerate(ids)}


def _shorten_references(element: ElementTree.Element, names: dict[str, str]) -> None:
    name = element.attrib.pop("id", None)
    if name in names:
        element.attrib["id"] = names[name]
    if XLINK_HREF in element.attrib:  # programs read SVG 2's form without a namespace
        element.attrib["href"] = element.attrib.pop(XLINK_HREF)
    for key, value in element.attrib.items():
        element.attrib[key] = re.sub(r"#([\w-]+)", lambda found: f"#{names.get(found[1], found[1])}", value)


def _shorten_numbers(element: ElementTree.Element) -> None:
    attributes = element.attrib
    if "d" in attributes:
        glyph = attributes.get("transform") == GLYPH_SCALE
        attributes["d"] = compact_path(attributes["d"], 1 / COARSER if glyph else 1.0, 0 if glyph else DIGITS)
        if glyph:
            attributes["transform"] = f"scale({0.015625 * COARSER:g})"
    if element.tag == f"{{{SVG}}}use" and (moved := MOVE.fullmatch(attributes.get("transform", ""))):
        del attributes["transform"]
        attributes.update((key, value) for key, value in zip("xy", moved.groups(), strict=True) if float(value))
    for key in ("x", "y", "width", "height"):
        if key in attributes and re.fullmatch(r"-?[\d.]+", attributes[key]):
            attributes[key] = _shorter(attributes[key])
    if "transform" in attributes:
        attributes["transform"] = MOVE.sub(
            lambda move: f"translate({' '.join(_shorter(value) for value in move.groups())})",
            attributes["transform"],
        )


def _hoist_style(element: ElementTree.Element) -> None:
    """Write the style that all markers of a line share once, at their parent."""
    styles = {child.attrib.get("style") for child in element}
    style = styles.pop() if len(styles) == 1 else None
    markers = all(MARKER.fullmatch(child.attrib.get(XLINK_HREF, "")) for child in element)
    if style and markers and len(element) > 1 and "style" not in element.attrib:
        element.attrib["style"] = style
        for child in element:
            del child.attrib["style"]


def _unwrap(parent: ElementTree.Element) -> None:
    """Put the children of groups that say nothing in the place of these groups."""
    for child in list(parent):
        _unwrap(child)
        if child.tag == f"{{{SVG}}}g" and not child.attrib:
            place = list(parent).index(child)
            parent.remove(child)
            for offset, grandchild in enumerate(list(child)):
                parent.insert(place + offset, grandchild)


def _share_styles(root: ElementTree.Element) -> None:
    """Write each style that occurs more than once as a class, in the file's own style sheet."""
    styled = [element for element in root.iter() if "style" in element.attrib]
    counts = Counter(element.attrib["style"] for element in styled)
    classes = {style: f"s{number:x}" for number, style in enumerate(style for style, n in counts.items() if n > 1)}
    for element in styled:
        style = element.attrib.pop("style")
        key, value = ("class", classes[style]) if style in classes else ("style", _tight(style))
        element.attrib[key] = value
    sheet = next(root.iter(f"{{{SVG}}}style"))
    rules = "".join(f".{name}{{{_tight(style)}}}" for style, name in classes.items())
    sheet.text = _tight(sheet.text or "") + rules


def _tight(style: str) -> str:
    return style.replace("; ", ";").replace(": ", ":")


def compact_path(path: str, scale: float, digits: int) -> str:
    """Return a path with relative, rounded coordinates; rounding errors do not add up.

    Parameters
    ----------
    path : str
        Of the commands M, L, Q, C and z with absolute coordinates, as Matplotlib writes it.
    scale : float
        That each coordinate is multiplied by.
    digits : int
        Decimals kept.

    Examples
    --------
    >>> compact_path("M 10 20 \\nL 30.004 20 \\nL 34.004 41 \\nz \\n", 1.0, 2)
    'm10 20h20l4 21z'
    """
    parts: list[str] = []
    here = start = (0, 0)
    last = ""
    for command, points in _commands(path, scale, digits):
        if command == "z":
            here = start
        numbers = [value - origin for point in points for value, origin in zip(point, here, strict=True)]
        letter = command.lower()
        if letter == "l" and 0 in numbers:  # along one axis
            letter, numbers = ("v", numbers[1:]) if numbers[0] == 0 else ("h", numbers[:1])
        written = _joined([_shown(number, digits) for number in numbers])
        parts.append(written if letter == last and written.startswith("-") else
                     f" {written}" if letter == last else letter + written)  # fmt: skip
        here = points[-1] if points else here
        start = here if command == "M" else start
        last = "" if letter in "mz" else letter
    return "".join(parts)


def _commands(path: str, scale: float, digits: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield each command with its points, as whole numbers of the last digit kept."""
    for command, arguments in re.findall(r"([MLQCz])([^MLQCz]*)", path):
        values = [round(float(value) * scale * 10**digits) for value in arguments.split()]
        yield command, list(zip(values[::2], values[1::2], strict=True))


def _joined(numbers: list[str]) -> str:
    """Return numbers with a space only where one is needed."""
    return "".join(f" {number}" if i and not number.startswith("-") else number for i, number in enumerate(numbers))


def _shorter(number: str) -> str:
    return _shown(round(float(number) * 10**DIGITS), DIGITS)


def _shown(value: int, digits: int) -> str:
    """Return a whole number of the last digit as a decimal number, as short as can be."""
    if not digits:
        return str(value)
    text = f"{abs(value) / 10**digits:.{digits}f}".rstrip("0").rstrip(".").removeprefix("0") or "0"
    return f"-{text}" if value < 0 else text
