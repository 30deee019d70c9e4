"""Standings of the methods of the league: thresholds are chosen on validation rows, errors reported on test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10, nan
from typing import NamedTuple

import numpy as np
import pandas as pd

from gradclip.arrays import Floats
from gradclip.compare.statistics import CONFIDENCE, RESAMPLES, Estimate

NEAR = 1.1  # a threshold is as good as the best if its error is at most this many times as large


@dataclass(frozen=True)
class Standing:
    """The results of a method on a problem, at the threshold chosen on validation rows.

    Attributes:
        threshold: the chosen threshold.
        is_lowest: whether no smaller threshold was tried.
        is_highest: whether no larger threshold was tried.
        test: error of each seed on test rows, ``[seeds]``; infinite if the run diverged.
        regret: median error divided by that of the best method, with an interval over pairs of the same seed.
        diverged: share of diverged runs at the chosen threshold.
        diverged_of_all: share of diverged runs over all thresholds.
        near: lowest and highest of the consecutive thresholds around the best one on test rows whose median is as good;
            NaN if at least half of the runs diverged at every threshold.
    """

    threshold: float
    is_lowest: bool
    is_highest: bool
    test: Floats
    regret: Estimate
    diverged: float
    diverged_of_all: float
    near: tuple[float, float]

    @property
    def decades(self) -> float:
        """Decades of thresholds over which the median is as good as the best; NaN if ``near`` is NaN."""
        return log10(self.near[1] / self.near[0])


Standings = dict[str, dict[str, Standing]]  # by method and problem


class Errors(NamedTuple):
    """The errors of a method on a problem; infinite if a run diverged.

    Attributes:
        thresholds: thresholds in ascending order.
        validation: errors on validation rows, ``[thresholds, seeds]``.
        test: errors on test rows, ``[thresholds, seeds]``.
    """

    thresholds: list[float]
    validation: Floats
    test: Floats

    @classmethod
    def of(cls, runs: pd.DataFrame, solved: float) -> "Errors":
        """Return the errors of some runs, with smaller errors raised to the one that counts as solved."""
        wide = runs.pivot(index="threshold", columns="seed").clip(lower=solved)
        return cls([*wide.index], wide["validation"].to_numpy(), wide["test"].to_numpy())

    @property
    def chosen(self) -> int:
        """Index of the threshold with the best median on validation rows."""
        return int(np.argmin(np.median(self.validation, axis=1)))


def standings_of(results: pd.DataFrame, solved: Mapping[str, float]) -> Standings:
    """Return the standings of all methods.

    Args:
        results: results with one row per run.
        solved: error at which each problem counts as solved; smaller errors are raised to this one.
    """
    standings: Standings = {method: {} for method in results.method.unique()}
    for problem, runs in results.groupby("problem", sort=False):
        of_method = runs.drop(columns="problem").groupby("method", sort=False)
        errors = {str(name): Errors.of(own.drop(columns="method"), solved[str(problem)]) for name, own in of_method}
        tests = [one.test[one.chosen] for one in errors.values()]
        best = min(tests, key=lambda test: (float(np.median(test)), float(np.mean(test))))
        for method, one in errors.items():
            standings[method][str(problem)] = _standing(one, best)
    return standings


def regret(errors: Floats, best: Floats) -> Estimate:
    """Return the ratio of two medians over the same seeds, with a bootstrap interval over pairs of the same seed.

    Args:
        errors: errors of the method, ``[seeds]``.
        best: errors of the best method, ``[seeds]``.
    """
    drawn = np.random.default_rng(0).integers(len(errors), size=(RESAMPLES, len(errors)))
    value = float(np.median(errors) / np.median(best))
    ratios = np.median(errors[drawn], axis=1) / np.median(best[drawn], axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(ratios, [tail, 100 - tail], method="inverted_cdf")
    return Estimate(value, float(low), float(high))


def _standing(errors: Errors, best: Floats) -> Standing:
    chosen, last = errors.chosen, len(errors.thresholds) - 1
    test = errors.test[chosen]
    return Standing(
        threshold=errors.thresholds[chosen],
        is_lowest=chosen == 0 < last,
        is_highest=chosen == last > 0,
        test=test,
        regret=regret(test, best),
        diverged=float(np.mean(np.isinf(test))),
        diverged_of_all=float(np.mean(np.isinf(errors.test))),
        near=_near(errors.thresholds, np.median(errors.test, axis=1)),
    )


def _near(thresholds: Sequence[float], medians: Floats) -> tuple[float, float]:
    """Return the ends of the thresholds around the best one that are as good in a row; NaN if no median is finite."""
    low = high = int(np.argmin(medians))
    limit = NEAR * medians[low]
    if np.isinf(limit):
        return nan, nan
    while low and medians[low - 1] <= limit:
        low -= 1
    while high + 1 < len(medians) and medians[high + 1] <= limit:
        high += 1
    return thresholds[low], thresholds[high]
