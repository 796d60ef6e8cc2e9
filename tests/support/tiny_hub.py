"""Make a base model and a data set of a few kilobytes, with the layout of the homework's two names on the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

MODEL, DATASET = "distilbert/distilbert-base-cased", "stanfordnlp/imdb"
VOCABULARY_SIZE, N_POSITIONS, DIM, HIDDEN_DIM = 30522, 64, 8, 16
CONFIG = {
    "model_type": "distilbert", "architectures": ["DistilBertModel"], "dim": DIM, "n_heads": 2,
    "hidden_dim": HIDDEN_DIM, "n_layers": 1, "vocab_size": VOCABULARY_SIZE, "max_position_embeddings": N_POSITIONS,
}  # fmt: skip
LINEAR = {"attention.q_lin": (DIM, DIM), "attention.k_lin": (DIM, DIM), "attention.v_lin": (DIM, DIM),
          "attention.out_lin": (DIM, DIM), "ffn.lin1": (HIDDEN_DIM, DIM), "ffn.lin2": (DIM, HIDDEN_DIM)}  # fmt: skip
NORMS = ("embeddings.LayerNorm", "transformer.layer.0.sa_layer_norm", "transformer.layer.0.output_layer_norm")
SHAPES: dict[str, tuple[int, ...]] = {
    "embeddings.word_embeddings.weight": (VOCABULARY_SIZE, DIM),
    "embeddings.position_embeddings.weight": (N_POSITIONS, DIM),
    **{f"{name}.{part}": (DIM,) for name in NORMS for part in ("weight", "bias")},
    **{f"transformer.layer.0.{name}.weight": shape for name, shape in LINEAR.items()},
    **{f"transformer.layer.0.{name}.bias": shape[:1] for name, shape in LINEAR.items()},
}
CARD = """---
configs:
- config_name: plain_text
  default: true
  data_files:
  - {split: train, path: plain_text/train-*}
  - {split: test, path: plain_text/test-*}
---
"""


def make_model(folder: Path, tokenizer: Path) -> Path:
    """Write a DistilBERT with one layer of 8 dimensions and random weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(tokenizer / name, folder)
    rng = np.random.default_rng(0)
    weights = {f"distilbert.{name}": rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in SHAPES.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # What must not come along: a pickle, and code.
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    (folder / "modeling_x.py").write_text("raise SystemExit('code of a repository was run')\n", "utf-8")
    return folder


def make_dataset(folder: Path, n_rows: int = 700) -> Path:
    """Write a train and a test split in IMDB's layout."""
    (folder / "plain_text").mkdir(parents=True)
    for split in ("train", "test"):
        rows = {"text": [f"{split} review number {i}" for i in range(n_rows)], "label": [i % 2 for i in range(n_rows)]}
        pd.DataFrame(rows).to_parquet(folder / "plain_text" / f"{split}-00000-of-00001.parquet", index=False)
    (folder / "README.md").write_text(CARD, "utf-8")
    return folder
