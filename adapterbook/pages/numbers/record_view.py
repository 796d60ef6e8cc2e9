"""Show a whole record on its run's page, with an anchor at every value.

Every number on a page links to its line of the record. The record is shown as JSON in its own order, with long texts
cut. It is not trusted, so each of its texts and keys is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from adapterbook.common.privacy import rename_folders
from adapterbook.pages.writing.escape import escape_attribute, html_entities
from adapterbook.runs.record import Record

# The anchor of the section with the record. It is short, because every number on the site links to it or a line of it.
RECORD_ANCHOR: Final = "r"
# Keys that an anchor is made from. They have no hyphen, so two paths never give the same anchor.
PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_]+")
MAX_TEXT: Final = 2_000  # characters
Path = tuple[str, ...]


def anchor_of(parts: Sequence[str | int]) -> str:
    """Return the anchor of a field, or of the whole record where a key of its path is not plain.

    Examples
    --------
    >>> anchor_of(["epochs", 0, "train_loss"])
    'r-epochs-0-train_loss'
    >>> anchor_of(["environment", "packages", "scikit-learn"])
    'r'
    """
    return _plain_anchor(tuple(map(str, parts))) or RECORD_ANCHOR


def record_block(record: Record, name: str, hidden: Mapping[str, str]) -> Markup:
    """Return a raw HTML block with the whole record.

    Parameters
    ----------
    name : str
        The block's name for screen readers.
    hidden : mapping of str to str
        Folders of this machine, and what a reader sees in their place.
    """
    shown = _json(json.loads(record.model_dump_json()), (), "", hidden)
    opening = f'<pre class="record" tabindex="0" role="region" aria-label="{escape_attribute(name)}">'
    return Markup(f"```{{=html}}\n{opening}<code>{shown}</code></pre>\n```")


def _json(value: Any, path: Path, indent: str, hidden: Mapping[str, str]) -> str:
    """Return a value as HTML: a list of numbers or names, and a row of a list, on one line."""
    deeper = f"{indent}  "
    if isinstance(value, dict) and value:
        row = bool(path) and path[-1].isdecimal() and all(map(_is_leaf, value.values()))
        items = [
            _marked(f"{_text(key, hidden)}: {_json(item, (*path, key), deeper, hidden)}", (*path, key), _is_leaf(item))
            for key, item in value.items()
        ]
        return f"{{{', '.join(items)}}}" if row else _lines("{", items, "}", indent)
    if isinstance(value, list) and value:
        parts = [(*path, str(index)) for index in range(len(value))]
        items = [
            _marked(_json(item, part, deeper, hidden), part, True) for item, part in zip(value, parts, strict=True)
        ]
        return f"[{', '.join(items)}]" if all(map(_is_leaf, value)) else _lines("[", items, "]", indent)
    return _text(value, hidden)


def _lines(opening: str, items: Sequence[str], closing: str, indent: str) -> str:
    inside = ",\n".join(f"{indent}  {item}" for item in items)
    return f"{opening}\n{inside}\n{indent}{closing}"


def _is_leaf(value: Any) -> bool:
    return not (isinstance(value, dict | list) and value)


def _marked(shown: str, path: Path, wanted: bool) -> str:
    anchor = _plain_anchor(path) if wanted else None
    return shown if anchor is None else f'<span id="{anchor}">{shown}</span>'


def _plain_anchor(path: Path) -> str | None:
    if not all(PLAIN_KEY.fullmatch(part) for part in path):
        return None
    return "-".join((RECORD_ANCHOR, *path))


def _text(value: Any, hidden: Mapping[str, str]) -> str:
    """Return a number, a flag, a text or nothing as JSON, with no character that could act or cannot be seen."""
    if isinstance(value, str):
        value = rename_folders(value, hidden)
        value = value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]} …"
    written = json.dumps(value, ensure_ascii=False)
    return html_entities("".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in written))
