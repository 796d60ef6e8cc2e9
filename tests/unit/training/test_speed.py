"""Test what makes a CPU faster: products by oneDNN, dropout from fewer random bits, and parts of similar length."""

from __future__ import annotations

import copy
from itertools import combinations, pairwise
from types import MethodType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adapterbook.training.speed import (
    TOKENS_OF_A_PART,
    onednn_forward,
    split_by_length,
    use_onednn,
    use_quick_dropout,
)


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


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(p: float) -> None:
    """Among a million numbers the share of zeros is p, and the others are scaled so that the mean stays."""
    layer = nn.Dropout(p)
    use_quick_dropout(layer)
    torch.manual_seed(0)
    inputs = torch.ones(1000, 1001, requires_grad=True)
    output = layer(inputs)
    output.sum().backward()
    assert inputs.grad is not None and torch.equal(inputs.grad, output.detach())  # the same are dropped on the way back
    assert float((output == 0).double().mean()) == pytest.approx(p, abs=0.002)
    assert float(output.detach()[output > 0].double().mean()) == pytest.approx(1 / (1 - p), rel=1e-3)
    zeros = (output.detach() == 0).flatten().double()
    assert abs(float(torch.corrcoef(torch.stack([zeros[1:], zeros[:-1]]))[0, 1])) < 0.005  # neighbours do not depend


def test_dropout_follows_the_seed_and_rests_in_evaluation() -> None:
    """The same seed drops the same numbers, in a copy too; p of 0 or 1 and evaluation are PyTorch's own."""
    layer, inputs = nn.Dropout(0.3), torch.ones(7, 5)
    use_quick_dropout(layer)
    found = []
    for each in (layer, copy.deepcopy(layer)):
        torch.manual_seed(3)
        found.append(each(inputs))
    assert torch.equal(*found) and not torch.equal(found[0], inputs)
    assert torch.equal(layer.eval()(inputs), inputs)
    for p, expected in ((0.0, inputs), (1.0, torch.zeros(7, 5))):
        layer.train().p = p
        assert torch.equal(layer(inputs), expected)


def _batch(lengths: list[int]) -> dict[str, torch.Tensor]:
    """Return rows whose tokens are 1, 2, 3, …, padded with 0 on the right, and whose labels are their positions."""
    columns = torch.arange(1, max(lengths) + 1)
    mask = (columns <= torch.tensor(lengths)[:, None]).long()
    return {"input_ids": columns * mask, "attention_mask": mask, "labels": torch.arange(len(lengths))}


def _cost(widths: list[int], stops: tuple[int, ...]) -> int:
    return sum(TOKENS_OF_A_PART + (b - a) * widths[a] for a, b in pairwise((0, *stops, len(widths))))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9))
def test_parts_hold_every_row_whole_and_cost_least(lengths: list[int]) -> None:
    """Each row is in one part with all its tokens, and no other way to cut the sorted rows costs less."""
    parts = split_by_length(_batch(lengths))
    for part in parts:
        tokens = part["attention_mask"].sum(dim=1)
        assert tokens.tolist() == [lengths[i] for i in part["labels"]]
        assert part["input_ids"].shape[1] == tokens.max()
        assert torch.equal(part["input_ids"].amax(dim=1), tokens)
    assert sorted(i for part in parts for i in part["labels"].tolist()) == list(range(len(lengths)))
    widths = sorted(lengths, reverse=True)
    every_way = [stops for n in range(len(widths)) for stops in combinations(range(1, len(widths)), n)]
    found = sum(TOKENS_OF_A_PART + part["input_ids"].numel() for part in parts)
    assert found == min(_cost(widths, stops) for stops in every_way)


def test_equal_rows_are_not_split() -> None:
    """Rows of one length stay one batch, because a part costs time too."""
    assert len(split_by_length(_batch([50] * 16))) == 1
