"""Plan the search for each adapter's learning rate: the grid of `study.yaml`, and the rates that are added to it.

While the best rate of an adapter lies at an edge of its grid, the next rate outwards is added. The best rate then runs
with every seed. The plan follows from the study and the records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from adapterbook.common.errors import ConfigError
from adapterbook.common.yaml_files import closest, shown_key
from adapterbook.config.study import AdapterConfig, RateVariant, SearchConfig, StudyConfig, name_rate
from adapterbook.runs.plan import Run, plan_runs
from adapterbook.runs.record import GridExtension, TestResult

STEPS = (1.0, 3.0)  # times powers of ten: the rates that a grid is extended by
CLOSE = 1.2  # a factor: rates that are closer tell nothing new


@dataclass(frozen=True)
class Outcome:
    """Hold the outcome of a run of the grid: `selection` is None if it failed, such as by diverging."""

    selection: TestResult | None


@dataclass(frozen=True)
class Grid:
    """Hold the learning rates of each adapter, by its id.

    Attributes
    ----------
    rates : mapping
        In rising order.
    added : mapping
        By adapter and variant, why a rate was added.
    best : mapping
        The best rate; only of adapters all of whose rates have an outcome.
    """

    rates: Mapping[str, tuple[float, ...]]
    added: Mapping[tuple[str, str], GridExtension] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)


def plan_study(
    study: StudyConfig,
    adapters: Mapping[str, AdapterConfig],
    source: str,
    seeds: Sequence[int],
    outcome_of: Callable[[Run], Outcome | None],
) -> tuple[StudyConfig, list[Run]]:
    """Return a study with a variant for each rate of its grid, and every run that follows from what is known.

    Parameters
    ----------
    outcome_of : callable
        Returns the outcome of a run, or None if it has not been run.

    Raises
    ------
    ConfigError
        If the search has no learning rate for an adapter, or a name is mistyped.
    """
    if study.search is None:
        return study, plan_runs(study, adapters, source, seeds)
    problems = [
        f"search.learning_rates: no rates for {name}: add {name}, {adapter.peft_type} or default"
        for name, adapter in adapters.items()
        if not rates_of(study.search, adapter)
    ]
    problems += _mistyped(study.search, adapters)
    if problems:
        raise ConfigError("experiments/study.yaml is not valid:", problems)
    grid = Grid({name: rates_of(study.search, adapter) for name, adapter in adapters.items()})
    while True:
        expanded = expand_study(study, study.search, grid)
        runs = [
            replace(run, extends_grid=grid.added.get((run.adapter.id, run.variant)))
            for run in plan_runs(expanded, adapters, source, seeds)
        ]
        grown = _grow(grid, study.search, {(run.adapter.id, run.variant): outcome_of(run) for run in runs
                                           if run.seed == min(seeds)})  # fmt: skip
        if grown == grid:
            return expanded, runs
        grid = grown


def find_run(
    study: StudyConfig, adapters: Mapping[str, AdapterConfig], source: str, adapter: str, variant: str, seed: int
) -> Run | None:
    """Return a run by its ids, whether or not the search has reached its rate; None if the study has no such run."""
    if adapter not in adapters:
        return None
    if study.search is not None and variant not in study.variants:
        rate = next(
            (rate for rate in _possible_rates(study.search, adapters[adapter]) if name_rate(rate) == variant), None
        )
        if rate is None:
            return None
        study = expand_study(study, study.search, Grid({adapter: (rate,)}, best={adapter: rate}))
    if variant not in study.variants:
        return None
    runs = plan_runs(study, adapters, source, [seed])
    return next((run for run in runs if (run.adapter.id, run.variant) == (adapter, variant)), None)


def rates_of(search: SearchConfig, adapter: AdapterConfig) -> tuple[float, ...]:
    """Return the learning rates of an adapter, rising: those of its id, its method, or all others.

    Examples
    --------
    >>> search = SearchConfig(learning_rates={"IA3": (1e-2, 3e-3), "default": (1e-3,)}, title="{rate}")
    >>> rates_of(search, AdapterConfig(id="mine", peft_type="IA3", settings={}, title="mine"))
    (0.003, 0.01)
    """
    given = search.learning_rates
    return tuple(sorted(next((given[name] for name in (*_names_of(adapter), "default") if name in given), ())))


def _mistyped(search: SearchConfig, adapters: Mapping[str, AdapterConfig]) -> Iterator[str]:
    """Yield the problem of each name that is nearly one of this study; those of other adapters may stay."""
    names = {"default", *(name for adapter in adapters.values() for name in _names_of(adapter))}
    for name in search.learning_rates:
        close = None if name in names else closest(name, names - search.learning_rates.keys())
        if close:
            yield f"search.learning_rates: {shown_key((name,))} has no effect: correct it ({close}?) or delete it"


def _names_of(adapter: AdapterConfig) -> tuple[str, str, str]:
    """Return the names under which a search may have rates for an adapter, the most specific first."""
    return adapter.id, adapter.peft_type, adapter.peft_type.lower()


def score(selection: TestResult) -> tuple[float, float]:
    """Return how well a checkpoint did on the selection rows, higher is better: its accuracy, then its loss."""
    return selection.accuracy, -selection.loss


def next_rate(rate: float, side: Literal["up", "down"]) -> float:
    """Return the next rate outwards: 1 or 3 times a power of ten.

    Examples
    --------
    >>> next_rate(1e-2, "up"), next_rate(2e-4, "down")
    (0.03, 0.0001)
    """
    exponent = int(f"{rate:e}".partition("e")[2])
    known = [float(f"{step:g}e{power}") for power in range(exponent - 1, exponent + 2) for step in STEPS]
    return min(x for x in known if x > rate * CLOSE) if side == "up" else max(x for x in known if x < rate / CLOSE)


def expand_study(study: StudyConfig, search: SearchConfig, grid: Grid) -> StudyConfig:
    """Return a study in which every rate of a grid is a variant, after the submitted one and in rising order."""
    rates = sorted({rate for rates in grid.rates.values() for rate in rates})
    found = {
        name_rate(rate): RateVariant(
            title=search.title_of(rate),
            training=search.training | {"learning_rate": rate},
            adapters=tuple(name for name, own in grid.rates.items() if rate in own),
            every_seed_of=tuple(name for name, best in grid.best.items() if best == rate),
        )
        for rate in rates
    }
    (submitted, protocol), *others = study.variants.items()
    return study.model_copy(update={"variants": {submitted: protocol} | found | dict(others)})


def _grow(grid: Grid, search: SearchConfig, outcomes: Mapping[tuple[str, str], Outcome | None]) -> Grid:
    """Return a grid with the next rate outwards where the best one lies at an edge, and with the best rates known."""
    rates, added, best = dict(grid.rates), dict(grid.added), {}
    for name, own in grid.rates.items():
        found = {rate: outcomes.get((name, name_rate(rate))) for rate in own}
        if not own or None in found.values():
            continue
        scores = {rate: outcome.selection for rate, outcome in found.items() if outcome and outcome.selection}
        if not scores:
            continue
        top = max(scores, key=lambda rate: score(scores[rate]))
        n_added = sum(adapter == name for adapter, _ in grid.added)
        outwards = [next_rate(top, "down")] if top == own[0] else []
        outwards += [next_rate(top, "up")] if top == own[-1] else []
        if outwards and n_added < search.max_added:
            why = GridExtension(edge_learning_rate=top, edge_selection_accuracy=scores[top].accuracy)
            rates[name] = tuple(sorted({*own, outwards[-1]}))
            added[name, name_rate(outwards[-1])] = why
        else:
            best[name] = top
    return Grid(rates, added, best)


def _possible_rates(search: SearchConfig, adapter: AdapterConfig) -> list[float]:
    """Return every rate that the search may reach for an adapter."""
    rates = list(rates_of(search, adapter))
    for _ in range(search.max_added if rates else 0):
        rates = [next_rate(rates[0], "down"), *rates, next_rate(rates[-1], "up")]
    return rates
