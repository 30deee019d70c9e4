"""Tests of pairs of groups that were planned before the runs, which may be made in batches."""

from collections.abc import Sequence
from math import e, log

import numpy as np

from gradclip.arrays import Floats
from gradclip.compare.statistics import CONFIDENCE, sign_flips


def planned_tests(errors: Floats, pairs: Sequence[tuple[int, int]]) -> tuple[Floats, Floats]:
    """Return how many ranks the first group of each pair is ahead, ``[pairs]``, and the p-values of that, ``[pairs]``.

    The sign-flip test of :func:`gradclip.compare.statistics.paired_p_values`, but of pairs that no error has chosen: a
    difference is held against the largest of the planned ones alone. Pairs that differ more leave the comparison first
    (step-down, Westfall and Young 1993), so that the family-wise error rate is limited.

    Args:
        errors: ``[seeds, groups]``; a diverged run has infinity, the worst rank.
        pairs: the numbers of the two groups of each pair.

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
    largest = np.maximum.accumulate(flipped[:, order], axis=1)  # of the pair and of those that differ less
    exceeded = np.mean(largest >= flipped[0, order], axis=0)
    p_values = np.empty(len(pairs))
    p_values[order] = np.maximum.accumulate(exceeded[::-1])[::-1]  # no pair has a smaller one than those before it
    return differences.mean(axis=0), p_values


def batch_levels(seeds: Sequence[int]) -> list[float]:
    """Return the level below which a p-value is significant after each batch, so that all looks together err in 5%.

    What may be spent by a share of all seeds follows the function of Lan and DeMets (Biometrika 70, 1983, 659-663) that
    resembles Pocock's limits: it spends much early, for most differences that matter are large. Each look has what is
    spent since the look before, which holds whatever the p-values have to do with each other (Bonferroni).

    Args:
        seeds: of all batches so far, at each look; the last is agreed on before.

    Example:
        >>> [round(level, 4) for level in batch_levels([10, 20, 40])], batch_levels([7])
        ([0.0179, 0.0131, 0.019], [0.05])
    """
    spent = [(1 - CONFIDENCE) * log(1 + (e - 1) * count / seeds[-1]) for count in seeds]
    return [round(after - before, 12) for before, after in zip([0.0, *spent], spent, strict=False)]
