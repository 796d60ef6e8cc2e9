"""Simulate studies whose truth is known, and count how often the intervals cover it and the tests are wrong.

A made-up model predicts a row right if its score is above zero. The score adds up the adapter's level, the row's
difficulty (that all models share, and that of this adapter), the seed's shift of all rows, and what this seed makes of
this row. The shares of these parts in the variance decide how often two models agree; the shift is scaled so that the
true accuracies of the seeds have a given standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from adapterbook.common.stats import accuracy_interval, compute_moments, estimate_difference

N_ROWS = 512
N_STUDIES = 2000
AT_ONCE = 100
NORMAL = NormalDist()
Right = NDArray[np.float64]


@dataclass(frozen=True)
class Adapter:
    """Hold true accuracy, number of seeds, and the standard deviation of the seeds' true accuracies."""

    accuracy: float
    n_seeds: int
    sd: float


@dataclass(frozen=True)
class Rows:
    """Hold the parts of a score's variance that belong to the row, and to the row with this adapter."""

    shared: float
    own: float


# Two adapters of the accuracies below agree on about 70, 80 and 90 % of such rows, seeds of one adapter on more.
SELDOM, OFTEN, MOSTLY = Rows(0.55, 0.05), Rows(0.75, 0.1), Rows(0.95, 0.02)


def draw(rng: np.random.Generator, adapters: list[Adapter], rows: Rows, n_studies: int) -> list[Right]:
    """Return which rows the seeds of each adapter predict right: an array (n_studies, n_seeds, N_ROWS) an adapter."""
    shared = np.sqrt(rows.shared) * rng.standard_normal((n_studies, 1, N_ROWS), np.float32)
    drawn = []
    for adapter in adapters:
        level = NORMAL.inv_cdf(adapter.accuracy)
        shift = adapter.sd / NORMAL.pdf(level)
        score = shared + np.sqrt(rows.own) * rng.standard_normal((n_studies, 1, N_ROWS), np.float32)
        seeds = level * np.sqrt(1 + shift**2) + shift * rng.standard_normal((n_studies, adapter.n_seeds, 1))
        rest = rng.standard_normal((n_studies, adapter.n_seeds, N_ROWS), np.float32)
        drawn.append((seeds + score + np.sqrt(1 - rows.shared - rows.own) * rest > 0).astype(float))
    return drawn


def studies(adapters: list[Adapter], rows: Rows) -> Iterator[list[Right]]:
    """Yield the studies, many at once."""
    rng = np.random.default_rng(20_000)
    for _ in range(N_STUDIES // AT_ONCE):
        yield draw(rng, adapters, rows, AT_ONCE)


def share_outside(error: Right, variance: Right, df: Right, level: float = 0.05) -> float:
    """Return the share of errors that lie outside their interval."""
    return float((np.abs(error) > stats.t.isf(level / 2, df) * np.sqrt(variance)).mean())


def test_a_side_without_seeds_adds_no_spread() -> None:
    """Against a model that has no seed, the seeds of the other side count, as if the one had as many that are equal."""
    (right,) = draw(np.random.default_rng(5), [Adapter(0.68, 3, 0.036)], OFTEN, 1)
    fixed = (np.arange(right.shape[-1]) % 3 > 0).astype(float)[None]
    found = estimate_difference(right[0], fixed, b_has_seeds=False)
    alike = estimate_difference(right[0], np.repeat(fixed, 3, axis=0))
    assert (found.value, found.standard_error, found.df) == pytest.approx((alike.value, alike.standard_error, alike.df))
    assert np.isfinite(found.df) and found.standard_error > estimate_difference(right[0], fixed).standard_error


@pytest.mark.parametrize(
    ("a", "b", "rows"),
    [
        (Adapter(0.68, 3, 0.006), Adapter(0.60, 3, 0.006), OFTEN),
        (Adapter(0.68, 3, 0.036), Adapter(0.60, 3, 0.036), SELDOM),
        (Adapter(0.75, 3, 0.036), Adapter(0.72, 3, 0.006), MOSTLY),
        (Adapter(0.68, 3, 0.036), Adapter(0.60, 3, 0.006), OFTEN),
        (Adapter(0.50, 5, 0.006), Adapter(0.51, 5, 0.02), MOSTLY),
        (Adapter(0.68, 5, 0.026), Adapter(0.60, 5, 0.011), SELDOM),
        (Adapter(0.72, 10, 0.036), Adapter(0.65, 10, 0.02), OFTEN),
        (Adapter(0.68, 3, 0.036), Adapter(0.60, 10, 0.006), OFTEN),
        (Adapter(0.68, 3, 0.026), Adapter(0.60, 5, 0.026), SELDOM),
        (Adapter(0.68, 1, 0.0), Adapter(0.60, 1, 0.0), OFTEN),
        (Adapter(0.68, 1, 0.0), Adapter(0.68, 1, 0.0), MOSTLY),
    ],
)
def test_the_interval_of_a_difference_covers_the_truth(a: Adapter, b: Adapter, rows: Rows) -> None:
    """Of 95 % intervals over other seeds and rows, 93 to 97 % contain the true difference; one seed: without spread."""
    outside, agreeing = [], []
    for right_a, right_b in studies([a, b], rows):
        value, variance, df = compute_moments(right_a, right_b)
        outside.append(share_outside(value - (a.accuracy - b.accuracy), variance, df))
        agreeing.append((right_a[:, 0] == right_b[:, 0]).mean())
    assert 0.68 < np.mean(agreeing) < 0.95
    assert 0.93 <= 1 - np.mean(outside) <= 0.97


@pytest.mark.parametrize(
    ("n_a", "n_b", "sd", "rows"),
    [
        (3, 3, 0.006, MOSTLY),
        (3, 3, 0.036, OFTEN),
        (5, 5, 0.006, SELDOM),
        (5, 5, 0.036, MOSTLY),
        (10, 10, 0.02, SELDOM),
        (3, 10, 0.036, OFTEN),
    ],
)
def test_two_seed_sets_of_one_adapter_seldom_differ(n_a: int, n_b: int, sd: float, rows: Rows) -> None:
    """Of comparisons of an adapter with itself, 5 % at most are significant; of three seeds against ten, 6 %."""
    p_values = []
    for (right,) in studies([Adapter(0.68, n_a + n_b, sd)], rows):
        value, variance, df = compute_moments(right[:, :n_a], right[:, n_a:])
        p_values.append(2 * stats.t.sf(np.abs(value) / np.sqrt(variance), df))
    assert np.mean(np.concatenate(p_values) < 0.05) <= (0.05 if n_a == n_b else 0.06)


@pytest.mark.parametrize(
    ("adapter", "rows"),
    [
        (Adapter(0.60, 1, 0.0), OFTEN),
        (Adapter(0.68, 3, 0.036), OFTEN),
        (Adapter(0.75, 3, 0.006), SELDOM),
        (Adapter(0.55, 5, 0.02), MOSTLY),
        (Adapter(0.68, 10, 0.036), SELDOM),
    ],
)
def test_the_interval_of_an_accuracy_covers_the_truth(adapter: Adapter, rows: Rows) -> None:
    """Of 95 % intervals of one accuracy, 93 to 97 % contain the true one."""
    (drawn,) = draw(np.random.default_rng(20_000), [adapter], rows, 1500)
    covered = np.mean([adapter.accuracy in accuracy_interval(right) for right in drawn])
    assert 0.93 <= covered <= 0.97


def test_many_studies_at_once_are_each_of_them() -> None:
    """What the simulations compute is what ``estimate_difference`` returns for one study."""
    rng = np.random.default_rng(1)
    right_a, right_b = draw(rng, [Adapter(0.7, 3, 0.03), Adapter(0.6, 4, 0.01)], OFTEN, 3)
    for i, (value, variance, df) in enumerate(zip(*compute_moments(right_a, right_b), strict=True)):
        found = estimate_difference(right_a[i], right_b[i])
        assert (found.value, found.standard_error**2, found.df) == pytest.approx((value, variance, df))
