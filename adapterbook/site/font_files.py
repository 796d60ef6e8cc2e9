"""Cut the fonts down to the characters that the pages use: woff2 for the web, static weights for the PDFs.

HarfBuzz cuts about fifty times as fast as fontTools, which renames and compresses. :mod:`adapterbook.common.fonts`
finds the fonts. Without a Chinese font nothing is written, with a warning: most readers' systems have one.

Chinese characters are heavy, about 270 bytes each, so the web gets them in slices, of which a browser fetches those
that a page needs: the characters of the front pages, those of all others, and the few that most pages in other
languages show too (the name of the language in their header). The letters of the formulas are one more file.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterbook.common.cache import NO_CACHE, Cache, fingerprint
from adapterbook.common.errors import RenderError
from adapterbook.common.files import write_atomically
from adapterbook.common.fonts import MATH, TEXT, FontPlace, find_font
from adapterbook.site.project import Page

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

FAMILY: Final = "Noto Sans TC"
# Half-width punctuation: the only features of a Chinese font that browsers use. A math font keeps all of its features.
TEXT_FEATURES: Final = ("halt", "chws", "kern")
NOT_FOR_LINES: Final = ("vhea", "vmtx", "VORG", "VVAR")  # no text here is set vertically
WEIGHTS: Final = {"Regular": 400, "Bold": 700}
HERE: Final = Path(__file__).parent
# Files whose words get into every PDF: labels of figures, titles of callouts.
SOURCES_OF_WORDS: Final = (HERE / "typst" / "typst-template.typ", HERE / "embedded" / "qmd.lua")
# Letters, digits and punctuation that a number or a label may contain.
ALWAYS: Final = "".join(map(chr, range(0x20, 0x7F))) + "–—‘’“”…·「」『』《》〈〉（）：；，。、！？％＋－＝"
# Mathematical letters: pandoc writes x, the browser shows 𝑥.
MATH_LETTERS: Final = [*range(0x20, 0x7F), *range(0x391, 0x3CA), *range(0x1D434, 0x1D468), *range(0x1D6FC, 0x1D714)]
# MathML draws the root of <msqrt>, which is not in the text. Without it σ/√B reads σ/B.
MATH_SIGNS: Final = [ord("√")]
# The cover and the first page of a language.
FRONT_PAGE: Final = re.compile(r"(report/[^/]+/)?index\.qmd")
FORMULA: Final = re.compile(r"<math.*?</math>", re.DOTALL)
TAG: Final = re.compile(r"<annotation.*?</annotation>|<[^>]*>", re.DOTALL)
FAMILIES: Final = {"text-front": "Report TC", "text-others": "Report TC", "text-common": "Report TC Common"}


def select_cjk(text: str) -> str:
    """Return the distinct characters of ``text`` for which a Chinese font is needed, sorted.

    Examples
    --------
    >>> select_cjk("LoRA 與 IA³：學習率 2e-4，學")
    '學率習與，：'
    """
    return "".join(sorted(sign for sign in set(text) if ord(sign) >= 0x2E80 and sign.isprintable()))


def write_site_fonts(
    rendered: Mapping[str, str], pages: Mapping[str, Page], words: str, folder: Path, cache: Cache = NO_CACHE
) -> None:
    """Write the fonts of a site, and ``fonts.css``, which names them, into ``folder``.

    Parameters
    ----------
    rendered : mapping of str to str
        The HTML of each page, by source path.
    pages : mapping of str to Page
        The pages, by source path.
    words : str
        Text that scripts put on the pages.
    folder : Path
        Where the style sheet and the fonts go.
    """
    everything = "".join(rendered.values())
    front = select_cjk("".join(html for source, html in rendered.items() if FRONT_PAGE.fullmatch(source)) + words)
    others = "".join(character for character in select_cjk(everything) if character not in front)
    foreign = [select_cjk(html) for source, html in rendered.items() if not _is_chinese(pages[source])]
    counts = Counter("".join(foreign))
    common = "".join(character for character, n in sorted(counts.items()) if n > len(foreign) / 2)
    slices = {"text-front": front, "text-others": others, "text-common": common}
    rules = [
        _face(FAMILIES[name], f"{name}.woff2", "400 700", _unicode_range(slices[name]))
        for name in write_web_fonts(slices, folder, cache)
    ]
    formulas = "".join(TAG.sub("", formula) for formula in FORMULA.findall(everything))
    if formulas and write_math_font(formulas, folder / "math.woff2", cache):
        rules.append(_face("Report Math", "math.woff2", "400"))
    (folder / "fonts.css").write_text("\n".join(rules) + "\n", "utf-8")


def _is_chinese(page: Page) -> bool:
    return page.language.lower().startswith("zh")


def _face(family: str, file: str, weight: str, unicode_range: str = "U+0-10FFFF") -> str:
    return (
        f'@font-face {{ font-family: "{family}"; src: url("{file}") format("woff2"); font-weight: {weight}; '
        f"font-display: swap; unicode-range: {unicode_range}; }}"
    )


def _unicode_range(characters: str) -> str:
    return ",".join(f"U+{ord(character):X}" for character in characters)


def write_web_fonts(slices: Mapping[str, str], folder: Path, cache: Cache = NO_CACHE) -> list[str]:
    """Write the Chinese text font, weights 400 to 700, in slices: ``<name>.woff2`` with each name's characters.

    Returns
    -------
    list of str
        The names of the written slices: none where no font was found, and none without characters.
    """
    cut = {name: cut_web_font(characters, cache) for name, characters in slices.items() if characters}
    for name, font in cut.items():
        if font is not None:
            (folder / f"{name}.woff2").write_bytes(font)
    return [name for name, font in cut.items() if font is not None]


def cut_web_font(characters: str, cache: Cache = NO_CACHE) -> bytes | None:
    """Return the Chinese text font with some characters, weights 400 to 700, as woff2; None where none was found."""
    source = _find_or_warn(TEXT, "the site relies on the reader's own Chinese font")
    if source is None:
        return None
    return cache.get("web-font", [fingerprint([source]), characters], partial(_cut_slice, source, characters))


def _cut_slice(source: Path, characters: str) -> bytes:
    return _compressed(_cut(source, map(ord, characters), TEXT_FEATURES, (400, 700)))


def write_math_font(text: str, path: Path, cache: Cache = NO_CACHE) -> bool:
    """Write a woff2 of STIX Two Math with the characters of ``text``, all formulas; return whether it was written."""
    source = _find_or_warn(MATH, "formulas use the reader's own math font")
    if source is None or not text:
        return False
    wanted = sorted({*MATH_LETTERS, *MATH_SIGNS, *map(ord, text)})
    path.write_bytes(
        cache.get(
            "math-font",
            [fingerprint([source]), json.dumps(wanted)],
            lambda: _compressed(_cut(source, wanted)),
        )
    )
    return True


def write_pdf_fonts(text: str, folder: Path, cache: Cache = NO_CACHE) -> None:
    """Write static Regular and Bold instances of Noto Sans TC with the characters of ``text`` into ``folder``.

    Typst draws a variable font at its default weight, which is Thin for this one.
    """
    source = _find_or_warn(TEXT, "the PDF will lack Chinese characters")
    if source is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sorted(set(map(ord, ALWAYS + text + select_cjk(text_of_files(SOURCES_OF_WORDS)))))
    depends = [fingerprint([source]), json.dumps(wanted)]
    for style, weight in WEIGHTS.items():
        font = cache.get("pdf-font", [style, *depends], partial(_cut_style, source, wanted, style, weight))
        write_atomically(folder / f"NotoSansTC-{style}.ttf", font, sync=False)


def _cut_style(source: Path, codepoints: Iterable[int], style: str, weight: int) -> bytes:
    from fontTools.ttLib import TTFont

    font = TTFont(BytesIO(_cut(source, codepoints, TEXT_FEATURES, (weight, weight))), recalcTimestamp=False)
    _name_instance(font, style, weight)
    return _saved(font)


def _find_or_warn(place: FontPlace, consequence: str) -> Path | None:
    path = find_font(place)
    if path is None:
        package = place.package.replace("_", "-")
        warnings.warn(
            f"no font found: {consequence}; pip install {package}, or set {place.variable} to a font file", stacklevel=3
        )
    return path


def _cut(
    source: Path,
    codepoints: Iterable[int],
    features: Iterable[str] | None = None,
    weights: tuple[int, int] | None = None,
) -> bytes:
    """Return a font with some characters, layout features (None: all) and weights (lowest and highest)."""
    import uharfbuzz as hb

    face = hb.Face(hb.Blob.from_file_path(str(source)))
    wanted = hb.SubsetInput()
    wanted.flags = hb.SubsetFlags.NOTDEF_OUTLINE | hb.SubsetFlags.DESUBROUTINIZE | hb.SubsetFlags.OPTIMIZE_IUP_DELTAS
    wanted.unicode_set.update(codepoints)
    wanted.layout_feature_tag_set.clear()
    wanted.layout_feature_tag_set.update(map(_tag, features or ()))
    if features is None:
        wanted.layout_feature_tag_set.invert()
    wanted.name_id_set.clear()
    wanted.name_id_set.invert()  # all of them
    wanted.drop_table_tag_set.update(map(_tag, NOT_FOR_LINES))
    if weights:
        wanted.set_axis_range(face, "wght", *weights, weights[0])  # without effect on a static font
    try:
        return bytes(hb.subset(face, wanted).blob.data)
    except RuntimeError as error:
        raise RenderError(f"{source}: not a font that can be cut; name another, or take it away") from error


def _tag(name: str) -> int:
    return int.from_bytes(name.encode("ascii"), "big")


def _compressed(font: bytes) -> bytes:
    """Return a font as woff2."""
    from fontTools.ttLib import TTFont

    return _saved(TTFont(BytesIO(font), recalcTimestamp=False), flavor="woff2")


def _saved(font: TTFont, flavor: str | None = None) -> bytes:
    file = BytesIO()
    with font:
        font.flavor = flavor
        font.save(file)
    return file.getvalue()


def _name_instance(font: Any, style: str, weight: int) -> None:
    """Give a static instance the names and the weight that tell Typst regular from bold."""
    for record in [record for record in font["name"].names if record.nameID in (1, 2, 3, 4, 6, 16, 17, 21, 22, 25)]:
        font["name"].removeNames(nameID=record.nameID)
    names = {1: FAMILY, 2: style, 3: f"{FAMILY} {style}", 4: f"{FAMILY} {style}", 6: f"NotoSansTC-{style}"}
    for name_id, text in names.items():
        font["name"].setName(text, name_id, 3, 1, 0x409)
    font["OS/2"].usWeightClass = weight
    bold = style == "Bold"
    font["OS/2"].fsSelection = (font["OS/2"].fsSelection & ~0b1100001) | (0b100000 if bold else 0b1000000)
    font["head"].macStyle = 1 if bold else 0
    if "STAT" in font:
        del font["STAT"]


def text_of_files(paths: Iterable[Path]) -> str:
    """Return the text of some files."""
    try:
        return "".join(path.read_text("utf-8") for path in paths)
    except OSError as error:
        raise RenderError(f"{error.filename}: cannot be read: {error.strerror}") from error
