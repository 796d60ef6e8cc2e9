"""Many conversions in one process of pandoc: each is on its own, and none reads a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapterbook.errors import RenderError
from adapterbook.site.embedded.html import FILTER
from adapterbook.site.pandoc import N_PROCESSES, Job, convert_all, parse_all, plain_title

FIGURE = "![A](a.svg){{#fig-{name}}}\n\nSee @fig-{name}.\n"


def test_answers_come_in_the_order_of_the_questions() -> None:
    """However the jobs are dealt out to processes, each answer is its own job's."""
    jobs = [Job(f"{n}.qmd", "word " * n + str(n), writer="plain") for n in range(4 * N_PROCESSES + 1)]
    assert [answer.split()[-1] for answer in convert_all(jobs)] == [str(n) for n in range(len(jobs))]


def test_counting_begins_anew_for_each_document() -> None:
    """The filter numbers the figures of every page from one."""
    jobs = [Job(name, FIGURE.format(name=name), writer="html5", filter=FILTER) for name in "abcde"]
    assert [("Figure\u00a01" in answer, "Figure\u00a02" in answer) for answer in convert_all(jobs)] == [
        (True, False)
    ] * 5


def test_every_page_with_a_problem_is_named() -> None:
    """Formulas that pandoc cannot convert and references that lead nowhere are all in one message, by page."""
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


def test_trees_are_remembered() -> None:
    """A text that was read once is not read again, under whatever name."""
    first = parse_all({"a.qmd": "# One\n", "b.qmd": "Two\n"})
    assert parse_all({"c.qmd": "# One\n"})["c.qmd"] is first["a.qmd"]
    assert json.dumps(first["b.qmd"]["blocks"]) == '[{"t": "Para", "c": [{"t": "Str", "c": "Two"}]}]'


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
