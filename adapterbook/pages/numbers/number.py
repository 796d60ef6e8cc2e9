"""Write a number with its origin: a field of a record, or a field of the report.

The value is looked up by the same name that is written beside it, so a page cannot show one number and name another.
:mod:`.record_link` says where its link leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from adapterbook.analysis.shapes import AdapterReport, CostRow, Group, RunReport, Verdict
from adapterbook.common.formatting import Language, format_number
from adapterbook.pages.writing.escape import escape_attribute

# A dotted path, or its parts, because a template cannot put a text together.
FieldPath = str | Sequence[str | int]


def look_up(thing: object, path: FieldPath) -> Any:
    """Return what a dotted path, or its parts, lead to; parts are attributes, keys or positions.

    Raises
    ------
    LookupError
        If the path leads nowhere.

    Examples
    --------
    >>> look_up({"epochs": [{"loss": 0.7}]}, "epochs.0.loss")
    0.7
    """
    for part in path.split(".") if isinstance(path, str) else path:
        try:
            if isinstance(thing, Mapping):
                thing = thing[part]
            elif str(part).isdecimal():
                thing = thing[int(part)]  # type: ignore[index]
            else:
                thing = getattr(thing, str(part))
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise LookupError(f"{_dotted(path)}: there is no {part!r} in {type(thing).__name__}") from error
    return thing


def parts_of_path(field: FieldPath) -> list[str]:
    """Return the parts of a path."""
    return field.split(".") if isinstance(field, str) else list(map(str, field))


def number_span(run: RunReport, field: FieldPath, kind: str, language: Language) -> Markup:
    """Return a number of a run's record, as a Span that names run, field and format."""
    path = _dotted(field)
    text = _formatted(look_up(run.record, field), kind, language, f"{run.id}: {path}")
    return _span(text, {"data-run": run.id, "data-field": path, "data-format": kind})


def derived_span(thing: Any, field: FieldPath, kind: str, language: Language) -> Markup:
    """Return a number that the analysis computed, as a Span that names the part of the report, field and format."""
    name = f"{type(thing).__name__}.{_dotted(field)}"
    text = _formatted(look_up(thing, field), kind, language, name)
    origin = {"data-from": name, "data-format": kind}
    of = _identity(thing)
    return _span(text, origin | ({"data-of": of} if of else {}))


def _dotted(field: FieldPath) -> str:
    return field if isinstance(field, str) else ".".join(map(str, field))


def _formatted(value: object, kind: str, language: Language, name: str) -> str:
    try:
        return format_number(value, kind, language)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _identity(thing: object) -> str:
    """Return what tells a part of the report from others of its kind."""
    match thing:
        case Verdict():
            return f"{thing.a}/{thing.variant_a} {thing.b}/{thing.variant_b}"
        case Group() | CostRow():
            return f"{thing.adapter}/{thing.variant}"
        case AdapterReport() | RunReport():
            return thing.id
        case _:
            return ""


def _span(text: str, attributes: Mapping[str, str]) -> Markup:
    written = " ".join(f'{name}="{escape_attribute(value)}"' for name, value in attributes.items())
    # Of a number's characters only "<" (of a small p-value) is markup in Markdown, and only "=" in Typst.
    return Markup(f"[{text.replace('<', '&#60;').replace('=', '&#61;')}]{{.n {written}}}")
