"""Load a base model's tokenizer, with a padding token and a limit on the tokens that the model takes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from datasets import DatasetDict
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from adapterbook.common.errors import SourceError, first_line

UNLIMITED = 1_000_000  # a tokenizer that knows no limit says 10^30


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a base model; with ``truncation=True`` it cuts a text to what the model takes.

    A tokenizer without a padding token, such as GPT-2's, takes the token that ends a text: the attention mask hides it.

    Raises
    ------
    SourceError
        If there is no tokenizer, or it has neither of these tokens.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises Exception itself
        problem = f"expected a tokenizer's files, such as tokenizer.json, got: {first_line(error)}"
        raise SourceError(f"the base model in {folder.name} cannot read texts:", [problem]) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            problem = "its tokenizer has no padding token: name one as pad_token in tokenizer_config.json"
            raise SourceError(f"the base model in {folder.name} cannot read several texts at once:", [problem])
        tokenizer.pad_token = tokenizer.eos_token
    limit = find_token_limit(folder)
    if limit is not None:
        tokenizer.model_max_length = min(limit, tokenizer.model_max_length)
    return tokenizer


def token_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the most tokens that a text is cut to, or None."""
    return tokenizer.model_max_length if tokenizer.model_max_length < UNLIMITED else None


def find_token_limit(folder: Path) -> int | None:
    """Return the most tokens that a base model takes by its settings and its table of positions, or None."""
    file = folder / "config.json"
    return _find_token_limit(folder, file.stat().st_mtime_ns if file.exists() else 0)


@cache
def _find_token_limit(folder: Path, _: int) -> int | None:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError, KeyError):
        return None  # loading the model says what is wrong
    limits = [getattr(config.get_text_config(), "max_position_embeddings", None)]
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name and module.padding_idx is not None:
            # RoBERTa and its like count positions from after the padding's.
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def count_truncated(splits: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many texts are longer than the model takes, and so are cut."""
    limit = token_limit(tokenizer)
    if limit is None:
        return 0
    room = tokenizer.num_special_tokens_to_add()
    texts = (text for rows in splits.values() for text in rows["text"])
    long = [text for text in texts if len(text.encode()) + room > limit]  # a token holds a byte at least
    return sum(len(tokenizer(text, verbose=False)["input_ids"]) > limit for text in long)
