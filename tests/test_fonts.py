"""Where fonts are looked for, and what Matplotlib gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from adapterbook.errors import RenderError
from adapterbook.fonts import MATH, PLOT, TEXT, FontPlace, find_font, use_cjk_font
from adapterbook.site.font_files import write_math_font


def test_variable_goes_before_package(tmp_path: Path) -> None:
    """A font that the environment names is taken, although the package has one."""
    mine = tmp_path / "mine.ttf"
    mine.touch()
    assert find_font(TEXT, environment={"ADAPTERBOOK_FONT_TEXT": str(mine)}) == mine


def test_variable_that_names_no_file_is_an_error(tmp_path: Path) -> None:
    """A wrong path in the environment is said, with the variable's name, and not passed over."""
    with pytest.raises(RenderError, match="ADAPTERBOOK_FONT_MATH"):
        find_font(MATH, environment={"ADAPTERBOOK_FONT_MATH": str(tmp_path / "none.ttf")})


@pytest.mark.parametrize("place", [PLOT, TEXT, MATH], ids=lambda place: place.variable)
def test_packages_hold_the_fonts(place: FontPlace) -> None:
    """The pinned font packages hold the files that this project expects in them."""
    path = find_font(place, environment={}, system_folders=())
    assert path is not None
    assert path.stat().st_size > 100_000


def test_system_comes_last(tmp_path: Path) -> None:
    """Without variable and package, a system folder is searched, subfolders and brackets in names included."""
    place = FontPlace("X", "no_such_package", "x.ttf", ("NotoSansTC[wght].ttf",))
    installed = tmp_path / "truetype" / "NotoSansTC[wght].ttf"
    assert find_font(place, environment={}, system_folders=(tmp_path,)) is None
    installed.parent.mkdir()
    installed.touch()
    assert find_font(place, environment={}, system_folders=(tmp_path,)) == installed


def test_matplotlib_draws_chinese() -> None:
    """The family returned is registered with Matplotlib and has a glyph for Chinese that differs between regions."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    family = use_cjk_font()
    assert family == "Noto Sans CJK TC"
    font = FT2Font(font_manager.findfont(family, fallback_to_default=False))
    assert all(font.get_char_index(ord(character)) for character in "骨角關啟")


def test_without_a_font_matplotlib_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no Chinese font is found, the remedy is named in a warning and Matplotlib's own font is returned."""
    monkeypatch.setattr("adapterbook.fonts.find_font", lambda place: None)
    with pytest.warns(UserWarning, match="noto-cjk-sans-otc"):
        assert use_cjk_font() == "DejaVu Sans"


def test_the_math_font_holds_the_root_sign_that_no_text_names(tmp_path: Path) -> None:
    """MathML draws the root of ``<msqrt>`` itself: where the font lacks it, σ/√B reads σ/B."""
    assert write_math_font("σB", tmp_path / "math.woff2")
    with TTFont(tmp_path / "math.woff2") as font:
        assert ord("√") in font.getBestCmap()
        variants = font["MATH"].table.MathVariants.VertGlyphCoverage.glyphs
        assert font.getBestCmap()[ord("√")] in variants
