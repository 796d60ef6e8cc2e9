"""Settings → the Python code that the notebook ran with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterbook.pages.escape import python_literal

__all__ = ["adapter_code", "call_code", "training_code"]


def adapter_code(config_class: str, settings: Mapping[str, Any]) -> str:
    """Return the code that makes an adapter's config and puts the adapter into the base model."""
    return "\n".join(
        [
            f"from peft import {config_class}, get_peft_model",
            "",
            f"peft_config = {call_code(config_class, settings)}",
            "model = get_peft_model(base_model, peft_config)",
        ]
    )


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
    lines = [
        f"    {key}={python_literal(value)}," if key.isidentifier() else f"    **{python_literal({key: value})},"
        for key, value in arguments.items()
    ]
    return "\n".join([f"{name}(", *lines, ")"])
