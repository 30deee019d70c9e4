"""How each method of the league stands on each problem: chosen by validation rows, reported on test rows."""

from dataclasses import dataclass
from math import inf, log10

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
        near: thresholds in a row around the best on test rows whose median is as good, the lowest and the highest.
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
        """Decades of thresholds over which the median stays as good as its best; NaN without a threshold."""
        return log10(self.near[1] / self.near[0]) if self.near[0] else np.nan


Standings = dict[str, dict[str, Standing]]  # by method and problem


def standings_of(results: pd.DataFrame, solved: dict[str, float]) -> Standings:
    """Return the standings of all methods.

    Args:
        results: one row for each run.
        solved: for each problem an error from which it is solved: smaller ones count as this one.
    """
    standings: Standings = {method: {} for method in results.method.unique()}
    for problem, runs in results.groupby("problem", sort=False):
        errors = {method: _errors(own, solved[str(problem)]) for method, own in runs.groupby("method", sort=False)}
        chosen = {method: int(np.argmin(_medians(one["validation"]))) for method, one in errors.items()}
        tests = {method: one["test"].to_numpy()[chosen[method]] for method, one in errors.items()}
        best = min(tests.values(), key=lambda test: float(np.median(test)))
        for method, one in errors.items():
            standings[str(method)][str(problem)] = _standing(one, chosen[method], tests[method], best)
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


def _errors(runs: pd.DataFrame, solved: float) -> pd.DataFrame:
    """Return validation and test errors, with a row for each threshold and a column for each seed of the two."""
    wide = runs.pivot(index="threshold", columns="seed", values=["validation", "test"])
    return wide.clip(lower=solved)


def _medians(errors: pd.DataFrame) -> Floats:
    return np.median(errors.to_numpy(), axis=1)


def _standing(errors: pd.DataFrame, chosen: int, test: Floats, best: Floats) -> Standing:
    thresholds = [*errors.index]
    return Standing(
        threshold=thresholds[chosen],
        is_lowest=chosen == 0 and len(thresholds) > 1,
        is_highest=chosen == len(thresholds) - 1 and len(thresholds) > 1,
        test=test,
        regret=regret(test, best),
        diverged=float(np.mean(np.isinf(test))),
        diverged_of_all=float(np.mean(np.isinf(errors["test"].to_numpy()))),
        near=_near(thresholds, _medians(errors["test"])),
    )


def _near(thresholds: list[float], medians: Floats) -> tuple[float, float]:
    """Return the lowest and the highest threshold in a row around the best whose median is as good."""
    low = high = int(np.argmin(medians))
    limit = NEAR * medians[low] if medians[low] < inf else -inf
    while low and medians[low - 1] <= limit:
        low -= 1
    while high + 1 < len(medians) and medians[high + 1] <= limit:
        high += 1
    return thresholds[low], thresholds[high]
