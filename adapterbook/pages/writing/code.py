"""Write settings as the Python code that the notebook ran with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterbook.pages.writing.escape import python_literal

LINE_LENGTH = 76  # what fits a page of the PDF


def adapter_code(config_class: str, settings: Mapping[str, Any], *, train_adapter: bool = True) -> str:
    """Return the code that makes an adapter's config and puts the adapter into the base model.

    A baseline (``train_adapter=False``) freezes it, so only the head is trained.
    """
    lines = [
        f"from peft import {config_class}, get_peft_model",
        "",
        f"peft_config = {call_code(config_class, settings)}",
        "model = get_peft_model(base_model, peft_config)",
    ]
    if not train_adapter:
        lines = [lines[0], "from adapterbook.training.model import freeze_adapter", *lines[1:], "freeze_adapter(model)"]
    return "\n".join(lines)


def training_code(arguments: Mapping[str, Any]) -> str:
    """Return the code that makes the training arguments; those that are not set are left out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return f"from transformers import TrainingArguments\n\narguments = {call_code('TrainingArguments', given)}"


def call_code(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call with one keyword argument a line.

    Examples
    --------
    >>> print(call_code("LoraConfig", {"r": 64, "bias": "none"}))
    LoraConfig(
        r=64,
        bias="none",
    )
    """
    if not arguments:
        return f"{name}()"
    return "\n".join([f"{name}(", *(_argument(key, value) for key, value in arguments.items()), ")"])


def _argument(key: str, value: object) -> str:
    """Return one keyword argument; a list too long for its line has a line per item."""
    if not key.isidentifier():
        return f"    **{python_literal({key: value})},"
    line = f"    {key}={python_literal(value)},"
    if len(line) <= LINE_LENGTH or not isinstance(value, list | tuple):
        return line
    return "\n".join([f"    {key}=[", *(f"        {python_literal(item)}," for item in value), "    ],"])
