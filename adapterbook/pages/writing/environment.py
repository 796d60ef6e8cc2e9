"""Make the Jinja2 environment that every page is rendered in.

A template shows texts (always escaped) and numbers (in a format, with their origin), and chooses between sentences. It
cannot compute or put texts together, and a missing name, a number from elsewhere and ``None`` are errors: every number
on a page is a record's or the analysis's.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.bccache import Bucket
from jinja2.runtime import Context
from markupsafe import Markup

from adapterbook.analysis.shapes import RunReport
from adapterbook.common.errors import RenderError
from adapterbook.common.formatting import Language, format_number
from adapterbook.pages.numbers.number import Number, follow, pick, plain
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
    """Refuse computing in templates, and remember the path by which a template reached a number."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return ``obj.attribute`` of a template."""
        return follow(obj, attribute, super().getattr(plain(obj), attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return ``obj[argument]`` of a template."""
        return follow(obj, argument, super().getitem(plain(obj), plain(argument)))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        for node in template.find_all(ARITHMETIC):
            raise jinja2.TemplateSyntaxError(
                f"{type(node).__name__} is not for templates: compute it in analysis, or write the text out",
                node.lineno, name, filename,
            )  # fmt: skip
        return template


class _Compiled(jinja2.BytecodeCache):
    """Keep compiled templates in memory: a process that makes pages again and again compiles each template once."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a template's code to a bucket, which refuses code of another source."""
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template's code."""
        self._kept[bucket.key] = bucket.bytecode_to_string()


@cache
def _compiled(language: Language) -> _Compiled:
    """Return one language's compiled templates: the compiled code holds a filter's result for a constant."""
    return _Compiled()


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
        cache_size=-1,
        auto_reload=False,
        bytecode_cache=_compiled(language),
    )
    environment.filters = {name: environment.filters[name] for name in KEPT_FILTERS} | {
        "attribute": escape_attribute,
        "code": inline_code,
        "show": lambda value, kind: Markup(format_number(plain(value), kind, language)),
        "as": _written,
        "joined": _joined,
        "pick": pick,
    }
    environment.globals = {
        "language": language,
        "zh": language == "zh",
        **names,
    }
    return environment


def render_template(environment: jinja2.Environment, name: str, **names: Any) -> str:
    """Return a template's text.

    Raises
    ------
    RenderError
        If anything goes wrong in the template. The message names the template and the line.
    """
    try:
        return environment.get_template(name).render(names)
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(f"templates/{error.name}, line {error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RenderError(f"{_place(error, name)}: {error}") from error


@jinja2.pass_context
def _show(context: Context, value: object) -> Markup:
    """Return the text that ``{{ value }}`` writes."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, Number):
        return _written(context, value, value.kind)
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises jinja2.UndefinedError, which names what is missing
    if isinstance(value, str):
        return escape_text(value)
    raise TypeError(f"{value!r} cannot be shown as it is: a number needs a format, and a missing value its reason")


@jinja2.pass_context
def _written(context: Context, number: object, kind: str) -> Markup:
    """Return a number in a format, with its origin: a run's record, or a part of the report."""
    if not isinstance(number, Number):
        raise TypeError(f"{number!r} is not a number of the report, so it has no origin to be written with")
    origin, path = number.origin, number.path
    written: Markup
    if isinstance(origin, RunReport) and path[0] == "record":
        written = context.resolve("number")(origin, path[1:], kind)
    else:
        written = context.resolve("derived")(origin, path, kind)
    return written


@jinja2.pass_context
def _joined(context: Context, items: Iterable[object]) -> Markup:
    """Return a list as a sentence has it: ``a, b and c``, ``a、b 與 c``."""
    shown = [_show(context, item) for item in items]
    comma, last = ("、", " 與 ") if context.resolve("zh") else (", ", " and ")
    if len(shown) < 2:
        return Markup("").join(shown)
    return Markup(comma).join(shown[:-1]) + last + shown[-1]


def _place(error: BaseException, fallback: str) -> str:
    """Return the innermost template and line of a traceback; Jinja2's frames have the templates' lines."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".j2")]
    if not frames:
        return f"templates/{fallback}"
    filename = Path(frames[-1].filename).as_posix()
    return f"templates/{filename.rpartition('/templates/')[2]}, line {frames[-1].lineno}"
