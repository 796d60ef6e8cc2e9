"""Make a DistilBERT that is small enough for the real Trainer to finish in a moment."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification


def make_tiny_classifier(dropout: float = 0.1) -> DistilBertForSequenceClassification:
    """Return a classifier of two classes with one layer, 16 wide, whose weights are the same each time."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "num_labels": 2,
        "dim": 16,
        "hidden_dim": 16,
        "n_heads": 2,
        "n_layers": 1,
        "vocab_size": 30,
        "dropout": dropout,
        "attention_dropout": dropout,
        "seq_classif_dropout": dropout,
    }
    return DistilBertForSequenceClassification(DistilBertConfig(**sizes))
