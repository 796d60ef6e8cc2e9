"""Test citations: of works, by keys of the bibliography, and of the report itself."""

from __future__ import annotations

import json
import subprocess
from datetime import date
from pathlib import Path

import pytest

from adapterbook.common.errors import RenderError
from adapterbook.config.book import Book
from adapterbook.pages.citations import Bibliography, cite_report
from adapterbook.pages.numbers.provenance import Provenance
from adapterbook.site.embedded.html import body_job
from adapterbook.site.embedded.pdf import typst_job
from adapterbook.site.links import read_start_tags
from adapterbook.site.pandoc import convert_all, find_pandoc
from adapterbook.site.project import Page, read_front_matter
from tests.support.factory import BIBLIOGRAPHY

TEXT = """\
---
lang: {lang}
{fields}
---

Adam [@kingma_2015] and [@hu_2021; @bishop_1995, sec. 9.2].

::: {{#refs}}
:::
"""
CITED = {"en": "Hu et al. 2021", "zh": "Hu 等人，2021"}
LAST_RUN = Provenance(commits=("0123",), dirty=False, outside_git=False, first=date(2026, 3, 1), last=date(2026, 3, 2))
BOOK = {
    "title": {"zh": "甲", "en": "A </script> {{< x >}} & b"},
    "subtitle": {"zh": "乙", "en": "B_1"},
    "author": {"zh": "李明、王小華", "en": "Ming Li and Hua Wang"},
    "site_url": "https://example.org/book",
}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_work_is_cited_and_listed(tmp_path: Path, language: str) -> None:
    """HTML and Typst have author and year, a link to the entry of the list, and the work's address there."""
    for name, text in BIBLIOGRAPHY.files().items():
        (tmp_path / name).write_text(text, "utf-8")
    fields = BIBLIOGRAPHY.fields("zh" if language == "zh" else "en", "")
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in fields.items())
    text = TEXT.format(lang={"zh": "zh-TW", "en": "en"}[language], fields=lines)
    page = Page("page.qmd", tmp_path / "page.qmd", read_front_matter(text, "page.qmd"), text)
    html, typst = convert_all([body_job(page), typst_job(page)])
    assert CITED[language] in html.replace('<span class="nocase">', "").replace("</span>", "")
    assert 'href="#ref-hu_2021"' in html and 'id="ref-hu_2021"' in html
    assert 'href="https://arxiv.org/abs/2106.09685"' in html
    assert CITED[language] in typst and "#link(<ref-hu_2021>)" in typst and "<ref-hu_2021>" in typst
    assert "goyal" not in html  # only what is cited
    assert "#cite(" not in typst


def test_a_key_that_is_not_there_is_named() -> None:
    """A citation of a work that the bibliography lacks is an error with its key."""
    with pytest.raises(RenderError) as caught:
        BIBLIOGRAPHY.cited("As said [@hu_2021; @hu_2022].")
    assert ["hu_2022" in problem for problem in caught.value.problems] == [True]


def test_only_citations_are_read() -> None:
    """Front matter, references to figures, code, addresses and escaped texts cite nothing."""
    text = "---\ndata: [@type]\n---\n\n[@fig-a; @tbl-b] `[@x]` a@b.c &#91;&#64;x]\n\n```python\n[@x]\n```\n"
    assert BIBLIOGRAPHY.cited(f"{text}\n[see @hu_2021, p. 3]") == ["hu_2021"]


def test_a_study_adds_works(tmp_path: Path) -> None:
    """A study's own references.bib lies over the shared one."""
    own, shared = tmp_path / "own", tmp_path / "shared"
    for folder in (own, shared):
        folder.mkdir()
        (folder / "references-zh.csl").write_text("<style/>", "utf-8")
    (shared / "references.bib").write_text("% c\n@misc{a, title={1}}\n@misc{b, title={2}}\n", "utf-8")
    (own / "references.bib").write_text("@misc{b, title={3}}\n@misc{c, title={4}}\n", "utf-8")
    read = Bibliography([own, shared])
    assert list(read.entries) == ["a", "b", "c"]
    assert "title={3}" in read.files()["references.bib"]
    assert "title={2}" not in read.files()["references.bib"]


def test_the_report_can_be_cited() -> None:
    """Title, every author, the year of the last run and the address are in the entry and in the page's head."""
    citation = cite_report(Book.model_validate(BOOK), "zh", LAST_RUN)
    assert citation.bibtex.splitlines() == [
        "@misc{report,",
        "  author = { {李明} and {王小華}},",
        "  title = { {甲}: 乙},",
        "  year = {2026},",
        "  url = {https://example.org/book/report/zh/},",
        "}",
    ]
    tags = read_start_tags("\n".join(citation.tags("zh-TW")))
    found = [(attributes["name"], attributes["content"]) for tag, attributes in tags if tag == "meta"]
    assert found == [
        ("citation_title", "甲"),
        ("citation_author", "李明"),
        ("citation_author", "王小華"),
        ("citation_publication_date", "2026/03/02"),
        ("citation_language", "zh-TW"),
        ("citation_public_url", "https://example.org/book/report/zh/"),
        ("citation_pdf_url", "https://example.org/book/report-zh.pdf"),
    ]


def test_a_title_cannot_act() -> None:
    """No text of book.yaml ends the data for search engines, begins a shortcode, or breaks the entry."""
    citation = cite_report(Book.model_validate(BOOK), "en", None)
    script = citation.tags("en")[-1]
    data = json.loads(script.removeprefix('<script type="application/ld+json">').removesuffix("</script>"))
    assert [author["name"] for author in data["author"]] == ["Ming Li", "Hua Wang"]
    assert script.count("<") == 2
    assert "{{<" not in "".join(citation.tags("en"))
    assert r" {A </script> \{\{< x >\}\} \& b}: B\_1" in citation.bibtex


def test_pandoc_reads_the_title_back() -> None:
    """Every character that is active in BibTeX, a backslash at either end too, is in the title that pandoc reads."""
    title = "\\A\\b ~c^ #1 100% $x_2 & \\"
    citation = cite_report(Book.model_validate({"title": title, "subtitle": "B"}), "en", None)
    read = json.loads(
        subprocess.run([find_pandoc(), "-f", "bibtex", "-t", "csljson"], input=citation.bibtex, text=True,
                       capture_output=True, check=True, encoding="utf-8").stdout
    )  # fmt: skip
    assert read[0]["title"].strip() == f"{title}: b"  # an English title gets small letters outside of braces
    assert "{{" not in citation.bibtex


def test_what_is_not_known_is_left_out() -> None:
    """Without author, address and runs there is the title alone."""
    citation = cite_report(Book.model_validate({"title": "A", "subtitle": "B"}), "en", None)
    assert citation.bibtex == "@misc{report,\n  title = { {A}: B},\n}"
