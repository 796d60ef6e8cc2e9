"""Compute intervals, tests and corrections over counts and arrays, each from its source.

NumPy and SciPy are imported where they are needed: the interval of a proportion needs neither, and a report whose tests
are all in the cache is built half a second faster without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """Hold a confidence interval, which includes its ends."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Confusion:
    """Count test rows by label and prediction; 1 is positive."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return self.tn + self.fp + self.fn + self.tp

    @property
    def n_correct(self) -> int:
        """Return the number of rows whose label was predicted."""
        return self.tn + self.tp

    @property
    def accuracy(self) -> float:
        """Return the share of rows predicted right."""
        return self.n_correct / self.n

    @property
    def f1(self) -> float:
        """Return F1 of the positive class; 0 where no row has or was predicted this class."""
        denominator = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / denominator if denominator else 0.0


@dataclass(frozen=True)
class PairedSeedsTest:
    """Hold the result of a paired t-test over seeds.

    Attributes
    ----------
    n : int
        Seeds, at least 3.
    mean, sd : float
        Of the differences; sd with n - 1.
    interval : Interval
        Of the mean difference, by Student's t.
    p : float or None
        Two-sided; None where all differences are the same, so that their spread cannot be estimated.
    """

    n: int
    mean: float
    sd: float
    interval: Interval
    p: float | None


def compute_confusion(labels: ArrayLike, predictions: ArrayLike) -> Confusion:
    """Count rows by label and prediction.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (n,), n >= 1

    Raises
    ------
    ValueError
        If the shapes differ, there is no row, or a value is not 0 or 1.

    Examples
    --------
    >>> compute_confusion([0, 0, 1, 1], [0, 1, 1, 1])
    Confusion(tn=1, fp=1, fn=0, tp=2)
    """
    import numpy as np

    truth, guess = np.asarray(labels), np.asarray(predictions)
    if truth.shape != guess.shape or truth.ndim != 1 or truth.size == 0:
        raise ValueError(f"labels {truth.shape} and predictions {guess.shape}: expected the same shape (n,), n >= 1")
    if not (np.isin(truth, (0, 1)).all() and np.isin(guess, (0, 1)).all()):
        raise ValueError("labels and predictions: expected 0 and 1 only")
    tn, fp, fn, tp = np.bincount(truth.astype(int) * 2 + guess.astype(int), minlength=4).tolist()
    return Confusion(tn, fp, fn, tp)


def wilson_interval(n_correct: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion.

    Parameters
    ----------
    n_correct, n : int
        Successes and trials, ``0 <= n_correct <= n`` and ``n >= 1``.
    confidence : float
        Coverage, in (0, 1), dimensionless.

    Raises
    ------
    ValueError
        If a count or the confidence is out of range.

    Notes
    -----
    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22(158), as
    written out by Newcombe 1998, "Two-sided confidence intervals for the single proportion", Stat. Med. 17(8).

    Examples
    --------
    >>> interval = wilson_interval(24, 32)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.579, 0.867)
    """
    if not (n >= 1 and 0 <= n_correct <= n):
        raise ValueError(f"n_correct={n_correct}, n={n}: expected 0 <= n_correct <= n and n >= 1")
    z = NormalDist().inv_cdf(0.5 + _checked(confidence, "confidence") / 2)
    center = (2 * n_correct + z**2) / (2 * (n + z**2))
    half = z * math.sqrt(4 * n_correct * (n - n_correct) / n + z**2) / (2 * (n + z**2))
    # At the edges the formula gives 0 and 1, except for rounding errors.
    return Interval(center - half if n_correct else 0.0, center + half if n_correct < n else 1.0)


def sign_flip_test(differences: ArrayLike) -> float:
    """Return the exact two-sided p-value of the sum of paired integer differences under random signs.

    Where every difference is -1, 0 or 1 this is McNemar's exact test. With k seeds a row's difference is a count
    between -k and k: how many seeds of ``a`` predicted it right minus how many of ``b``.

    Parameters
    ----------
    differences : array of int, shape (n,)

    Raises
    ------
    ValueError
        If a difference is not an integer.

    Notes
    -----
    Source: Fisher 1935, "The Design of Experiments", section 21 (the randomisation test of paired differences). Under
    the null hypothesis each difference has either sign with probability 1/2. The distribution of the sum of the rows
    with magnitude j is that of j (2 Bin(m_j, 1/2) - m_j); the distribution of the whole sum is their convolution,
    nothing is sampled.

    Examples
    --------
    >>> sign_flip_test([1] * 9 + [-1] + [0] * 22)
    0.021484375
    """
    import numpy as np
    from scipy import stats

    values = np.asarray(differences)
    if not np.array_equal(values, np.rint(values)):
        raise ValueError("differences: expected integers")
    values = values.astype(int)
    distribution: NDArray[np.float64] = np.ones(1)
    for magnitude, count in zip(*np.unique(np.abs(values[values != 0]), return_counts=True), strict=True):
        part = np.zeros(2 * magnitude * count + 1)
        part[:: 2 * magnitude] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = np.convolve(distribution, part)
    sums = np.arange(distribution.size) - distribution.size // 2
    return min(1.0, float(distribution[np.abs(sums) >= abs(int(values.sum()))].sum()))


def bootstrap_interval(
    differences: ArrayLike, *, n_resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of the mean of paired differences, resampling rows.

    Parameters
    ----------
    differences : array, shape (n,), n >= 1
        One difference a row: of two models' correctness, or of their mean correctness over seeds.
    n_resamples, seed : int
        Resamples, and the seed of ``numpy.random.default_rng`` that draws them.

    Raises
    ------
    ValueError
        If there is no row, or the confidence is out of range.

    Notes
    -----
    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3. The mean of a resample depends
    only on how often each distinct value was drawn, so a resample is one multinomial draw: the same bootstrap,
    without n × n_resamples indices, and independent of the order of the rows.

    Examples
    --------
    >>> bootstrap_interval([1] * 60 + [0] * 420 + [-1] * 32)
    Interval(low=0.017578125, high=0.091796875)
    """
    import numpy as np

    values, counts = np.unique(np.asarray(differences, dtype=float), return_counts=True)
    n = int(counts.sum())
    if n == 0:
        raise ValueError("differences: expected at least one row")
    tail = (1 - _checked(confidence, "confidence")) / 2
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=n_resamples)
    low, high = np.quantile(draws @ values / n, [tail, 1 - tail])
    return Interval(float(low), float(high))


def holm_correction(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's step-down correction of a family of p-values, in the order given.

    Notes
    -----
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6(2).

    Examples
    --------
    >>> holm_correction([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return tuple(corrected)


def paired_seeds_test(differences: Sequence[float], *, confidence: float = 0.95) -> PairedSeedsTest:
    """Return the paired t-test of differences over seeds.

    Parameters
    ----------
    differences : sequence of float
        One a seed, at least three.

    Raises
    ------
    ValueError
        If there are fewer than three, or the confidence is out of range.

    Notes
    -----
    Source: Student 1908, "The probable error of a mean", Biometrika 6(1). The test rows are fixed: the result is about
    other seeds, not about other reviews.
    """
    import numpy as np
    from scipy import stats

    if len(differences) < 3:
        raise ValueError(f"differences: expected at least 3 seeds, got {len(differences)}")
    _checked(confidence, "confidence")
    n, values = len(differences), np.asarray(differences, dtype=float)
    mean = float(values.mean())
    if np.ptp(values) < 1e-12:  # the same difference, up to rounding
        return PairedSeedsTest(n, mean, 0.0, Interval(mean, mean), None)
    found = stats.ttest_1samp(values, 0.0)
    interval = found.confidence_interval(confidence)
    return PairedSeedsTest(
        n, mean, float(values.std(ddof=1)), Interval(float(interval.low), float(interval.high)), float(found.pvalue)
    )


def smallest_detectable_difference(
    n: int, discordant_share: float, *, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Return the smallest true accuracy difference that McNemar's test on paired rows finds with a given power.

    Parameters
    ----------
    n : int
        Paired test rows, at least 1.
    discordant_share : float
        Assumed share of rows, in [0, 1], that exactly one of the two models predicts right. It depends on the models,
        not on the test: use the observed share. A difference cannot be larger than this share. If the test could not
        even find all discordant rows on one side, the lowest share at which it could is used instead.
    power, alpha : float
        Probability of finding it, and two-sided level, both in (0, 1).

    Returns
    -------
    float or None
        In (0, 1]; None if ``n`` rows cannot show even a difference of 100 points.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43(1), equation 3, solved for the difference d: with discordant share s,
    n d^2 = (z_(1-alpha/2) sqrt(s) + z_power sqrt(s - d^2))^2.

    Examples
    --------
    >>> round(smallest_detectable_difference(512, 0.3), 3)
    0.068
    """
    from scipy import optimize, stats

    if n < 1 or not 0 <= discordant_share <= 1:
        raise ValueError(f"n={n}, discordant_share={discordant_share}: expected n >= 1 and a share in [0, 1]")
    z_alpha = float(stats.norm.isf(_checked(alpha, "alpha") / 2))
    z_power = float(stats.norm.ppf(_checked(power, "power")))

    def surplus(difference: float, share: float) -> float:
        spread = z_alpha * math.sqrt(share) + z_power * math.sqrt(max(0.0, share - difference**2))
        return math.sqrt(n) * difference - spread

    def surplus_one_sided(difference: float) -> float:
        return surplus(difference, difference)

    if surplus_one_sided(1.0) < 0:
        return None
    # Near 0 the spread, of order sqrt(share), outweighs the difference, so there is a sign change in between.
    floor = float(optimize.brentq(surplus_one_sided, 1e-12, 1.0))
    if discordant_share <= floor:
        return floor
    return float(optimize.brentq(lambda difference: surplus(difference, discordant_share), 0.0, discordant_share))


def _checked(value: float, name: str) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value}: expected a number between 0 and 1")
    return value
