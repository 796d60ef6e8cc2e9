"""Read YAML files into pydantic models, and describe every problem of a file at once.

Each problem names the key, what was expected and what came.
"""

from __future__ import annotations

import copy
import difflib
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from adapterbook.common.errors import ConfigError
from adapterbook.common.strict import LARGEST, SMALLEST

# Text that its author meant as a number: YAML 1.1 wants a dot in the mantissa.
EXPONENT_WITHOUT_DOT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
# Settings need far less than these limits, and no file within them can stall the program.
MAX_BYTES = 1_000_000
MAX_VALUES = 20_000  # aliases counted as often as they are used
MAX_DEPTH = 40
MAX_DIGITS = 100
MERGE_TAG = "tag:yaml.org,2002:merge"
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
SAME_WORD = 0.8  # of difflib's ratio; save_steps and max_steps have 0.74
MAX_PROBLEMS = 20
INT64 = 2**63
# PyYAML raises these if a value does not fit its tag, such as ``!!int x`` or 2026-99-99.
MISFITS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

ModelT = TypeVar("ModelT", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """Load YAML as PyYAML's safe loader does, but refuse repeated keys and files that are too large or too deep."""

    _depth = 0
    _n_nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._n_nodes += 1
        if self._n_nodes > MAX_VALUES:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_VALUES:,} values", self.get_mark())
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_DEPTH} levels", self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, Any]] = set()
        for key_node, _ in node.value:
            # The safe loader refuses other keys, and resolves << itself: a key of the mapping replaces a merged one.
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != MERGE_TAG:
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    problem = f"the key {shown_text(key)} is repeated"
                    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def _count_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node holds, with an alias counted as often as it is used.

    Raises
    ------
    ConstructorError
        If a value holds itself; if there are too many values, as a few lines of aliases can stand for billions; or if
        a number (9:9:9:… is one, too) has so many digits that reading it takes minutes.
    """
    if known.get(id(node)) == 0:
        raise yaml.constructor.ConstructorError(None, None, "a value holds itself", node.start_mark)
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = 0  # while it is being counted
    n = 1
    if node.tag in NUMBER_TAGS and len(node.value) > MAX_DIGITS:
        problem = f"a number of {len(node.value):,} characters"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        n += sum(_count_values(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        n += sum(_count_values(part, known) for pair in node.value for part in pair)
    if n > MAX_VALUES:
        problem = f"more than {MAX_VALUES:,} values, aliases counted"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    known[id(node)] = n
    return n


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping of text, finite numbers, flags, lists and mappings.

    Raises
    ------
    ConfigError
        If the file is missing, is not UTF-8 YAML, is too large, or holds something else.
    """
    text = _read_text(path)
    try:
        content = copy.deepcopy(_parse(text))
    except yaml.YAMLError as error:
        problem = "".join(char if char.isprintable() else " " for char in str(error))
        raise ConfigError(f"{shown(path)} is not valid YAML:", [problem]) from error
    except MISFITS as error:
        problem = f"a value does not fit its tag or its form ({shown_text(str(error))}): quote it"
        raise ConfigError(f"{shown(path)} is not valid YAML:", [problem]) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{shown(path)} is not valid: expected keys and values, got {_kind(content)}.")
    problems = list(_value_problems(content, ()))
    if problems:
        raise ConfigError(f"{shown(path)} is not valid:", _cut(problems))
    return content


@functools.lru_cache(maxsize=32)  # a command reads the same files for each of its steps
def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{shown(path)} is not a file.")
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{shown(path)} is too large: expected {MAX_BYTES:,} bytes at most.")
        return path.read_text("utf-8-sig")  # some editors write a byte order mark
    except FileNotFoundError:
        raise ConfigError(f"{shown(path)} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error})"
        raise ConfigError(f"{shown(path)} cannot be read: {reason}") from error


def _value_problems(value: object, place: tuple[object, ...]) -> Iterator[str]:
    """Yield a problem for each value that JSON cannot hold: settings are hashed and written as JSON."""
    key = shown_key(place)
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                yield f"{shown_key((*place, name))}: a key must be text: quote it"
            elif not _is_unicode(name):
                yield f"{shown_key((*place, name))}: a key is not valid Unicode"
            else:
                yield from _value_problems(item, (*place, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _value_problems(item, (*place, index))
    elif isinstance(value, str):
        if not _is_unicode(value):
            yield f"{key}: half of a surrogate pair is not valid Unicode"
    elif isinstance(value, int):
        if not -INT64 <= value < INT64:
            yield f"{key}: a whole number beyond 64 bits"
        elif abs(value) > LARGEST:
            yield f"{key}: expected {LARGEST:g} at most, got {value}"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{key}: expected a finite number, got {value}"
        elif value and not SMALLEST <= abs(value) <= LARGEST:  # a record, which repeats it, could not be read
            yield f"{key}: expected 0, or a number between {SMALLEST:g} and {LARGEST:g}, got {value:g}"
    elif value is not None:
        yield f"{key}: YAML reads this as a {type(value).__name__}: quote it if it is meant as text"


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def list_yaml_files(folder: Path) -> list[Path]:
    """Return the ``.yaml`` files of a folder, in order; hidden ones, as editors and macOS leave them, do not count.

    Raises
    ------
    ConfigError
        If a file has another ending of YAML, which would be left out without a word.
    """
    files = [path for path in sorted(folder.glob("*")) if not path.name.startswith(".")]
    others = [path for path in files if path.suffix != ".yaml" and path.suffix.lower() in (".yaml", ".yml")]
    if others:
        problems = [f"{path.name}: rename it {path.stem}.yaml" for path in others]
        raise ConfigError(
            f"{shown(folder)} holds files that nothing reads, since their names do not end in .yaml:", problems
        )
    return [path for path in files if path.suffix == ".yaml"]


def misread_number(key: str, value: object) -> str | None:
    """Return a problem if YAML read a number such as ``1e-4`` as text, else None."""
    if isinstance(value, str) and EXPONENT_WITHOUT_DOT.fullmatch(value):
        return f"{key}: {shown_text(value)} is text to YAML, not a number: write it with a dot, such as 1.0e-4"
    return None


def validate(model: type[ModelT], content: dict[str, Any], path: Path) -> ModelT:
    """Return a model of a file's content, with tuples for lists; text is never read as a number.

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
    """Return a line for each problem that pydantic found: key, expected, got, what to do."""
    lines = []
    errors = error.errors(include_url=False)
    for item in errors[:MAX_PROBLEMS]:
        key = shown_key(item["loc"])
        came = item["input"]
        if item["type"] == "extra_forbidden":
            lines.append(f"{key}: {_unknown(str(item['loc'][-1]), _model_at(model, item['loc'][:-1]))}")
        elif item["type"] == "missing":
            lines.append(f"{key}: missing")
        elif item["type"] == "value_error":
            lines.append(f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"]))
        elif (misread := misread_number(key, came)) is not None:
            lines.append(misread)
        else:
            lines.append(f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {_kind(came)}")
    return lines + ([f"and {len(errors) - MAX_PROBLEMS} more"] if len(errors) > MAX_PROBLEMS else [])


def _cut(problems: list[str]) -> list[str]:
    n_more = len(problems) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], f"and {n_more} more"] if n_more > 0 else problems


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model at a place inside a model."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        annotation = field.annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        inner = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if inner:
            model = inner[0]
    return model


def _unknown(key: str, model: type[BaseModel]) -> str:
    """Return what is wrong with an unknown key; a model may say of some keys why they are refused."""
    refused: Mapping[str, str] = getattr(model, "refused", {})
    close = closest(key, [*model.model_fields, *refused])
    if close is None:
        return f"unknown key; known keys are {', '.join(model.model_fields)}"
    if close in refused:
        return f"not taken: {refused[close]}" if close == key else f"unknown key, and {close} is not taken"
    return f"unknown key (did you mean {close}?)"


def closest(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that a key may be a typing error of; None where the nearest means something else.

    Examples
    --------
    >>> closest("learning_rat", ["learning_rate"]), closest("max_steps", ["save_steps", "eval_steps"])
    ('learning_rate', None)
    """
    close = difflib.get_close_matches(key, known, n=1, cutoff=SAME_WORD) if len(key) < 100 else []
    return close[0] if close else None


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {shown_text(value)}"


def shown_text(value: object) -> str:
    """Return a value as Python writes it, cut if it is long; no character of it acts on a terminal.

    Examples
    --------
    >>> shown_text("a\\tb")
    "'a\\\\tb'"
    """
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return "a number beyond 64 bits"
    if isinstance(value, (list, tuple)):
        value = value[:20]  # the text is cut below
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "…"


def shown_key(place: tuple[object, ...]) -> str:
    """Return the path of a key, such as ``variants.submitted.title``."""
    return ".".join(_shown_part(part) for part in place)


def _shown_part(part: object) -> str:
    return part if isinstance(part, str) and part.isprintable() and len(part) <= 60 else shown_text(part)


def shown(path: Path) -> str:
    """Return a path for a message, relative to the working folder if it lies inside: short, and without the home."""
    absolute = path.absolute()
    inside = absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else path
    return "".join(_shown_part(char) if not char.isprintable() else char for char in inside.as_posix())
