"""Writes the web fonts of a site and the style sheet that names them.

Three files at most: the Chinese characters of all pages; the few that also the pages in other languages show (the name
of the language in their header), so that these need not load the first; and the letters of the formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..font_files import select_cjk, write_math_font, write_web_font
from ..project import Page

__all__ = ["write_fonts"]

MATH: Final = re.compile(r"<math.*?</math>", re.DOTALL)
TAG: Final = re.compile(r"<annotation.*?</annotation>|<[^>]*>", re.DOTALL)


def write_fonts(pages: Mapping[str, str], languages: Mapping[str, Page], extra: str, folder: Path) -> None:
    """Write the fonts for rendered pages and ``fonts.css`` into ``folder``.

    Parameters
    ----------
    pages : mapping of str to str
        The HTML of each page, by source path.
    languages : mapping of str to Page
        The pages themselves, by source path, for their language.
    extra : str
        Text beside the pages that shows on them: the words of scripts.
    folder : Path
        Where the style sheet and the fonts go.
    """
    everything = "".join(pages.values())
    rules = []
    if write_web_font(select_cjk(everything + extra), folder / "text.woff2"):
        rules.append(_face("Report TC", "text.woff2", "400 700"))
    abroad = [html for source, html in pages.items() if "/" in source and not _is_chinese(languages[source])]
    common = select_cjk("".join(abroad))
    if common and write_web_font(common, folder / "text-common.woff2"):
        rules.append(_face("Report TC Common", "text-common.woff2", "400 700", _unicode_range(common)))
    formulas = "".join(TAG.sub("", formula) for formula in MATH.findall(everything))
    if formulas and write_math_font(formulas, folder / "math.woff2"):
        rules.append(_face("Report Math", "math.woff2", "400"))
    (folder / "fonts.css").write_text("\n".join(rules) + "\n", "utf-8")


def _is_chinese(page: Page) -> bool:
    return page.language.lower().startswith("zh")


def _face(family: str, file: str, weight: str, unicode_range: str = "U+2E80-10FFFF") -> str:
    if family == "Report Math":
        unicode_range = "U+0-10FFFF"
    return (
        f'@font-face {{ font-family: "{family}"; src: url("{file}") format("woff2"); font-weight: {weight}; '
        f"font-display: swap; unicode-range: {unicode_range}; }}"
    )


def _unicode_range(characters: str) -> str:
    return ", ".join(f"U+{ord(character):X}" for character in characters)
