"""Statistics of final errors over seeds.

Everything here takes errors: numbers of which less is better. A run that diverged has the error infinity, so that it
ranks last whatever the others have; a median or mean that falls on such a run is infinite too.
"""

from collections.abc import Callable, Sequence
from math import ceil, comb, inf, isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8  # chance with which a difference should be found
RESAMPLES = 2000
LARGE = 1e150  # stands for infinity in the bootstrap, which interpolates and squares
NEARLY_ONE = 1 - 1e-9
MOST_ARRANGEMENTS = 20_000  # of two groups' runs, up to which all are gone through


class Estimate(NamedTuple):
    """A number and its 95% confidence interval, NaN where there are too few runs for one."""

    value: float
    low: float
    high: float


def median(errors: Floats) -> Estimate:
    """The median of ``[runs]`` errors, with a bootstrap interval (SciPy, percentile method).

    Example:
        >>> median(np.array([3.0, 1.0, 2.0])).value
        2.0
        >>> median(np.array([1.0, np.inf, np.inf])).value
        inf
    """
    return _with_bootstrap(errors, np.median)


def interquartile_mean(errors: Floats) -> Estimate:
    """The mean of the middle half of ``[runs]`` errors, with a bootstrap interval (Agarwal et al. 2021).

    Example:
        >>> interquartile_mean(np.array([0.0, 1.0, 3.0, 100.0])).value
        2.0
    """
    from scipy.stats import trim_mean

    def middle(values: Floats, axis: int) -> Any:
        return trim_mean(values, 0.25, axis=axis)

    return _with_bootstrap(errors, middle)


def _with_bootstrap(errors: Floats, statistic: Callable[..., Any]) -> Estimate:
    from scipy.stats import bootstrap

    finite = np.minimum(errors, LARGE)
    value = _infinite_again(float(statistic(finite, axis=0)))
    if len(errors) < 2 or np.ptp(finite) == 0:
        return Estimate(value, *((nan, nan) if len(errors) < 2 else (value, value)))
    drawn = bootstrap(
        (finite,), statistic, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", random_state=0
    )
    low, high = drawn.confidence_interval
    return Estimate(value, _infinite_again(float(low)), _infinite_again(float(high)))


def _infinite_again(value: float) -> float:
    return inf if value > LARGE / 1e6 else value


def share(count: int, runs: int) -> Estimate:
    """A share of the runs, with Wilson's interval (SciPy).

    Example:
        >>> estimate = share(20, 20)
        >>> f"{estimate.value:.0%}, {estimate.low:.0%} to {estimate.high:.0%}"
        '100%, 84% to 100%'
    """
    from scipy.stats import binomtest

    interval = binomtest(count, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / runs, float(interval.low), float(interval.high))


def probability_of_improvement(errors: Floats, others: Floats) -> Estimate:
    """The chance that a run of the first group beats one of the second; a tie counts half (Agarwal et al. 2021).

    The interval is Newcombe's fifth (Statistics in Medicine 25, 2006, 559-573): unlike a bootstrap's it keeps its width
    where a few runs of one group all beat those of the other.

    Args:
        errors: of the first group, ``[runs]``.
        others: of the second, ``[runs]``.

    Example:
        >>> estimate = probability_of_improvement(np.array([1.0, 2.0]), np.array([3.0, np.inf]))
        >>> f"{estimate.value:.2f}, {estimate.low:.2f} to {estimate.high:.2f}"
        '1.00, 0.39 to 1.00'
    """
    wins, ties = errors[:, None] < others[None, :], errors[:, None] == others[None, :]
    value = float(np.mean(wins + 0.5 * ties))
    return Estimate(value, *_newcombe(value, len(errors), len(others)))


def _newcombe(value: float, runs: int, others: int) -> tuple[float, float]:
    """The values whose own standard error reaches just as far as the one measured."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    reach, half = norm.ppf(0.5 + CONFIDENCE / 2), (runs + others) / 2 - 1

    def excess(other: float) -> float:
        spread = 1 + half * ((1 - other) / (2 - other) + other / (1 + other))
        return float((value - other) ** 2 - reach**2 * other * (1 - other) * spread / (runs * others))

    # The ends 0 and 1 solve the equation too, where the value itself lies there.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, NEARLY_ONE))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1 - NEARLY_ONE), 1)
    return float(low), float(high)


def difference_p_value(errors: Floats, others: Floats) -> float:
    """The Mann-Whitney test's two-sided p-value of ``[runs]`` and ``[runs]`` errors (SciPy), exact for few runs.

    Example:
        >>> difference_p_value(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
        0.1
    """
    from scipy.stats import PermutationMethod, mannwhitneyu

    if np.unique(np.concatenate([errors, others])).size == 1:
        return 1.0
    tied = np.unique(np.concatenate([errors, others])).size < len(errors) + len(others)
    few = comb(len(errors) + len(others), len(errors)) <= MOST_ARRANGEMENTS
    method = PermutationMethod(MOST_ARRANGEMENTS) if tied and few else "auto"
    return float(mannwhitneyu(errors, others, method=method).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, adjusted so that all hold together (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    return [float(adjusted[place]) for place in np.argsort(order)]


def seeds_needed(probability: float, tests: int = 1) -> float:
    """How many runs each of two groups needs to be told apart with 80% power (Noether 1987, JASA 82, 645-647).

    (z₁₋α⸝₂ + z_power)² / (6·(p − ½)²) in each of two groups of one size; infinite where p is a half.

    Args:
        probability: p, of improvement.
        tests: how many tests share the error of 5%.

    Example:
        >>> seeds_needed(0.75), seeds_needed(0.5)
        (21, inf)
    """
    from scipy.stats import norm

    reach = norm.ppf(1 - (1 - CONFIDENCE) / tests / 2) + norm.ppf(POWER)
    distance = probability - 0.5
    runs = float(reach**2 / (6 * distance**2)) if distance else inf
    return ceil(runs) if isfinite(runs) else inf
