"""Tell which layers a base model's head consists of, and what it reads, by watching a batch go through it.

Every family of models writes its head in its own way. Most are a chain of linear layers, with dropout before each and
an activation between them. A head is described only if such a chain gives the model's own logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from adapterbook.runs.probe import HeadLayer
from adapterbook.training.head import new_modules

ACTIVATIONS: Final[Mapping[Literal["relu", "tanh", "gelu"] | None, Callable[[torch.Tensor], torch.Tensor]]] = {
    None: lambda values: values, "relu": nn.functional.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu,
}  # fmt: skip
TOLERANCE: Final = 1e-4


class WatchedHead:
    """Keep what the first linear layer of a model's head reads and the last one returns, whenever the model computes.

    Attributes
    ----------
    linear : list of Linear
        In the order in which a forward pass calls them; empty if the model has no new linear layer.
    """

    def __init__(self, model: PreTrainedModel, tokens: Mapping[str, torch.Tensor]) -> None:
        self.model = model
        heads = [model.get_submodule(name) for name in new_modules(model)]
        new = [part for head in heads for part in head.modules() if isinstance(part, nn.Linear)]
        self.calls, self.logits = _watch(model, tokens)
        self.linear = [module for module, _, _ in self.calls if module in new]
        self._read = self._returned = torch.empty(0)
        if self.linear:
            self.linear[0].register_forward_pre_hook(self._keep_read)
            self.linear[-1].register_forward_hook(self._keep_returned)

    def _keep_read(self, module: nn.Module, inputs: Any) -> None:
        self._read = inputs[0]

    def _keep_returned(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._returned = output

    def read(self, logits: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return what the head read to give the logits of the last batch, shape (batch, width)."""
        rows: npt.NDArray[np.float32] = _rows_behind(logits, self._read, self._returned).numpy()
        return rows

    def describe(self) -> tuple[HeadLayer, ...] | None:
        """Return the layers; None if dropout, linear layers and activations in a row do not give the logits."""
        std = getattr(self.model.config, "initializer_range", None)
        if not std or not self.linear or len(set(self.linear)) < len(self.linear):
            return None
        modules = [module for module, _, _ in self.calls]
        first = start = modules.index(self.linear[0])
        while start and isinstance(modules[start - 1], nn.Dropout):
            start -= 1
        returned = next(output for module, _, output in reversed(self.calls) if module is self.linear[-1])
        read = {module: _rows_behind(self.logits, inputs, returned) for module, inputs, _ in self.calls[first:]
                if module in self.linear}  # fmt: skip
        value, kept, layers = read[self.linear[0]], 1.0, list[HeadLayer]()
        for module in modules[start:]:
            if isinstance(module, nn.Dropout):
                kept *= 1 - module.p
            if module not in self.linear:
                continue
            is_last = module is self.linear[-1]
            wanted = self.logits if is_last else read[self.linear[len(layers) + 1]]
            with torch.no_grad():
                value = nn.functional.linear(value, module.weight, module.bias)
            gaps = {name: float((compute(value) - wanted).abs().max()) for name, compute in ACTIVATIONS.items()}
            closest = min(gaps, key=lambda name: gaps[name])
            is_usual = 0.75 < float(module.weight.detach().std()) / std < 1.25
            if gaps[closest] > TOLERANCE or not is_usual or (module.bias is not None and bool(module.bias.any())):
                return None
            value = ACTIVATIONS[closest](value)
            layers.append(
                HeadLayer(n_in=module.in_features, n_out=module.out_features, bias=module.bias is not None,
                          dropout=round(1 - kept, 6), activation=closest, initial_std=std)
            )  # fmt: skip
            kept = 1.0
        return tuple(layers)


def _watch(
    model: PreTrainedModel, tokens: Mapping[str, torch.Tensor]
) -> tuple[list[tuple[Any, torch.Tensor, torch.Tensor]], torch.Tensor]:
    """Return each call of a module without parts while a batch is computed, with input and output, and the logits."""
    calls: list[tuple[Any, torch.Tensor, torch.Tensor]] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((module, inputs[0] if inputs else output, output))

    hooks = [part.register_forward_hook(keep) for part in model.modules() if not any(part.children())]
    with torch.no_grad():
        logits: torch.Tensor = model(**tokens).logits
    for hook in hooks:
        hook.remove()
    return calls, logits


def _rows_behind(logits: torch.Tensor, values: torch.Tensor, returned: torch.Tensor) -> torch.Tensor:
    """Return one vector a row: of a head that reads every token, the token whose answer became the row's logits."""
    if values.dim() == 2:
        return values
    token = (returned - logits.unsqueeze(1)).abs().sum(dim=-1).argmin(dim=1)  # (batch,)
    return values[torch.arange(len(values)), token]
