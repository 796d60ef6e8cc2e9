"""Convert many documents in one process of pandoc: each is independent of the others, and none reads a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterbook.common.cache import Cache
from adapterbook.common.errors import RenderError
from adapterbook.site.embedded.html import FILTER
from adapterbook.site.pandoc import N_PROCESSES, Job, convert_ahead, convert_all, plain_title

FIGURE = "![A](a.svg){{#fig-{name}}}\n\nSee @fig-{name}.\n"


def test_answers_come_in_the_order_of_the_questions() -> None:
    """Each answer belongs to its job, however the jobs are dealt out to processes."""
    jobs = [Job(f"{n}.qmd", "word " * n + str(n), writer="plain") for n in range(4 * N_PROCESSES + 1)]
    assert [answer.split()[-1] for answer in convert_all(jobs)] == [str(n) for n in range(len(jobs))]


def test_counting_begins_anew_for_each_document() -> None:
    """The filter numbers the figures of every page from one."""
    jobs = [Job(name, FIGURE.format(name=name), writer="html5", filter=FILTER) for name in "abcde"]
    assert [("Figure\u00a01" in answer, "Figure\u00a02" in answer) for answer in convert_all(jobs)] == [
        (True, False)
    ] * 5


def test_every_page_with_a_problem_is_named() -> None:
    """Formulas that pandoc cannot convert and references without a target are all in one message, by page."""
    jobs = [
        Job("good.qmd", "$x^2$", writer="html5", filter=FILTER),
        Job("formula.qmd", "$\\unknowncommand{x}$", writer="html5", filter=FILTER),
        Job("reference.qmd", "See @fig-gone.", writer="html5", filter=FILTER),
    ]
    with pytest.raises(RenderError, match="2 of 3 pages") as caught:
        convert_all(jobs)
    formula, reference = caught.value.problems
    assert formula.startswith("formula.qmd: ")
    assert "unknowncommand" in formula
    assert reference.splitlines()[-1].strip() == "unresolved reference @fig-gone"


def test_no_document_reads_a_file(tmp_path: Path) -> None:
    """A format that can include files cannot do so here."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret", "utf-8")
    try:
        answers = convert_all([Job("a.rst", f".. include:: {secret}\n", reader="rst", writer="plain")])
    except RenderError as error:
        answers = [str(error)]
    assert "the secret" not in answers[0]


def test_what_was_converted_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is converted once under any name; for another format it is converted again."""
    cache = Cache(tmp_path)
    first = convert_all([Job("a.qmd", "# One\n", writer="html5"), Job("b.qmd", "Two\n", writer="html5")], cache)
    monkeypatch.setattr("adapterbook.site.pandoc.find_pandoc", lambda: str(tmp_path / "no-pandoc"))
    assert convert_all([Job("c.qmd", "# One\n", writer="html5")], cache) == first[:1]
    for other in (Job("a.qmd", "# One\n"), Job("a.qmd", "# One\n", writer="html5", metadata={"lang": "en"})):
        with pytest.raises(FileNotFoundError, match="no-pandoc"):  # tries to start pandoc
            convert_all([other], cache)


def test_what_fails_ahead_fails_when_it_is_asked_for(tmp_path: Path) -> None:
    """Converting ahead keeps the sound answers and raises nothing; each request for a bad text raises its error."""
    cache = Cache(tmp_path)
    sound, broken = Job("a.qmd", "# One\n"), Job("a.qmd", "See @fig-gone.", writer="html5", filter=FILTER)
    convert_ahead([sound, broken], cache)
    assert cache.find("pandoc", sound.parts()) is not None
    for _ in range(2):
        with pytest.raises(RenderError, match="unresolved reference @fig-gone"):
            convert_all([broken], cache)


def test_formats_of_one_text_do_not_touch_each_other() -> None:
    """A text is read once for several formats, and no format's filter or metadata changes another's output."""
    text = "![A](a.svg){#fig-a}\n\nSee @fig-a.\n"
    jobs = [
        Job("a.qmd", text, writer="html5", filter=FILTER, metadata={"lang": "zh-TW"}),
        Job("a.qmd", text),
        Job("a.qmd", text, writer="html5", filter=FILTER),
        Job("a.qmd", text, writer="typst", filter=FILTER),
    ]
    assert convert_all(jobs) == [convert_all([job])[0] for job in jobs]


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("LoRA 1", "LoRA 1"),
        ("r &#42; 2 &#60;b&#62;", "r * 2 <b>"),
        ("*IA*^3^ &amp; `LoRA`", "IA3 & LoRA"),
        ("a <b>bold</b> word", "a <b>bold</b> word"),
    ],
)
def test_titles_are_plain_text(title: str, plain: str) -> None:
    """Markdown in a title is read, entities are characters, and HTML is text."""
    assert plain_title(title, page="a.qmd") == plain
