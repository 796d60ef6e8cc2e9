"""Test products by oneDNN: they agree with PyTorch's own to float32's precision, and the weights stay the same."""

from __future__ import annotations

import copy
from types import MethodType

import pytest
import torch
from torch import nn

from adapterbook.training.speed import onednn_forward, use_onednn


@pytest.fixture
def layers() -> tuple[nn.Linear, nn.Linear]:
    """Return a plain layer, and its copy that oneDNN computes."""
    torch.manual_seed(0)
    plain = nn.Linear(384, 96)
    other = copy.deepcopy(plain)
    other.forward = MethodType(onednn_forward, other)  # type: ignore[method-assign]
    return plain, other


@pytest.mark.parametrize("shape", [(16, 70, 384), (5, 384), (1, 384)])
def test_products_and_gradients_are_those_of_pytorch(
    layers: tuple[nn.Linear, nn.Linear], shape: tuple[int, ...]
) -> None:
    """Output, gradient of the input, and gradients of weight and bias agree to 1e-5 of their size."""
    found = []
    for layer in layers:
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
        output = layer(inputs)
        (output**2).sum().backward()
        assert inputs.grad is not None and layer.weight.grad is not None and layer.bias.grad is not None
        found.append((output.detach(), inputs.grad, layer.weight.grad, layer.bias.grad))
    for plain, other in zip(*found, strict=True):
        assert (plain - other).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.parametrize("shape", [(384,), (0, 384)])
def test_what_onednn_does_not_take_pytorch_does(layers: tuple[nn.Linear, nn.Linear], shape: tuple[int, ...]) -> None:
    """For one row without a batch, no row, or double precision the answer is exactly PyTorch's own."""
    plain, other = layers
    inputs = torch.ones(shape)
    assert torch.equal(plain(inputs), other(inputs))
    assert torch.equal(plain.double()(inputs.double()), other.double()(inputs.double()))


def test_every_plain_layer_is_given_over_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AVX-512 every plain layer, and its copies, and no derived one is computed so; no layer changes its class."""

    class Derived(nn.Linear):
        pass

    def found(model: nn.Module) -> list[tuple[type, bool]]:
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        assert all(layer.forward.__self__ is layer for layer in layers)  # type: ignore[attr-defined]
        return [(type(layer), layer.forward.__func__ is onednn_forward) for layer in layers]  # type: ignore[attr-defined]

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), Derived(2, 2)))
    weights = [id(parameter) for parameter in model.parameters()]
    use_onednn(model)
    assert found(model) == [(nn.Linear, False), (nn.Linear, False), (Derived, False)]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    use_onednn(model)
    assert found(model) == found(copy.deepcopy(model)) == [(nn.Linear, True), (nn.Linear, True), (Derived, False)]
    assert weights == [id(parameter) for parameter in model.parameters()]
