"""Check an adapter's settings against PEFT's config class and the base model's module names.

PEFT decides which settings a method takes. This module names no method, except for LayerNorm tuning's modules, and
builds no model.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from peft import PeftConfig, TaskType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from torch import nn
from transformers import PreTrainedModel

from adapterbook.common.yaml_files import closest, shown_key, shown_text
from adapterbook.config.study import AdapterConfig

# Keys of every PEFT config that PEFT fills in itself, or that would keep the adapter from training.
RESERVED = {"peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"}
# Keys that make PEFT read files, ask the Hub or import a module. An adapter may only use its source.
OUTSIDE = {
    "adapters", "corda_config", "lora_ga_config", "megatron_config", "megatron_core",
    "prompt_tuning_init_state_dict_path", "shadow_model", "tokenizer_kwargs", "tokenizer_name_or_path",
}  # fmt: skip
# Keys that name modules of the base model.
MODULE_KEYS = ("target_modules", "feedforward_modules", "exclude_modules", "modules_to_save")
PATTERNS_OF_NAMES = ("rank_pattern", "alpha_pattern")  # PEFT would leave out an entry that no module has
PATTERN_TIME_S = (
    3.0  # for one pattern over all modules, with the start of a process; ordinary patterns take a hundredth of it
)
REPETITION = re.compile(r"[*+{]")
# The ways in which PEFT matches names with patterns of target_modules, rank_pattern and layers_pattern.
MATCHER = """
import json, re, sys
pattern, names = json.load(sys.stdin)
for form in ("(?:{})\\Z", "(.*\\.)?({})$", ".*\\.{}\\.(\\d+)\\."):
    try:
        compiled = re.compile(form.replace("{}", pattern))
    except re.error:
        continue
    for name in names:
        compiled.match(name)
"""
MAX_SHOWN = 20
MAX_NUMBER = 1_000_000  # of a size or a rate; PEFT would allocate it


def config_class_of(peft_type: str) -> type[PeftConfig]:
    """Return PEFT's config class of a method.

    Raises
    ------
    ValueError
        If PEFT does not know the method; the message names those it knows.
    """
    known = {kind.value: config_class for kind, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if peft_type not in known:
        close = closest(peft_type, known)
        hint = f" (did you mean {close}?)" if close else ""
        names = ", ".join(sorted(known))
        raise ValueError(f"peft_type: {shown_text(peft_type)} is not a method of PEFT{hint}; PEFT knows {names}")
    return known[peft_type]


def key_problems(adapter: AdapterConfig, config_class: type[PeftConfig]) -> list[str]:
    """Return the problems of an adapter's keys and of the types of their values."""
    known = [field.name for field in dataclasses.fields(config_class) if field.init and field.name not in RESERVED]
    hints = _type_hints(config_class)
    problems = []
    for key, value in adapter.settings.items():
        if key in RESERVED:
            problems.append(f"{key}: not for an adapter's file: leave it out")
        elif key in OUTSIDE:
            problems.append(f"{key}: PEFT would read files or modules from elsewhere, which no adapter of ours may")
        elif key not in known:
            close = closest(key, known)
            takes = f"{close} (did you mean that?)" if close else ", ".join(known)
            problems.append(f"{shown_key((key,))}: unknown key; {config_class.__name__} takes {takes}")
        elif not _fits(value, hints.get(key, Any)):
            problems.append(
                f"{key}: expected {_shown_hint(hints[key])}, got {type(value).__name__} {shown_text(value)}"
            )
        elif _holds_too_large(value) and "seed" not in key and "prng" not in key:
            problems.append(f"{key}: expected numbers of {MAX_NUMBER:,} at most, got {shown_text(value)}")
        elif "dropout" in key and type(value) in (int, float) and not 0 <= value < 1:
            problems.append(f"{key}: expected a probability from 0 to below 1, got {shown_text(value)}")
    task = adapter.settings.get("task_type", TaskType.SEQ_CLS.value)
    if task != TaskType.SEQ_CLS.value:
        problems.append(f"task_type: expected SEQ_CLS (sequence classification), got {shown_text(task)}")
    return problems


def module_problems(adapter: AdapterConfig, model: PreTrainedModel) -> list[str]:
    """Return the module names that match nothing, by the rules that PEFT matches them with."""
    names = [name for name, _ in model.named_modules() if name]
    problems = [
        f"{key}: {problem}"
        for key, pattern in _patterns(adapter.settings)
        if (problem := _pattern_problem(pattern, names)) is not None
    ]
    for key in (*MODULE_KEYS, *PATTERNS_OF_NAMES):
        missing = _missing_modules(key, adapter.settings.get(key), names)
        if missing:
            quoted = ", ".join(f'"{shown_key((entry,))}"' for entry in missing[:MAX_SHOWN])
            verb = "matches" if len(missing) == 1 else "match"
            kind, there = _modules_there(adapter, key, model)
            problems.append(f"{key}: {quoted} {verb} no module of the base model; its {kind} modules are\n{there}")
    return problems


def _patterns(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each text that PEFT may take as a regular expression, with its key."""
    for key, value in settings.items():
        if isinstance(value, str) and (key in MODULE_KEYS or key.endswith("pattern")):
            yield key, value
        elif isinstance(value, (list, dict)) and key.endswith("pattern"):
            yield from ((key, part) for part in value if isinstance(part, str))


def _pattern_problem(pattern: str, names: Sequence[str]) -> str | None:
    """Return the problem of a regular expression: it is invalid, or takes too long to match."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f'"{shown_key((pattern,))}" matches no module: it is not a regular expression ({error})'
    if REPETITION.search(pattern) and not _matches_in_time(pattern, tuple(names)):
        return f"{shown_text(pattern)} takes too long to match: write it without a repetition inside a repetition"
    return None


@cache
def _matches_in_time(pattern: str, names: tuple[str, ...]) -> bool:
    """Return whether a pattern matches all names in time, in a separate process, because a match cannot be stopped."""
    question = json.dumps([pattern, names])
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", MATCHER],
            input=question,
            text=True,
            stderr=subprocess.DEVNULL,
            timeout=PATTERN_TIME_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return True


def _holds_too_large(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_too_large, value.values()))
    if isinstance(value, list):
        return any(map(_holds_too_large, value))
    return isinstance(value, (int, float)) and abs(value) > MAX_NUMBER


def _missing_modules(key: str, wanted: Any, names: list[str]) -> list[str]:
    """Return the wanted names that match no module: a text is a pattern for whole names, a list holds endings."""
    if isinstance(wanted, str):
        # A pattern with a problem is reported by module_problems.
        known = wanted.lower() == "all-linear" or _pattern_problem(wanted, names) is not None
        return [] if known or any(re.fullmatch(wanted, name) for name in names) else [wanted]
    if isinstance(wanted, dict) and key in PATTERNS_OF_NAMES:
        sound = [entry for entry in wanted if _pattern_problem(entry, names) is None]
        return [entry for entry in sound if not any(re.match(rf"(.*\.)?({entry})$", name) for name in names)]
    if not isinstance(wanted, list):
        return []
    # PEFT accepts any ending in modules_to_save, and whole components of a name elsewhere.
    dot = "" if key == "modules_to_save" else "."
    texts = [entry for entry in wanted if isinstance(entry, str)]
    return [entry for entry in texts if not any(name == entry or name.endswith(dot + entry) for name in names)]


def _modules_there(adapter: AdapterConfig, key: str, model: PreTrainedModel) -> tuple[str, str]:
    """Return the kind and the names of modules that an adapter may name, one name for all layers."""
    norms = adapter.peft_type == "LN_TUNING" and key != "modules_to_save"
    kind: type[nn.Module] = nn.LayerNorm if norms else nn.Linear
    # The head is trained in full and takes no adapter, so it is shown only for modules_to_save.
    searched = model if key == "modules_to_save" else model.base_model
    found = [name for name, module in searched.named_modules() if isinstance(module, kind)]
    # transformer.layer.0.attention.q_lin → q_lin, transformer.layer.0.ffn.lin1 → ffn.lin1: as short as is unambiguous.
    short = [re.sub(r"^.*\.\d+\.(attention\.(self\.)?(?=\w+$))?", "", name) for name in found]
    return ("LayerNorm" if norms else "linear"), ", ".join(dict.fromkeys(short))


def _type_hints(config_class: type[PeftConfig]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(config_class)
    except (NameError, TypeError):  # a hint that only a type checker can resolve
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a hinted type; a hint that cannot be checked accepts everything."""
    # LoraConfig hints init_lora_weights with the text "pissa_niter_[number of iters]": a rule, not a value.
    if any("[" in str(choice) for choice in _literals(hint)):
        return True
    try:
        # JSON's strictness: a list may be a tuple or a set and 8 a float, but "8" is not a number and 8.0 not a count.
        TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError:
        return False
    except (PydanticSchemaGenerationError, PydanticUserError, NameError):
        return True
    return True


def _literals(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) is Literal:
        yield from typing.get_args(hint)
    else:
        for part in typing.get_args(hint):
            yield from _literals(part)


def _shown_hint(hint: Any) -> str:
    """Return a type in words.

    Examples
    --------
    >>> _shown_hint(list[str] | Literal["all-linear"] | None)
    "list[str] or 'all-linear' or nothing"
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_shown_hint(part) for part in typing.get_args(hint))
    if origin is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(hint))
    if hint is type(None):
        return "nothing"
    return hint.__name__ if isinstance(hint, type) and not origin else str(hint).replace("typing.", "")
