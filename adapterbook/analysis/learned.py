"""Compute what training changed in each layer, from the norms in the records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from statistics import fmean
from typing import Any

from adapterbook.analysis.shapes import Learned, LearnedMean, LearnedModule
from adapterbook.runs.record import ModuleUpdate, Record


def compute_learned(adapter: str, variant: str, records: Sequence[Record]) -> Learned | None:
    """Return what one group learned, as means over its seeds, or None if no record says it.

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
    )


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
    """Return what follows the number of the layer; the whole name where there is none."""
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
    )


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
