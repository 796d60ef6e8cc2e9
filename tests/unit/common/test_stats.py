"""Compare our statistics with hand-worked numbers, scipy and statsmodels; test_intervals.py simulates coverage."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint

from adapterbook.common import stats as statistics
from adapterbook.common.confusion import Confusion, compute_confusion
from adapterbook.common.stats import Estimate, Interval


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
        lambda: statistics.accuracy_interval([[1, 0], [1, 1]], confidence=confidence),
        lambda: Estimate(0.1, 0.05, 4.0).interval(confidence),
        lambda: Estimate(0.1, 0.05, 4.0).smallest_detectable(confidence, 0.8),
        lambda: Estimate(0.1, 0.05, 4.0).smallest_detectable(0.05, confidence),
        lambda: Estimate(0.1, 0.05, 4.0).p_within(confidence),
    ):
        with pytest.raises(ValueError, match="between 0 and 1"):
            call()


def bonett_price(n_only_a: int, n_only_b: int, n: int) -> float:
    """Return the standard error of Bonett and Price 2012, by their own formula for two proportions."""
    one, other = (n_only_a + 1) / (n + 2), (n_only_b + 1) / (n + 2)
    return math.sqrt((one + other - (one - other) ** 2) / (n + 2))


@pytest.mark.parametrize(("n_only_a", "n_only_b"), [(0, 0), (7, 0), (60, 32), (1, 1)])
def test_with_one_seed_the_difference_is_bonett_and_price_s(n_only_a: int, n_only_b: int) -> None:
    """One seed each: the difference of the counts, their standard error, and the normal distribution."""
    a = [[1] * n_only_a + [0] * n_only_b + [1] * (512 - n_only_a - n_only_b)]
    b = [[0] * n_only_a + [1] * n_only_b + [1] * (512 - n_only_a - n_only_b)]
    found = statistics.estimate_difference(a, b)
    assert found.value == pytest.approx((n_only_a - n_only_b) / 512)
    assert found.standard_error == pytest.approx(bonett_price(n_only_a, n_only_b, 512))
    assert found.df == math.inf
    interval = found.interval()
    half = stats.norm.ppf(0.975) * found.standard_error
    assert (interval.low, interval.high) == pytest.approx((found.value - half, found.value + half))
    assert interval.high > interval.low  # even where the two agree on every row
    assert found.p_different() == pytest.approx(2 * stats.norm.sf(abs(found.value) / found.standard_error))


@pytest.mark.parametrize("discordant", range(4, 60))
def test_one_seed_s_p_value_is_hardly_ever_smaller_than_mcnemar_s_exact_one(discordant: int) -> None:
    """Where the exact test finds nothing at the level of ten corrected pairs, neither does ours; that needs no test."""
    for n_only_a in range(discordant // 2, discordant + 1):
        exact = stats.binomtest(n_only_a, discordant).pvalue
        n_only_b = discordant - n_only_a
        p = Estimate((n_only_a - n_only_b) / 512, bonett_price(n_only_a, n_only_b, 512), math.inf).p_different()
        assert p > 0.005 or exact < 0.01


def two_way(correct: list[list[int]]) -> tuple[float, float]:
    """Return the mean squares of seeds and of the rest, by the sums of squares of a textbook's two-way table."""
    table = np.array(correct, dtype=float)
    k, n = table.shape
    grand = table.mean()
    ss_seeds = n * sum((row.mean() - grand) ** 2 for row in table)
    ss_rows = k * sum((column.mean() - grand) ** 2 for column in table.T)
    ss_total = sum((value - grand) ** 2 for value in table.ravel())
    return ss_seeds / (k - 1), (ss_total - ss_seeds - ss_rows) / ((k - 1) * (n - 1))


def degrees_of_freedom(shares: list[tuple[float, int]]) -> float:
    """Return them by hand: weighted mean and six times the weighted variance of w / (k - 1); the rows come last."""
    weights = [share for share, _ in shares] + [1 - sum(share for share, _ in shares)]
    values = [share / (n_seeds - 1) for share, n_seeds in shares] + [0.0]
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((np.array(values) - mean) ** 2, weights=weights))
    return max(1 / (mean + 6 * variance), min(n_seeds - 1 for _, n_seeds in shares))


A = [[1, 1, 1, 1, 1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 1, 1, 0, 1, 0]]
B = [[0, 1, 1, 0, 1, 0, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0, 1, 0, 0, 0]]


def test_several_seeds_add_their_variance_and_their_degrees_of_freedom() -> None:
    """Standard error and degrees of freedom are those of the two-way tables, worked out here."""
    found = statistics.estimate_difference(A, B)
    rows = [np.mean(column) for column in zip(*A, strict=True)], [np.mean(column) for column in zip(*B, strict=True)]
    differences = [one - other for one, other in zip(*rows, strict=True)]
    (seeds_a, rest_a), (seeds_b, rest_b) = two_way(A), two_way(B)
    of_rows = max(float(np.var([*differences, 1, -1])) / 12 - rest_a / 30 - rest_b / 20, 2 / 12**2)
    variance = of_rows + seeds_a / 30 + seeds_b / 20
    assert seeds_a / 30 == pytest.approx(np.var([0.9, 0.4, 0.7], ddof=1) / 3)  # the seeds' accuracies
    assert found.value == pytest.approx(20 / 30 - 7 / 20)
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.df == pytest.approx(degrees_of_freedom([(seeds_a / 30 / variance, 3), (seeds_b / 20 / variance, 2)]))
    t = stats.t(found.df)
    assert found.p_different() == pytest.approx(2 * t.sf(found.value / found.standard_error))
    assert found.interval().low == pytest.approx(max(-1, found.value - t.ppf(0.975) * found.standard_error))


def test_degrees_of_freedom_are_those_of_welch_where_the_seeds_are_alike() -> None:
    """Two adapters of three seeds whose spreads are equal and all of the variance have 4; one part alone has 2."""
    assert degrees_of_freedom([(0.5, 3), (0.5, 3)]) == pytest.approx(4.0)
    assert degrees_of_freedom([(1.0, 3)]) == pytest.approx(2.0)
    assert degrees_of_freedom([(0.9, 3)]) == 2.0  # never fewer
    assert 2.4 < degrees_of_freedom([(0.7, 3)]) < 2 / 0.7**2  # fewer than Satterthwaite's


def test_one_seed_on_either_side_leaves_the_seeds_out() -> None:
    """Three seeds against one are about these trained models, since nothing is known of the one seed's spread."""
    found = statistics.estimate_difference(A, B[:1])
    assert found.df == math.inf
    assert found.standard_error < statistics.estimate_difference(A, B).standard_error


def test_the_order_of_seeds_and_rows_does_not_matter() -> None:
    """Seeds make no pairs, and rows only have to be the same on both sides."""
    found = statistics.estimate_difference(A, B)
    other = statistics.estimate_difference(A[::-1], B)
    turned = statistics.estimate_difference([row[::-1] for row in A], [row[::-1] for row in B])
    assert found.standard_error == pytest.approx(other.standard_error) == pytest.approx(turned.standard_error)
    assert statistics.estimate_difference(B, A).value == -found.value


def test_seeds_of_the_same_accuracy_have_no_spread() -> None:
    """Seeds that are right on other rows, as many each, leave the rows less what is chance, with infinite df."""
    a = [[1, 1, 0, 0] * 5, [0, 1, 1, 0] * 5, [0, 0, 1, 1] * 5]
    b = [[1, 0] * 10, [0, 1] * 10]
    found = statistics.estimate_difference(a, b)
    differences = np.mean(a, axis=0) - np.mean(b, axis=0)
    rest = two_way(a)[1] / 60 + two_way(b)[1] / 40
    expected = max(np.var([*differences, 1, -1]) / 22 - rest, 2 / 22**2)
    assert found.standard_error == pytest.approx(math.sqrt(expected))
    assert found.df == math.inf


def test_one_accuracy_of_one_seed_is_wilson_s() -> None:
    """With one seed, and at accuracies of 0 and 1, the interval is Wilson's of the rows."""
    for n_correct in (0, 1, 20, 32):
        correct = [[1] * n_correct + [0] * (32 - n_correct)]
        assert statistics.accuracy_interval(correct) == statistics.wilson_interval(n_correct, 32)
    assert statistics.accuracy_interval([[1] * 32] * 3) == statistics.wilson_interval(32, 32)


def test_one_accuracy_of_several_seeds_has_wilson_s_interval_of_an_effective_number_of_rows() -> None:
    """The variance of the two-way table gives the number of rows, and its degrees of freedom the quantile."""
    found = statistics.accuracy_interval(A)
    of_seeds, of_rest = two_way(A)
    variance = max(float(np.var(np.mean(A, axis=0))) / 10 - of_rest / 30, 0) + of_seeds / 30
    df = degrees_of_freedom([(of_seeds / 30 / variance, 3)])
    share = float(np.mean(A))
    n, t = share * (1 - share) / variance, stats.t(df).ppf(0.975)
    center, half = share + t**2 / (2 * n), t * math.sqrt(share * (1 - share) / n + t**2 / (4 * n**2))
    assert (found.low, found.high) == pytest.approx(
        ((center - half) / (1 + t**2 / n), (center + half) / (1 + t**2 / n))
    )


@pytest.mark.parametrize(("a", "b"), [([], [[1]]), ([1, 0], [1, 0]), ([[1, 0]], [[1, 0, 1]])])
def test_a_difference_needs_seeds_by_rows_of_the_same_rows(a: list[Any], b: list[Any]) -> None:
    """No row, one dimension, and other rows on the other side are refused."""
    with pytest.raises(ValueError, match="expected"):
        statistics.estimate_difference(a, b)


def test_equivalence_is_two_one_sided_tests() -> None:
    """The p-value is the larger of two one-sided t-tests against the ends of the margin."""
    for value in (-0.03, 0.0, 0.02, 0.08):
        found = Estimate(value, 0.012, 7.0)
        t = stats.t(7.0)
        above, below = t.sf((value + 0.05) / 0.012), t.cdf((value - 0.05) / 0.012)
        assert found.p_within(0.05) == pytest.approx(max(above, below))
    assert Estimate(0.08, 0.012, 7.0).p_within(0.05) > 0.5


@pytest.mark.parametrize("df", [4.0, 12.0, math.inf])
def test_the_smallest_detectable_difference_is_found_with_its_power(df: float) -> None:
    """Drawing estimates around it, the test at its level finds 80 %, also with few degrees of freedom."""
    rng, level = np.random.default_rng(5), 0.05 / 10
    smallest = Estimate(0.0, 0.02, df).smallest_detectable(level, 0.8)
    assert smallest is not None
    errors = 0.02 * (np.ones(40_000) if math.isinf(df) else np.sqrt(rng.chisquare(df, 40_000) / df))
    values = smallest + 0.02 * rng.standard_normal(40_000)
    found = np.abs(values) / errors > (stats.norm if math.isinf(df) else stats.t(df)).isf(level / 2)
    assert found.mean() == pytest.approx(0.8, abs=0.01)


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


def test_two_seeds_may_be_too_few_for_any_difference() -> None:
    """One degree of freedom at the level of ten pairs asks for a difference of more than 100 points: none."""
    assert Estimate(0.0, 0.02, 1.0).smallest_detectable(0.05 / 10, 0.8) is None


def test_confusion_and_its_scores() -> None:
    """Counts, accuracy and F1 are those worked out by hand; F1 without any positive is 0."""
    confusion = compute_confusion([0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 0])
    assert confusion == Confusion(((2, 1), (1, 2)))
    assert (confusion.n, confusion.n_correct, confusion.accuracy, confusion.f1) == (6, 4, 4 / 6, 4 / 6)
    assert compute_confusion([0, 0], [0, 0]).f1 == 0.0


def test_confusion_of_many_labels() -> None:
    """F1 of three labels is the mean over those that occur, as scikit-learn computes it."""
    labels, predictions = [0, 1, 2, 2, 1, 0, 2], [0, 2, 2, 1, 1, 0, 2]
    confusion = compute_confusion(labels, predictions, 5)
    assert confusion.f1 == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert (confusion.n_with, confusion.n_predicted) == ((2, 2, 3, 0, 0), (2, 2, 3, 0, 0))
    assert confusion.mistakes == (None, 2, 1, None, None)
    assert confusion.always(2).accuracy == 3 / 7


def test_rare_labels_are_grouped() -> None:
    """The most frequent labels keep their rows, all others are one, and no row is lost."""
    counts = ((5, 0, 1, 0), (0, 1, 0, 1), (2, 0, 9, 0), (0, 1, 1, 1))
    kept, grouped = Confusion(counts).grouped(3)
    assert kept == (0, 2)
    assert grouped.counts == ((5, 1, 0), (2, 9, 0), (0, 1, 4))
    assert Confusion(counts).grouped(4) == ((0, 1, 2, 3), Confusion(counts))


@pytest.mark.parametrize(("labels", "predictions"), [([], []), ([0], [0, 1]), ([2], [0]), ([[0]], [[0]])])
def test_confusion_refuses_what_it_cannot_count(labels: list[int], predictions: list[int]) -> None:
    """No row, two shapes, other labels than 0 and 1, more than one dimension: each raises."""
    with pytest.raises(ValueError, match="expected"):
        compute_confusion(labels, predictions)


def test_interval_contains_its_ends() -> None:
    """An interval holds its ends and nothing beyond."""
    interval = Interval(-0.1, 0.2)
    assert -0.1 in interval and 0.2 in interval and 0.21 not in interval
