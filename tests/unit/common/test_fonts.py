"""Look for fonts, and give Matplotlib the one that is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from adapterbook.common.errors import RenderError
from adapterbook.common.fonts import MATH, PLOT, TEXT, FontPlace, find_font, use_cjk_font
from adapterbook.site.font_files import write_math_font, write_pdf_fonts, write_web_fonts


def test_variable_goes_before_package(tmp_path: Path) -> None:
    """A font that the environment names is taken, although the package has one."""
    mine = tmp_path / "mine.ttf"
    mine.touch()
    assert find_font(TEXT, environment={"ADAPTERBOOK_FONT_TEXT": str(mine)}) == mine


def test_variable_that_names_no_file_is_an_error(tmp_path: Path) -> None:
    """A wrong path in the environment is an error that names the variable."""
    with pytest.raises(RenderError, match="ADAPTERBOOK_FONT_MATH"):
        find_font(MATH, environment={"ADAPTERBOOK_FONT_MATH": str(tmp_path / "none.ttf")})


@pytest.mark.parametrize("place", [PLOT, TEXT, MATH], ids=lambda place: place.variable)
def test_packages_hold_the_fonts(place: FontPlace) -> None:
    """The pinned font packages hold the files that this project expects in them."""
    path = find_font(place, environment={}, system_folders=())
    assert path is not None
    assert path.stat().st_size > 100_000


def test_system_comes_last(tmp_path: Path) -> None:
    """Without variable and package the system's folders are searched, with subfolders and brackets in names."""
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
    """Without a Chinese font a warning names the remedy, and Matplotlib's own font is returned."""
    monkeypatch.setattr("adapterbook.common.fonts.find_font", lambda place: None)
    with pytest.warns(UserWarning, match="noto-cjk-sans-otc"):
        assert use_cjk_font() == "DejaVu Sans"


def test_the_math_font_holds_the_root_sign_that_no_text_names(tmp_path: Path) -> None:
    """MathML draws the root of ``<msqrt>`` itself: without it in the font, σ/√B reads σ/B."""
    assert write_math_font("σB", tmp_path / "math.woff2")
    with TTFont(tmp_path / "math.woff2") as font:
        assert ord("√") in font.getBestCmap()
        variants = font["MATH"].table.MathVariants.VertGlyphCoverage.glyphs
        assert font.getBestCmap()[ord("√")] in variants


def test_a_cut_font_holds_the_features_that_are_asked_for(tmp_path: Path) -> None:
    """The Chinese font keeps half-width punctuation and kerning, the math font all features; weights fit."""
    assert write_web_fonts({"text": "學習率，。"}, tmp_path) == ["text"]
    assert write_math_font("xσ", tmp_path / "math.woff2")
    write_pdf_fonts("學習率", tmp_path)
    text, math = TTFont(tmp_path / "text.woff2"), TTFont(tmp_path / "math.woff2")
    assert _features(text) == {"halt"}
    assert {"ssty", "dtls", "kern"} <= _features(math) and "MATH" in math
    assert [(axis.axisTag, axis.minValue, axis.maxValue) for axis in text["fvar"].axes] == [("wght", 400, 700)]
    for style, weight in (("Regular", 400), ("Bold", 700)):
        font = TTFont(tmp_path / f"NotoSansTC-{style}.ttf")
        assert _features(font) == {"halt", "kern"} and "fvar" not in font
        assert font["OS/2"].usWeightClass == weight and font["name"].getDebugName(2) == style
        assert set(map(ord, "A學習率，")) <= set(font.getBestCmap())


def test_what_is_no_font_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has a font's name but is not a font is an error that names it."""
    wrong = tmp_path / "wrong.ttf"
    wrong.write_text("no font")
    monkeypatch.setenv(TEXT.variable, str(wrong))
    with pytest.raises(RenderError, match=r"wrong\.ttf: not a font that can be cut"):
        write_pdf_fonts("學", tmp_path)


def _features(font: TTFont) -> set[str]:
    tables = [font[name].table for name in ("GSUB", "GPOS") if name in font]
    return {record.FeatureTag for table in tables for record in table.FeatureList.FeatureRecord}
