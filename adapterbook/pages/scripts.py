"""Load the scripts of the interactive pages, and hand them their data.

No text in the data can end a script, a fence or a shortcode, and the scripts insert texts as texts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Final

from markupsafe import Markup

from adapterbook.common.cache import Cache
from adapterbook.pages.writing.escape import html_entities

# Below report/: assets/ is written by hand, scripts/ is made.
VEGA: Final = "scripts/vega.js"
STYLE: Final = "assets/interactive.css"
LAB: Final = "assets/lab/loader.js"  # loads what it needs, its style among it
# These could act in HTML, or end a fence or a line of a script. In JSON they occur only in texts.
ACTIVE: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&`\u2028\u2029"})


def head_of(scripts: Sequence[str], up: str) -> list[str]:
    """Return the tags that load a page's scripts and their style.

    Parameters
    ----------
    scripts : sequence of str
        Style sheets (``.css``) and scripts: paths below ``report/``, in the order in which they run.
    up : str
        The way from the page to ``report/``.
    """
    if not scripts:
        return []
    styles = [*([] if set(scripts) == {LAB} else [STYLE]), *(name for name in scripts if name.endswith(".css"))]
    return [
        *(f'<link rel="stylesheet" href="{up}{style}">' for style in styles),
        *(f'<script src="{up}{script}" defer></script>' for script in scripts if not script.endswith(".css")),
    ]


def vega_script(cache: Cache) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, of the version that Altair writes for.

    The script is part of the site, so that a page asks nothing of another host.
    """
    versions = [f"{name} {metadata.version(name)}" for name in ("altair", "vl-convert-python")]
    return cache.get("vega", versions, lambda: _bundle().encode()).decode()


@functools.cache
def _bundle() -> str:
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]  # a snippet is optional


def json_in_script(content: Mapping[str, Any]) -> str:
    """Return JSON in which no character can end a script, or begin one of Quarto's shortcodes."""
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).translate(ACTIVE)
    return data.replace("{{", r"{\u007b")  # JSON's own syntax never has two of them in a row


def script_block(name: str, content: Mapping[str, Any], without: str) -> Markup:
    """Return a raw HTML block: an element of class `name` that holds the data of the script of that name.

    The data are of type ``application/json``, which no browser executes. No character in them can end the element or
    the block, or begin one of Quarto's shortcodes.

    Parameters
    ----------
    without : str
        The text for readers whose browser runs no script.
    """
    return Markup(
        "```{=html}\n"
        f'<div class="{name}">\n<p class="without-script">{html_entities(without)}</p>\n'
        f'<script type="application/json">{json_in_script(content)}</script>\n</div>\n```'
    )
