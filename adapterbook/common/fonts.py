"""Find the fonts: for Matplotlib, for the web and Typst, and for math.

Each look-up tries the same three places in the same order: an environment variable, the font package of
requirements.txt, the system's font folders. :mod:`adapterbook.site.font_files` cuts what is found here.

==========================  ===========================  =============================================
variable                    package                      file
==========================  ===========================  =============================================
``ADAPTERBOOK_FONT_PLOT``   ``noto-cjk-sans-otc``        ``NotoSansCJK-Regular.ttc``, a collection
``ADAPTERBOOK_FONT_TEXT``   ``justmytype-intl-cjk``      ``NotoSansTC[wght].ttf``, variable weight
``ADAPTERBOOK_FONT_MATH``   ``ziamath``                  ``STIXTwoMath-Regular.ttf``, an OpenType MATH
==========================  ===========================  =============================================
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapterbook.common.errors import RenderError

SYSTEM_FOLDERS: Final = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("~/.local/share/fonts").expanduser(),
    Path("~/.fonts").expanduser(),
    Path("/Library/Fonts"),
)


@dataclass(frozen=True)
class FontPlace:
    """Name the places of a font: the file in ``variable``, ``packaged`` in ``package``, the system's ``file_names``."""

    variable: str
    package: str
    packaged: str
    file_names: tuple[str, ...]


PLOT: Final = FontPlace(
    "ADAPTERBOOK_FONT_PLOT",
    "noto_cjk_sans_otc",
    "NotoSansCJK-Regular.ttc",
    ("NotoSansCJK-Regular.ttc", "NotoSansCJKtc-Regular.otf"),
)
TEXT: Final = FontPlace(
    "ADAPTERBOOK_FONT_TEXT",
    "justmytype_intl_cjk",
    "fonts/ofl/notosanstc/NotoSansTC[wght].ttf",
    ("NotoSansTC[wght].ttf", "NotoSansTC-VF.ttf", "NotoSansTC-VariableFont_wght.ttf"),
)
MATH: Final = FontPlace(
    "ADAPTERBOOK_FONT_MATH",
    "ziamath",
    "fonts/STIXTwoMath-Regular.ttf",
    ("STIXTwoMath-Regular.ttf", "STIXTwoMath-Regular.otf", "STIXTwoMath.otf"),
)


def find_font(
    place: FontPlace,
    *,
    environment: Mapping[str, str] = os.environ,
    system_folders: tuple[Path, ...] = SYSTEM_FOLDERS,
) -> Path | None:
    """Return the first file found of a font, or ``None``.

    Parameters
    ----------
    place : FontPlace
        One of :data:`PLOT`, :data:`TEXT`, :data:`MATH`.
    environment : mapping
        The environment variables.
    system_folders : tuple of Path
        Folders that are searched, with their subfolders, if variable and package give nothing.

    Raises
    ------
    RenderError
        If the variable is set and does not name a file.
    """
    named = environment.get(place.variable)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise RenderError(f"{place.variable}: expected a font file, got {named}; mend or unset the variable")
        return path
    spec = importlib.util.find_spec(place.package)  # does not import: some font packages do work at import
    for package in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(package) / place.packaged).is_file():
            return path
    for folder in system_folders:
        for name in place.file_names:
            # glob reads a bracket in a file name as a character class.
            pattern = name.replace("[", "[[]")
            if folder.is_dir() and (found := sorted(folder.rglob(pattern))):
                return found[0]
    return None


def use_cjk_font() -> str:
    """Register the Chinese font with Matplotlib and return its family name for ``font.family``.

    Without a Chinese font it returns ``"DejaVu Sans"`` and warns, naming the remedy.

    Notes
    -----
    ``NotoSansCJK-Regular.ttc`` holds one face per region; Matplotlib 3.11 is the first that registers all of them.
    """
    from matplotlib import font_manager  # slow to import, and only figures need it

    path = find_font(PLOT)
    if path is not None:
        font_manager.fontManager.addfont(str(path))
        # The collection's faces are Noto Sans CJK JP, KR, SC, TC, HK; a font that the user names is used as it is.
        families = [font.name for font in font_manager.fontManager.ttflist if Path(font.fname) == path]
        for wanted in ("Noto Sans CJK TC", *families):
            if wanted in families:
                return wanted
    warnings.warn(
        "no Traditional Chinese font found: figures will show boxes for Chinese text; "
        f"pip install noto-cjk-sans-otc, or set {PLOT.variable} to a font file",
        stacklevel=2,
    )
    return "DejaVu Sans"
