"""Join wrapped lines and remove needless blank lines of Markdown, without changing code, raw blocks or formulas.

A line break inside a Chinese paragraph would be a visible space, so lines are joined: with nothing between Chinese
characters, with one space elsewhere. Tables and the fences of Divs are not joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# CJK ideographs, kana, bopomofo and full-width forms: between two of them a line break is no space.
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
# The first line of a list item, a caption or a definition: what follows may be its continuation.
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
