"""The scripts that a page brings along, and the one among them that is made and not written.

Owns which files a page names in its head, from where it lies, and the script of Vega: a page asks nothing of another
host, so the one that draws the charts is part of the site. Pages that show no chart do not load it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import metadata
from typing import Final

from adapterbook.common.cache import Cache

# Below report/: assets/ is written by hand, scripts/ is made.
VEGA: Final = "scripts/vega.js"
STYLE: Final = "assets/interactive.css"


def head_of(scripts: Sequence[str], up: str) -> list[str]:
    """Return what a page's head says of its scripts and their style.

    Parameters
    ----------
    scripts : sequence of str
        Paths below ``report/``, in the order in which they run.
    up : str
        The way from the page to ``report/``.
    """
    if not scripts:
        return []
    style = f'<link rel="stylesheet" href="{up}{STYLE}">'
    return [style, *(f'<script src="{up}{script}" defer></script>' for script in scripts)]


def vega_script(cache: Cache) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, of the version that Altair writes for."""
    versions = [f"{name} {metadata.version(name)}" for name in ("altair", "vl-convert-python")]
    return cache.get("vega", versions, lambda: _bundle().encode()).decode()


@functools.cache
def _bundle() -> str:
    import altair
    import vl_convert

    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]  # a snippet is optional
