"""Compute the same in less time on a CPU: linear layers by oneDNN, dropout from fewer random bits, and less padding."""

from __future__ import annotations

from types import MethodType
from typing import Final

import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional

# A call of the model takes about as long as this many more tokens, forward and backward (DistilBERT, hidden size 384).
TOKENS_OF_A_PART: Final = 24


def sort_by_length(rows: Dataset) -> tuple[Dataset, list[int]]:
    """Return tokenised rows from the longest to the shortest, and their former positions.

    Batches of similar lengths need almost no padding. Rows of one length keep their order.

    Parameters
    ----------
    rows : Dataset
        With a column ``input_ids``.

    Returns
    -------
    Dataset, list of int
        ``order[i]`` is the position in `rows` of the sorted row ``i``.
    """
    lengths = [len(ids) for ids in rows["input_ids"]]
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return rows.select(order), order


def split_by_length(inputs: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Return a batch in parts of rows of similar length, the longest first, each without padding that no row needs.

    The parts are those that take the least time together: a part takes as long as its tokens, padding included, and
    `TOKENS_OF_A_PART` more.

    Parameters
    ----------
    inputs : dict of str to Tensor
        Of shape (rows, …), with an ``attention_mask`` of shape (rows, tokens). Padding on the left stays.

    Examples
    --------
    >>> mask = torch.ones(3, 90)
    >>> mask[1, 30:] = 0
    >>> longer, shorter = split_by_length({"attention_mask": mask, "labels": torch.tensor([5, 6, 7])})
    >>> longer["labels"].tolist(), shorter["labels"].tolist(), shorter["attention_mask"].shape
    ([5, 7], [6], torch.Size([1, 30]))
    """
    mask = inputs["attention_mask"]
    ends = (mask * torch.arange(1, mask.shape[1] + 1)).amax(dim=1)  # the column after a row's last token
    order = torch.argsort(ends, descending=True, stable=True)
    widths = [int(end) for end in ends[order]]
    n_rows = len(widths)
    cheapest = [(0, n_rows)] * (n_rows + 1)  # from each row on: the cost of the rest, and where its first part stops
    for start in reversed(range(n_rows)):
        cheapest[start] = min(
            (TOKENS_OF_A_PART + (stop - start) * widths[start] + cheapest[stop][0], stop)
            for stop in range(start + 1, n_rows + 1)
        )
    parts, start = [], 0
    while start < n_rows:
        stop = cheapest[start][1]
        rows, width = order[start:stop], widths[start]
        parts.append({
            name: values[rows, :width] if values.shape[1:2] == mask.shape[1:] else values[rows]
            for name, values in inputs.items()
        })  # fmt: skip
        start = stop
    return parts


def onednn_forward(layer: nn.Linear, input: torch.Tensor) -> torch.Tensor:
    """Return ``input @ weight.T + bias``, with its gradients, by oneDNN where it can: on the CPU in float32.

    Parameters
    ----------
    input : Tensor, shape (…, in_features)
    """
    if input.is_cpu and input.dtype == layer.weight.dtype == torch.float32 and input.dim() > 1 and input.numel():
        return functional.linear(input.to_mkldnn(), layer.weight, layer.bias).to_dense()
    return nn.Linear.forward(layer, input)


def use_onednn(model: nn.Module) -> None:
    """Let oneDNN compute every plain linear layer of a model if the processor has AVX-512; the weights stay the same.

    The rule depends only on the processor, so runs side by side do not differ. The layers keep their class, because
    some methods of PEFT take no other than ``torch.nn.Linear``.
    """
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if available and torch.backends.cpu.get_cpu_capability() == "AVX512":
        for module in model.modules():
            if type(module) is nn.Linear:
                module.forward = MethodType(onednn_forward, module)  # type: ignore[method-assign]


def dropout_forward(layer: nn.Dropout, input: torch.Tensor) -> torch.Tensor:
    """Return what ``torch.nn.Dropout`` returns, with other random numbers: 16 bits decide whether a number is kept.

    PyTorch draws four times as many bits. The probability is rounded to a multiple of 1/65536, and what is kept is
    scaled by the rounded one, so the mean stays exact.
    """
    n_kept = round((1 - layer.p) * 2**16)  # of the 65,536 values of 16 bits
    if not layer.training or not input.is_cpu or not 0 < n_kept < 2**16:
        return nn.Dropout.forward(layer, input)
    bits = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    values = bits.view(torch.int16)[: input.numel()].view(input.shape)
    return input * (values < n_kept - 2**15).to(input.dtype).mul_(2**16 / n_kept)


def use_quick_dropout(model: nn.Module) -> None:
    """Let every plain dropout layer of a model, an adapter's too, draw its random numbers as `dropout_forward` does."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.forward = MethodType(dropout_forward, module)  # type: ignore[method-assign]
