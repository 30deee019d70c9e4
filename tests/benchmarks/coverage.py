"""Coverage of 95% intervals: ``python -m tests.benchmarks.coverage`` prints a Markdown table.

The errors are log-normal, as final errors over seeds are, or exponential.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from math import isnan, nan

import numpy as np
from scipy.stats import bootstrap, trim_mean

from gradclip.arrays import Floats
from gradclip.compare import statistics
from gradclip.compare.statistics import Estimate

RUNS, TRIALS, LARGE = (3, 4, 5, 10, 20), 1000, 4_000_000
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "log-normal": lambda generator, runs: generator.lognormal(size=runs),
    "exponential": lambda generator, runs: generator.exponential(size=runs),
}
QUARTER = partial(trim_mean, proportiontocut=0.25)


def resampled(errors: Floats, statistic: Callable[..., Floats], method: str) -> Estimate:
    """Return a bootstrap interval.

    Args:
        errors: errors of the runs, ``[runs]``.
        statistic: statistic to estimate.
        method: method of SciPy's bootstrap.
    """
    if method == "BCa" and statistic is np.median:
        statistic = partial(np.quantile, q=0.5, method="linear")
    found = bootstrap((errors,), statistic, n_resamples=statistics.RESAMPLES, method=method, random_state=0)
    return Estimate(float(statistic(errors, axis=0)), *map(float, found.confidence_interval))


INTERVALS: dict[tuple[str, str], Callable[[Floats], Estimate]] = {
    ("median", "between two runs (exact)"): statistics.median,
    ("median", "bootstrap, percentile"): partial(resampled, statistic=np.median, method="percentile"),
    ("median", "bootstrap, BCa"): partial(resampled, statistic=np.median, method="BCa"),
    ("interquartile mean", "bootstrap, percentile"): statistics.interquartile_mean,
    ("interquartile mean", "bootstrap, BCa"): partial(resampled, statistic=QUARTER, method="BCa"),
}


def coverage(interval: Callable[[Floats], Estimate], draw: Callable[[int], Floats], truth: float, runs: int) -> float:
    """Return how often an interval contains the true value; NaN if there is no interval for so few runs.

    Args:
        interval: computes the interval from errors.
        draw: draws the errors of a number of runs.
        truth: true value of the statistic for the distribution.
        runs: number of runs.
    """
    estimates = [interval(draw(runs)) for _ in range(TRIALS)]
    if isnan(estimates[0].low):
        return nan
    return float(np.mean([one.low <= truth <= one.high for one in estimates]))


def rows() -> Iterator[tuple[str, list[float]]]:
    """Yield the rows of the table: the name of an interval, and its coverage for each number of runs."""
    for name, distribution in DISTRIBUTIONS.items():
        many = distribution(np.random.default_rng(0), LARGE)
        truths = {"median": float(np.median(many)), "interquartile mean": float(QUARTER(many))}
        for (statistic, method), interval in INTERVALS.items():
            draw = partial(distribution, np.random.default_rng(1))
            yield f"{name}: {statistic}, {method}", [coverage(interval, draw, truths[statistic], runs) for runs in RUNS]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"| interval | {' | '.join(f'{runs} runs' for runs in RUNS)} |\n|---|{'---|' * len(RUNS)}")
    for name, shares in rows():
        print(f"| {name} | {' | '.join('none' if isnan(share) else f'{share:.1%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
