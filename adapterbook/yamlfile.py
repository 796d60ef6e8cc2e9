"""One YAML file → a mapping → a pydantic model, with messages for people.

Owns the reading of YAML and the wording of what is wrong with it: every problem of a file at once, each with the key,
what was expected and what came. Knows nothing of what the files mean.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from adapterbook.errors import ConfigError

__all__ = ["describe_problems", "load_yaml", "misread_number", "shown", "validate"]

# Text that its author meant as a number: YAML 1.1 wants a dot in the mantissa.
EXPONENT_WITHOUT_DOT = re.compile(r"[-+]?\d+[eE][-+]?\d+")

ModelT = TypeVar("ModelT", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    ConfigError
        If the file is missing, is not UTF-8 YAML, or holds something else than a mapping.
    """
    try:
        content = yaml.load(path.read_text("utf-8"), Loader=_StrictLoader)  # it is a SafeLoader
    except FileNotFoundError:
        raise ConfigError(f"{shown(path)} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown(path)} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{shown(path)} is not valid YAML:", [str(error).replace("\n", " ")]) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{shown(path)} is not valid: expected keys and values, got {_kind(content)}.")
    not_text = [key for key in content if not isinstance(key, str)]
    if not_text:
        raise ConfigError(f"{shown(path)} is not valid:", [f"{key!r}: a key must be text" for key in not_text])
    return content


def misread_number(key: str, value: object) -> str | None:
    """Return a problem where YAML read a number such as ``1e-4`` as text, else None."""
    if isinstance(value, str) and EXPONENT_WITHOUT_DOT.fullmatch(value):
        return f"{key}: {value!r} is text to YAML, not a number: write it with a dot, such as 1.0e-4"
    return None


def validate(model: type[ModelT], content: dict[str, Any], path: Path) -> ModelT:
    """Return a model of a file's content; a YAML list is a tuple there, but text is never a number.

    Raises
    ------
    ConfigError
        Naming every problem.
    """
    try:
        return model.model_validate(_tuples(content))
    except ValidationError as error:
        raise ConfigError(f"{shown(path)} is not valid:", describe_problems(model, error)) from error


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def describe_problems(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one line per problem that pydantic found: key, expected, came, what to do."""
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        came = item["input"]
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{_suggestion(str(item['loc'][-1]), _fields_at(model, item['loc'][:-1]))}")
        elif item["type"] == "missing":
            lines.append(f"{key}: missing")
        elif item["type"] == "value_error":
            lines.append(f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"]))
        elif (misread := misread_number(key, came)) is not None:
            lines.append(misread)
        else:
            lines.append(f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {_kind(came)}")
    return lines


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed at a place inside a model."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        annotation = field.annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if inner:
            model = inner[0]
    return list(model.model_fields)


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f"; known keys are {', '.join(known)}"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '…'}"


def shown(path: Path) -> str:
    """Return a path relative to the working folder where it lies inside: messages stay short and hold no home."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()).as_posix() if absolute.is_relative_to(Path.cwd()) else path.as_posix()
