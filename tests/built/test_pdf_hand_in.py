"""The PDF as something to hand in: its cover, its outline, its captions, its lines, and what programs read in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pypdf
import pytest
import yaml
from PIL import Image
from pypdf.generic import Destination, DictionaryObject, IndirectObject, NumberObject

from adapterbook.common.formatting import Language
from adapterbook.pages import write_pages
from adapterbook.site.document import own_fonts
from adapterbook.site.embedded.pdf import render_pdf
from adapterbook.site.font_files import write_pdf_fonts
from tests.support.factory import BATCH_SIZE_VARIANTS, EVAL_STRATEGY_VARIANTS, WORKS
from tests.support.report_pages import MadePages, Qmd, make_study_pages

pytestmark = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="no pdftotext on this machine (Debian: apt install poppler-utils)"
)

MAX_BYTES = 3_000_000
SITE = "https://ming.example.org/adapterbook"
BOOK: dict[str, Any] = {
    "title": {"zh": "影評與轉接器", "en": "Reviews & adapters"},
    "subtitle": {"zh": "三種做法的比較", "en": "Three ways, compared"},
    "author": {"zh": "李明、王小華", "en": "Ming Li"},
    "course": {"zh": "深度學習 作業五", "en": "Deep Learning, homework 5"},
    "site_url": SITE,
}
# As wide and as high as the project's own, with something to see.
PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt" viewBox="0 0 {width} {height}">
<rect width="{width}" height="{height}" fill="#eef"/><path d="M20 20L{width} {height}" stroke="#228"/></svg>
"""
SIZES = ((490, 300), (490, 420), (360, 240))
# What no line may begin or end with, in Chinese.
NOT_FIRST = "，。、；：？！」』）》〉…—·％%"
NOT_LAST = "「『（《〈"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
CAPTION = {"zh": re.compile(r"^(圖|表|列表)\s?\d+：."), "en": re.compile(r"^(Figure|Table|Listing)\s\d+: .")}
NUMBERED = re.compile(r"^\d+(\.\d+)*\s")


@dataclass(frozen=True)
class Line:
    """A line of a page, in points from the page's upper left corner."""

    text: str
    left: float
    top: float
    right: float


@dataclass(frozen=True)
class Pdf:
    """One PDF and the document that it was made of."""

    language: Language
    document: Qmd
    path: Path

    @cached_property
    def reader(self) -> pypdf.PdfReader:
        """The file as pypdf reads it."""
        return pypdf.PdfReader(self.path)

    @cached_property
    def pages(self) -> list[list[Line]]:
        """Every page's lines from top to bottom."""
        answer = subprocess.run(["pdftotext", "-bbox-layout", self.path, "-"], capture_output=True, check=True)
        name = "{http://www.w3.org/1999/xhtml}"
        pages = []
        for page in ET.fromstring(answer.stdout).iter(f"{name}page"):
            lines = []
            for line in page.iter(f"{name}line"):
                words = [word.text or "" for word in line.iter(f"{name}word")]
                place = [float(line.get(side, "nan")) for side in ("xMin", "yMin", "xMax")]
                lines.append(Line(" ".join(words), *place))
            pages.append(joined(sorted(lines, key=lambda line: (line.top, line.left)), within=3))
        return pages

    def rows(self, number: int) -> list[str]:
        """Return what stands on each height of a page, from left to right: an entry with its leader and its page."""
        return [line.text for line in joined(self.pages[number - 1], within=1000)]

    @cached_property
    def text(self) -> str:
        """The whole text without white space."""
        answer = subprocess.run(["pdftotext", "-raw", self.path, "-"], capture_output=True, text=True, check=True)
        return tight(answer.stdout)

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Level and text of every heading that the document has, but for those that are titles of tabs."""
        return list(headings_of(self.document, self.document.tree["blocks"]))


def joined(lines: list[Line], within: float) -> list[Line]:
    """Return lines in which those are one that stand on one height and no further apart than so many points."""
    whole: list[Line] = []
    for line in lines:
        last = whole[-1] if whole else None
        if last is not None and abs(line.top - last.top) < 0.5 and line.left - last.right < within:
            whole[-1] = Line(f"{last.text} {line.text}", last.left, last.top, max(last.right, line.right))
        else:
            whole.append(line)
    return whole


def tight(text: str) -> str:
    """Return a text without white space and what is invisible."""
    return re.sub(r"[\s\u2060]", "", text)


def headings_of(document: Qmd, blocks: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """Yield the headings among some blocks; those inside a Div of class panel-tabset name its tabs."""
    for block in blocks:
        if block["t"] == "Header":
            yield block["c"][0], document.text_of(block["c"][2])
        elif block["t"] == "Div" and "panel-tabset" not in block["c"][0][1]:
            yield from headings_of(document, block["c"][1])


def bookmarks_of(outline: list[Any], level: int = 1) -> Iterator[tuple[int, str]]:
    """Yield level and title of every bookmark, in order."""
    for item in outline:
        if isinstance(item, Destination):
            yield level, str(item.title)
        else:
            yield from bookmarks_of(item, level + 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadePages:
    """A study with all of its chapters; pictures of the same sizes stand in for figures."""
    root = tmp_path_factory.mktemp("hand-in")
    made = make_study_pages(root, extra_variants=BATCH_SIZE_VARIANTS | EVAL_STRATEGY_VARIANTS)
    made.paths.book.write_text(yaml.safe_dump(BOOK, allow_unicode=True), "utf-8")
    write_pages(made.report, made.figures, made.paths)
    for place, figure in enumerate(made.figures.values()):
        width, height = SIZES[place % len(SIZES)]
        for path in figure.paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PICTURE.format(width=width, height=height), "utf-8")
    return made


@pytest.fixture(scope="module", params=["zh", pytest.param("en", marks=pytest.mark.slow)])
def pdf(made: MadePages, request: pytest.FixtureRequest) -> Pdf:
    """The study's PDF, in one language and then in the other."""
    document = made.page(f"pdf/report-{request.param}")
    target = made.paths.root / f"{request.param}.pdf"
    write_pdf_fonts(document.text, own_fonts(document.path))
    render_pdf(document.path, target)
    return Pdf(request.param, document, target)


def test_the_cover_says_what_it_is(pdf: Pdf) -> None:
    """Title, subtitle, author, course, the days of the runs and the site's address, in the document's language."""
    cover = [tight(row) for row in pdf.rows(1)]
    for key in ("title", "subtitle", "author", "course"):
        assert any(tight(BOOK[key][pdf.language]) in line for line in cover), key
    assert any(SITE in line for line in cover)
    words = {"zh": r"執行日期\d{4}年\d+月\d+日", "en": r"Dateoftheruns\d+"}[pdf.language]
    assert any(re.match(words, line) for line in cover)
    assert not any(line.isdigit() for line in cover)  # no page number


def test_programs_read_whose_it_is(pdf: Pdf) -> None:
    """Title, author and subtitle are in the file's own metadata, the day is the runs', and the language is named."""
    found = pdf.reader.metadata
    assert found is not None
    assert (found.title, found.author, found.subject) == tuple(
        BOOK[key][pdf.language] for key in ("title", "author", "subtitle")
    )
    assert found.creation_date is not None
    assert found.creation_date.date().isoformat() == pdf.document.front_matter["last-run"]
    assert str(pdf.reader.root_object["/Lang"]) == {"zh": "zh-TW", "en": "en"}[pdf.language]


def test_it_can_be_listened_to(pdf: Pdf) -> None:
    """The file is tagged and says that it is PDF/UA-1, which Typst has checked."""
    assert pdf.reader.root_object["/MarkInfo"]["/Marked"]  # type: ignore[index]
    metadata = pdf.reader.root_object["/Metadata"].get_object()
    assert b"<pdfuaid:part>1</pdfuaid:part>" in metadata.get_data()  # type: ignore[union-attr]


def test_a_reader_jumps_to_every_heading(pdf: Pdf) -> None:
    """The bookmarks are the headings, each on its level and in their order."""
    found = [(level, tight(NUMBERED.sub("", title))) for level, title in bookmarks_of(pdf.reader.outline)]
    assert found == [(level, tight(title)) for level, title in pdf.headings]
    assert len(found) > 50


def test_every_heading_is_in_the_text(pdf: Pdf) -> None:
    """Whoever searches the PDF finds each heading, and no character was lost."""
    assert [title for _, title in pdf.headings if tight(title) not in pdf.text] == []
    assert pdf.text.count("\ufffd") == tight(pdf.document.text).count("\ufffd")  # a sentence may hold one


def test_the_contents_name_pages(pdf: Pdf) -> None:
    """The table of contents has every chapter and section with the page that it is on."""
    entries = {}
    for left in (0, 298):  # a column is half of an A4 page
        column = ["-x", str(left), "-y", "0", "-W", "298", "-H", "842"]
        command = ["pdftotext", "-f", "2", "-l", "3", "-layout", *column, str(pdf.path), "-"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        for row in answer.stdout.splitlines():
            if match := re.match(r"\s*(\d+(?:\.\d+)?) .*[ .\u2060]{9}(\d+)$", row):
                entries[match[1]] = int(match[2])
    sections = [(level, title) for level, title in pdf.headings if level <= 2]
    assert len(entries) == len(sections)
    starts = [f"{number} " for number in entries]
    for start, number in zip(starts, entries.values(), strict=True):
        assert any(line.text.startswith(start) for line in pdf.pages[number - 1]), (start, number)


def shares_used(path: Path, folder: Path) -> list[float]:
    """Return of each rendered page the share of its text's height that lies in no empty band of more than 1.2 cm."""
    subprocess.run(["pdftoppm", "-r", "25.4", "-gray", path, folder / "page"], check=True, capture_output=True)
    shares = []
    for file in sorted(folder.glob("page*")):
        with Image.open(file) as image:  # a pixel is a millimetre; above and below are header and number
            ink = np.flatnonzero((np.asarray(image)[22:277] < 200).any(axis=1))
        gaps = np.diff([0, *ink, 255])
        shares.append(1 - float(gaps[gaps > 12].sum()) / 255)
    return shares


def test_no_page_is_nearly_empty(pdf: Pdf, tmp_path: Path) -> None:
    """Between the cover and the last page every page is used for more than a third, most for more than nine tenths."""
    shares = shares_used(pdf.path, tmp_path)[1:-1]
    assert len(shares) == len(pdf.pages) - 2
    assert min(shares) > 1 / 3
    assert np.median(shares) > 0.85


def test_all_fonts_are_inside(pdf: Pdf) -> None:
    """The file brings every font that it uses, in pieces of one font each."""
    fonts: dict[str, bool] = {}
    for page in pdf.reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():  # type: ignore[attr-defined]
            inner = font.get_object()["/DescendantFonts"][0].get_object()
            descriptor = inner["/FontDescriptor"].get_object()
            fonts[str(inner["/BaseFont"])] = any(key in descriptor for key in ("/FontFile2", "/FontFile3"))
    assert len(fonts) > 2
    assert all(fonts.values()), fonts


def test_it_is_small(pdf: Pdf) -> None:
    """It goes through any mail and any hand-in form."""
    assert pdf.path.stat().st_size <= MAX_BYTES


def pages_of(element: DictionaryObject, page: object = None) -> Iterator[object]:
    """Yield the page of every piece that belongs to an element of the structure tree."""
    page = element.raw_get("/Pg") if "/Pg" in element else page
    kids = element.get("/K", [])
    for kid in kids if isinstance(kids, list) else [kids]:
        kid = kid.get_object() if isinstance(kid, IndirectObject) else kid
        if isinstance(kid, NumberObject):
            yield page
        elif isinstance(kid, DictionaryObject) and kid.get("/Type") == "/MCR":
            yield kid.raw_get("/Pg") if "/Pg" in kid else page
        elif isinstance(kid, DictionaryObject) and kid.get("/Type") != "/OBJR":
            yield from pages_of(kid, page)


def elements_of(element: DictionaryObject, role: str) -> Iterator[DictionaryObject]:
    """Yield the elements of a role below an element."""
    kids = element.get("/K", [])
    for kid in kids if isinstance(kids, list) else [kids]:
        kid = kid.get_object() if isinstance(kid, IndirectObject) else kid
        if isinstance(kid, DictionaryObject):
            if kid.get("/S") == role:
                yield kid
            yield from elements_of(kid, role)


def test_a_figure_has_its_caption_on_its_page(pdf: Pdf) -> None:
    """Each figure is whole: what is drawn and what is said of it, siblings in the structure, are on one page."""
    root = pdf.reader.root_object["/StructTreeRoot"].get_object()
    assert isinstance(root, DictionaryObject)
    wholes = [div for div in elements_of(root, "/Div") if any(elements_of(div, "/Figure"))]
    assert len(wholes) == len(pdf.document.elements("Figure")) > 10
    for whole in wholes:
        (caption,) = elements_of(whole, "/Caption")
        assert set(pages_of(caption)) == set(pages_of(whole))
        assert len(set(pages_of(whole))) == 1


def test_numbers_of_captions_count_up(pdf: Pdf) -> None:
    """Figures and tables are numbered from one on, no number missing, and every number in the text has its caption."""
    kinds = {"zh": {"圖": "Figure", "表": "Table"}, "en": {"Figure": "Figure", "Table": "Table"}}[pdf.language]
    for word in kinds:
        numbers = [
            int(match[1])
            for page in pdf.pages
            for line in page
            if (match := re.match(rf"{word}\s?(\d+)(：|: )", line.text))
        ]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert len(numbers) > 5
        cited = {int(number) for number in re.findall(rf"{word}(\d+)", pdf.text)}
        assert cited == set(numbers)


def test_no_caption_or_heading_ends_a_page(pdf: Pdf) -> None:
    """A table's caption stays with the table, a heading with what it heads."""
    captions = {tight(title) for _, title in pdf.headings}
    for number, page in enumerate(pdf.pages[1:], 2):
        body = [line for line in page if line.top < 770 and line.text != str(number)]
        last = body[-1].text
        assert tight(NUMBERED.sub("", last)) not in captions, (number, last)
        assert not re.match(r"^(表|Table)\s?\d+(：|: )", last), (number, last)


@pytest.mark.parametrize("pdf", ["zh"], indirect=True)
def test_chinese_lines_begin_and_end_as_they_should(pdf: Pdf) -> None:
    """No line begins with a mark that closes or ends with one that opens."""
    lines = [line.text for page in pdf.pages for line in page if CHINESE.search(line.text)]
    assert len(lines) > 300
    assert [line for line in lines if line[0] in NOT_FIRST or line[-1] in NOT_LAST] == []


def test_pages_have_a_number_and_a_head(pdf: Pdf) -> None:
    """Every page after the cover has its number at its foot, and after the contents its chapter at its head."""
    title = BOOK["title"][pdf.language]
    for number, page in enumerate(pdf.pages[1:], 2):
        assert page[-1].text == str(number)
        if number > 3:
            assert page[0].text.startswith(title), (number, page[0])


def test_links_from_paper_lead_to_the_site_or_nowhere_else(pdf: Pdf) -> None:
    """What only the site has is linked to by its address; a number to the line of the record that it is from."""
    targets = [
        str(annotation.get_object()["/A"]["/URI"])
        for page in pdf.reader.pages
        for annotation in page.get("/Annots", [])
        if "/A" in annotation.get_object() and "/URI" in annotation.get_object()["/A"]
    ]
    folder = f"{SITE}/report/{pdf.language}/"
    assert f"{folder}notebooks/lora_1-submitted-seed-224.html#r-test-accuracy" in targets
    assert f"{folder}reproduction.html#sec-reproduction-runs" in targets
    assert {target for target in targets if not target.startswith(folder)} == {SITE, *WORKS}


PICTURELESS = """\
---
title: Without
lang: en
---

# One

![Said](picture.svg){{#fig-a{alt}}}

| head of a | table |
|---|---|
{rows}

: Long {{#tbl-a}}
"""


def write_document(folder: Path, alt: str, n_rows: int = 3) -> Path:
    """Write a document with a picture and a table."""
    (folder / "picture.svg").write_text(PICTURE.format(width=100, height=80), "utf-8")
    document = folder / "small.qmd"
    rows = "\n".join(f"| row {number} | {number} |" for number in range(n_rows))
    document.write_text(PICTURELESS.format(alt=alt, rows=rows), "utf-8")
    write_pdf_fonts(document.read_text("utf-8"), own_fonts(document))
    return document


def test_a_picture_without_words_is_said(tmp_path: Path) -> None:
    """A document that cannot be PDF/UA-1 is set all the same, and what it lacks is warned of."""
    document = write_document(tmp_path, "")
    text = document.read_text("utf-8").replace("# One\n", "# One\n\n### Three\n")
    document.write_text(text, "utf-8")
    with pytest.warns(UserWarning, match=r"(?s)small\.qmd: set, but not as PDF/UA-1: .*heading"):
        render_pdf(document, tmp_path / "small.pdf")
    assert b"pdfuaid" not in (tmp_path / "small.pdf").read_bytes()


def test_a_long_table_repeats_its_head(tmp_path: Path) -> None:
    """A table that goes on over pages has its head on each of them; its caption is said once, above its beginning."""
    document = write_document(tmp_path, ' fig-alt="A line"', n_rows=90)
    render_pdf(document, tmp_path / "small.pdf")
    pages = Pdf("en", Qmd(document, ""), tmp_path / "small.pdf").pages
    with_rows = [page for page in pages if any(line.text.startswith("row ") for line in page)]
    assert len(with_rows) > 1
    assert all(any("head of a" in line.text for line in page) for page in with_rows)
    captions = [line for page in pages for line in page if CAPTION["en"].match(line.text) and "Long" in line.text]
    assert len(captions) == 1
    assert captions[0] in with_rows[0]
