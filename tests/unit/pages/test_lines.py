"""Line breaks and blank lines in the source of a page."""

from __future__ import annotations

import pytest

from adapterbook.pages.writing.markdown import close_gaps, join_lines, mark_edges, squeeze_blank_lines


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("中文\n中文", "中文中文"),
        ("中文，\n中文", "中文，中文"),
        ("中文，\nLoRA", "中文，LoRA"),
        ("LoRA\n，中文", "LoRA，中文"),
        ("中文\nLoRA 中文", "中文 LoRA 中文"),
        ("LoRA\n中文", "LoRA 中文"),
        ("one\ntwo", "one two"),
        ("一\n\n二", "一\n\n二"),
        ("- 一\n  二\n- 三\n四", "- 一二\n- 三四"),
        (": 定義\n  接著", ": 定義接著"),
        ("# 標題\n內文\n內文", "# 標題\n內文內文"),
        ("::: {.a}\n一\n二\n:::", "::: {.a}\n一二\n:::"),
        ("| 一 |\n|---|\n| 二 |", "| 一 |\n|---|\n| 二 |"),
        ("```python\n一\n二\n```\n三\n四", "```python\n一\n二\n```\n三四"),
        ("````\n```\n一\n```\n二\n````", "````\n```\n一\n```\n二\n````"),
        ("~~~\n一\n二\n~~~", "~~~\n一\n二\n~~~"),
        ("```{=html}\n一\n二\n```", "```{=html}\n一\n二\n```"),
        ("$$\nx\ny\n$$ {#eq-a}\n一\n二", "$$\nx\ny\n$$ {#eq-a}\n一二"),
        ("$$ x $$\n一\n二", "$$ x $$\n一二"),
        ("一\\\n二", "一\\\n二"),
        ("![圖](a.svg)\n一", "![圖](a.svg)\n一"),
        ("[^1]: 註\n一", "[^1]: 註\n一"),
    ],
)
def test_wrapped_lines_are_joined_where_they_are_prose(source: str, expected: str) -> None:
    """Prose is joined as Chinese is written; code, tables, formulas and marks keep their lines."""
    assert expected == join_lines(source)


def test_blank_lines_are_squeezed_but_not_in_code() -> None:
    """Several blank lines become one and trailing spaces go, outside of code."""
    assert squeeze_blank_lines("a  \n\n\n\nb\n```\nc \n\n\nd\n```\n\n\ne") == "a\n\nb\n```\nc \n\n\nd\n```\n\ne"


@pytest.mark.parametrize(
    ("template", "latin", "chinese"),
    [
        ("比 {} 好", "比 IA³ 好", "比基準好"),
        ("{} 好", "IA³ 好", "基準好"),
        ("比 {}", "比 IA³", "比基準"),
        ("比 [{}](a/b.qmd) 好", "比 [IA³](a/b.qmd) 好", "比[基準](a/b.qmd)好"),
        ("a {} b", "a IA³ b", "a 基準 b"),
        ("| {} |", "| IA³ |", "| 基準 |"),
    ],
)
def test_a_name_has_spaces_only_where_it_is_latin(template: str, latin: str, chinese: str) -> None:
    """One sentence fits Latin and Chinese names: the spaces around a Chinese one go, its own stay."""
    assert latin == close_gaps(template.format(mark_edges("IA³")))
    assert chinese == close_gaps(template.format(mark_edges("基準")))
    assert close_gaps(mark_edges("甲 \ue000乙 丙")) == "甲 乙 丙"
