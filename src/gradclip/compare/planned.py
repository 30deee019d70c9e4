"""Tests of pairs of groups that are planned before the runs; runs may come in batches."""

from collections.abc import Sequence
from math import e, log

import numpy as np

from gradclip.arrays import Floats
from gradclip.compare.statistics import CONFIDENCE, sign_flips


def planned_tests(errors: Floats, pairs: Sequence[tuple[int, int]]) -> tuple[Floats, Floats]:
    """Return the lead of the first group of each pair in ranks, ``[pairs]``, and the p-values, ``[pairs]``.

    The test is the sign-flip test of :func:`gradclip.compare.statistics.paired_p_values`, but the pairs do not depend
    on the errors. Therefore each difference is compared with the largest difference of the planned pairs only. Pairs
    with larger differences leave the comparison first (step-down, Westfall and Young 1993). The test controls the
    family-wise error rate.

    Args:
        errors: ``[seeds, groups]``; infinite for a diverged run, which gets the worst rank.
        pairs: indices of the two groups of each pair.

    Example:
        >>> errors = np.array([[1.0, 2.0, np.inf], [2.0, 4.0, np.inf]] * 3)
        >>> leads, p_values = planned_tests(errors, [(0, 1), (2, 1)])
        >>> leads.tolist(), p_values.tolist()
        ([4.5, -6.75], [0.03125, 0.03125])
    """
    from scipy.stats import rankdata

    first, second = np.array(pairs).T
    ranks = rankdata(errors, axis=None).reshape(errors.shape)
    differences = ranks[:, second] - ranks[:, first]
    flipped = np.abs(sign_flips(len(errors)) @ differences)  # [flips, pairs]
    order = np.argsort(flipped[0])
    largest = np.maximum.accumulate(flipped[:, order], axis=1)  # over the pair and all pairs that differ less
    exceeded = np.mean(largest >= flipped[0, order], axis=0)
    p_values = np.empty(len(pairs))
    p_values[order] = np.maximum.accumulate(exceeded[::-1])[::-1]  # at least that of any pair that differs more
    return differences.mean(axis=0), p_values


def batch_levels(seeds: Sequence[int]) -> list[float]:
    """Return the significance level of each interim look, such that all looks together have an error rate of 5%.

    The levels follow the spending function of Lan and DeMets (Biometrika 70, 1983, 659-663) that approximates Pocock's
    limits. It spends much of the 5% early, because most differences that matter are large. Each look gets what is
    spent since the previous look; by Bonferroni's inequality this holds for any dependence between the p-values.

    Args:
        seeds: total number of seeds at each look; the last number is fixed in advance.

    Example:
        >>> [round(level, 4) for level in batch_levels([10, 20, 40])], batch_levels([7])
        ([0.0179, 0.0131, 0.019], [0.05])
    """
    spent = [(1 - CONFIDENCE) * log(1 + (e - 1) * count / seeds[-1]) for count in seeds]
    return [round(after - before, 12) for before, after in zip([0.0, *spent], spent, strict=False)]
