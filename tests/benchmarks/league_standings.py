"""How each method of the league stands on each problem: chosen by validation rows, reported on test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10, nan
from typing import NamedTuple

import numpy as np
import pandas as pd

from gradclip.arrays import Floats
from gradclip.compare.statistics import CONFIDENCE, RESAMPLES, Estimate

NEAR = 1.1  # a threshold is as good as the best one if its error is at most so many times as large


@dataclass(frozen=True)
class Standing:
    """A method on a problem, at the threshold that its validation rows choose.

    Attributes:
        threshold: the chosen one.
        is_lowest: whether no smaller one was tried.
        is_highest: whether no larger one was tried.
        test: error of each seed on test rows, ``[seeds]``; infinite where the run diverged.
        regret: its median as a multiple of that of the best method, with an interval over pairs of one seed.
        diverged: share of the runs that diverged at the chosen threshold.
        diverged_of_all: the same over all thresholds.
        near: thresholds in a row around the best on test rows whose median is as good, the lowest and the highest;
            NaN where at every threshold half of the runs diverged.
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
        """Decades of thresholds over which the median stays as good as its best; NaN if all diverged."""
        return log10(self.near[1] / self.near[0])


Standings = dict[str, dict[str, Standing]]  # by method and problem


class Errors(NamedTuple):
    """The errors of a method on a problem; infinite where a run diverged.

    Attributes:
        thresholds: in ascending order.
        validation: on validation rows, ``[thresholds, seeds]``.
        test: on test rows, ``[thresholds, seeds]``.
    """

    thresholds: list[float]
    validation: Floats
    test: Floats

    @classmethod
    def of(cls, runs: pd.DataFrame, solved: float) -> "Errors":
        """Return the errors of some runs, those below what counts as solved being equal to it."""
        wide = runs.pivot(index="threshold", columns="seed").clip(lower=solved)
        return cls([*wide.index], wide["validation"].to_numpy(), wide["test"].to_numpy())

    @property
    def chosen(self) -> int:
        """Index of the threshold with the best median on validation rows."""
        return int(np.argmin(np.median(self.validation, axis=1)))


def standings_of(results: pd.DataFrame, solved: Mapping[str, float]) -> Standings:
    """Return the standings of all methods.

    Args:
        results: one row for each run.
        solved: for each problem an error from which it is solved: smaller ones count as this one.
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
    """Return the ratio of two medians over the same seeds, with a bootstrap interval that draws pairs of one seed.

    Args:
        errors: ``[seeds]``.
        best: those of the best method.
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
    """Return the ends of the thresholds in a row around the best whose median is as good; NaN if none is finite."""
    low = high = int(np.argmin(medians))
    limit = NEAR * medians[low]
    if np.isinf(limit):
        return nan, nan
    while low and medians[low - 1] <= limit:
        low -= 1
    while high + 1 < len(medians) and medians[high + 1] <= limit:
        high += 1
    return thresholds[low], thresholds[high]
