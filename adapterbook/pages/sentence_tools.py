"""The words of report/assets/sentences.js, which lets a reader sort and choose the test sentences."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

from adapterbook.common.formatting import Language
from adapterbook.pages.script_data import script_block
from adapterbook.pages.writing.wording import Wording

WORDS: Final = ("show", "all", "divided", "wrong", "all_wrong", "wrong_by", "status")


def sentence_tools(wording: Wording, language: Language) -> Markup:
    """Return the block in whose place the script puts its controls."""

    def text(name: str) -> str:
        return wording.text("labels", ["sentences", name], language)

    return script_block("sentences", {name: text(name) for name in WORDS}, text("without"))
