"""The Jinja2 environment that every page is rendered in.

Owns what a template may do: show texts (always escaped), show numbers (only through a format, with their origin),
choose between sentences. Refuses arithmetic and string building in templates, a missing name, a bare number and
``None``: no number can reach a page that is not a record's or the analysis's.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2 import nodes
from markupsafe import Markup

from adapterbook.common.errors import RenderError
from adapterbook.common.formatting import Language, format_number
from adapterbook.pages.writing.escape import escape_attribute, escape_text, inline_code

ARITHMETIC: Final = (
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Concat, nodes.Neg,
)  # fmt: skip
# Filters that neither build text out of parts nor compute.
KEPT_FILTERS: Final = (
    "first",
    "last",
    "length",
    "list",
    "map",
    "rejectattr",
    "reject",
    "select",
    "selectattr",
    "batch",
)


class _Environment(jinja2.Environment):
    """Refuses, when a template is read, what a template has no business with."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for node in template.find_all(ARITHMETIC):
            raise jinja2.TemplateSyntaxError(
                f"{type(node).__name__} is not for templates: compute it in analysis, or write the text out",
                node.lineno, name, filename,
            )  # fmt: skip
        return template


def make_environment(folders: Sequence[Path], language: Language, names: Mapping[str, Any]) -> jinja2.Environment:
    """Return the environment of one language.

    Parameters
    ----------
    folders : sequence of Path
        Where templates are looked up; the first folder that has one wins.
    names : mapping
        What every template sees: ``report``, ``figures``, ``term``, …
    """
    environment = _Environment(
        loader=jinja2.FileSystemLoader(folders, encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_show,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=["jinja2.ext.do"],  # rows.append(…) of a table
        cache_size=-1,
        auto_reload=False,
    )
    environment.filters = {name: environment.filters[name] for name in KEPT_FILTERS} | {
        "attribute": escape_attribute,
        "code": inline_code,
        "show": lambda value, kind: Markup(format_number(value, kind, language)),
        "joined": lambda items: _joined(items, language),
    }
    environment.globals = {
        "language": language,
        "zh": language == "zh",
        "namespace": jinja2.utils.Namespace,
        **names,
    }
    return environment


def render_template(environment: jinja2.Environment, name: str, **names: Any) -> str:
    """Return a template's text.

    Raises
    ------
    RenderError
        Naming the template and the line, whatever went wrong in it.
    """
    try:
        return environment.get_template(name).render(names)
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(f"templates/{error.name}, line {error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RenderError(f"{_place(error, name)}: {error}") from error


def _show(value: object) -> Markup:
    """Return what ``{{ value }}`` writes."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises jinja2.UndefinedError, which names what is missing
    if isinstance(value, str):
        return escape_text(value)
    raise TypeError(f"{value!r} cannot be shown as it is: a number needs a format, and a missing value its reason")


def _joined(items: Iterable[object], language: Language) -> Markup:
    """Return a list as a sentence has it: ``a, b and c``, ``a、b 與 c``."""
    shown = [_show(item) for item in items]
    comma, last = (Markup("、"), Markup(" 與 ")) if language == "zh" else (Markup(", "), Markup(" and "))
    if len(shown) < 2:
        return Markup("").join(shown)
    return comma.join(shown[:-1]) + last + shown[-1]


def _place(error: BaseException, fallback: str) -> str:
    """Return the innermost template and line of a traceback; Jinja2 gives its frames the templates' own lines."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".j2")]
    if not frames:
        return f"templates/{fallback}"
    filename = Path(frames[-1].filename).as_posix()
    return f"templates/{filename.rpartition('/templates/')[2]}, line {frames[-1].lineno}"
