"""Read ``experiments/adapters/*.yaml``.

Whether PEFT takes an adapter's settings is checked in ``training.model.check_adapters``.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapterbook.common.errors import ConfigError
from adapterbook.common.yaml_files import describe_problems, load_yaml, misread_number, shown
from adapterbook.config.study import IDENTIFIER, NAMING_RULE, Text, Title


class AdapterConfig(BaseModel):
    """Hold one file of ``adapters/``: PEFT's keyword arguments unchanged, a title and a rationale.

    Attributes
    ----------
    id : str
        The file's name without ``.yaml``.
    peft_type : str
        A name PEFT knows: ``LORA``, ``IA3``, ``LOKR``, …
    settings : dict
        The keyword arguments of that method's PEFT config class, as written.
    train_adapter : bool
        False makes a baseline: the adapter keeps its start values, without effect, and only the head trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    peft_type: str
    settings: dict[str, Any]
    title: Title
    rationale: Text | None = None
    train_adapter: bool = Field(default=True, strict=True)

    def keywords(self) -> dict[str, Any]:
        """Return the settings for PEFT, with the task; a copy, since PEFT appends to the lists that it gets."""
        return {"task_type": "SEQ_CLS"} | copy.deepcopy(self.settings)


def load_adapters(folder: Path) -> dict[str, AdapterConfig]:
    """Read every ``*.yaml`` of a folder; the file's name is the adapter's id.

    Raises
    ------
    ConfigError
        If the folder holds no adapter, or naming every problem of every file.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"{shown(folder)} holds no adapter: expected at least one .yaml file, such as lora_1.yaml.")
    adapters, errors = {}, []
    for file in files:
        try:
            adapters[file.stem] = _load_adapter(file)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError(f"{len(errors)} adapters are not valid:", [str(error) for error in errors])
    return adapters


def _load_adapter(file: Path) -> AdapterConfig:
    content = load_yaml(file)
    own = {key: content.pop(key) for key in ("peft_type", "title", "rationale", "train_adapter") if key in content}
    if isinstance(own.get("peft_type"), str):
        own["peft_type"] = own["peft_type"].upper()
    own.setdefault("title", file.stem)
    problems = [problem for key, value in content.items() if (problem := misread_number(key, value)) is not None]
    if not IDENTIFIER.fullmatch(file.stem):
        problems.append(f"the file's name names a folder: {NAMING_RULE}")
    try:
        adapter = AdapterConfig.model_validate({"id": file.stem, "settings": content, **own})
    except ValidationError as error:
        raise ConfigError(
            f"{shown(file)} is not a valid adapter:", problems + describe_problems(AdapterConfig, error)
        ) from error
    if problems:
        raise ConfigError(f"{shown(file)} is not a valid adapter:", problems)
    return adapter
