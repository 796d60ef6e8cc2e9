"""Test that a number typed into the prose of a template is found, with file and line, unless it is marked as meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapterbook.common.errors import RenderError
from adapterbook.config.paths import Paths
from adapterbook.pages.writing.typed_numbers import check_typed_numbers, find_typed_numbers
from tests.support.factory import PROJECT

OVERVIEW = "pages/overview.qmd.j2"


def found(root: Path, name: str, text: str) -> list[tuple[str, int, str]]:
    """Return what is found in a study whose own template has a text."""
    path = root / "templates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return [(number.file, number.line, number.text) for number in find_typed_numbers(Paths(root))]


def test_our_own_texts_have_none() -> None:
    """Every number in the project's templates comes from a record, or is marked as meant."""
    check_typed_numbers(PROJECT)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The best adapter reaches 99.9%, typed by hand.", "99.9%"),
        ("最好的轉接器達到 99.9 %。", "99.9%"),
        ("準確率達９９％。", "９９%"),
        ("準確率達99%。", "99%"),
        ("Of 1,024 sentences", "1,024"),
        ("In 2017 nobody knew.", "2017"),
        ('{{ "99.9%" }} of them', "99.9%"),
        ("{{ '99.9%' }} of them", "99.9%"),
        ('{% set share = "99.9" %}', "99.9"),
        ('{{ 0.999 | show("percent") }}', "0.999"),
        ("<td>99</td>", "99"),
        ("| lora_1 | 99 |", "99"),
        ("[99](x.html)", "99"),
        ("{{ run.record.test.accuracy }} or 99", "99"),
        ("## Chapter 3", "3"),
        ("- 99", "99"),
    ],
)
def test_a_typed_number_is_found(tmp_path: Path, text: str, number: str) -> None:
    """A number in prose, in a table, in a heading or as a text in an expression is found in its file and line."""
    template = f"{{% if zh %}}\nFirst.\n\n{text}\n{{% endif %}}\n"
    assert found(tmp_path, OVERVIEW, template) == [(f"templates/{OVERVIEW}", 4, number)]


@pytest.mark.parametrize(
    "text",
    [
        "{{ run.record.test.accuracy }} of {{ n_test }}",
        "{% if found.n == 1 %}one{% endif %}",
        "{{ tool(3, 4) }}",
        "{# 99.9% of what was here is gone #}",
        "The metric is F1; DistilBERT-6 has IA³, SHA-256, all-MiniLM-L6-v2 and lora_1.",
        "(Wilson, 1927; Guo et al., 2017) and （Hutto 與 Gilbert，2014）",
        "(Hoffer et al.,\n2017)",
        "$2B$ and $$\n\\sum_{t=0}^{T-1} 2\n$$",
        "`learning_rate: 2e-5`",
        "```yaml\nr: 64\n```",
        "[a page](../page-2.html){#sec-2 width=50}",
        '<img width="50%" src="https://example.org/2024/1.png">',
        "<https://example.org/2024>",
        "1. First\n2. Second",
        "{# meant: 95, 1998 #}\nIn 1998, with 95% intervals",
    ],
)
def test_what_is_no_result_needs_no_mark(tmp_path: Path, text: str) -> None:
    """Expressions, names, cited years, formulas, code, addresses and lists are not findings, nor is a marked number."""
    assert found(tmp_path, OVERVIEW, f"{text}\n") == []


def test_a_mark_is_for_its_number_and_its_file(tmp_path: Path) -> None:
    """Another number, and the same one in another file, are still found."""
    assert found(tmp_path, OVERVIEW, "{# meant: 95 #}\nOf 95% and 99%\n") == [(f"templates/{OVERVIEW}", 2, "99%")]
    assert len(found(tmp_path, "pages/method.qmd.j2", "95%\n")) == 2


def test_a_study_s_own_phrases_are_checked(tmp_path: Path) -> None:
    """A number in a phrase is found; comments, keys and placeholders are not read as one; a mark is a YAML comment."""
    text = "# 99 problems\nlabels:\n  n_for_90: {zh: 達 99.9%, en: Reaches {n_1} of 99.9%}\n"
    assert found(tmp_path, "phrases.yaml", text) == [("templates/phrases.yaml", 3, "99.9%")] * 2
    assert found(tmp_path, "phrases.yaml", f"# meant: 99.9\n{text}") == []


def test_the_message_names_every_place_and_the_mark(tmp_path: Path) -> None:
    """One message names file and line of each number, and the comment that marks it."""
    (tmp_path / "templates/pages").mkdir(parents=True)
    (tmp_path / "templates" / OVERVIEW).write_text("a\n12 b\nc 13.5\n", "utf-8")
    (tmp_path / "templates/phrases.yaml").write_text("a: 14\n", "utf-8")
    with pytest.raises(RenderError) as caught:
        check_typed_numbers(Paths(tmp_path))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert lines[1].startswith(f"  - templates/{OVERVIEW}, line 2 types 12, but a number on a page comes from a record")
    assert lines[2].endswith("add the comment {# meant: 13.5 #}")
    assert lines[3].endswith("add the comment # meant: 14")


def test_an_own_template_stands_for_the_shared_one(tmp_path: Path) -> None:
    """A copy of a shared template is checked in its place: the marks of the shared one are not needed in it."""
    shutil.copytree(PROJECT.templates, tmp_path / "templates")
    assert found(tmp_path, OVERVIEW, "nothing\n") == []
