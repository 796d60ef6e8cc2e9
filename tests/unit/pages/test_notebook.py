"""Executed notebooks as pages: outputs are text, prose is trusted only where the project wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapterbook.common.errors import RenderError
from adapterbook.pages.notebook import MAX_OUTPUT, notebook_body, prose_of


def write_notebook(folder: Path, *cells: dict[str, Any]) -> Path:
    """Write a notebook of some cells."""
    path = folder / "notebook.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}), "utf-8")
    return path


def prose(source: str | list[str], *tags: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {"tags": list(tags)}, "source": source}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": list(outputs)}


def stream(text: str | list[str], name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def body(path: Path, language: Any = "en", trusted: Any = (), hidden: Any = None) -> str:
    """Return a notebook's page."""
    made = notebook_body(path, language, trusted=trusted, hidden=hidden or {})
    assert made is not None
    return made


def test_cells_are_shown_to_their_language(tmp_path: Path) -> None:
    """Tagged prose is its language's, untagged prose is everybody's."""
    path = write_notebook(tmp_path, prose("中文", "zh"), prose("English", "en"), prose("both", "other"))
    trusted = prose_of(path)
    assert body(path, "zh", trusted) == "中文\n\nboth"
    assert body(path, "en", trusted) == "English\n\nboth"


def test_prose_of_the_project_is_markdown_one_level_lower(tmp_path: Path) -> None:
    """Headings go down a level, as the page has a title; code in the prose stays as it is."""
    path = write_notebook(tmp_path, prose(["# A\n", "text\n", "```\n", "# not a heading\n", "```\n", "## B\n"]))
    assert body(path, trusted=prose_of(path)) == (
        "## A {#sec-notebook-1}\ntext\n```\n# not a heading\n```\n### B {#sec-notebook-2}\n"
    )


def test_prose_from_elsewhere_is_shown_as_text(tmp_path: Path) -> None:
    """A Markdown cell that the project's notebook does not have can do nothing."""
    shown = body(write_notebook(tmp_path, prose("# <script>alert(1)</script> {{< env HOME >}}")))
    assert shown.startswith('```{=html}\n<pre class="prose">')
    assert "<script" not in shown
    assert "{{" not in shown


def test_outputs_are_what_a_terminal_shows(tmp_path: Path) -> None:
    """Colours and overwritten progress go; neighbouring texts of a stream are one; errors are told apart."""
    path = write_notebook(
        tmp_path,
        code("f()", stream("a\n"), stream(["b\r", "c\n"]), stream("\x1b[31mred\x1b[0m\r\n"), stream("warn", "stderr")),
        code("g()", {"output_type": "execute_result", "data": {"text/plain": ["x", "y"], "text/html": "<b>"}}),
        code("h()", {"output_type": "display_data", "data": {"image/png": "AAAA"}}, stream("   ")),
    )
    shown = body(path)
    assert "a\nc\nred" in shown
    assert '<pre class="cell-output cell-output-error"><code>warn</code></pre>' in shown
    assert "<code>xy</code>" in shown
    assert "AAAA" not in shown
    assert shown.count("<pre") == 3


def test_an_error_shows_its_traceback_or_its_name(tmp_path: Path) -> None:
    """A traceback is shown without colours; an error without one by its name and message."""
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "bad",
        "traceback": ["\x1b[0;31mTrace\x1b[0m", "x"],
    }
    shown = body(write_notebook(tmp_path, code("f()", error), code("g()", error | {"traceback": None})))
    assert "Trace\nx" in shown
    assert "ValueError&#58; bad" in shown


def test_folders_of_this_machine_are_hidden(tmp_path: Path) -> None:
    """A path of the machine that ran the notebook is on no page, in code or in output."""
    path = write_notebook(tmp_path, code("x = '/home/ann/p/a.py'", stream("/home/ann/p/a.py /home/ann/b\n")))
    shown = body(path, hidden={"/home/ann/p": ".", "/home/ann": "~"})
    assert "ann" not in shown
    assert "'a.py'" in shown


def test_a_long_output_is_cut_and_says_so(tmp_path: Path) -> None:
    """A line of a megabyte does not become a page of a megabyte."""
    shown = body(write_notebook(tmp_path, code("f()", stream("x" * 1_000_000))))
    assert len(shown) < MAX_OUTPUT + 1_000
    assert f"{1_000_000 - MAX_OUTPUT:,}".replace(",", "&#44;") in shown


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', '{"cells": ["x", null]}', "\x00"])
def test_a_broken_notebook_is_no_page_and_no_crash(tmp_path: Path, content: str) -> None:
    """A truncated or odd notebook gives no body, or an empty one; the project's own broken notebook is an error."""
    path = tmp_path / "notebook.ipynb"
    path.write_text(content, "utf-8")
    assert not notebook_body(path, "en", trusted=(), hidden={})
    assert notebook_body(tmp_path / "none.ipynb", "en", trusted=(), hidden={}) is None
    if content in ("", "{"):
        with pytest.raises(RenderError, match="is not a readable notebook"):
            prose_of(path)
