"""Linear layers whose float32 products oneDNN computes, on processors where PyTorch's own choice is half as fast.

PyTorch multiplies float32 matrices with MKL, which uses AVX-512 on Intel's processors alone. oneDNN, which every build
of PyTorch for x86 has as well, uses it on all: on an AMD EPYC with AVX-512 it takes half the time for the products of a
DistilBERT, and these are seven tenths of a training step. The precision is the same; the last bits differ.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class OneDnnLinear(nn.Linear):
    """A linear layer; on the CPU and in float32 oneDNN computes its product and the gradients of it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return ``input @ weight.T + bias``; `input` is of shape (…, in_features)."""
        if input.is_cpu and input.dtype == self.weight.dtype == torch.float32 and input.dim() > 1 and input.numel():
            return functional.linear(input.to_mkldnn(), self.weight, self.bias).to_dense()
        return super().forward(input)


def use_onednn(model: nn.Module) -> None:
    """Give every plain linear layer of a model to oneDNN, where the processor has AVX-512; its weights stay its own.

    The rule asks for the processor and measures nothing, so that runs side by side never differ in it.
    """
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if available and torch.backends.cpu.get_cpu_capability() == "AVX512":
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = OneDnnLinear
