"""Test what is found out about the heads of different families of models, against what their code says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from adapterbook.training.head import renew_head
from adapterbook.training.head_layers import WatchedHead

SMALL = {
    "hidden_size": 32, "dim": 32, "n_embd": 32, "num_hidden_layers": 2, "n_layers": 2, "n_layer": 2, "n_heads": 4,
    "num_attention_heads": 4, "n_head": 4, "intermediate_size": 64, "hidden_dim": 64, "vocab_size": 100,
}  # fmt: skip
N_LABELS = 5
# Dropout before each linear layer, and the activation after it: by Transformers' own classes.
HEADS: dict[str, list[tuple[float, str | None]]] = {
    "distilbert": [(0.0, "relu"), (0.2, None)],
    "bert": [(0.1, None)],
    "roberta": [(0.1, "tanh"), (0.1, None)],
    "electra": [(0.1, "gelu"), (0.1, None)],
    "gpt2": [(0.0, None)],
}

COMPUTE: dict[str | None, Callable[[Any], Any]] = {
    "relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu, None: lambda values: values,
}  # fmt: skip


def make_model(family: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return a small model of a family with a new head, and a batch that has padding."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family)
    for name, value in SMALL.items():
        if hasattr(config, name):
            setattr(config, name, value)
    config.num_labels, config.pad_token_id = N_LABELS, 0
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    names = [name for name, _ in model.named_parameters()]
    renew_head(model, [name for name in names if not name.startswith(f"{model.base_model_prefix}.")], [])
    ids = torch.randint(3, 90, (4, 7))
    ids[0, 4:] = 0
    model.train(False)
    return model, {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("family", HEADS)
def test_a_head_is_described_as_its_code_has_it(family: str) -> None:
    """Layers, dropout and activations are those of the family; computed from what the head reads, logits agree."""
    model, tokens = make_model(family)
    head = WatchedHead(model, tokens)
    layers = head.describe()
    assert layers is not None
    assert [(layer.dropout, layer.activation) for layer in layers] == HEADS[family]
    assert [layer.initial_std for layer in layers] == [0.02] * len(layers)
    assert (layers[0].n_in, layers[-1].n_out) == (32, N_LABELS)
    assert [layer.bias for layer in layers] == [family != "gpt2"] * len(layers)
    other = {"input_ids": tokens["input_ids"].flip(0), "attention_mask": tokens["attention_mask"].flip(0)}
    with torch.no_grad():
        logits = model(**other).logits
        value = torch.from_numpy(head.read(logits))
        for layer, module in zip(layers, head.linear, strict=True):
            value = COMPUTE[layer.activation](torch.nn.functional.linear(value, module.weight, module.bias))
    torch.testing.assert_close(value, logits, atol=1e-5, rtol=0)


def test_a_head_that_does_more_is_not_described() -> None:
    """A norm between two layers of the head (ModernBERT's) gives other logits than the chain would, and is seen."""
    model, tokens = make_model("distilbert")
    model.pre_classifier = torch.nn.Sequential(model.pre_classifier, torch.nn.LayerNorm(32))
    assert WatchedHead(model, tokens).describe() is None


def test_first_weights_of_another_size_are_not_described() -> None:
    """The lab makes the first weights itself, so a head that begins with other biases than zero is left out."""
    model, tokens = make_model("distilbert")
    with torch.no_grad():
        model.classifier.bias.fill_(0.5)
    assert WatchedHead(model, tokens).describe() is None
