"""Statistics of final errors over seeds.

Every function here takes errors: the lower the better. A diverged run has an infinite error and so ranks last. A median
or mean that falls on a diverged run is infinite too.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from math import ceil, comb, inf, isfinite, nan
from typing import Any, NamedTuple

import numpy as np

from gradclip.arrays import Floats

CONFIDENCE = 0.95
POWER = 0.8  # probability that a real difference is found
RESAMPLES = 2000
HUGE = 1e150  # stands for infinity in the bootstrap, which interpolates and squares
NEARLY_ONE = 1 - 1e-9
MAX_PERMUTATIONS = 20_000  # up to so many assignments of the runs to two groups, the test is exact despite ties


class Estimate(NamedTuple):
    """A number and its 95% confidence interval, which is NaN where there are too few runs for one."""

    value: float
    low: float
    high: float


def median(errors: Floats) -> Estimate:
    """Return the median of ``[runs]`` errors with a bootstrap interval (SciPy, percentile method).

    Example:
        >>> median(np.array([3.0, 1.0, 2.0])).value
        2.0
        >>> median(np.array([1.0, np.inf, np.inf])).value
        inf
    """
    return _with_bootstrap(errors, np.median)


def interquartile_mean(errors: Floats) -> Estimate:
    """Return the interquartile mean of ``[runs]`` errors with a bootstrap interval (Agarwal et al. 2021).

    Example:
        >>> interquartile_mean(np.array([0.0, 1.0, 3.0, 100.0])).value
        2.0
    """
    from scipy.stats import trim_mean

    return _with_bootstrap(errors, partial(trim_mean, proportiontocut=0.25))


def _with_bootstrap(errors: Floats, statistic: Callable[..., Any]) -> Estimate:
    from scipy.stats import bootstrap

    finite = np.minimum(errors, HUGE)
    value = _restore_infinity(float(statistic(finite, axis=0)))
    if len(errors) < 2 or np.ptp(finite) == 0:
        return Estimate(value, *((nan, nan) if len(errors) < 2 else (value, value)))
    resampled = bootstrap(
        (finite,), statistic, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", random_state=0
    )
    low, high = resampled.confidence_interval
    return Estimate(value, _restore_infinity(float(low)), _restore_infinity(float(high)))


def _restore_infinity(value: float) -> float:
    return inf if value > HUGE / 1e6 else value


def proportion(count: int, runs: int) -> Estimate:
    """Return the proportion ``count / runs`` with Wilson's interval (SciPy).

    Example:
        >>> estimate = proportion(20, 20)
        >>> f"{estimate.value:.0%}, {estimate.low:.0%} to {estimate.high:.0%}"
        '100%, 84% to 100%'
    """
    from scipy.stats import binomtest

    interval = binomtest(count, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / runs, float(interval.low), float(interval.high))


def probability_of_improvement(errors: Floats, others: Floats) -> Estimate:
    """Return the probability that a run of the first group beats one of the second (Agarwal et al. 2021).

    A tie counts half. The interval is Newcombe's method 5 (Statistics in Medicine 25, 2006, 559-573): unlike a
    bootstrap interval it does not collapse where all of a few runs of one group beat all of the other.

    Args:
        errors: of the first group, ``[runs]``.
        others: of the second group, ``[runs]``.

    Example:
        >>> estimate = probability_of_improvement(np.array([1.0, 2.0]), np.array([3.0, np.inf]))
        >>> f"{estimate.value:.2f}, {estimate.low:.2f} to {estimate.high:.2f}"
        '1.00, 0.39 to 1.00'
    """
    wins, ties = errors[:, None] < others[None, :], errors[:, None] == others[None, :]
    value = float(np.mean(wins + 0.5 * ties))
    return Estimate(value, *_newcombe_interval(value, len(errors), len(others)))


def _newcombe_interval(value: float, runs: int, others: int) -> tuple[float, float]:
    """Return the probabilities from which the estimate lies exactly z of their own standard errors away."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, half = norm.ppf(0.5 + CONFIDENCE / 2), (runs + others) / 2 - 1

    def excess(end: float) -> float:
        factor = 1 + half * ((1 - end) / (2 - end) + end / (1 + end))
        return float((value - end) ** 2 - z**2 * end * (1 - end) * factor / (runs * others))

    # Where the estimate is 0 or 1, that end solves the equation too; the solver must find the other root.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, NEARLY_ONE))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1 - NEARLY_ONE), 1)
    return float(low), float(high)


def difference_p_value(errors: Floats, others: Floats) -> float:
    """Return the two-sided p-value of the Mann-Whitney test (SciPy), exact for few runs.

    Args:
        errors: of the first group, ``[runs]``.
        others: of the second group, ``[runs]``.

    Example:
        >>> difference_p_value(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
        0.1
    """
    from scipy.stats import PermutationMethod, mannwhitneyu

    distinct = np.unique(np.concatenate([errors, others])).size
    if distinct == 1:
        return 1.0
    tied = distinct < len(errors) + len(others)
    few = comb(len(errors) + len(others), len(errors)) <= MAX_PERMUTATIONS
    method = PermutationMethod(MAX_PERMUTATIONS) if tied and few else "auto"
    return float(mannwhitneyu(errors, others, method=method).pvalue)


def smallest_p_value(runs: int, others: int, tests: int) -> float:
    """Return the smallest p-value that the exact Mann-Whitney test of two groups can have, adjusted by Holm.

    It is that of groups of which every run of one beats every run of the other.

    Args:
        runs: of the first group.
        others: runs of the second group.
        tests: number of pairs that are tested.

    Example:
        >>> round(smallest_p_value(5, 5, tests=10), 3), round(smallest_p_value(6, 6, tests=10), 3)
        (0.079, 0.022)
    """
    return min(1.0, 2 / comb(runs + others, runs) * tests)


def fewest_seeds(tests: int) -> int:
    """Return the runs that each group needs for any of the tests to be able to find a difference.

    Example:
        >>> fewest_seeds(1), fewest_seeds(10), fewest_seeds(36)
        (4, 6, 7)
    """
    return next(seeds for seeds in count(2) if smallest_p_value(seeds, seeds, tests) < 1 - CONFIDENCE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests, so that the family-wise error rate is limited (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    return [float(adjusted[rank]) for rank in np.argsort(order)]


def seeds_needed(probability: float, tests: int = 1) -> float:
    """Return the runs that each of two groups needs for a power of 80% (Noether 1987, JASA 82, 645-647).

    With p the probability of improvement: (z₁₋α⸝₂ + z_power)² / (6·(p − ½)²) for groups of equal size; infinite where
    p is a half.

    Args:
        probability: of improvement, 0 to 1.
        tests: number of tests that share the error rate of 5%.

    Example:
        >>> seeds_needed(0.75), seeds_needed(0.5)
        (21, inf)
    """
    from scipy.stats import norm

    z = norm.ppf(1 - (1 - CONFIDENCE) / tests / 2) + norm.ppf(POWER)
    distance = probability - 0.5
    runs = float(z**2 / (6 * distance**2)) if distance else inf
    return ceil(runs) if isfinite(runs) else inf
