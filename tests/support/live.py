"""Make a small base model and adapters that the page computes, and write them into a made-up study's results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from adapterbook.config.paths import Paths
from adapterbook.runs.live.make import make_live
from adapterbook.runs.live.record import LiveRecord
from adapterbook.runs.record import load_record, seal_record, write_record
from adapterbook.runs.select import load_live
from tests.support.factory import PROJECT

WIDTH, HIDDEN, LAYERS, POSITIONS = 16, 32, 2, 512
TOKENS: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *".,!'-", "good", "bad",
                 "film", "a", "un", "##able", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]  # fmt: skip
NORMALISER: Final = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                     "lowercase": True}  # fmt: skip


def write_tokenizer(folder: Path, **normaliser: Any) -> None:
    """Write the tokenizer.json of a WordPiece model that knows letters and a few words."""
    names = list(dict.fromkeys(TOKENS))
    numbers = {token: i for i, token in enumerate(names)}
    special = [{"id": numbers[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for token in names[:5]]  # fmt: skip
    ends = {token: {"id": token, "ids": [numbers[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")}
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]  # fmt: skip
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": NORMALISER | normaliser, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single,
                           "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": ends},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": numbers},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")


def write_base_model(folder: Path) -> Path:
    """Write a DistilBERT of two layers, the same each time, with its tokenizer; return its folder."""
    random = np.random.default_rng(1)
    weights: dict[str, npt.NDArray[np.float32]] = {}

    def add(name: str, *shape: int) -> None:
        weights[name] = random.normal(0, 0.4, shape).astype(np.float32)

    add("embeddings.word_embeddings.weight", len(set(TOKENS)), WIDTH)
    add("embeddings.position_embeddings.weight", POSITIONS, WIDTH)
    norms = ["embeddings.LayerNorm"]
    for i in range(LAYERS):
        layer = f"transformer.layer.{i}"
        norms += [f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm"]
        for part in ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"):
            add(f"{layer}.{part}.weight", WIDTH, WIDTH)
            add(f"{layer}.{part}.bias", WIDTH)
        add(f"{layer}.ffn.lin1.weight", HIDDEN, WIDTH)
        add(f"{layer}.ffn.lin1.bias", HIDDEN)
        add(f"{layer}.ffn.lin2.weight", WIDTH, HIDDEN)
        add(f"{layer}.ffn.lin2.bias", WIDTH)
    for norm in norms:
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    config = {"model_type": "distilbert", "activation": "gelu", "dim": WIDTH, "hidden_dim": HIDDEN, "n_heads": 2,
              "n_layers": LAYERS, "max_position_embeddings": POSITIONS, "vocab_size": len(set(TOKENS))}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    write_tokenizer(folder)
    return folder


def write_adapter(folder: Path, peft_type: str, seed: int, n_labels: int = 2) -> None:
    """Write an adapter as PEFT saves it: a LoRA of rank 4, or an IA³, with its head."""
    random = np.random.default_rng(seed)
    prefix = "base_model.model."
    weights: dict[str, npt.NDArray[np.float32]] = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        weights[prefix + name] = random.normal(around, 0.5, shape).astype(np.float32)

    for name, shape in (("pre_classifier", (WIDTH, WIDTH)), ("classifier", (n_labels, WIDTH))):
        add(f"{name}.weight", *shape)
        add(f"{name}.bias", shape[0])
    for i in range(LAYERS):
        layer = f"distilbert.transformer.layer.{i}"
        if peft_type == "LORA":
            add(f"{layer}.attention.q_lin.lora_A.weight", 4, WIDTH)
            add(f"{layer}.attention.q_lin.lora_B.weight", WIDTH, 4)
            add(f"{layer}.ffn.lin1.lora_A.weight", 4, WIDTH)
            add(f"{layer}.ffn.lin1.lora_B.weight", HIDDEN, 4)
        else:
            add(f"{layer}.attention.v_lin.ia3_l", WIDTH, 1, around=1.0)
            add(f"{layer}.ffn.lin2.ia3_l", 1, HIDDEN, around=1.0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": peft_type, "lora_alpha": 4, "r": 4, "init_lora_weights": True}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")


def seal_runs(paths: Paths, source: str = "embedded") -> None:
    """Give a made-up study its notebook, and each completed run an adapter of its method and a sealed record."""
    shutil.copy(PROJECT.notebook, paths.notebook)
    for seed, file in enumerate(sorted((paths.results / source).glob("*/*/seed-*/record.json"))):
        record = load_record(file.parent)
        if record.status == "completed":
            write_adapter(file.parent / "adapter", record.adapter.peft_type, seed, len(record.source.labels))
            write_record(seal_record(record, file.parent), file.parent)


def prepare_live(paths: Paths, base_model: Path, source: str = "embedded") -> LiveRecord:
    """Prepare what the page needs, from sealed runs."""
    return make_live(load_live(paths, source)[0], paths, base_model)
