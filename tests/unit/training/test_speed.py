"""Test what is computed faster on a CPU: it agrees with PyTorch's own to float32's precision."""

from __future__ import annotations

import copy
from types import MethodType

import pytest
import torch
from torch import nn

from adapterbook.training.speed import fuse_adamw, onednn_forward, use_onednn


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


def _step(fused: bool, kind: type[torch.optim.Optimizer], dtype: torch.dtype) -> tuple[torch.Tensor, list[object]]:
    """Return a weight after three steps, and whether each group was fused."""
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(8, 4, dtype=dtype)) for _ in range(2)]
    optimizer = kind([{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.01}])  # type: ignore[call-arg]
    if fused:
        fuse_adamw(optimizer)
    for _ in range(3):
        for weight in weights:
            weight.grad = weight.detach() ** 2
        optimizer.step()
    return torch.cat([weight.detach() for weight in weights]), [group.get("fused") for group in optimizer.param_groups]


def test_a_fused_adamw_makes_the_same_steps() -> None:
    """AdamW in one pass gives the weights of PyTorch's default, each group at its learning rate."""
    plain, fused = (_step(each, torch.optim.AdamW, torch.float32) for each in (False, True))
    assert (plain[1], fused[1]) == ([None, None], [True, True])
    assert torch.allclose(plain[0], fused[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(torch.optim.SGD, torch.float32), (torch.optim.AdamW, torch.bfloat16)], ids=["SGD", "bfloat16"]
)
def test_other_optimisers_and_numbers_stay_as_they_are(kind: type[torch.optim.Optimizer], dtype: torch.dtype) -> None:
    """Only AdamW in float32 is fused; other steps are bit for bit PyTorch's default."""
    assert torch.equal(_step(False, kind, dtype)[0], _step(True, kind, dtype)[0])
    assert True not in _step(True, kind, dtype)[1]
