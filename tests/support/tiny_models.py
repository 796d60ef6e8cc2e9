"""Make a tiny base model of each supported family, with a tokenizer, in a moment and without the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerFast

WORDS: Final = (
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "good",
    "bad",
    "a",
    "very",
    "film",
    "book",
    "plot",
    "slow",
    "fine",
    "dull",
)
SIZES: Final[dict[str, Any]] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40, "initializer_range": 0.3,
}  # fmt: skip
# Family → its modules that take an adapter, and the sizes that it calls by other names.
FAMILIES: Final[dict[str, tuple[list[str], dict[str, Any]]]] = {
    "distilbert": (["q_lin", "v_lin"], {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}),
    "bert": (["query", "value"], {}),
    "roberta": (["query", "value"], {}),
    "albert": (["query", "value"], {"embedding_size": 16, "classifier_dropout_prob": 0.0}),
    "deberta-v2": (
        ["query_proj", "value_proj"],
        {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]},
    ),
    "electra": (["query", "value"], {"embedding_size": 16}),
    "mpnet": (["attn.q", "attn.v"], {}),
    "modernbert": (["Wqkv"], {}),
    "gpt2": (["c_attn"], {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "n_inner": 32}),
}
# It reads a text's last token, so a batch has to be padded on the left.
PADDED_ON_THE_LEFT: Final[dict[str, tuple[list[str], dict[str, Any]]]] = {
    "xlnet": (["layer_1", "layer_2"], {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}),
}


def make_tokenizer(folder: Path, **settings: Any) -> PreTrainedTokenizerFast:
    """Write a tokenizer that knows a dozen words, and return it.

    Parameters
    ----------
    settings
        Of ``PreTrainedTokenizerFast``, such as ``model_max_length``; ``pad_token=None`` makes one without padding.
    """
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **(special | settings))  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_config(family: str, **settings: Any) -> Any:
    """Return the settings of a tiny model of a family, without dropout."""
    sizes = (
        SIZES
        | (FAMILIES | PADDED_ON_THE_LEFT)[family][1]
        | {"vocab_size": len(WORDS), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    )
    if family in PADDED_ON_THE_LEFT:  # it takes texts of any length
        del sizes["max_position_embeddings"]
    config = AutoConfig.for_model(family, **(sizes | {"cls_token_id": 0, "sep_token_id": 2}), **settings)
    for name in vars(config):
        if "dropout" in name or name.endswith("pdrop"):
            setattr(config, name, 0.0)
    return config


def make_base_model(folder: Path, family: str, kind: Any = AutoModel, **settings: Any) -> PreTrainedModel:
    """Write a tiny base model with random weights, which are the same each time, and return it.

    Parameters
    ----------
    kind : an AutoModel class
        What it was trained as: ``AutoModelForMaskedLM`` gives a BERT without a pooler.
    """
    torch.manual_seed(0)
    model: PreTrainedModel = kind.from_config(make_config(family, **settings))
    model.save_pretrained(folder)
    return model
