"""Statistics of final errors over seeds.

Every function takes errors, where lower is better. A diverged run has an infinite error, so it ranks last. A median or
mean that falls on a diverged run is infinite.
"""

from collections.abc import Sequence
from functools import cache, partial
from itertools import count
from math import comb, inf, log, nan
from typing import NamedTuple

import numpy as np

from gradclip.arrays import Floats
from gradclip.diagnosis.conditions import EQUIVALENCE_FACTOR

CONFIDENCE = 0.95
FEWEST_RUNS = 5  # for an interval; the range of four runs covers the median in only 88% of cases
RESAMPLES = 2000
HUGE = 1e150  # replaces infinity in the bootstrap, which interpolates and squares
NEARLY_ONE = 1 - 1e-9
MAX_PERMUTATIONS = 20_000  # assignments of runs to two groups; up to this number the test is exact despite ties
MAX_EXACT_SEEDS = 12  # up to this number every sign flip is tried; above it, as many flips are drawn at random


class Estimate(NamedTuple):
    """A number and its 95% confidence interval, which is NaN if there are too few runs."""

    value: float
    low: float
    high: float


def median(errors: Floats) -> Estimate:
    """Return the median of ``[runs]`` errors with an exact interval between two order statistics.

    The interval holds for every distribution: the number of values below the true median is binomial, as are the heads
    in as many throws of a fair coin. For five runs the interval is their range, which covers 94%.

    Example:
        >>> median(np.array([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]))
        Estimate(value=3.5, low=1.0, high=6.0)
        >>> median(np.array([1.0, np.inf, np.inf])).value
        inf
    """
    from scipy.stats import binom

    value = float(np.median(errors))
    if len(errors) < FEWEST_RUNS:
        return Estimate(value, nan, nan)
    outside = max(int(binom.ppf((1 - CONFIDENCE) / 2, len(errors), 0.5)), 1) - 1  # runs beyond either end
    ordered = np.sort(errors)
    return Estimate(value, float(ordered[outside]), float(ordered[-1 - outside]))


def interquartile_mean(errors: Floats) -> Estimate:
    """Return the interquartile mean of ``[runs]`` errors with a bootstrap interval (Agarwal et al. 2021).

    Example:
        >>> interquartile_mean(np.array([0.0, 1.0, 3.0, 100.0])).value
        2.0
    """
    from scipy.stats import bootstrap, trim_mean

    statistic, finite = partial(trim_mean, proportiontocut=0.25), np.minimum(errors, HUGE)
    value = float(statistic(errors))
    if len(errors) < FEWEST_RUNS:
        return Estimate(value, nan, nan)
    if np.ptp(finite) == 0:
        return Estimate(value, value, value)
    resampled = bootstrap(
        (finite,), statistic, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", random_state=0
    )
    low, high = (inf if end > HUGE / 1e6 else float(end) for end in resampled.confidence_interval)
    return Estimate(value, low, high)


@cache  # many groups share the same counts, and SciPy also computes a p-value
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

    The errors are ``[runs]`` each. A tie counts half. The interval is Newcombe's method 5 (Statistics in Medicine 25,
    2006, 559-573). Unlike a bootstrap interval, it does not collapse if all of a few runs of one group beat all runs of
    the other.

    Example:
        >>> estimate = probability_of_improvement(np.array([1.0, 2.0]), np.array([3.0, np.inf]))
        >>> f"{estimate.value:.2f}, {estimate.low:.2f} to {estimate.high:.2f}"
        '1.00, 0.39 to 1.00'
    """
    wins, ties = errors[:, None] < others[None, :], errors[:, None] == others[None, :]
    value = float(np.mean(wins + 0.5 * ties))
    return Estimate(value, *_newcombe_interval(value, len(errors), len(others)))


def _newcombe_interval(value: float, runs: int, others: int) -> tuple[float, float]:
    """Return the two probabilities that are z of their own standard errors away from the estimate."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    z, half = norm.ppf(0.5 + CONFIDENCE / 2), (runs + others) / 2 - 1

    def excess(end: float) -> float:
        factor = 1 + half * ((1 - end) / (2 - end) + end / (1 + end))
        return float((value - end) ** 2 - z**2 * end * (1 - end) * factor / (runs * others))

    # If the estimate is 0 or 1, it is itself a root of the equation; the solver must find the other root.
    low = 0.0 if value == 0 else brentq(excess, 0, min(value, NEARLY_ONE))
    high = 1.0 if value == 1 else brentq(excess, max(value, 1 - NEARLY_ONE), 1)
    return float(low), float(high)


def paired_improvement(errors: Floats, others: Floats) -> Estimate:
    """Return the probability that a run beats the other group's run of the same seed; a tie counts half.

    The errors are ``[seeds]`` each. The interval is the Clopper-Pearson interval of a proportion.

    Example:
        >>> estimate = paired_improvement(np.array([1.0, 2.0, np.inf]), np.array([3.0, 4.0, np.inf]))
        >>> f"{estimate.value:.2f}, {estimate.low:.2f} to {estimate.high:.2f}"
        '0.83, 0.18 to 1.00'
    """
    from scipy.stats import beta

    wins, seeds = float(np.sum((errors < others) + 0.5 * (errors == others))), len(errors)
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, wins, seeds - wins + 1)) if wins else 0.0
    high = float(beta.ppf(1 - tail, wins + 1, seeds - wins)) if wins < seeds else 1.0
    return Estimate(wins / seeds, low, high)


def paired_p_values(errors: Floats, best: int) -> Floats:
    """Return the p-value of the best group against each other group, ``[groups]``, adjusted for choosing the best.

    A sign-flip test: if all groups were equal, the differences within a seed could equally well have the opposite sign.
    Errors are replaced by ranks, so that a diverged run is worse than any other. Each difference is compared with the
    largest difference between *any* two groups under each flip, since the same errors chose the best group. Groups
    leave the comparison in the order of their distance from the best, the most distant one first (step-down, Westfall
    and Young 1993).

    Args:
        errors: ``[seeds, groups]``; NaN if a group has no run of a seed.
        best: index of the group with which the others are compared; its own p-value is 1.

    Example:
        >>> errors = np.array([[1.0, 2.0, np.inf], [2.0, 4.0, np.inf]] * 3)
        >>> paired_p_values(errors, best=0).tolist()
        [1.0, 0.03125, 0.03125]
    """
    from scipy.stats import rankdata

    errors = errors[(~np.isnan(errors)).sum(axis=1) > 1]  # seeds that groups share
    ranks = rankdata(errors, axis=None, nan_policy="omit").reshape(errors.shape)
    differences = np.nan_to_num(ranks[:, :, None] - ranks[:, None, :])
    flipped = np.abs(np.tensordot(sign_flips(len(errors)), differences, axes=1))  # [flips, groups, groups]
    distances = flipped[0, best]
    p_values, remaining, reached = np.ones(errors.shape[1]), [*range(errors.shape[1])], 0.0
    for group in sorted(set(remaining) - {best}, key=lambda group: -distances[group]):
        largest = flipped[:, remaining][:, :, remaining].max(axis=(1, 2))
        reached = max(reached, float(np.mean(largest >= distances[group])))
        p_values[group] = reached
        remaining.remove(group)
    return p_values


@cache
def sign_flips(seeds: int) -> Floats:
    """Return signs ``[flips, seeds]``, the first all positive; a flip and its negative count as one flip."""
    if seeds <= MAX_EXACT_SEEDS:
        flipped = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds) & 1  # binary digits of each number
        return np.where(flipped, -1.0, 1.0)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(2 ** (MAX_EXACT_SEEDS - 1), seeds))
    signs[0] = 1
    return signs


def equivalence_p_value(errors: Floats, others: Floats) -> float:
    """Return the p-value of two one-sided tests that errors, ``[seeds]`` each, differ by a factor of less than 1.1.

    The tests are Wilcoxon's signed-rank tests (SciPy) of the logarithms of the ratios. If both runs of a seed diverged
    or have an error of zero, their ratio is 1; if only one did, it is zero or infinite. The p-value is NaN if no error
    is finite, or if finite errors differ in sign.

    Example:
        >>> errors = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        >>> f"{equivalence_p_value(errors, errors * 1.01):.3f}", f"{equivalence_p_value(errors, errors * 1.2):.3f}"
        ('0.016', '1.000')
    """
    from scipy.stats import wilcoxon

    both = np.array([errors, others])
    finite = both[np.isfinite(both)]
    if not finite.size or (finite.min() < 0 < finite.max()):
        return nan
    alike = np.isinf(both).all(axis=0) | (both == 0).all(axis=0)
    with np.errstate(divide="ignore"):  # one error of zero
        own, theirs = np.log(np.abs(np.where(alike, 1.0, both)))
    ratios, margin = theirs - own, log(EQUIVALENCE_FACTOR)
    above, below = wilcoxon(ratios + margin, alternative="greater"), wilcoxon(ratios - margin, alternative="less")
    return float(np.maximum(above.pvalue, below.pvalue))  # keeps NaN, which SciPy returns if every ratio is 1.1


def difference_p_value(errors: Floats, others: Floats) -> float:
    """Return the two-sided p-value of the Mann-Whitney test (SciPy) of errors, ``[runs]`` each; exact for few runs.

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


def smallest_p_value(runs: int, tests: int | None = None) -> float:
    """Return the smallest possible p-value, which results if every run of one group beats the runs of the others.

    ``tests`` is the number of unpaired tests (Mann-Whitney) in the Holm correction; None means tests of pairs of runs
    with the same seed, whose smallest p-value does not depend on the number of groups.

    Example:
        >>> smallest_p_value(5), smallest_p_value(6), round(smallest_p_value(5, tests=10), 3)
        (0.0625, 0.03125, 0.079)
    """
    flips = 2 ** min(runs, MAX_EXACT_SEEDS)
    return min(1.0, 2 / flips if tests is None else 2 / comb(2 * runs, runs) * tests)


def fewest_seeds(tests: int | None = None) -> int:
    """Return the smallest number of runs per group with which a test can find a difference.

    Example:
        >>> fewest_seeds(), fewest_seeds(tests=1), fewest_seeds(tests=36)
        (6, 4, 7)
    """
    return next(runs for runs in count(2) if smallest_p_value(runs, tests) < 1 - CONFIDENCE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests to control the family-wise error rate (Holm 1979).

    The NaN of a test that could not be made stays NaN, and counts as a test.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    return [float(adjusted[rank]) for rank in np.argsort(order)]
