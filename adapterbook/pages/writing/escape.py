"""Escape texts for Pandoc Markdown, so that they show as typed and cannot act as markup.

Covers prose, attributes, code, raw HTML and front matter. Text from a data set or a record is hostile until it is
escaped. For pandoc, an entity is never markup. Quarto, however, looks for shortcodes again in the *decoded* attributes,
link targets and code of a page (its ``shortcodes.lua``), so entities alone do not protect those.
"""

from __future__ import annotations

import functools
import html
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import yaml
from markupsafe import Markup

WHITE_SPACE: Final = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029 ]+")
PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~]")
# All other characters mean nothing in a quoted attribute, and as entities they would make the page harder to read.
UNSAFE_IN_ATTRIBUTE: Final = re.compile(r"[!\"#$&'*<>?@\[\\\]^`{|}~]")
# Markup characters, the beginnings of lists and tables, typography (``...``, ``--``), bare addresses and ``:emoji:``.
ACTIVE_IN_METADATA: Final = re.compile(
    r"""[!"#$&'*<>?@\[\\\]^_`{|}~]|^[!-/:-@\[-`{-~]|[.)](?=\s|$)|-(?=-)|(?<=-)-|\.(?=\.)|(?<=\.)\.|:(?!\s)"""
)
REPLACEMENT: Final = "\ufffd"
WORD_JOINER: Final = "\u2060"
TWO_BRACES: Final = re.compile(r"\{(?=\{)|\}(?=\})")
# Typst could take ``= ``, ``- ``, ``+ ``, ``/ `` and ``1. `` for markup. They are written here as ``escape_text`` does.
TYPST_MARKS: Final = re.compile(r"(?<![\w;])(?:&#(?:43|45|47|61);|\d+&#46;)+(?= )")
# Typst would change ``...``, ``-?`` and ``-5``: a dot before a dot, a hyphen before a question mark or a digit.
TYPST_TYPOGRAPHY: Final = re.compile(r"&#46;(?=&#46;)|&#45;(?=&#63;|\d)")
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
ISOLATES: Final = "\u2066\u2067\u2068"
# Characters of these directions can move their neighbours: right-to-left letters and numbers, and explicit controls.
REORDERING: Final = frozenset({"R", "AL", "AN", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
SAFE_IN_CODE: Final = re.compile(r"[\w .,:;=+*/()\[\]%'\"#@^&!?~$\\-]+")
# Python writes 2e-05. People write 2e-5, which is the same number to Python.
LONG_EXPONENT: Final = re.compile(r"e([+-])0+(?=\d)")
BACKTICKS: Final = re.compile(r"`+")


def escape_text(text: str) -> Markup:
    """Escape a text for prose, a table cell, a title, a caption or a link's text.

    Every ASCII punctuation character becomes a numeric entity, so no Markdown, HTML, math, citation, cross-reference
    or shortcode can begin in it. White space becomes single spaces, as on any HTML page.

    Examples
    --------
    >>> escape_text("a|b")
    Markup('a&#124;b')
    """
    return _escape(text, PUNCTUATION)


def as_markup(text: str) -> Markup:
    """Return Markup as it is, and any other text escaped."""
    return text if isinstance(text, Markup) else escape_text(text)


def escape_attribute(text: str) -> Markup:
    """Escape a text for a double-quoted attribute of Pandoc Markdown, such as ``fig-alt``.

    Quarto runs shortcodes in decoded attributes, so an invisible word joiner separates two braces. It also separates
    closing braces, because Quarto fails on half a shortcode.
    """
    return _escape(_part_braces(text), UNSAFE_IN_ATTRIBUTE)


def escape_metadata(text: str) -> Markup:
    """Escape a text for front matter that pandoc reads as Markdown, such as ``title``.

    Quarto runs shortcodes there after it has decoded the entities, as it does in attributes. It also copies the title
    undecoded into the ``aria-label`` of links to neighbouring pages, so only characters that could act become entities.
    """
    return _escape(_part_braces(text), ACTIVE_IN_METADATA)


def guard_from_typst(source: str) -> str:
    """Change escaped texts in Markdown so that Typst, too, shows them as typed.

    Pandoc escapes Typst's markup at the beginning of a paragraph, but not at the beginning of a table cell or a list
    item (``= ``, ``- ``, ``+ ``, ``/ ``, ``1. ``), and leaves ``...``, ``-?`` and a minus before a digit to Typst's
    typography. Invisible word joiners separate the characters. Only the output of ``escape_text`` is changed.

    Examples
    --------
    >>> guard_from_typst("&#61; a").replace(WORD_JOINER, "|")
    '|&#61; a'
    """
    parted = TYPST_MARKS.sub(lambda match: f"{WORD_JOINER}{match[0]}", source)
    return TYPST_TYPOGRAPHY.sub(lambda match: f"{match[0]}{WORD_JOINER}", parted)


def isolate_text(text: str) -> str:
    """Return a text on one line, without control characters, isolated from the direction of its neighbours.

    The text is not escaped: show it only in places where texts cannot be markup.
    """
    return _isolate(_clean(text))


def inline_code(text: str) -> Markup:
    """Return inline code: between backticks if nothing in it could act, else a span of class ``code``."""
    clean = _clean(text)
    if SAFE_IN_CODE.fullmatch(clean) and clean.strip() == clean:
        return Markup(f"`{clean}`")
    return Markup("[{}]{{.code}}").format(escape_text(text))


def python_literal(value: object) -> str:
    """Return a YAML value (text, number, flag, list, mapping) as Python code.

    Two braces in a text are written ``{\\x7b``. Python reads the same text, and Quarto sees no shortcode.
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{python_literal(k)}: {python_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(python_literal(item) for item in value) + "]"
    if not isinstance(value, str):
        return LONG_EXPONENT.sub(r"e\1", repr(value))
    # Python reads JSON's escapes, except those of characters beyond the BMP, which JSON writes as two surrogates.
    quoted = json.dumps(value, ensure_ascii=False)
    visible = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in quoted)
    return visible.replace("{{", r"{\x7b")


def python_block(code: str, filename: str | None = None) -> Markup:
    """Return a fenced Python block."""
    return code_block(code, "python", filename)


def code_block(code: str, language: str, filename: str | None = None) -> Markup:
    """Return a fenced block of code, its fence longer than any run of backticks inside.

    Code that holds the beginning of a shortcode becomes a raw HTML block, in which entities hide it from Quarto.
    """
    clean = _clean_code(code)
    if "{{<" in clean:
        return raw_html_code(clean, language=language)
    fence = "`" * max(3, 1 + max((len(run) for run in BACKTICKS.findall(clean)), default=0))
    label = f'{{.{language} filename="{escape_attribute(filename)}"}}' if filename else language
    return Markup(f"{fence}{label}\n{clean}\n{fence}")


def raw_html_code(text: str, *, language: str | None = None, css_class: str = "") -> Markup:
    """Return a raw HTML block that shows a text in a ``<pre>``, with no character that could be markup.

    A PDF leaves raw HTML out, so do not use this for anything that the PDF needs.
    """
    classes = " ".join(part for part in (css_class, f"sourceCode {language}" if language else "") if part)
    opening = f'<pre class="{classes}"><code>' if classes else "<pre><code>"
    return Markup(f"```{{=html}}\n{opening}{html_entities(_clean_code(text))}</code></pre>\n```")


def html_entities(text: str) -> str:
    """Escape a text for raw HTML inside a page: ASCII punctuation becomes numeric entities, line breaks stay."""
    return PUNCTUATION.sub(lambda match: f"&#{ord(match[0])};", text)


def html_attribute(text: str) -> str:
    """Escape a text for a quoted attribute of raw HTML, on one line; Quarto would run a shortcode here, too."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    escaped = html.escape(" ".join(clean.split()))
    return escaped.replace("{", "&#123;").replace("}", "&#125;")


def front_matter(fields: Mapping[str, Any]) -> str:
    """Return YAML front matter. Pandoc reads its texts as Markdown, so the caller escapes them first."""
    dumped = yaml.safe_dump(_plain(fields), allow_unicode=True, sort_keys=False, width=10_000)
    return f"---\n{dumped}---\n"


def _part_braces(text: str) -> str:
    return TWO_BRACES.sub(rf"\g<0>{WORD_JOINER}", text)


@functools.lru_cache(maxsize=20_000)  # the same names and ids come again on every page
def _escape(text: str, characters: re.Pattern[str]) -> Markup:
    return Markup(characters.sub(lambda match: f"&#{ord(match[0])};", isolate_text(text)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    """Return a text on one line, with its control characters replaced."""
    if text.isascii() and text.isprintable():
        return WHITE_SPACE.sub(" ", text).strip()
    return "".join(REPLACEMENT if _is_control(char) else char for char in WHITE_SPACE.sub(" ", text).strip())


def _clean_code(text: str) -> str:
    """Replace control and direction characters in code, and keep its line breaks."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(
        REPLACEMENT if (_is_control(char) and char != "\n") or _reorders(char, controls_only=True) else char
        for char in lines
    )


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs")


def _reorders(char: str, *, controls_only: bool = False) -> bool:
    direction = unicodedata.bidirectional(char)
    return direction in REORDERING and not (controls_only and direction in ("R", "AL", "AN"))


def _isolate(text: str) -> str:
    """Return a text that cannot reorder its neighbours: its open isolates are closed, and it cannot end its own."""
    if text.isascii() or not any(_reorders(char) for char in text):
        return text
    depth, inside = 0, []
    for char in text:
        if char in ISOLATES:
            depth += 1
        elif char == POP_ISOLATE:
            if depth == 0:
                inside.append(REPLACEMENT)
                continue
            depth -= 1
        inside.append(char)
    return FIRST_STRONG_ISOLATE + "".join(inside) + POP_ISOLATE * (depth + 1)
