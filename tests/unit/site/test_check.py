"""Test the check before rendering: each test breaks the sound sample project in one way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterbook.common.errors import RenderError
from adapterbook.site import check_project
from tests.support.site_sample import write_sample

ZH = "report/zh/index.qmd"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_sample(tmp_path)


def append(project: Path, text: str, name: str = ZH) -> None:
    path = project / name
    path.write_text(path.read_text("utf-8") + "\n" + text + "\n", "utf-8")


def replace(old: str, new: str, name: str = ZH) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        path = project / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    return change


def test_sound_project_passes(project: Path) -> None:
    """The sample, which uses every construct, has no problem."""
    check_project(project)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("見 @fig-none 。", r"index\.qmd:\d+: cross-reference @fig-none leads nowhere"),
        ("![圖](none.svg){#fig-new}", r"index\.qmd:\d+: picture none\.svg is not there"),
        ("![圖](https://example.org/a.png){#fig-new}", r"lies on another host"),
        ("[x](../en/none.qmd)", r"link to \.\./en/none\.qmd: no such page"),
        ("[x](../en/index.qmd#none)", r"report/en/index\.qmd has no id none"),
        ("[x](#none)", r"link to #none: no such id on this page"),
        ("[x](none.json)", r"link to none\.json: no such file"),
        ("[]{#sec-question}", r"id sec-question is used 2 times"),
        ('```{=html}\n<p id="raw-html"></p>\n```', r"id raw-html is used 2 times"),
        ("{{< include secret.md >}}", r"index\.qmd:\d+: a shortcode"),
        ('::: {.content-visible when-format="html"}\n見 @tbl-none\n:::', r"@tbl-none leads nowhere"),
    ],
)
def test_problem_in_a_page_is_found(project: Path, text: str, message: str) -> None:
    """Each kind of mistake is found, and the message names the page and, if there is one, the line."""
    append(project, text)
    with pytest.raises(RenderError, match=message):
        check_project(project)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace("translation: ../en/index.qmd\n", ""), r"zh/index\.qmd: no `translation:`"),
        (replace("translation: ../en/index.qmd", "translation: ../en/none.qmd"), r"none\.qmd is not a page"),
        (replace("translation: ../en/index.qmd", "translation: adapters/ia3.qmd"), "does not name it"),
        (replace('title: "總覽"', 'title: ""'), "no title in the front matter"),
        (replace("lang: zh-TW", "lang: [zh"), "front matter: not valid YAML"),
        (
            replace("report/zh/adapters/ia3.qmd", "report/zh/x.qmd", "report/_navigation.yml"),
            "not a page of project.render",
        ),
    ],
)
def test_problem_around_the_pages_is_found(project: Path, change: Callable[[Path], None], message: str) -> None:
    """Front matter and menus are checked as well as text."""
    change(project)
    with pytest.raises(RenderError, match=message):
        check_project(project)


def test_combined_document_is_checked(project: Path) -> None:
    """A cross-reference that is unresolved only in the PDF's document is found in it."""
    append(project, "見 @fig-none", "report/pdf/report-zh.qmd")
    with pytest.raises(RenderError, match=r"report-zh\.qmd:\d+: cross-reference @fig-none"):
        check_project(project)


def test_content_of_the_other_format_is_left_out(project: Path) -> None:
    """Content for the PDF alone neither defines anything nor needs anything on the web."""
    append(project, '::: {.content-visible when-format="typst"}\n見 @fig-only-in-print\n:::')
    check_project(project)
    append(project, '::: {.content-visible when-format="pdf"}\n[]{#only-in-print}\n:::\n\n[x](#only-in-print)')
    with pytest.raises(RenderError, match="#only-in-print"):
        check_project(project)


def test_all_problems_come_at_once(project: Path) -> None:
    """Three mistakes on two pages are three lines of one message."""
    append(project, "見 @fig-one 與 @fig-two")
    append(project, "[x](none.json)", "report/en/index.qmd")
    with pytest.raises(RenderError) as caught:
        check_project(project)
    assert len(caught.value.problems) == 3


def test_escaped_shortcode_and_pdf_link_pass(project: Path) -> None:
    """A shortcode written with entities is text, and a link to a PDF that is made later is not broken."""
    append(project, "&#123;&#123;&lt; include x &gt;}} 與 [PDF](../../report-zh.pdf)")
    check_project(project)
    append(project, "[PDF](../../report-fr.pdf)")
    with pytest.raises(RenderError, match=re.escape("report-fr.pdf: no such file")):
        check_project(project)
