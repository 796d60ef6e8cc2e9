"""What a page's script needs to know → a block of the page that holds it, as data.

Owns that data stay data: a block of type ``application/json`` is never executed, and no character in it can end the
script, the raw block around it or begin one of Quarto's shortcodes. The page's policy allows no script in a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup

from adapterbook.pages.writing.escape import html_entities, isolate_text

# What could act in HTML, or end a fence or a line of a script. In JSON these stand in texts only.
ACTIVE: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&`\u2028\u2029"})


def plain(text: str) -> str:
    """Return a text that a script may show as text: on one line, no control character, its direction its own."""
    return isolate_text(text)


def script_block(name: str, content: Mapping[str, Any], without: str) -> Markup:
    """Return a raw HTML block: an element of class `name` that holds the data of the script of that name.

    Parameters
    ----------
    without : str
        What a reader sees where no script runs.
    """
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).translate(ACTIVE)
    data = data.replace("{{", r"{\u007b")  # of JSON itself no two stand side by side
    return Markup(
        "```{=html}\n"
        f'<div class="{name}">\n<p class="without-script">{html_entities(without)}</p>\n'
        f'<script type="application/json">{data}</script>\n</div>\n```'
    )
