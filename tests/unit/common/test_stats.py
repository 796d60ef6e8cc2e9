"""Compare our statistics with hand-worked numbers, scipy and statsmodels."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from adapterbook.common import stats as statistics
from adapterbook.common.stats import Confusion, Interval


@pytest.mark.parametrize(("n_correct", "n"), [(0, 1), (1, 1), (24, 32), (0, 512), (512, 512), (291, 512)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_that_of_statsmodels(n_correct: int, n: int, confidence: float) -> None:
    """The Wilson interval is statsmodels' own, at the edges too."""
    expected = proportion_confint(n_correct, n, alpha=1 - confidence, method="wilson")
    interval = statistics.wilson_interval(n_correct, n, confidence=confidence)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n_correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(n_correct: int, n: int) -> None:
    """Counts that cannot be raise a ValueError that names them."""
    with pytest.raises(ValueError, match=f"n_correct={n_correct}, n={n}"):
        statistics.wilson_interval(n_correct, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_between_0_and_1(confidence: float) -> None:
    """A confidence in percent is refused everywhere."""
    for call in (
        lambda: statistics.wilson_interval(1, 2, confidence=confidence),
        lambda: statistics.bootstrap_interval([1, 0], confidence=confidence),
        lambda: statistics.paired_seeds_test([1, 2, 3], confidence=confidence),
        lambda: statistics.smallest_detectable_difference(10, 0.5, alpha=confidence),
        lambda: statistics.smallest_detectable_difference(10, 0.5, power=confidence),
    ):
        with pytest.raises(ValueError, match="between 0 and 1"):
            call()


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_sign_flips_of_one_seed_are_mcnemar(n_only_a: int, n_only_b: int) -> None:
    """With differences of -1, 0 and 1 the sign-flip test is McNemar's exact test, as statsmodels computes it."""
    differences = [1] * n_only_a + [-1] * n_only_b + [0] * 7
    expected = mcnemar([[5, n_only_a], [n_only_b, 5]], exact=True).pvalue if n_only_a + n_only_b else 1.0
    assert statistics.sign_flip_test(differences) == pytest.approx(expected, abs=1e-9)


def test_sign_flips_of_several_seeds_are_the_exact_permutation_test() -> None:
    """With larger differences the sign-flip test is scipy's permutation test over all sign patterns."""
    differences = np.array([3, -1, 2, 2, 0, 1, -2, 3, 1])
    found = stats.permutation_test((differences, np.zeros(9)), lambda a, b, axis: (a - b).sum(axis=axis),
                                   permutation_type="samples", vectorized=True, n_resamples=np.inf)  # fmt: skip
    assert statistics.sign_flip_test(differences) == pytest.approx(found.pvalue, abs=1e-12)


def test_sign_flips_refuse_fractions() -> None:
    """A mean difference, which is no integer, is refused: counts are asked for."""
    with pytest.raises(ValueError, match="integers"):
        statistics.sign_flip_test([0.5, 1.0])


def test_bootstrap_is_that_of_scipy() -> None:
    """The interval agrees with scipy's percentile bootstrap to the noise of 10,000 resamples."""
    differences = np.array([1] * 80 + [0] * 380 + [-1] * 52)
    found = stats.bootstrap((differences,), np.mean, n_resamples=10_000, method="percentile", rng=1, batch=1000)
    interval = statistics.bootstrap_interval(differences)
    assert interval.low == pytest.approx(found.confidence_interval.low, abs=0.003)
    assert interval.high == pytest.approx(found.confidence_interval.high, abs=0.003)


def test_bootstrap_depends_on_nothing_but_values_and_seed() -> None:
    """The order of rows does not matter, another seed moves the ends a little, no spread gives no width."""
    values = [1] * 30 + [0] * 60 + [-1] * 10
    assert statistics.bootstrap_interval(values) == statistics.bootstrap_interval(values[::-1])
    other = statistics.bootstrap_interval(values, seed=5, n_resamples=501)
    assert other != statistics.bootstrap_interval(values)
    assert other.low == pytest.approx(statistics.bootstrap_interval(values).low, abs=0.05)
    assert statistics.bootstrap_interval([1.0, 1.0]) == Interval(1.0, 1.0)


def test_bootstrap_refuses_no_rows() -> None:
    """Without any row an interval is refused."""
    with pytest.raises(ValueError, match="at least one row"):
        statistics.bootstrap_interval([])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_holm_is_the_closed_test(p_values: list[float]) -> None:
    """Holm rejects a hypothesis as soon as Bonferroni rejects every set of hypotheses that holds it; ties included."""
    numbers = range(len(p_values))
    sets = [members for size in range(1, len(p_values) + 1) for members in combinations(numbers, size)]
    bonferroni = {members: min(1.0, len(members) * min(p_values[i] for i in members)) for members in sets}
    expected = [max(p for members, p in bonferroni.items() if i in members) for i in numbers]
    assert statistics.holm_correction(p_values) == pytest.approx(tuple(expected), abs=1e-12)


def test_holm_of_nothing_is_nothing() -> None:
    """An empty family stays empty."""
    assert statistics.holm_correction([]) == ()


def test_seeds_test_is_that_of_scipy() -> None:
    """Over seeds it is scipy's paired t-test, with the interval worked out by hand from t(2)."""
    a, b = [0.71, 0.74, 0.70], [0.66, 0.68, 0.67]
    found = statistics.paired_seeds_test([x - y for x, y in zip(a, b, strict=True)])
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.mean == pytest.approx(0.14 / 3)
    half = 4.302652729911275 * found.sd / math.sqrt(3)  # t quantile 0.975 with 2 degrees of freedom
    assert (found.interval.low, found.interval.high) == pytest.approx((found.mean - half, found.mean + half))


def test_seeds_test_needs_three_seeds_and_a_spread() -> None:
    """Two seeds raise; three equal differences have no p-value rather than one of 0."""
    with pytest.raises(ValueError, match="at least 3 seeds, got 2"):
        statistics.paired_seeds_test([0.1, 0.2])
    equal = statistics.paired_seeds_test([0.1, 0.1, 0.1])
    assert equal.sd == 0.0 and equal.p is None
    assert equal.interval.low == equal.interval.high == pytest.approx(0.1)


@pytest.mark.parametrize(("n", "share"), [(512, 0.3), (512, 0.05), (200, 0.5), (40, 0.4)])
def test_detectable_difference_has_the_power_it_claims(n: int, share: float) -> None:
    """Drawing discordant rows at the difference returned, McNemar's test (not exact, as in the source) finds 80 %."""
    difference = statistics.smallest_detectable_difference(n, share)
    assert difference is not None
    share = max(share, difference)
    draws = np.random.default_rng(3).multinomial(
        n, [(share + difference) / 2, (share - difference) / 2, 1 - share], size=20_000
    )
    discordant = np.maximum(draws[:, 0] + draws[:, 1], 1)
    found = (np.abs(draws[:, 0] - draws[:, 1]) / np.sqrt(discordant) >= stats.norm.isf(0.025)).mean()
    assert found == pytest.approx(0.8, abs=0.05)


def test_detectable_difference_of_few_rows_and_few_disagreements() -> None:
    """Seven rows find nothing; without disagreement the floor holds, which all discordant rows on one side need."""
    assert statistics.smallest_detectable_difference(3, 0.5) is None
    floor = statistics.smallest_detectable_difference(512, 0.0)
    assert floor == pytest.approx(0.0152, abs=2e-4)  # about (1.96 + 0.84)^2 / 512
    assert floor == statistics.smallest_detectable_difference(512, 0.01)


@pytest.mark.parametrize(("n", "share"), [(0, 0.5), (10, -0.1), (10, 1.1)])
def test_detectable_difference_refuses_impossible_arguments(n: int, share: float) -> None:
    """No row, or a share outside [0, 1], raises."""
    with pytest.raises(ValueError, match="expected n >= 1"):
        statistics.smallest_detectable_difference(n, share)


def test_confusion_and_its_scores() -> None:
    """Counts, accuracy and F1 are those worked out by hand; F1 without any positive is 0."""
    confusion = statistics.compute_confusion([0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 0])
    assert confusion == Confusion(tn=2, fp=1, fn=1, tp=2)
    assert (confusion.n, confusion.n_correct, confusion.accuracy, confusion.f1) == (6, 4, 4 / 6, 4 / 6)
    assert statistics.compute_confusion([0, 0], [0, 0]).f1 == 0.0


@pytest.mark.parametrize(("labels", "predictions"), [([], []), ([0], [0, 1]), ([2], [0]), ([[0]], [[0]])])
def test_confusion_refuses_what_it_cannot_count(labels: list[int], predictions: list[int]) -> None:
    """No row, two shapes, other labels than 0 and 1, more than one dimension: each raises."""
    with pytest.raises(ValueError, match="expected"):
        statistics.compute_confusion(labels, predictions)


def test_interval_contains_its_ends() -> None:
    """An interval holds its ends and nothing beyond."""
    interval = Interval(-0.1, 0.2)
    assert -0.1 in interval and 0.2 in interval and 0.21 not in interval
