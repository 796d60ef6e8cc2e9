"""Write a commented copy of an adapter's YAML file, to be changed: `make new-adapter NAME=… FROM=lora_1`.

The new file has the old one's settings and comments, an explanation beside each argument of PEFT without one, titles in
both languages, and PEFT's other arguments as comments. Nothing is overwritten. `make train` checks the settings.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Final

from adapterbook.common.errors import ConfigError
from adapterbook.common.yaml_files import shown_text
from adapterbook.config.paths import Paths
from adapterbook.config.study import IDENTIFIER, NAMING_RULE, AdapterConfig, load_adapters

# A key at the beginning of a line, with its value, and the comments before the next key.
ENTRY: Final = re.compile(r"(?m)^(?P<key>[A-Za-z_]\w*)[ \t]*:(?P<value>[^\n]*)\n(?P<rest>(?:(?:[ \t#-][^\n]*)?\n)*)")
OWN: Final = ("title", "rationale", "train_adapter", "full_fine_tuning", "peft_type")
COLUMN: Final = 40  # where comments begin
WIDTH: Final = 120
ADVICE: Final = ". Change what you want to try; `make train` checks it before anything trains."
RATIONALE: Final = (
    "# rationale:                            # why it is worth a try, in a sentence",
    "#   zh: …",
    "#   en: …",
)
OTHERS: Final = "# PEFT's other arguments, with their defaults. To set one, remove the `# ` before it."
SENTENCE_END: Final = re.compile(r"\.(?=\s|[A-Z]|$)")
# Explanations of the arguments that most methods have; for the others, PEFT's own.
EXPLANATIONS: Final = {
    "task_type": "sequence classification: what every adapter here is for",
    "r": "rank of the update: twice the rank, twice the parameters",
    "lora_alpha": "the update is scaled by lora_alpha / r",
    "lora_dropout": "share of the update's inputs that is dropped while training",
    "bias": "which biases train, too: none, all or lora_only",
    "target_modules": "linear layers that get the adapter: their names, or ends of them",
    "feedforward_modules": "of those, the ones whose input is scaled instead of the output",
    "modules_to_save": "layers that train in full: the classification head",
    "use_dora": "DoRA: learn the length of each weight vector beside its direction",
    "use_rslora": "scale by lora_alpha / sqrt(r) instead, which suits large ranks",
    "init_lora_weights": "how A and B begin; true leaves the model as it is at the first step",
}


def create_adapter(name: str, model: str, paths: Paths) -> Path:
    """Write ``experiments/adapters/<name>.yaml``, a copy of an existing adapter, and return its path.

    Parameters
    ----------
    name : str
        Id of the new adapter.
    model : str
        Id of the adapter that is copied.

    Raises
    ------
    ConfigError
        If the name is not valid or taken, the adapter does not exist, or its file cannot be copied line by line.
    """
    folder = paths.experiments / "adapters"
    adapters = load_adapters(folder)
    problems = []
    if not IDENTIFIER.fullmatch(name):
        got = shown_text(name) if name else "nothing"
        problems.append(f"NAME: expected the name of the new adapter ({NAMING_RULE}), got {got}")
    # On some file systems LoRA_1 and lora_1 are the same name.
    taken = [known for known in adapters if known.lower() == name.lower()]
    problems += [f"NAME: {paths.shown(folder / known)}.yaml exists: take another name" for known in taken]
    if model not in adapters:
        problems.append(f"FROM: expected one of {', '.join(adapters)}, got {shown_text(model)}")
    if problems:
        raise ConfigError("No adapter was made:", problems)
    text = render_adapter(name, adapters[model], (folder / f"{model}.yaml").read_text("utf-8-sig"))
    path = folder / f"{name}.yaml"
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    made: AdapterConfig | None = None
    try:
        made = load_adapters(folder)[name]
    finally:
        if made is None or _content(made) != _content(adapters[model]):
            path.unlink()
    if _content(made) != _content(adapters[model]):
        raise ConfigError(
            f"{paths.shown(folder / model)}.yaml cannot be copied: expected one key a line, at its beginning."
        )
    return path


def render_adapter(name: str, model: AdapterConfig, text: str) -> str:
    """Return the text of a new adapter's file.

    Parameters
    ----------
    model : AdapterConfig
        The adapter that is copied.
    text : str
        The text of its file.
    """
    helps = dict(_help_of(model.peft_type))
    defaults = dict(_defaults_of(model.peft_type))
    text = _without_own_comments(text, defaults)
    entries = list(ENTRY.finditer(text))
    head = text[: entries[0].start()] if entries else text
    lines = [f"# {name}: made from {model.id}{ADVICE}", *head.splitlines()]
    for entry in entries:
        if entry["key"] in ("title", "rationale"):
            lines += _comments_after(entry["rest"])
        else:
            lines += _explained(entry, helps).rstrip("\n").splitlines()
    lines += [
        "title:                                  # how the pages call it, in both languages",
        f"  zh: {json.dumps(name)}",
        f"  en: {json.dumps(name)}",
        *RATIONALE,
    ]
    others = [(key, value) for key, value in defaults.items() if key not in model.settings]
    if others:
        lines += ["", OTHERS]
        lines += [_commented(f"# {key}: {json.dumps(value)}", helps.get(key, "")) for key, value in others]
    return "\n".join(lines) + "\n"


def _without_own_comments(text: str, arguments: Container[str]) -> str:
    """Return a file without the comments that this module writes, so that a copy of a copy has them once."""

    def is_own(line: str) -> bool:
        argument = re.match(r"# (\w+): ", line)
        return (
            line in (*RATIONALE, OTHERS)
            or (line.startswith("# ") and line.endswith(ADVICE))
            or (argument is not None and argument[1] in arguments)
        )

    return "".join(f"{line}\n" for line in text.splitlines() if not is_own(line)).rstrip() + "\n"


def _content(adapter: AdapterConfig | None) -> object:
    """Return what a copy must share with its original."""
    return adapter and (adapter.peft_type, adapter.settings, adapter.baseline)


def _explained(entry: re.Match[str], helps: dict[str, str]) -> str:
    """Return an entry, with an explanation if it has no comment."""
    first = f"{entry['key']}:{entry['value'].rstrip()}"
    help = helps.get(entry["key"], "")
    if "#" in entry["value"] or not help:
        return f"{first}\n{entry['rest']}"
    return f"{_commented(first, help)}\n{entry['rest']}"


def _commented(line: str, help: str) -> str:
    if not help or len(line) > WIDTH - 20:
        return line
    comment = f"{line:<{COLUMN - 1}} # {help}"
    return comment if len(comment) <= WIDTH else f"{comment[: WIDTH - 2].rsplit(' ', 1)[0]} …"


def _comments_after(rest: str) -> Iterator[str]:
    """Yield the unindented comments after an entry, which belong to the next one."""
    return (line for line in rest.splitlines() if line.startswith("#"))


def _help_of(peft_type: str) -> Iterator[tuple[str, str]]:
    """Yield a sentence about each argument of a method: ours, or else PEFT's first."""
    for field in _fields_of(peft_type):
        words = EXPLANATIONS.get(field.name) or _first_sentence(str(field.metadata.get("help") or ""))
        if words:
            yield field.name, words


def _first_sentence(text: str) -> str:
    words = " ".join(text.split())
    end = SENTENCE_END.search(words)
    return words[: end.start()] if end else words


def _defaults_of(peft_type: str) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that a file may set, if their default fits on a line."""
    from adapterbook.training.peft_settings import OUTSIDE, RESERVED

    for field in _fields_of(peft_type):
        is_plain = field.default is None or isinstance(field.default, bool | int | float | str)
        if is_plain and field.name not in {*OUTSIDE, *RESERVED, *OWN, "task_type"}:
            yield field.name, field.default


def _fields_of(peft_type: str) -> tuple[dataclasses.Field[Any], ...]:
    from adapterbook.training.peft_settings import config_class_of  # imported here: it loads PEFT and torch

    try:
        return dataclasses.fields(config_class_of(peft_type))
    except ValueError as error:
        raise ConfigError("No adapter was made:", [str(error)]) from error
