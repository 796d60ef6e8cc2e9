"""Test the embedded renderer's PDFs: their text, their fonts, and that no file is left behind."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from adapterbook.common.errors import RenderError
from adapterbook.site import build_site
from adapterbook.site.document import own_fonts
from adapterbook.site.embedded.pdf import render_pdf
from adapterbook.site.font_files import write_pdf_fonts
from tests.support.site_sample import built_sample, write_sample

needs_pdftotext = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="no pdftotext on this machine (Debian: apt install poppler-utils)"
)


def text_of(language: str) -> str:
    """Return the text of a PDF without white space, because line breaks depend on the layout."""
    path = built_sample() / "_site" / f"report-{language}.pdf"
    answer = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True)
    return re.sub(r"\s", "", answer.stdout)


@needs_pdftotext
@pytest.mark.parametrize(
    ("language", "texts"),
    [
        (
            "zh",
            [
                "轉接器的比較",
                "目錄",
                "1.1問題",
                "圖1：兩種轉接器",
                "表1：兩次訓練的結果",
                "列表1：一種設定",
                "見方程式1。",
                "圖1(a)",
                "見圖2。",
                "圖2：批次",
            ],
        ),
        ("en", ["Adapterscompared", "Contents", "1.2Method", "Figure1:Learning", "Table1:Results", "seeEquation1."]),
    ],
)
def test_pdf_has_contents_numbers_and_captions(language: str, texts: list[str]) -> None:
    """Cover, table of contents, numbered headings, captions and references are there, in the document's language."""
    found = text_of(language)
    assert [text for text in texts if text not in found] == []


@needs_pdftotext
def test_only_what_is_for_print_shows() -> None:
    """Content for the web alone is left out; raw Typst and content for print are shown."""
    found = text_of("zh")
    assert "只在紙上" in found
    assert "原始Typst" in found
    assert "只在網頁上" not in found
    assert "原始HTML" not in found


@needs_pdftotext
def test_hostile_text_shows_as_typed() -> None:
    """Escaped markup is text in the PDF, too."""
    assert "<script>alert(1)</script>`code`:::$x$@fig-x{{<includex>}}[x](javascript:alert(1))" in text_of("en")


def test_pdf_holds_no_script_and_no_link_to_one() -> None:
    """A javascript: address becomes plain text."""
    data = (built_sample() / "_site/report-en.pdf").read_bytes()
    assert b"/JavaScript" not in data
    assert not re.search(rb"/URI\s*\(javascript:", data)


def test_fonts_are_static_and_have_their_weight(tmp_path: Path) -> None:
    """Regular and Bold are static fonts of one family with true weights; Bold's strokes are wider than Regular's."""
    write_pdf_fonts("骨角關啟", tmp_path)
    fonts = {style: TTFont(tmp_path / f"NotoSansTC-{style}.ttf") for style in ("Regular", "Bold")}
    for style, weight in (("Regular", 400), ("Bold", 700)):
        font = fonts[style]
        assert "fvar" not in font
        assert font["OS/2"].usWeightClass == weight
        assert (font["name"].getDebugName(1), font["name"].getDebugName(2)) == ("Noto Sans TC", style)
        assert {ord(character) for character in "骨角關啟圖表目錄A1"} <= set(font.getBestCmap())
    # The variable font's default is Thin; the bar of an I shows how heavy an instance really is.
    bars = {style: _width_of_bar(font) for style, font in fonts.items()}
    assert 60 < bars["Regular"] < bars["Bold"]
    for font in fonts.values():
        font.close()


def _width_of_bar(font: TTFont) -> int:
    glyph = font["glyf"][font.getBestCmap()[ord("I")]]
    return int(glyph.xMax - glyph.xMin)


def test_every_character_of_the_document_is_in_the_fonts() -> None:
    """No character of the combined documents shows as an empty box."""
    root = built_sample()
    for language in ("zh", "en"):
        text = (root / f"report/pdf/report-{language}.qmd").read_text("utf-8")
        with TTFont(root / f"report/fonts/report-{language}/NotoSansTC-Regular.ttf") as font:
            missing = {character for character in text if character.isprintable()} - set(map(chr, font.getBestCmap()))
        assert missing == set()


# Typst would turn these words in a cell into a heading, lists, an ellipsis, a dash, a soft hyphen and a minus.
TRAPS = ("= a", "+ a", "- a", "/ a: b", "1. a", "wait...what", "no--really", "soft-?hyphen", "-5")
TABLES = """\
---
title: Tables
lang: en
---

| without | caption |
|---|---|
| x | 1 |

| with | one |
|---|---|
{rows}

: Numbered {{#tbl-a}}

See @tbl-a, $h = l \\odot x$.

:::: {{.content-visible when-format="typst"}}
::: {{.callout-note title="Inside"}}
The note's text.
:::
::::
"""


@needs_pdftotext
def test_tables_count_by_their_captions_and_show_what_was_typed(tmp_path: Path) -> None:
    """A table without caption has no number, a cell is not markup, and ⊙ and a callout for print alone are shown."""
    document = tmp_path / "tables.qmd"
    rows = "\n".join(f"| {re.sub('[^a-z0-9 ]', lambda m: f'&#{ord(m[0])};', trap)} | 1 |" for trap in TRAPS)
    document.write_text(TABLES.format(rows=rows), "utf-8")
    write_pdf_fonts(document.read_text("utf-8"), own_fonts(document))
    render_pdf(document, tmp_path / "tables.pdf")
    answer = subprocess.run(["pdftotext", "-layout", tmp_path / "tables.pdf", "-"], capture_output=True, text=True)
    found = re.sub(r"\s", "", answer.stdout)
    assert [trap for trap in TRAPS if trap.replace(" ", "") + "1" not in found] == []
    assert "Table1:Numbered" in found
    assert "SeeTable1," in found
    assert "⊙" in found
    assert "InsideThenote’stext." in found.replace("'", "’")


def test_broken_document_names_itself_and_leaves_nothing(tmp_path: Path) -> None:
    """The error quotes Typst; no PDF and no file of ours is left."""
    root = write_sample(tmp_path)
    document = root / "report/pdf/report-en.qmd"
    document.write_text(document.read_text("utf-8") + "\n```{=typst}\n#unknown-function()\n```\n", "utf-8")
    before = sorted(document.parent.iterdir())
    with pytest.raises(RenderError, match=r"(?s)report-en\.qmd.*unknown"):
        render_pdf(document, tmp_path / "out.pdf")
    assert sorted(document.parent.iterdir()) == before
    assert not (tmp_path / "out.pdf").exists()


def test_broken_pdf_keeps_the_old_site(tmp_path: Path) -> None:
    """When a PDF cannot be made, no new site is put in place either."""
    root = write_sample(tmp_path)
    (root / "_site").mkdir()
    document = root / "report/pdf/report-en.qmd"
    document.write_text(document.read_text("utf-8") + "\n```{=typst}\n#unknown-function()\n```\n", "utf-8")
    with pytest.raises(RenderError, match="unknown"):
        build_site(root, "embedded", say=lambda line: None)
    assert list((root / "_site").iterdir()) == []


def test_typst_that_is_killed_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system kills the process that sets a document, for example because memory runs out, the error says so."""
    document = write_sample(tmp_path) / "report/pdf/report-en.qmd"
    program = tmp_path / "killed.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "utf-8")
    monkeypatch.setattr("adapterbook.site.embedded.pdf.PROGRAM", program)
    with pytest.raises(RenderError, match=r"report-en\.qmd: Typst was killed"):
        render_pdf(document, tmp_path / "out.pdf")
    assert not (tmp_path / "out.pdf").exists()
