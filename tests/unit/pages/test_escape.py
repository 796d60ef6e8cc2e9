"""Hostile texts through pandoc: they come out as typed, and as nothing but text."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pypandoc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterbook.pages.writing.escape import (
    escape_attribute,
    escape_metadata,
    escape_text,
    front_matter,
    guard_from_typst,
    inline_code,
    python_block,
    python_literal,
    raw_html_code,
)
from adapterbook.pages.writing.markdown import adapter_code, call_code, make_table, visible_width
from tests.support.factory import HOSTILE_TEXTS
from tests.support.report_pages import each_node, parse_markdown

MORE_TEXTS = (
    "Mr. Smith e.g. x", "1. a", "(@) a", "A) x", "i. x", "http://example.org me@x.org", "    four", "Term\n: def",
    "% title", "\\begin{x}", "[^1]: note", "~~~", "***", "---", "===", "| a", "+---+", ":smile:", "&nbsp;", "x\\",
    "a\u2028b\x85c", "{{{< meta title >}}}", "{{< env HOME >}}", "{{<include /etc/passwd>}}", "</script>", "]]>", "$$",
    "`" * 12, "${HOME} $(id) %s", "<a href='javascript:x'>", "#x {.y}", "x" * 500, "a  b",
)  # fmt: skip
TEXTS = (*(text for text in HOSTILE_TEXTS if "\u202e" not in text), *MORE_TEXTS)


def text_of(tree: Any) -> str:
    """Return the text of a piece of pandoc's tree."""
    return "".join(
        node["c"] if node["t"] == "Str" else " "
        for node in each_node(tree)
        if node["t"] in ("Str", "Space", "SoftBreak")
    )


def kinds_of(tree: Any) -> set[str]:
    """Return the names of the elements in a piece of pandoc's tree."""
    return {node["t"] for node in each_node(tree)}


def as_shown(text: str) -> str:
    """Return a text as HTML shows it: white space is one space."""
    return " ".join(text.split())


@pytest.mark.parametrize("text", TEXTS)
def test_prose_shows_a_text_as_typed(text: str) -> None:
    """In a paragraph a text is letters and spaces and nothing else."""
    tree = parse_markdown(str(escape_text(text)))["blocks"]
    assert as_shown(text) == text_of(tree)
    assert kinds_of(tree) <= {"Para", "Str", "Space"}


@pytest.mark.parametrize("text", TEXTS)
def test_table_cells_headings_and_captions_show_a_text_as_typed(text: str) -> None:
    """In a table a text stays in its cell: two rows and two columns remain two rows and two columns."""
    table = make_table(["a", text], [[text, "b"], ["c", text]], align="lr", caption=text, id="tbl-x")
    tree = parse_markdown(str(table))["blocks"]
    assert len(tree) == 1
    assert [tree[0]["t"]] == ["Div" if "{" in text else "Table"]  # Quarto cuts other captions at a brace
    assert '"tbl-x"' in json.dumps(tree[0]["c"][0])
    assert text_of(tree).replace("\u2060", "").count(as_shown(text)) == 4
    assert not kinds_of(tree) & {"RawInline", "RawBlock", "Math", "Cite", "Link", "Image", "Code", "Quoted", "Emph",
                                 "Strong", "Note", "Superscript", "Subscript", "Strikeout"}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_titles_links_and_headings_show_a_text_as_typed(text: str) -> None:
    """In front matter, as a link's text and as a heading a text is text; in front matter it is no shortcode either."""
    escaped = escape_text(text)
    matter = front_matter({"title": escape_metadata(text)})
    tree = parse_markdown(f"{matter}\n# {escaped} {{#x}}\n\n[{escaped}](page.html)\n")
    title = text_of(tree["meta"]["title"])
    assert as_shown(text) == title.replace("\u2060", "")
    assert not {"{{", "}}"} & {title[i : i + 2] for i in range(len(title))}
    heading, paragraph = tree["blocks"]
    assert as_shown(text) == text_of(heading["c"][2])
    link = paragraph["c"][0]
    assert (as_shown(text), "page.html") == (text_of(link["c"][1]), link["c"][2][0])


TYPST_TEXTS = (*TEXTS, "= a", "- a", "+ a", "/ a: b", "12. a", "= a - b + c", "wait ... what", "-5", "a -? b", "=")


def test_cells_and_items_show_a_text_as_typed_in_typst() -> None:
    """In Typst no cell and no item begins with a mark, and no dots or hyphens are left to its typography."""
    escaped = [escape_text(text) for text in TYPST_TEXTS]
    items = "\n".join(f"- {text}" for text in escaped)
    table = make_table(["a", "b"], [[text, text] for text in escaped], align="ll")
    written = to_typst(guard_from_typst(f"{items}\n\n{table}\n"))
    assert not re.search(r"(?:\[|^\s*- )(?:[-=+/] |\d+\. )", written, re.MULTILINE)
    assert not re.search(r"\.\.|-\?|-\d", written.partition("table.hline")[2])
    unguarded = to_typst(f"{items}\n\n{table}\n")
    assert re.search(r"\[= a\]", unguarded), "pandoc has mended this: the guard can go"
    assert unguarded == written.replace("\u2060", "")


def to_typst(markdown: str) -> str:
    """Return pandoc's Typst of a text."""
    command = [pypandoc.get_pandoc_path(), "--from=markdown", "--to=typst", "--wrap=none"]
    return subprocess.run(command, input=markdown, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("text", TEXTS)
def test_attributes_hold_a_text_and_no_shortcode(text: str) -> None:
    """An alternative text is the text; two braces are parted invisibly, as Quarto looks for shortcodes there."""
    tree = parse_markdown(f'![caption](x.png){{#fig-x fig-alt="{escape_attribute(text)}"}}')["blocks"]
    image = next(node for node in each_node(tree) if node["t"] == "Image")
    found = dict(image["c"][0][2])["fig-alt"]
    assert as_shown(text) == found.replace("\u2060", "")
    assert "{{" not in found
    assert "}}" not in found


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_written_holds_a_shortcode(text: str) -> None:
    """Quarto reads shortcodes in the source of a page, in code and in decoded attributes: none is ever written."""
    written = [escape_text(text), escape_attribute(text), inline_code(text), python_block(text), raw_html_code(text),
               python_block(adapter_code("LoraConfig", {"target_modules": text}))]  # fmt: skip
    assert not [part for part in written if "{{<" in part]


@pytest.mark.parametrize("text", TEXTS)
def test_inline_code_shows_a_text_as_typed(text: str) -> None:
    """As code a text is one piece of code, or where that is not safe, text of the class code."""
    tree = parse_markdown(f"| a | b |\n|---|---|\n| {inline_code(text)} | c |\n")["blocks"]
    assert len(tree) == 1
    assert not kinds_of(tree) & {"RawInline", "RawBlock", "Math", "Cite", "Link", "Image"}
    code = [node["c"][1] for node in each_node(tree) if node["t"] == "Code"]
    shown = code[0] if code else text_of([node for node in each_node(tree) if node["t"] == "Span"])
    assert as_shown(text) == as_shown(shown)


@pytest.mark.parametrize("text", TEXTS)
def test_code_blocks_cannot_be_left(text: str) -> None:
    """A block of code or output is one element whatever is in it."""
    for block in (python_block(text), raw_html_code(text, css_class="cell-output")):
        tree = parse_markdown(f"before\n\n{block}\n\nafter")["blocks"]
        assert ["Para", tree[1]["t"], "Para"] == [node["t"] for node in tree]
        assert tree[1]["t"] in ("CodeBlock", "RawBlock")


@pytest.mark.parametrize("text", TEXTS)
def test_raw_html_has_no_element_but_its_own(text: str) -> None:
    """Between the tags of an output there is no character that could begin another one."""
    html = raw_html_code(text).removeprefix("```{=html}\n<pre><code>").removesuffix("</code></pre>\n```")
    assert not set(html) & set("<>\"'`{}")


@pytest.mark.parametrize(
    "value", [*TEXTS, 1, 2e-5, 0.1, True, None, ["q_lin", "{{< x >}}"], {"a": ["\u202e\0\U0001f600"]}]
)
def test_python_literals_are_the_value(value: Any) -> None:
    """The code of a setting evaluates to the setting, and holds no control character."""
    code = python_literal(value)
    assert value == eval(code)  # noqa: S307  our own code, and the claim of the test
    assert code.isprintable()


def test_python_code_reads_well() -> None:
    """Numbers look as people write them, and long lists get a line per item."""
    assert python_literal(2e-5) == "2e-5"
    assert call_code("f", {"a": 1, "b-c": 2}) == 'f(\n    a=1,\n    **{"b-c": 2},\n)'
    long = call_code("f", {"target_modules": ["a" * 30, "b" * 30, "c" * 30]})
    assert all(len(line) < 60 for line in long.split("\n"))
    assert call_code("f", {}) == "f()"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u202eabc", "\u2068\u202eabc\u2069"),
        ("a\u2069b", "\u2068a\ufffdb\u2069"),
        ("\u2067a", "\u2068\u2067a\u2069\u2069"),
        ("\u2067a\u2069", "\u2068\u2067a\u2069\u2069"),
        ("אבג", "\u2068אבג\u2069"),
        ("中文 abc", "中文 abc"),
        ("a\0b\x1b\x7f", "a\ufffdb\ufffd\ufffd"),
        ("\ud800", "\ufffd"),
    ],
)
def test_directions_and_controls_are_contained(text: str, expected: str) -> None:
    """What could reorder its neighbours is isolated and cannot leave; control characters are replaced."""
    assert expected == escape_text(text)


def test_a_fence_is_longer_than_any_run_inside() -> None:
    """Backticks inside code cannot close its block."""
    assert python_block("`````").startswith("``````python\n")
    assert 'python filename="a.py"' in python_block("x", "a.py")


def test_titles_read_well_where_they_are_read_aloud() -> None:
    """Quarto reads a title out as it is written: what is harmless stays as it is."""
    for title in ("LoRA 2: feed-forward layers too", "α/r = 0.25, r = 64 (50%); a+b", "IA³", "基準：只訓練分類頭"):
        assert title == escape_metadata(title)


def test_captions_that_end_in_a_brace_keep_their_words() -> None:
    """Quarto would take ``{b}`` at a caption's end for attributes: an invisible character follows it."""
    table = make_table(["a"], [["b"]], align="l", caption="a {b}", id="tbl-x")
    assert table.endswith("&#123;b&#125;&#8288;\n:::")


def test_tables_refuse_rows_of_another_length() -> None:
    """A row with a cell too many, or an alignment too short, is an error and not a shifted table."""
    with pytest.raises(ValueError, match="a table of 2 columns has a row of 1"):
        make_table(["a", "b"], [["c"]], align="ll")
    with pytest.raises(ValueError, match="a table of 2 columns has the alignment 'l'"):
        make_table(["a", "b"], [["c", "d"]], align="l")
    assert visible_width('[準確率](x.qmd) [93.8%]{.n data-run="a"}') == 12


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), min_size=20, max_size=40))
def test_any_text_stays_text(texts: list[str]) -> None:
    """Whatever text: a paragraph of it is one paragraph of words, and nothing else."""
    tree = parse_markdown("\n\n".join(f"x {escape_text(text)} x" for text in texts))["blocks"]
    assert len(texts) == len(tree)
    assert kinds_of(tree) <= {"Para", "Str", "Space"}
