"""Compute an encoder and its head as the page does: 8-bit weights, an adapter beside them, one text at a time.

``report/assets/live/encoder.js`` computes the same in the reader's browser. Names of weights are those of `names`,
whatever the base model calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import erf

Array = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[Any]]
SCALE: Final = ".scale"  # beside a matrix of 8-bit integers: what each of its rows is multiplied by
LARGEST: Final = 127


@dataclass(frozen=True)
class Shape:
    """Describe an encoder: layers of attention and feed-forward network, each followed by a LayerNorm."""

    n_layers: int
    n_heads: int
    width: int
    eps: float
    pool: Literal["relu", "tanh"]  # after the first layer of the head


def quantise(matrix: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int8], Array]:
    """Return a matrix as 8-bit integers, and the scale of each row.

    Examples
    --------
    >>> integers, scales = quantise(np.array([[1.0, -0.5], [0.0, 0.0]]))
    >>> integers.tolist(), [round(float(scale), 6) for scale in scales]
    ([[127, -64], [0, 0]], [0.007874, 0.0])
    """
    scales = (np.abs(matrix).max(axis=1) / LARGEST).astype(np.float32)
    steps = np.where(scales > 0, scales, 1)[:, None]
    # Row by row in memory: safetensors writes the bytes as they lie.
    return np.rint(matrix / steps).astype(np.int8, order="C"), scales


def read_weight(tensors: Tensors, name: str) -> Array:
    """Return a weight as numbers, if it is stored as integers with scales or as it is."""
    stored = tensors[name]
    if name + SCALE not in tensors:
        return np.asarray(stored, dtype=np.float32)
    return stored.astype(np.float32) * np.asarray(tensors[name + SCALE], dtype=np.float32)[:, None]


class Encoder:
    """Answer texts with a base model and an adapter in place.

    Parameters
    ----------
    base : mapping
        The base model's weights, 8-bit matrices with their scales; ``words`` holds a row for each token.
    adapter : mapping
        The adapter's part: factors ``<layer>.a`` (k, in) and ``<layer>.b`` (k, out) whose product is added, vectors
        ``<layer>.scale_in`` and ``<layer>.scale_out`` that multiply, ``<name>.delta`` that is added to a vector, and
        the head.
    """

    def __init__(self, shape: Shape, base: Tensors, adapter: Tensors) -> None:
        self.shape = shape
        self.weights = {
            name: self._adapted(name, base, adapter)
            for name in {*base, *(name for name in adapter if name.startswith(HEAD))}
            if not name.endswith(SCALE) and name not in (WORDS, POSITIONS)
        }
        self.words, self.word_scales = base[WORDS], np.asarray(base[WORDS + SCALE], dtype=np.float32)
        self.positions = read_weight(base, POSITIONS)

    def _adapted(self, name: str, base: Tensors, adapter: Tensors) -> Array:
        """Return a weight with the adapter merged into it."""
        weight = read_weight(adapter if name in adapter else base, name)
        layer = name.removesuffix(".weight")
        if f"{name}.delta" in adapter:
            weight = weight + read_weight(adapter, f"{name}.delta")
        if weight.ndim == 2 and f"{layer}.a" in adapter:
            weight = weight + read_weight(adapter, f"{layer}.b").T @ read_weight(adapter, f"{layer}.a")
        if weight.ndim == 2 and f"{layer}.scale_in" in adapter:
            weight = weight * read_weight(adapter, f"{layer}.scale_in")[None, :]
        # A vector behind a layer multiplies what it returns, its bias included.
        behind = f"{layer.removesuffix('.bias')}.scale_out"
        if behind in adapter:
            vector = read_weight(adapter, behind)
            weight = weight * (vector[:, None] if weight.ndim == 2 else vector)
        return np.ascontiguousarray(weight)

    def probabilities(self, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the probability of each label for one text's tokens."""
        states = self._first_states(tokens)
        for i in range(self.shape.n_layers):
            states = self._layer(states, f"layers.{i}")
        hidden = self._linear(states[:1], "pool")
        hidden = np.maximum(hidden, 0) if self.shape.pool == "relu" else np.tanh(hidden)
        scores = self._linear(hidden, "classifier")[0].astype(np.float64)
        shares: npt.NDArray[np.float64] = np.exp(scores - scores.max())
        shares /= shares.sum()
        return shares

    def _first_states(self, tokens: Sequence[int]) -> Array:
        ids = np.asarray(tokens)
        words = self.words[ids].astype(np.float32) * self.word_scales[ids][:, None]
        return self._normalise(words + self.positions[: len(ids)], "norm")

    def _layer(self, states: Array, layer: str) -> Array:
        """Return the states after a layer, of shape (tokens, width)."""
        n, heads = len(states), self.shape.n_heads
        q, k, v = (self._linear(states, f"{layer}.{name}").reshape(n, heads, -1).swapaxes(0, 1) for name in "qkv")
        scores = q @ k.swapaxes(1, 2) / np.float32(np.sqrt(q.shape[2]))  # (heads, tokens, tokens)
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        mixed = (shares @ v).swapaxes(0, 1).reshape(n, -1)
        states = self._normalise(states + self._linear(mixed, f"{layer}.o"), f"{layer}.norm1")
        wide = self._linear(states, f"{layer}.up")
        wide = (wide * 0.5 * (1 + erf(wide / np.float32(np.sqrt(2))))).astype(np.float32)
        return self._normalise(states + self._linear(wide, f"{layer}.down"), f"{layer}.norm2")

    def _linear(self, states: Array, name: str) -> Array:
        result: Array = states @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return result

    def _normalise(self, states: Array, name: str) -> Array:
        centred = states - states.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(self.shape.eps))
        result: Array = centred / spread * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return result


WORDS: Final = "words"
POSITIONS: Final = "positions"
HEAD: Final = ("pool.", "classifier.")
