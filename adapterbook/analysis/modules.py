"""Compute the change of each layer by training, and an adapter's parameters by formula, from the records."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, combinations, takewhile, zip_longest
from statistics import fmean, linear_regression
from typing import Any, Literal

from adapterbook.analysis.shapes import (
    AdapterReport,
    Directions,
    EqualPair,
    FormulaRow,
    Group,
    Growth,
    Learned,
    LearnedMean,
    LearnedModule,
    LearnedRatio,
    ParameterFormula,
)
from adapterbook.analysis.travel import compute_travel
from adapterbook.runs.record import ModuleUpdate, Record

# Two vectors are called equal if their mean distances from 1 differ by less than this share: float32's rounding.
EQUAL = 1e-4


def compute_learned(adapter: str, variant: str, records: Sequence[Record]) -> Learned | None:
    """Return the updates of one group's modules, as means over its seeds, or None if no record has them.

    Parameters
    ----------
    records : sequence of Record
        Completed, one a seed.
    """
    said = [record for record in records if record.learned]
    if not said:
        return None
    kinds = name_kinds([update.module for update in said[0].learned or ()], said[0].adapter.config)
    updates: dict[str, list[ModuleUpdate]] = {name: [] for name in kinds}
    for record in said:
        for update in record.learned or ():
            updates.setdefault(update.module, []).append(update)
    modules = tuple(_describe(found, kinds.get(name, name)) for name, found in updates.items())
    return Learned(
        adapter=adapter,
        variant=variant,
        n_seeds=len(said),
        modules=modules,
        kinds=_means((module.kind, module) for module in modules),
        layers=_means(
            (str(module.layer), module)
            for module in sorted(modules, key=lambda module: module.layer or 0)
            if module.layer is not None
        ),
        largest=max(modules, key=lambda module: module.relative_update),
        smallest=min(modules, key=lambda module: module.relative_update),
        mean_relative_update=fmean(module.relative_update for module in modules),
        mean_scale_deviation=_mean_deviation(modules),
        equal_pair=_equal_pair(modules),
        directions=_mean_directions([module.directions for module in modules]),
    )


def compute_directions(update: ModuleUpdate) -> Directions | None:
    """Return how many directions one update uses, or None if the record holds no singular value of it.

    Notes
    -----
    Source of the stable rank: Rudelson & Vershynin 2007, "Sampling from large matrices: an approach through geometric
    functional analysis", J. ACM 54(4), section 1. The effective rank of Roy & Vetterli 2007 needs every singular value,
    and a record keeps 64; the stable rank needs the largest and the norm.

    Examples
    --------
    >>> update = ModuleUpdate(module="q", in_features=8, out_features=8, update_norm=5.0, weight_norm=1.0,
    ...                       scale_deviation=None, singular_values=(4.0, 3.0))
    >>> compute_directions(update)
    Directions(stable_rank=1.5625, n_for_90=2, n_for_99=2, relative_values=(1.0, 0.75))
    """
    values = update.singular_values
    if not values:
        return None
    held = list(accumulate(value**2 for value in values))

    def n_for(share: float) -> int | None:
        wanted = share * update.update_norm**2 * (1 - 1e-9)  # but for rounding
        return next((n for n, sum_of_squares in enumerate(held, 1) if sum_of_squares >= wanted), None)

    return Directions(
        stable_rank=(update.update_norm / values[0]) ** 2,
        n_for_90=n_for(0.9),
        n_for_99=n_for(0.99),
        relative_values=tuple(value / values[0] for value in values),
    )


def compare_learned(
    adapters: Mapping[str, AdapterReport], reference: str | None, variants: Sequence[str]
) -> tuple[LearnedRatio, ...]:
    """Return how far adapters of the reference's method moved beside it, variant by variant."""
    base = adapters.get(reference or "")
    if base is None:
        return ()
    alike = [adapter for adapter in adapters.values() if adapter.config.train_adapter and adapter is not base
             and adapter.config.peft_type == base.config.peft_type]  # fmt: skip
    ratios = []
    for adapter in alike:
        for variant in variants:
            own, other = _moved(adapter.groups.get(variant)), _moved(base.groups.get(variant))
            if own and other:
                ratios.append(LearnedRatio(adapter.id, base.id, variant, own[0] / other[0], own[1], other[1]))
    return tuple(ratios)


def compute_growth(adapter: AdapterReport | None) -> Growth | None:
    """Return how an adapter's update grows with the travel, None with fewer than three travels."""
    if adapter is None:
        return None
    found: dict[float, float] = {}
    for group in adapter.groups.values():
        run, learned = group.representative, group.learned
        record = None if run is None else run.record
        travel = compute_travel(record, record.best.epoch) if record is not None and record.best is not None else None
        if travel and learned is not None and learned.mean_relative_update > 0:
            found.setdefault(float(f"{travel:.6g}"), learned.mean_relative_update)
    if len(found) < 3:
        return None
    short, long = min(found), max(found)
    slope = linear_regression([math.log(x) for x in found], [math.log(y) for y in found.values()]).slope
    return Growth(adapter.id, len(found), long / short, found[long] / found[short], slope)


def compute_size_ratios(adapters: Mapping[str, AdapterReport]) -> dict[str, float]:
    """Return each adapter's own parameters over those of the smallest adapter; a baseline has none."""
    sizes = {name: adapter.n_adapter_params for name, adapter in adapters.items() if adapter.n_adapter_params}
    return {name: size / min(sizes.values()) for name, size in sizes.items()}


def _moved(group: Group | None) -> tuple[float, float] | None:
    """Return a group's mean relative update, and the epoch at which its first seed's checkpoint was kept."""
    if group is None or group.learned is None or not group.learned.mean_relative_update:
        return None
    record = None if group.representative is None else group.representative.record
    return None if record is None or record.best is None else (group.learned.mean_relative_update, record.best.epoch)


def _equal_pair(modules: Sequence[LearnedModule]) -> EqualPair | None:
    """Return the first two kinds of modules, both in every layer, whose vectors are equally far from 1 in each."""
    by_kind: dict[str, dict[int | None, float]] = defaultdict(dict)
    for module in modules:
        if module.scale_deviation:
            by_kind[module.kind][module.layer] = module.scale_deviation
    for (first, of_first), (second, of_second) in combinations(by_kind.items(), 2):
        if of_first.keys() != of_second.keys():
            continue
        gaps = {layer: abs(deviation - of_second[layer]) for layer, deviation in of_first.items()}
        if all(gap <= EQUAL * of_first[layer] for layer, gap in gaps.items()):
            redundant = sum(module.d_out for module in modules if module.kind == second)
            return EqualPair(first, second, len(gaps), max(gaps.values()), redundant)
    return None


def name_kinds(modules: Sequence[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of each module's kind, as pages show it.

    Parameters
    ----------
    modules : sequence of str
        Whole names.
    config : mapping
        The resolved PEFT config; its ``target_modules`` may be a list of endings, a pattern or nothing.

    Examples
    --------
    >>> name_kinds(["layer.0.attention.q_lin", "layer.1.attention.q_lin"], {"target_modules": ["q_lin"]})
    {'layer.0.attention.q_lin': 'q_lin', 'layer.1.attention.q_lin': 'q_lin'}
    """
    tails = {module: _tail(module) for module in modules}
    targets = config.get("target_modules")
    endings = targets if isinstance(targets, list) else []
    distinct = list(dict.fromkeys(tails.values()))
    return {module: _kind(tail, distinct, endings) for module, tail in tails.items()}


def _kind(tail: str, tails: Sequence[str], endings: Iterable[str]) -> str:
    """Return a target module's ending if no other tail has it, else the shortest ending that no other tail has."""
    own = [ending for ending in endings if _ends_with(tail, ending)]
    for ending in sorted(own, key=len, reverse=True):
        if sum(_ends_with(other, ending) for other in tails) == 1:
            return str(ending)
    parts = tail.split(".")
    shorter = (".".join(parts[-n:]) for n in range(1, len(parts)))
    return next((ending for ending in shorter if sum(_ends_with(other, ending) for other in tails) == 1), tail)


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _tail(module: str) -> str:
    """Return the part of a name after the number of the layer, or the whole name if it has no number."""
    parts = module.split(".")
    before = list(takewhile(lambda part: not part.isdecimal(), parts))
    return ".".join(parts[len(before) + 1 :]) or module


def _describe(updates: Sequence[ModuleUpdate], kind: str) -> LearnedModule:
    """Return the means over seeds of one module."""
    first = updates[0]
    deviations = [update.scale_deviation for update in updates if update.scale_deviation is not None]
    numbers = [part for part in first.module.split(".") if part.isdecimal()]
    return LearnedModule(
        module=first.module,
        kind=kind,
        layer=int(numbers[0]) if numbers else None,
        d_in=first.in_features,
        d_out=first.out_features,
        # A weight of zeros has no relative change.
        relative_update=fmean(
            update.update_norm / update.weight_norm if update.weight_norm else 0.0 for update in updates
        ),
        scale_deviation=fmean(deviations) if deviations else None,
        directions=_mean_directions([compute_directions(update) for update in updates]),
    )


def _mean_directions(found: Sequence[Directions | None]) -> Directions | None:
    known = [directions for directions in found if directions is not None]
    if len(known) < len(found):
        return None
    columns = zip_longest(*(directions.relative_values for directions in known), fillvalue=0.0)
    return Directions(
        stable_rank=fmean(directions.stable_rank for directions in known),
        n_for_90=_mean_or_none([directions.n_for_90 for directions in known]),
        n_for_99=_mean_or_none([directions.n_for_99 for directions in known]),
        relative_values=tuple(map(fmean, columns)),
    )


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _means(named: Iterable[tuple[str, LearnedModule]]) -> tuple[LearnedMean, ...]:
    by_name: dict[str, list[LearnedModule]] = defaultdict(list)
    for name, module in named:
        by_name[name].append(module)
    return tuple(
        LearnedMean(
            name=name,
            n_modules=len(modules),
            relative_update=fmean(module.relative_update for module in modules),
            low=min(module.relative_update for module in modules),
            high=max(module.relative_update for module in modules),
            scale_deviation=_mean_deviation(modules),
        )
        for name, modules in by_name.items()
    )


def _mean_deviation(modules: Sequence[LearnedModule]) -> float | None:
    known = [module.scale_deviation for module in modules if module.scale_deviation is not None]
    return fmean(known) if known else None


# Settings of LoraConfig that change how many parameters train; if one is set, the formula does not cover them all.
OTHER_LORA = ("rank_pattern", "lora_bias", "use_qalora", "use_bdlora", "megatron_config", "layer_replication",
              "trainable_token_indices", "target_parameters", "arrow_config", "eva_config")  # fmt: skip
HEAD = {"pre_classifier", "classifier"}


def compute_formula(record: Record) -> ParameterFormula | None:
    """Return one adapter's parameters by formula, None if the record lacks the dimensions or the method has no formula.

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
    n_classes = len(record.source.labels)
    n_head = None if width is None else width**2 + width + n_classes * width + n_classes
    return ParameterFormula(
        method=method,
        rows=rows,
        n_adapter_params=n_adapter,
        measured_adapter_params=measured,
        width=width,
        n_classes=None if width is None else n_classes,
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
