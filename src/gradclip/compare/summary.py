"""Summaries of groups, and tests of the best group against the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

import numpy as np

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.compare import statistics
from gradclip.compare.data_sets import DataChoice
from gradclip.compare.grouping import Group, Grouping
from gradclip.compare.metric import Metric
from gradclip.compare.statistics import Estimate
from gradclip.diagnosis.finite_statistics import median_of
from gradclip.tracking.stored_runs import Curve, Selection

OUTCOMES = ("learned", "finished", "stalled", "diverged")
MAX_COMPARED_GROUPS = 12  # only the best groups are tested
SIGNIFICANCE_LEVEL = 1 - statistics.CONFIDENCE


@dataclass(frozen=True)
class GroupSummary:
    """The numbers of one group. Errors are values of the metric, signed so that lower is better.

    Attributes:
        group: the group and its runs.
        metric: the metric whose values the errors are.
        errors: error of each run, ``[runs]``; infinite if the run diverged.
        median: median error, with an interval between two order statistics.
        interquartile_mean: interquartile mean of the errors, with a bootstrap interval.
        outcomes: proportion of runs with each outcome, with Wilson's interval.
        epochs_to_target: epochs until each run reached the target, ``[runs]``; infinite if it never did.
        clip_fraction: fraction of clipped steps, median over the runs.
        seconds: wall time, median over the runs.
        test_median: median error on the test examples; None if the metric itself is measured on them, or there is none.
    """

    group: Group
    metric: Metric
    errors: Floats
    median: Estimate
    interquartile_mean: Estimate
    outcomes: dict[str, Estimate]
    epochs_to_target: Floats
    clip_fraction: float
    seconds: float
    test_median: Estimate | None = None

    def count(self, outcome: str) -> int:
        """Return the number of runs with an outcome."""
        return sum(run.outcome == outcome for run in self.group.runs)

    @property
    def by_seed(self) -> dict[str, float] | None:
        """The error of each seed; None if a run has no seed, or two runs have the same seed."""
        seeds = [run.parameters.get("seed") for run in self.group.runs]
        known = [seed for seed in seeds if seed is not None]
        return dict(zip(known, self.errors.tolist(), strict=True)) if len(set(known)) == len(seeds) else None


@dataclass(frozen=True)
class Pair:
    """The comparison of two groups.

    Attributes:
        better: the group that the test puts ahead.
        worse: the other group.
        improvement: probability that a run of the better group beats a run of the other group, with its interval; if
            runs are paired, the probability for runs of the same seed.
        p_value: p-value of the difference, adjusted for choosing the best of all groups.
        equivalence: p-value of the claim that errors differ by a factor of less than 1.1, with Holm correction; NaN if
            runs are not paired, or errors differ in sign.
        paired: whether runs of the same seed were compared.
    """

    better: GroupSummary
    worse: GroupSummary
    improvement: Estimate
    p_value: float
    equivalence: float
    paired: bool

    @property
    def significant(self) -> bool:
        """Whether the difference is statistically significant."""
        return self.p_value < SIGNIFICANCE_LEVEL

    @property
    def equivalent(self) -> bool:
        """Whether the errors are shown to differ by a factor of less than 1.1."""
        return self.equivalence < SIGNIFICANCE_LEVEL

    def other(self, group: GroupSummary) -> GroupSummary:
        """Return the other group of the pair."""
        return self.worse if self.better is group else self.better


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        selection: the selected runs.
        data: the data set that is compared, and its runs.
        grouping: the groups of these runs.
        metric: the metric by which they are compared.
        target: value of the score for ``epochs_to_target``.
        summaries: the groups, best first.
        pairs: the best group with each of the next best; empty if the best group has a single run.
        typed: overrides of the command that compares, which may be repeated in commands that it suggests.
    """

    selection: Selection
    data: DataChoice
    grouping: Grouping
    metric: Metric
    target: float
    summaries: list[GroupSummary]
    pairs: list[Pair]
    typed: Sequence[str] = ()

    @property
    def best(self) -> GroupSummary:
        """The group with the best median."""
        return self.summaries[0]

    @property
    def has_best(self) -> bool:
        """Whether the median run of any group has a score."""
        return self.best.median.value < inf


def summarize_groups(
    groups: Sequence[Group], metric: Metric, curves: Mapping[str, Curve], target: float
) -> list[GroupSummary]:
    """Summarize each group, and sort the summaries by median, best first; diverged runs rank last.

    Args:
        groups: groups to summarize.
        metric: metric by which they are compared.
        curves: score of the metric over epochs, by run id.
        target: value of this score for ``epochs_to_target``.
    """
    summaries = [_summarize(group, metric, curves, target) for group in groups]
    return sorted(
        summaries, key=lambda group: (group.median.value, group.interquartile_mean.value, group.count("diverged"))
    )


def _summarize(group: Group, metric: Metric, curves: Mapping[str, Curve], target: float) -> GroupSummary:
    errors, counts = metric.errors(group.runs), Counter(run.outcome for run in group.runs)
    on_test = replace(metric, name=metric.reported)
    return GroupSummary(
        group=group,
        metric=metric,
        errors=errors,
        median=statistics.median(errors),
        interquartile_mean=statistics.interquartile_mean(errors),
        outcomes={outcome: statistics.proportion(counts[outcome], len(group.runs)) for outcome in OUTCOMES},
        epochs_to_target=np.array([first_epoch_at(curves.get(run.run_id), metric.sign, target) for run in group.runs]),
        clip_fraction=median_of([run.metrics.get(keys.GRAD_CLIP_FRACTION, np.nan) for run in group.runs]),
        seconds=median_of([run.seconds for run in group.runs]),
        test_median=statistics.median(on_test.errors(group.runs)) if metric.reported else None,
    )


def first_epoch_at(curve: Curve | None, sign: int, target: float) -> float:
    """Return the first epoch in which the score was at least as good as the target; infinite if there is none.

    Args:
        curve: the score over epochs; None if it was not recorded.
        sign: 1 if lower is better, -1 if higher is better.
        target: a value of the score.

    Example:
        >>> first_epoch_at(Curve(np.array([1, 2, 3]), np.array([400.0, 90.0, 120.0])), sign=1, target=100)
        2.0
    """
    if curve is None:
        return inf
    reached = curve.step[curve.value * sign <= target * sign]
    return float(reached[0]) if reached.size else inf


def default_target(groups: Sequence[Group], metric: Metric) -> float:
    """Return the median of the metric over all runs that did not diverge; NaN if all diverged."""
    errors = np.concatenate([metric.errors(group.runs) for group in groups])
    return metric.to_value(median_of(errors))


def compare_with_best(summaries: Sequence[GroupSummary]) -> list[Pair]:
    """Compare the first group, the best, with each of the next best; skip groups of one run.

    Runs of the same seed are compared in pairs if any two groups share at least two seeds.
    """
    best, *others = summaries
    tested = [group for group in others if len(group.errors) > 1][: MAX_COMPARED_GROUPS - 1]
    if not tested or len(best.errors) == 1:
        return []
    matrix = error_matrix([best, *tested])
    return _unpaired(best, tested) if matrix is None else _paired(best, tested, matrix)


def error_matrix(groups: Sequence[GroupSummary]) -> Floats | None:
    """Return errors ``[seeds, groups]``, NaN for a missing run; None if two groups share fewer than two seeds."""
    columns = [group.by_seed for group in groups]
    known = [column for column in columns if column is not None]
    if len(known) < len(groups) or any(len(one.keys() & other.keys()) < 2 for one, other in combinations(known, 2)):
        return None
    seeds = sorted({seed for column in known for seed in column})
    return np.array([[column.get(seed, np.nan) for column in known] for seed in seeds])


def _paired(best: GroupSummary, others: Sequence[GroupSummary], matrix: Floats) -> list[Pair]:
    two_columns = [matrix[:, [0, column]] for column in range(1, 1 + len(others))]
    shared = [errors[~np.isnan(errors).any(axis=1)].T for errors in two_columns]
    equivalences = statistics.holm([statistics.equivalence_p_value(*errors) for errors in shared])
    p_values = statistics.paired_p_values(matrix, best=0)[1:].tolist()
    return [
        _sorted(
            Pair(best, other, statistics.paired_improvement(*errors), p_value, equivalence, paired=True),
            statistics.probability_of_improvement(*errors).value,  # over all runs, since the test compares ranks
        )
        for other, errors, p_value, equivalence in zip(others, shared, p_values, equivalences, strict=True)
    ]


def _unpaired(best: GroupSummary, others: Sequence[GroupSummary]) -> list[Pair]:
    """Test unpaired runs, adjusted for all pairs of groups, since the same runs chose the best group."""
    every = [*combinations([best, *others], 2)]  # pairs with the best come first
    p_values = statistics.holm([statistics.difference_p_value(one.errors, other.errors) for one, other in every])
    chances = [statistics.probability_of_improvement(best.errors, other.errors) for other in others]
    return [
        _sorted(Pair(best, other, chance, p_value, equivalence=np.nan, paired=False), chance.value)
        for other, chance, p_value in zip(others, chances, p_values, strict=False)
    ]


def _sorted(pair: Pair, chance: float) -> Pair:
    """Swap the groups of a pair if the probability that the first one wins is below one half."""
    if chance >= 0.5:
        return pair
    value, low, high = pair.improvement
    return replace(pair, better=pair.worse, worse=pair.better, improvement=Estimate(1 - value, 1 - high, 1 - low))
