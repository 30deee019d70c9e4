"""Summaries of groups, and tests between pairs of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, isfinite

import numpy as np

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.compare import statistics
from gradclip.compare.data_sets import DataChoice
from gradclip.compare.grouping import Group, Grouping
from gradclip.compare.statistics import Estimate
from gradclip.errors import ConfigError, did_you_mean
from gradclip.tracking.stored_runs import Curve, Selection, StoredRun

OUTCOMES = ("learned", "finished", "stalled", "diverged")
MAX_COMPARED_GROUPS = 12  # only pairs of the best groups are tested
SIGNIFICANCE_LEVEL = 1 - statistics.CONFIDENCE


@dataclass(frozen=True)
class Metric:
    """The metric by which runs are compared.

    Attributes:
        name: of the metric, whose last value in each run is compared.
        sign: 1 if lower is better, -1 if higher is.
        curve: the score recorded at each epoch; empty for a metric that is no score.
    """

    name: str
    sign: int
    curve: str

    def errors(self, runs: Sequence[StoredRun]) -> Floats:
        """Return the runs' values as errors, ``[runs]``; infinite where a run diverged or has no value."""
        values = np.array([run.metrics.get(self.name, np.nan) for run in runs]) * self.sign
        diverged = np.array([run.outcome == "diverged" for run in runs])
        return np.where(np.isfinite(values) & ~diverged, values, inf)

    def to_value(self, error: float) -> float:
        """Return the metric's value of an error; NaN where the run diverged."""
        return error * self.sign if isfinite(error) else np.nan


def choose_metric(runs: Sequence[StoredRun], name: str | None) -> Metric:
    """Return the metric of a name; without a name, the final score on the test examples.

    Raises:
        ConfigError: no run has it, or the runs have scores that cannot be compared.
    """
    known = {key for run in runs for key in run.metrics}
    scores = {score.final_test: score for run in runs if (score := keys.stored_score(run.metrics, run.tags))}
    finals = sorted(scores)
    if name is None and len(finals) != 1:
        raise ConfigError(
            f"metric: the runs have {' and '.join(finals) or 'no final score'}; give metric=... or runs=..."
        )
    name = name or finals[0]
    if name not in known:
        raise ConfigError(f"metric: got {name!r}; no run has it{did_you_mean(name, known)}")
    for score in (*scores.values(), *keys.SCORES.values()):
        if name in {score.test, score.final_test, score.best_test}:
            return Metric(name, -1 if score.higher_is_better else 1, score.test)
        if name in {score.train, score.final_train}:
            is_accuracy = score is keys.ACCURACY  # of a metric that is logged it is the loss
            return Metric(name, -1 if is_accuracy else 1, score.train)
    return Metric(name, 1, "")


@dataclass(frozen=True)
class GroupSummary:
    """The numbers of one group. Errors are the metric's values, signed so that lower is better.

    Attributes:
        group: the group and its runs.
        errors: of each run, ``[runs]``; infinite where a run diverged.
        median: of the errors, with a bootstrap interval.
        interquartile_mean: of the errors, with a bootstrap interval.
        outcomes: proportion of runs that learned, stalled and diverged, with Wilson's interval.
        epochs_to_target: epochs until each run reached the target, ``[runs]``; infinite where it never did.
        clip_fraction: fraction of steps that were clipped, the median over the runs.
        seconds: wall time of a run, the median over the runs.
    """

    group: Group
    errors: Floats
    median: Estimate
    interquartile_mean: Estimate
    outcomes: dict[str, Estimate]
    epochs_to_target: Floats
    clip_fraction: float
    seconds: float

    def count(self, outcome: str) -> int:
        """Return the number of runs with an outcome."""
        return sum(run.outcome == outcome for run in self.group.runs)


@dataclass(frozen=True)
class Pair:
    """The comparison of two groups.

    Attributes:
        better: the group whose runs beat those of the other more often.
        worse: the other group.
        improvement: probability that a run of the better group beats one of the other, with its interval.
        p_value: of the Mann-Whitney test, adjusted for the number of pairs (Holm).
        seeds_needed: runs of each group with which a difference of this size is found with a power of 80%.
    """

    better: GroupSummary
    worse: GroupSummary
    improvement: Estimate
    p_value: float
    seeds_needed: float

    @property
    def significant(self) -> bool:
        """Whether the difference is statistically significant."""
        return self.p_value < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        selection: the runs that were selected.
        data: those of them that are compared, and on which data.
        grouping: how they were grouped.
        metric: what they were compared by.
        target: value of the metric for ``epochs_to_target``.
        summaries: the groups, best first.
        pairs: every pair of the best groups.
    """

    selection: Selection
    data: DataChoice
    grouping: Grouping
    metric: Metric
    target: float
    summaries: list[GroupSummary]
    pairs: list[Pair]

    @property
    def best(self) -> GroupSummary:
        """The group with the best median."""
        return self.summaries[0]

    def against_best(self, other: GroupSummary) -> Pair | None:
        """Return the test of a group against the best; None where there is none."""
        return next(
            (pair for pair in self.pairs if {id(pair.better), id(pair.worse)} == {id(self.best), id(other)}), None
        )


def summarize_groups(
    groups: Sequence[Group], metric: Metric, curves: Mapping[str, Curve], target: float
) -> list[GroupSummary]:
    """Summarize each group. The best median comes first; diverged runs count as worst.

    Args:
        groups: to summarize.
        metric: to compare by.
        curves: the metric's score over epochs, by run id.
        target: value of that score for ``epochs_to_target``.
    """
    summaries = [_summarize(group, metric, curves, target) for group in groups]
    return sorted(
        summaries, key=lambda group: (group.median.value, group.interquartile_mean.value, group.count("diverged"))
    )


def _summarize(group: Group, metric: Metric, curves: Mapping[str, Curve], target: float) -> GroupSummary:
    errors = metric.errors(group.runs)
    counts = {outcome: sum(run.outcome == outcome for run in group.runs) for outcome in OUTCOMES}
    return GroupSummary(
        group=group,
        errors=errors,
        median=statistics.median(errors),
        interquartile_mean=statistics.interquartile_mean(errors),
        outcomes={outcome: statistics.proportion(count, len(group.runs)) for outcome, count in counts.items()},
        epochs_to_target=np.array([first_epoch_at(curves.get(run.run_id), metric.sign, target) for run in group.runs]),
        clip_fraction=_finite_median([run.metrics.get(keys.GRAD_CLIP_FRACTION, np.nan) for run in group.runs]),
        seconds=_finite_median([run.seconds for run in group.runs]),
    )


def first_epoch_at(curve: Curve | None, sign: int, target: float) -> float:
    """Return the first epoch in which a score was at least as good as the target; infinite if there is none.

    Args:
        curve: the score over epochs.
        sign: 1 if lower is better, -1 if higher is.
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
    finite = errors[np.isfinite(errors)]
    return metric.sign * float(np.median(finite)) if finite.size else np.nan


def compare_pairs(summaries: Sequence[GroupSummary]) -> list[Pair]:
    """Compare every pair of the best groups, given best first; groups of one run are left out."""
    pairs = list(combinations([group for group in summaries if len(group.errors) > 1][:MAX_COMPARED_GROUPS], 2))
    p_values = statistics.holm([statistics.difference_p_value(first.errors, second.errors) for first, second in pairs])
    return [_pair(first, second, p_value, len(pairs)) for (first, second), p_value in zip(pairs, p_values, strict=True)]


def _pair(first: GroupSummary, second: GroupSummary, p_value: float, tests: int) -> Pair:
    improvement = statistics.probability_of_improvement(first.errors, second.errors)
    if improvement.value < 0.5:
        first, second = second, first
        improvement = Estimate(1 - improvement.value, 1 - improvement.high, 1 - improvement.low)
    return Pair(first, second, improvement, p_value, statistics.seeds_needed(improvement.value, tests))


def _finite_median(values: Sequence[float]) -> float:
    finite = [value for value in values if isfinite(value)]
    return float(np.median(finite)) if finite else np.nan
