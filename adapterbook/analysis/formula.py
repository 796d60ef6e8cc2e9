"""Compute an adapter's number of parameters by formula, to compare it with the number that was counted.

Covers LoRA (with DoRA's magnitudes) and IA³, and DistilBERT's head. There is no formula for settings that train
anything else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from adapterbook.analysis.learned import name_kinds
from adapterbook.analysis.shapes import FormulaRow, ParameterFormula
from adapterbook.runs.record import ModuleUpdate, Record

# Settings of LoraConfig that change how many parameters train; if one is set, the formula does not cover them all.
OTHER_LORA = ("rank_pattern", "lora_bias", "use_qalora", "use_bdlora", "megatron_config", "layer_replication",
              "trainable_token_indices", "target_parameters", "arrow_config", "eva_config")  # fmt: skip
HEAD = {"pre_classifier", "classifier"}
N_CLASSES = 2  # a review is positive or negative


def compute_formula(record: Record) -> ParameterFormula | None:
    """Return one adapter's parameters by formula, None if the record lacks the dimensions or there is no formula.

    Parameters
    ----------
    record : Record
        Completed; its ``learned`` gives the modules and their dimensions.

    Notes
    -----
    Sources: Hu et al. 2021, "LoRA", section 4.1; Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better
    and cheaper than in-context learning", section 3.3 (IA³); Liu et al. 2024, "DoRA", section 4.1.
    """
    config, updates = record.adapter.config, record.learned
    measured, measured_head = record.n_adapter_params, record.n_head_params
    if not updates or measured is None or measured_head is None:
        return None
    method = _method_of(record.adapter.peft_type, config)
    if method is None:
        return None
    kinds = name_kinds([update.module for update in updates], config)
    sizes = Counter(_row_of(method, kinds[update.module], update, config) for update in updates)
    rows = tuple(_counted(row, n) for row, n in sizes.items())
    n_adapter = sum(row.n_params for row in rows)
    width = _head_width(updates, config)
    n_head = None if width is None else width**2 + width + N_CLASSES * width + N_CLASSES
    return ParameterFormula(
        method=method,
        rows=rows,
        n_adapter_params=n_adapter,
        measured_adapter_params=measured,
        width=width,
        n_classes=None if width is None else N_CLASSES,
        n_head_params=n_head,
        measured_head_params=measured_head,
        n_trainable_params=None if n_head is None else n_adapter + n_head,
        agrees=n_adapter == measured and n_head in (None, measured_head),
    )


def _method_of(peft_type: str, config: Mapping[str, Any]) -> Literal["lora", "ia3"] | None:
    if peft_type == "IA3":
        return "ia3"
    plain = config.get("bias", "none") == "none" and not any(config.get(key) for key in OTHER_LORA)
    return "lora" if peft_type == "LORA" and plain and isinstance(config.get("r"), int) else None


def _row_of(method: Literal["lora", "ia3"], kind: str, update: ModuleUpdate, config: Mapping[str, Any]) -> FormulaRow:
    """Return the row of one module alone."""
    d_in, d_out = update.in_features, update.out_features
    if method == "ia3":
        scales: Literal["input", "output"] = "input" if _is_feedforward(update.module, config) else "output"
        each = d_in if scales == "input" else d_out
        return FormulaRow(kind, 1, d_in, d_out, None, scales, False, each, each)
    magnitude = bool(config.get("use_dora"))
    each = config["r"] * (d_in + d_out) + (d_out if magnitude else 0)
    return FormulaRow(kind, 1, d_in, d_out, config["r"], None, magnitude, each, each)


def _counted(row: FormulaRow, n: int) -> FormulaRow:
    return FormulaRow(row.kind, n, row.d_in, row.d_out, row.r, row.scales, row.magnitude, row.n_params_each,
                      n * row.n_params_each)  # fmt: skip


def _is_feedforward(module: str, config: Mapping[str, Any]) -> bool:
    """Return whether IA³ scales a module's input, by PEFT's own rule: a pattern for the whole name, or endings."""
    named = config.get("feedforward_modules") or ()
    if isinstance(named, str):
        return re.fullmatch(named, module) is not None
    return any(module.endswith(ending) for ending in named)


def _head_width(updates: tuple[ModuleUpdate, ...], config: Mapping[str, Any]) -> int | None:
    """Return the width of DistilBERT's head: the model's, which is its attention layers' and its narrowest."""
    if set(config.get("modules_to_save") or ()) != HEAD:
        return None
    return min(min(update.in_features, update.out_features) for update in updates)
