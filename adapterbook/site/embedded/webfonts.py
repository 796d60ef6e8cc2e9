"""Writes the web fonts of a site and the style sheet that names them.

Chinese characters are heavy, some 270 bytes each, so they come in slices of which a browser fetches those that a page
needs: the characters of the front pages, those of all others, and the few that most pages in other languages show too
(the name of the language in their header). The letters of the formulas are one more file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from adapterbook.common.cache import NO_CACHE, Cache
from adapterbook.site.font_files import select_cjk, write_math_font, write_web_fonts
from adapterbook.site.project import Page

# The cover and the first page of a language.
FRONT_PAGE: Final = re.compile(r"(report/[^/]+/)?index\.qmd")
FORMULA: Final = re.compile(r"<math.*?</math>", re.DOTALL)
TAG: Final = re.compile(r"<annotation.*?</annotation>|<[^>]*>", re.DOTALL)
FAMILIES: Final = {"text-front": "Report TC", "text-others": "Report TC", "text-common": "Report TC Common"}
WEIGHTS: Final = "400 700"


def write_fonts(
    rendered: Mapping[str, str], pages: Mapping[str, Page], words: str, folder: Path, cache: Cache = NO_CACHE
) -> None:
    """Write the fonts for rendered pages and ``fonts.css`` into ``folder``.

    Parameters
    ----------
    rendered : mapping of str to str
        The HTML of each page, by source path.
    pages : mapping of str to Page
        The pages themselves, by source path.
    words : str
        Text that scripts put on the pages.
    folder : Path
        Where the style sheet and the fonts go.
    cache : Cache
        Where the fonts for the same characters are from.
    """
    everything = "".join(rendered.values())
    front = select_cjk("".join(html for source, html in rendered.items() if FRONT_PAGE.fullmatch(source)) + words)
    others = "".join(character for character in select_cjk(everything) if character not in front)
    foreign = [select_cjk(html) for source, html in rendered.items() if not _is_chinese(pages[source])]
    counts = Counter("".join(foreign))
    common = "".join(character for character, n in sorted(counts.items()) if n > len(foreign) / 2)
    slices = {"text-front": front, "text-others": others, "text-common": common}
    rules = [
        _face(FAMILIES[name], f"{name}.woff2", WEIGHTS, _unicode_range(slices[name]))
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
