"""Line breaks and blank lines in the source of a page."""

from __future__ import annotations

import pytest

from adapterbook.pages.lines import join_lines, squeeze_blank_lines


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
