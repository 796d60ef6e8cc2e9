"""Find the weights that a base model does not bring, make them new, and have PEFT train and save all of them.

They are the classification head: the output layer, and with some models a pooler below it. A head that the base model
was trained with is for another task, so it is replaced. Weights that were new but neither trained nor saved would be
random, and lost with the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from transformers import AutoModelForSequenceClassification, PreTrainedModel

ALWAYS_SAVED = ("classifier", "score")  # PEFT adds these to modules_to_save for a classifier
NEW = "new_modules"  # attribute of a model, kept by copies


def renew_head(model: PreTrainedModel, missing: Collection[str], mismatched: Collection[str]) -> list[str]:
    """Make a head that the base model brought new, note which modules are new, and return encoder weights that lack.

    Parameters
    ----------
    missing, mismatched : collection of str
        Names of the weights that the files do not hold, or hold with another shape.

    Returns
    -------
    list of str
        Weights of the encoder that would stay random.
    """
    names = [name for name, _ in model.named_parameters()]
    in_head = {name for name in names if not name.startswith(f"{model.base_model_prefix}.")}
    new = {name for name in (*missing, *mismatched) if name in names}
    if not in_head & set(missing):  # a whole head was stored
        fresh = AutoModelForSequenceClassification.from_config(model.config)  # type: ignore[no-untyped-call]
        weights = dict(fresh.named_parameters())
        for name, parameter in model.named_parameters():
            if name in in_head:
                parameter.data.copy_(weights[name].data)
        new |= in_head
    pooler = {name for name in new - in_head if "pooler" in name and name not in mismatched}
    setattr(model, NEW, tuple(_topmost(model, new & in_head | pooler)))
    return sorted(new - in_head - pooler)


def new_modules(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of a base model's new modules: its head."""
    found: tuple[str, ...] = getattr(model, NEW, ())
    return found


def modules_to_save(named: Sequence[str] | None, model: PreTrainedModel) -> list[str] | None:
    """Return an adapter's ``modules_to_save``, with every new module that it would leave out.

    Parameters
    ----------
    named : sequence of str or None
        What the adapter's file says. PEFT takes ``classifier`` for ``pre_classifier``, too, when it trains them, but
        not when it looks for the layers that get an adapter; so each is named.
    """
    known = [f".{name}" for name in (*(named or ()), *ALWAYS_SAVED)]
    added = [
        name
        for name in new_modules(model)
        if not any(f".{part}".endswith(ending) for part in _ancestors(name) for ending in known)
    ]
    return [*(named or ()), *added] if named is not None or added else None


def _ancestors(name: str) -> Iterator[str]:
    """Yield a module's name and those of the modules around it."""
    parts = name.split(".")
    return (".".join(parts[:n]) for n in range(len(parts), 0, -1))


def _topmost(model: Any, names: Collection[str]) -> Iterator[str]:
    """Yield the largest modules that consist of the named parameters alone."""
    found: list[str] = []
    for name, module in model.named_modules():
        own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
        if name and own and all(weight in names for weight in own) and not set(_ancestors(name)) & set(found):
            found.append(name)
    yield from found
