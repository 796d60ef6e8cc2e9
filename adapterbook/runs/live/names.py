"""Read a base model's folder and a run's adapter, and give their weights the names that the page uses.

Only encoders laid out like BERT and DistilBERT are read; anything else is refused with the reason that the page shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from adapterbook.common.strict import load_json
from adapterbook.runs.live.arithmetic import HEAD, POSITIONS, SCALE, WORDS, Array, Shape, quantise

Weights = dict[str, npt.NDArray[Any]]


class UnsupportedError(Exception):
    """Report why something cannot be shown, by a key of `record.LeftOutReason` or `record.Refusal`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Family:
    """Say how one architecture calls its settings, with what a config.json leaves out, and its weights."""

    settings: Mapping[str, tuple[str, int | str]]
    layer: str
    parts: Mapping[str, str]
    outside: Mapping[str, str]
    pool: str


FAMILIES: Final[dict[str, Family]] = {
    "distilbert": Family(
        {"n_layers": ("n_layers", 6), "n_heads": ("n_heads", 12), "width": ("dim", 768),
         "activation": ("activation", "gelu")},
        "transformer.layer",
        {"attention.q_lin": "q", "attention.k_lin": "k", "attention.v_lin": "v", "attention.out_lin": "o",
         "sa_layer_norm": "norm1", "ffn.lin1": "up", "ffn.lin2": "down", "output_layer_norm": "norm2"},
        {"embeddings.LayerNorm": "norm", "pre_classifier": "pool", "classifier": "classifier"},
        "relu",
    ),
    "bert": Family(
        {"n_layers": ("num_hidden_layers", 12), "n_heads": ("num_attention_heads", 12), "width": ("hidden_size", 768),
         "activation": ("hidden_act", "gelu")},
        "encoder.layer",
        {"attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
         "attention.output.dense": "o", "attention.output.LayerNorm": "norm1", "intermediate.dense": "up",
         "output.dense": "down", "output.LayerNorm": "norm2"},
        {"embeddings.LayerNorm": "norm", "pooler.dense": "pool", "classifier": "classifier"},
        "tanh",
    ),
}  # fmt: skip
# Modules without weights that PEFT wraps a layer in, and what it calls its own weights.
OWN: Final = re.compile(r"(?P<layer>.+)\.(?P<kind>lora_A\.weight|lora_B\.weight|ia3_l|ln_tuning_layers\.(weight|bias))")
PLAIN_INITS: Final = (True, False, "gaussian")  # other initialisations change the base model's weights, too


@dataclass(frozen=True)
class Base:
    """Hold a base model that the page can compute."""

    shape: Shape
    family: str
    weights: Weights  # float32, named as the page names them

    @property
    def n_params(self) -> int:
        """Return the number of parameters that are used."""
        return sum(weight.size for weight in self.weights.values())


def read_base(folder: Path) -> Base:
    """Read a base model.

    Raises
    ------
    UnsupportedError
        With ``architecture``, if it is laid out in another way.
    """
    config: Mapping[str, Any] = load_json(folder / "config.json")
    kind = str(config.get("model_type"))
    family = FAMILIES.get(kind)
    if family is None or not (folder / "model.safetensors").is_file():
        raise UnsupportedError("architecture")
    settings = {name: config.get(key, default) for name, (key, default) in family.settings.items()}
    plain = config.get("position_embedding_type") in (None, "absolute") and not config.get("is_decoder")
    if settings.pop("activation") != "gelu" or not plain:
        raise UnsupportedError("architecture")
    shape = Shape(**settings, eps=config.get("layer_norm_eps", 1e-12), pool=family.pool)  # type: ignore[arg-type]
    found = {_without_prefix(name, kind): weight for name, weight in load_file(folder / "model.safetensors").items()}
    weights: Weights = {}
    for name, weight in found.items():
        page_name = name_of(name, family)
        if page_name is not None and not page_name.startswith("classifier"):
            weights[page_name] = weight.astype(np.float32)
    try:
        weights[WORDS] = found["embeddings.word_embeddings.weight"].astype(np.float32)
        weights[POSITIONS] = found["embeddings.position_embeddings.weight"].astype(np.float32)
        if "embeddings.token_type_embeddings.weight" in found:  # a single text: every token has the first type
            weights[POSITIONS] = weights[POSITIONS] + found["embeddings.token_type_embeddings.weight"][:1]
    except KeyError:
        raise UnsupportedError("architecture") from None
    expected = {f"layers.{i}.{part}.{end}" for i in range(shape.n_layers) for part in family.parts.values()
                for end in ("weight", "bias")} | {"norm.weight", "norm.bias"}  # fmt: skip
    if not expected <= weights.keys():
        raise UnsupportedError("architecture")
    return Base(shape, kind, weights)


def _without_prefix(name: str, kind: str) -> str:
    return name.removeprefix("base_model.model.").removeprefix(f"{kind}.")


def name_of(name: str, family: Family) -> str | None:
    """Return the page's name of a weight, None if the page does not use it.

    Examples
    --------
    >>> name_of("transformer.layer.3.attention.q_lin.weight", FAMILIES["distilbert"])
    'layers.3.q.weight'
    """
    module, _, end = name.rpartition(".")
    own = layer_of(module, family)
    return None if own is None or end not in ("weight", "bias") else f"{own}.{end}"


def layer_of(module: str, family: Family) -> str | None:
    """Return the page's name of a module, None if it has none."""
    if module in family.outside:
        return family.outside[module]
    match = re.fullmatch(rf"{re.escape(family.layer)}\.(\d+)\.(.+)", module)
    part = None if match is None else family.parts.get(match[2])
    return None if match is None or part is None else f"layers.{match[1]}.{part}"


def pack_base(base: Base) -> Weights:
    """Return the base model as it is shipped: matrices in 8 bits, vectors as they are."""
    return _packed({name: weight for name, weight in base.weights.items() if not name.startswith(HEAD)})


def _packed(weights: Mapping[str, npt.NDArray[Any]]) -> Weights:
    packed: Weights = {}
    for name, weight in weights.items():
        if weight.ndim == 2:
            packed[name], packed[name + SCALE] = quantise(weight.astype(np.float32))
        else:
            packed[name] = weight.astype(np.float32)
    return packed


def pack_adapter(folder: Path, base: Base) -> Weights:
    """Return a run's adapter and its head as they are shipped.

    Raises
    ------
    UnsupportedError
        With ``method``, if the method has no form that the page computes; with ``size``, if whole matrices changed.
    """
    family = FAMILIES[base.family]
    config = load_json(folder / "adapter_config.json")
    parts: dict[str, dict[str, Array]] = {}
    packed: Weights = {}
    head: Weights = {name: weight for name, weight in base.weights.items() if name.startswith(HEAD)}
    for stored, weight in load_file(folder / "adapter_model.safetensors").items():
        name = _without_prefix(stored, base.family)
        own = OWN.fullmatch(name)
        if own is not None:
            layer = layer_of(own["layer"], family)
            if layer is None:
                raise UnsupportedError("size" if weight.ndim == 2 and min(weight.shape) > 1 else "method")
            parts.setdefault(layer, {})[own["kind"]] = weight.astype(np.float32)
            continue
        plain = name_of(name, family)
        if plain is not None and plain.startswith(HEAD):
            head[plain] = weight
        elif plain in base.weights and weight.ndim == 1:
            packed[f"{plain}.delta"] = weight.astype(np.float32) - base.weights[plain]
        else:
            raise UnsupportedError("size" if plain is not None or "embeddings" in name else "method")
    if not {f"{part}{end}" for part in HEAD for end in ("weight", "bias")} <= head.keys():
        raise UnsupportedError("method")
    for layer, found in parts.items():
        packed |= dict(_form_of(layer, found, base, config))
    return packed | _packed(head)


def _form_of(
    layer: str, found: Mapping[str, Array], base: Base, config: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield an adapter's weights at one layer, in the form that the page computes."""
    kinds = {kind.partition(".")[0] for kind in found}
    if kinds == {"lora_A", "lora_B"}:
        if (
            config.get("init_lora_weights") not in PLAIN_INITS
            or config.get("alpha_pattern")
            or config.get("fan_in_fan_out")
        ):
            raise UnsupportedError("method")
        yield from _packed(_directions(layer, found, config)).items()
    elif kinds == {"ia3_l"}:
        vector = found["ia3_l"]
        # A row scales the input of a feed-forward layer, a column the output of another layer.
        yield f"{layer}.{'scale_in' if vector.shape[0] == 1 else 'scale_out'}", vector.reshape(-1)
    elif kinds == {"ln_tuning_layers"}:
        for kind, weight in found.items():
            name = f"{layer}.{kind.partition('.')[2]}"
            if weight.ndim != 1 or name not in base.weights:
                raise UnsupportedError("size")
            yield f"{name}.delta", weight - base.weights[name]
    else:
        raise UnsupportedError("method")


def _directions(layer: str, found: Mapping[str, Array], config: Mapping[str, Any]) -> Weights:
    """Return the update of a LoRA layer along its singular directions, the largest first, its scale included."""
    a, b = found["lora_A.weight"].astype(np.float64), found["lora_B.weight"].astype(np.float64)
    r = a.shape[0]
    scale = config["lora_alpha"] / (np.sqrt(r) if config.get("use_rslora") else r)
    left, left_rest = np.linalg.qr(b)
    right, right_rest = np.linalg.qr(a.T)
    u, values, v = np.linalg.svd(left_rest @ right_rest.T * scale)
    return {f"{layer}.a": v @ right.T, f"{layer}.b": (left @ u * values).T}


def read_tokenizer(folder: Path, max_tokens: int | None) -> dict[str, Any]:
    """Return the settings and the vocabulary of a WordPiece tokenizer, as the page's own needs them.

    Raises
    ------
    UnsupportedError
        With ``tokenizer``, if it works in another way.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UnsupportedError("tokenizer")
    stored = json.loads(file.read_text("utf-8"))
    model, normaliser = stored["model"], stored.get("normalizer") or {}
    kinds = (model.get("type"), normaliser.get("type"), (stored.get("pre_tokenizer") or {}).get("type"))
    if kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer"):
        raise UnsupportedError("tokenizer")
    vocabulary: dict[str, int] = model["vocab"]
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, number in vocabulary.items():
        tokens[number] = token
    strip = normaliser["strip_accents"]
    if not {"[CLS]", "[SEP]"} <= vocabulary.keys():
        raise UnsupportedError("tokenizer")
    return {
        "tokens": tokens,
        "clean": normaliser["clean_text"],
        "chinese": normaliser["handle_chinese_chars"],
        "strip": normaliser["lowercase"] if strip is None else strip,
        "lower": normaliser["lowercase"],
        "unknown": vocabulary[model["unk_token"]],
        "prefix": model["continuing_subword_prefix"],
        "most_chars": model["max_input_chars_per_word"],
        "special": {token["content"]: token["id"] for token in stored["added_tokens"] if token["special"]},
        "first": vocabulary["[CLS]"],
        "last": vocabulary["[SEP]"],
        "most_tokens": max_tokens,
    }
