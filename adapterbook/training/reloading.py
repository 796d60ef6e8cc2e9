"""Load a saved adapter as its model card does, and check that it gives the recorded predictions again.

Nothing of the run that trained it is used: neither its model nor its seed. So weights that were neither in the base
model nor saved would be random, and the check fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from adapterbook.common.errors import RunError
from adapterbook.config.study import TrainingConfig
from adapterbook.training.kernel_state import silence_transformers
from adapterbook.training.tokens import load_tokenizer

N_CHECKED = 64  # rows: a lost weight shows in each of them
# The largest difference of a probability. In 512 rows of the default study's runs, computed again, the largest was
# 0.000007 in float32, 0.0045 in float16 and 0.030 in bfloat16; a lost weight gives 0.05 to 0.8.
TOLERANCE, OTHER_TOLERANCE, BFLOAT16_TOLERANCE = 1e-4, 1e-2, 0.06


def load_saved(base_model: Path, adapter: Path, n_labels: int) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """Load an adapter over a base model; these are the calls in its model card.

    A head that the base model brings for another number of labels is not used: the adapter holds the study's.
    """
    with silence_transformers():
        model = AutoModelForSequenceClassification.from_pretrained(
            base_model,
            num_labels=n_labels,
            dtype="float32",
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    tokenizer = load_tokenizer(base_model)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return PeftModel.from_pretrained(model, str(adapter)).eval(), tokenizer


def tolerance_of(training: TrainingConfig, *, same_device: bool) -> float:
    """Return by how much a probability may differ that is computed again, in float32."""
    if training.bf16:
        return BFLOAT16_TOLERANCE
    return TOLERANCE if same_device and not training.fp16 else OTHER_TOLERANCE


def check_saved(
    base_model: Path, adapter: Path, test: Dataset, probabilities: npt.NDArray[np.float64], tolerance: float = TOLERANCE
) -> None:
    """Check that a saved adapter gives a run's probabilities again, on the longest test row and others.

    Parameters
    ----------
    test : Dataset
        With a column ``text``.
    probabilities : array, shape (n_test, n_labels)
        Of the labels, as recorded.
    tolerance : float
        From :func:`tolerance_of`; here they are computed on the CPU.

    Raises
    ------
    RunError
        If one differs by more than rounding does.
    """
    texts = list(test["text"])
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    rows = sorted({longest, *np.linspace(0, len(texts) - 1, min(len(texts), N_CHECKED)).round().astype(int).tolist()})
    with torch.random.fork_rng(devices=[]):
        torch.seed()
        model, tokenizer = load_saved(base_model, adapter, probabilities.shape[1])
    found = predict(model, tokenizer, [texts[i] for i in rows])
    difference = float(np.abs(found - probabilities[rows]).max())
    if not difference <= tolerance:
        raise RunError(
            "The saved adapter does not give this run's predictions. Loaded over the base model, a probability differs "
            f"by {difference:.2g}: PEFT did not save all that was trained, or changed the base model's weights."
        )


@torch.no_grad()
def predict(model: PeftModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the probability of each label, from the longest text to the shortest in batches, in the given order."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    found: dict[int, npt.NDArray[np.float64]] = {}
    device = next(model.parameters()).device
    accepted = set(inspect.signature(model.get_base_model().forward).parameters)  # the Trainer gives these alone
    for start in range(0, len(order), 16):
        rows = order[start : start + 16]
        batch = tokenizer([texts[i] for i in rows], truncation=True, padding=True, return_tensors="pt").to(device)
        inputs = {name: tensor for name, tensor in batch.items() if name in accepted}
        logits = cast(torch.Tensor, model(**inputs).logits)  # (rows, labels)
        found |= dict(zip(rows, torch.softmax(logits.double(), dim=-1).cpu().numpy(), strict=True))
    return np.stack([found[i] for i in range(len(texts))])
