"""Write Markdown: code blocks, tables, and lines joined as each language needs it.

A line break inside a Chinese paragraph would be a visible space, so lines are joined: with nothing between Chinese
characters, with one space elsewhere. Code, raw blocks, formulas, tables and the fences of Divs are not joined.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from adapterbook.common.formatting import count_columns
from adapterbook.pages.writing.escape import escape_text, python_literal

# CJK ideographs, kana, bopomofo and full-width forms: a line break between two of them is not a space.
WIDE: Final = "\u2e80-\u303e\u3040-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
FULL_WIDTH_PUNCTUATION: Final = "，。、；：？！（）「」『』《》〈〉…—"
TIGHT: Final = re.compile(f"[{WIDE}]{{2}}|[{FULL_WIDTH_PUNCTUATION}].|.[{FULL_WIDTH_PUNCTUATION}]", re.DOTALL)
FENCE: Final = re.compile(r"\s*(`{3,}|~{3,}|\$\$)")
# Lines that stand alone: headings, marks of Divs, tables, rules, footnotes and images.
ALONE: Final = re.compile(r"\s*(#{1,6} |:::|\||[-*_]{3,}\s*$|\[\^|!\[)")
# Marks both edges of a text that may be Chinese or Latin, in a private-use character that no font shows.
EDGE: Final = "\ue000"
GAP_BEFORE: Final = re.compile(rf"(?<=[{WIDE}]) (\[?){EDGE}(?=[{WIDE}])")
GAP_AFTER: Final = re.compile(rf"(?<=[{WIDE}]){EDGE}((?:\]\([^()\s]*\))?) (?=[{WIDE}])")
# The first line of a list item, a caption or a definition. The next line may continue it.
OPENS: Final = re.compile(r"\s*([-*+] |\d+[.)] |: )")


def join_lines(source: str) -> str:
    """Return Markdown with the wrapped lines of each paragraph joined.

    Examples
    --------
    >>> join_lines("每輪都評\\n估一次，\\n用 LoRA\\n訓練。\\n\\n下一段")
    '每輪都評估一次，用 LoRA 訓練。\\n\\n下一段'
    """
    joined: list[str] = []
    open_paragraph = False
    for line, protected in _marked(source):
        if protected or not line.strip() or ALONE.match(line):
            joined.append(line)
            open_paragraph = False
        elif open_paragraph and not OPENS.match(line):
            joined[-1] = _join(joined[-1].rstrip(), line.strip())
        else:
            joined.append(line)
            open_paragraph = not line.endswith("\\")
    return "\n".join(joined)


def mark_edges(text: str) -> str:
    """Return a text with its edges marked for :func:`close_gaps`."""
    return f"{EDGE}{text.replace(EDGE, '')}{EDGE}"


def close_gaps(source: str) -> str:
    """Return Markdown without the spaces around a marked text, such as a name, on sides where it is Chinese.

    Examples
    --------
    >>> close_gaps(f"與 {mark_edges('基準')} 比，與 {mark_edges('IA³')} 比")
    '與基準比，與 IA³ 比'
    """
    return GAP_AFTER.sub(r"\1", GAP_BEFORE.sub(r"\1", source)).replace(EDGE, "")


def squeeze_blank_lines(source: str) -> str:
    """Return Markdown with one blank line where there were several, and no space at the ends of lines."""
    kept: list[str] = []
    for line, protected in _marked(source):
        if protected:
            kept.append(line)
        elif line.strip() or (kept and kept[-1]):
            kept.append(line.rstrip())
    return "\n".join(kept)


def _marked(source: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it belongs to code, a raw block or a formula."""
    fence = ""
    for line in source.split("\n"):
        mark = FENCE.match(line)
        if fence:
            yield line, True
            if mark and mark[1].startswith(fence) and _closes(line, fence):
                fence = ""
        elif mark:
            yield line, True
            if not (mark[1] == "$$" and line.count("$$") == 2):
                fence = mark[1]
        else:
            yield line, False


def _closes(line: str, fence: str) -> bool:
    """Return whether a line closes a fence: only a formula's identifier may follow it."""
    return fence == "$$" or not line.strip().strip("`~")


def _join(first: str, second: str) -> str:
    return f"{first}{'' if TIGHT.fullmatch(first[-1] + second[0]) else ' '}{second}"


LINE_LENGTH = 76  # what fits a page of the PDF


def adapter_code(config_class: str, settings: Mapping[str, Any], *, train_adapter: bool = True) -> str:
    """Return the code that makes an adapter's config and puts the adapter into the base model.

    A baseline (``train_adapter=False``) freezes it, so only the head is trained.
    """
    lines = [
        f"from peft import {config_class}, get_peft_model",
        "",
        f"peft_config = {call_code(config_class, settings)}",
        "model = get_peft_model(base_model, peft_config)",
    ]
    if not train_adapter:
        lines = [lines[0], "from adapterbook.training.model import freeze_adapter", *lines[1:], "freeze_adapter(model)"]
    return "\n".join(lines)


def training_code(arguments: Mapping[str, Any]) -> str:
    """Return the code that makes the training arguments; those that are not set are left out.

    Examples
    --------
    >>> print(training_code({"optim": "adamw_torch", "head_learning_rate": 0.001}))
    from transformers import TrainingArguments
    <BLANKLINE>
    arguments = TrainingArguments(
        optim="adamw_torch",
    )
    trainer = ClassifierTrainer(args=arguments, head_learning_rate=0.001)
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    head = given.pop("head_learning_rate", None)
    early = {name: given.pop(name) for name in list(given) if name.startswith("early_stopping_")}
    more = "" if head is None else f", head_learning_rate={head!r}"
    if early:
        more += f", callbacks=[EarlyStoppingCallback({', '.join(f'{key}={value!r}' for key, value in early.items())})]"
    code = f"from transformers import TrainingArguments\n\narguments = {call_code('TrainingArguments', given)}"
    return f"{code}\ntrainer = ClassifierTrainer(args=arguments{more})" if more else code


def call_code(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call with one keyword argument a line.

    Examples
    --------
    >>> print(call_code("LoraConfig", {"r": 64, "bias": "none"}))
    LoraConfig(
        r=64,
        bias="none",
    )
    """
    if not arguments:
        return f"{name}()"
    return "\n".join([f"{name}(", *(_argument(key, value) for key, value in arguments.items()), ")"])


def _argument(key: str, value: object) -> str:
    """Return one keyword argument; a list too long for its line has a line per item."""
    if not key.isidentifier():
        return f"    **{python_literal({key: value})},"
    line = f"    {key}={python_literal(value)},"
    if len(line) <= LINE_LENGTH or not isinstance(value, list | tuple):
        return line
    return "\n".join([f"    {key}=[", *(f"        {python_literal(item)}," for item in value), "    ],"])


ATTRIBUTES: Final = re.compile(r"(?<=[\])`])\{[^{}]*\}")
LINK_TARGET: Final = re.compile(r"(?<=\])\([^()]*\)")
LINKED_NUMBER: Final = re.compile(r"\[(\[[^\][]*\]\{\.n [^{}]*\})\]\([^()]*\)")
MARKS: Final = re.compile(r"[\[\]`*]")
ESCAPED_BRACE, CLOSING_BRACE, WORD_JOINER = "&#123;", "&#125;", "&#8288;"
MIN_WIDTH, MAX_WIDTH = 4, 44
RULES: Final = {"l": (":", ""), "r": ("", ":"), "c": (":", ":"), "-": ("", "")}


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[str], caption: str = "", id: str = ""
) -> Markup:
    """Return a pipe table.

    Parameters
    ----------
    columns : sequence of str
        Headings. A ``str`` is escaped, ``Markup`` is taken as it is; so are the cells.
    rows : sequence of rows
        Each with as many cells as there are columns.
    align : str or sequence of str
        One letter a column: ``l``, ``r``, ``c``, or ``-`` for what the style sheet says.
    caption, id : str
        Without an identifier (``tbl-…``) the table has no number; without a caption it has no line below it. In a line
        ``: caption {#tbl-x}`` Quarto cuts a caption at its first brace, escaped or not, so a caption with a brace is
        written as the last paragraph of a Div.

    Raises
    ------
    ValueError
        If a row or ``align`` has another number of columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a table of {len(columns)} columns has a row of {len(row)}: {list(row)!r}")
    if len(align) != len(columns):
        raise ValueError(f"a table of {len(columns)} columns has the alignment {align!r}")
    cells = [[_cell(cell) for cell in row] for row in (columns, *rows)]
    widths = [min(max(MIN_WIDTH, *(visible_width(row[i]) for row in cells)), MAX_WIDTH) for i in range(len(columns))]
    rule = [
        RULES[letter][0] + "-" * (width - sum(map(len, RULES[letter]))) + RULES[letter][1]
        for letter, width in zip(align, widths, strict=True)
    ]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + "|".join(rule) + "|")
    text = "\n".join(lines)
    shown = _cell(caption)
    if shown.endswith(CLOSING_BRACE):
        shown += WORD_JOINER  # else Quarto takes what stands in the braces for the caption's attributes
    if id and ESCAPED_BRACE in shown:
        text = f"::: {{#{id}}}\n{text}\n\n{shown}\n:::"
    elif caption or id:
        text += f"\n\n: {shown}{f' {{#{id}}}' if id else ''}"
    return Markup(text)


def keep_one_link(row: Sequence[str]) -> list[str]:
    """Return a row in which the first number that is a link stays one, and the others are numbers alone.

    Examples
    --------
    >>> keep_one_link(["a", Markup('[[1]{.n data-run="r"}](u#x)'), Markup('[[2]{.n data-run="r"}](u#y)')])
    ['a', Markup('[[1]{.n data-run="r"}](u#x)'), Markup('[2]{.n data-run="r"}')]
    """
    n_seen = 0

    def shown(match: re.Match[str]) -> str:
        nonlocal n_seen
        n_seen += 1
        return match[0] if n_seen == 1 else match[1]

    return [Markup(LINKED_NUMBER.sub(shown, cell)) if isinstance(cell, Markup) else cell for cell in row]


def visible_width(cell: str) -> int:
    """Return the width of a cell on the page, in Latin letters; a Chinese character counts as two.

    Examples
    --------
    >>> visible_width('[93.8%]{.n data-run="lora_1"}')
    5
    >>> visible_width('[[93.8%]{.n data-run="lora_1"}](../notebooks/lora_1.qmd#r-test-accuracy)')
    5
    >>> visible_width("準確率")
    6
    """
    text = html.unescape(MARKS.sub("", LINK_TARGET.sub("", ATTRIBUTES.sub("", cell))))
    return count_columns(text)


def _cell(cell: str) -> str:
    """Return a cell on one line; a line break would end the table."""
    text = cell if isinstance(cell, Markup) else escape_text(cell)
    return " ".join(str(text).split("\n")).strip()
