"""What the runs of each group came to, and which groups can be told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from gradclip import keys
from gradclip.compare import statistics
from gradclip.compare.grouping import Group
from gradclip.compare.statistics import Estimate
from gradclip.errors import ConfigError, did_you_mean
from gradclip.tracking.stored_runs import Curve, StoredRun

Floats = NDArray[np.float64]

OUTCOMES = ("learned", "stalled", "diverged")
MOST_PAIRED = 12  # groups, the best ones, of which every two are tested
LEVEL = 1 - statistics.CONFIDENCE


@dataclass(frozen=True)
class Metric:
    """What the runs are compared by.

    Attributes:
        name: of the metric; its last value in each run counts.
        sign: 1 if less is better, -1 if more is.
        curve: the score that has its history over epochs; empty for what is no score.
    """

    name: str
    sign: int
    curve: str

    def errors(self, runs: Sequence[StoredRun]) -> Floats:
        """The runs' values, ``[runs]``, so that less is better; infinite where a run diverged or has none."""
        values = np.array([run.metrics.get(self.name, np.nan) for run in runs]) * self.sign
        diverged = np.array([run.outcome == "diverged" for run in runs])
        return np.where(np.isfinite(values) & ~diverged, values, inf)

    def value_of(self, error: float) -> float:
        """An error as the metric's value again; NaN where the run diverged."""
        return error * self.sign if isfinite(error) else np.nan


def choose_metric(runs: Sequence[StoredRun], name: str | None) -> Metric:
    """The metric of a name, or the final score on test examples.

    Raises:
        ConfigError: no run has it, or the runs have scores that cannot be compared.
    """
    known = {key for run in runs for key in run.metrics}
    finals = [score.final_test for score in keys.SCORES.values() if score.final_test in known]
    if name is None and len(finals) != 1:
        raise ConfigError(
            f"metric: the runs have {' and '.join(finals) or 'no final score'}; give metric=... or runs=..."
        )
    name = name or finals[0]
    if name not in known:
        raise ConfigError(f"metric: got {name!r}; no run has it{did_you_mean(name, known)}")
    score = next((score for score in keys.SCORES.values() if score.name in name), None)
    if score is None:
        return Metric(name, 1, "")
    on_training = name in {score.train, score.final_train}
    return Metric(name, -1 if score is keys.ACCURACY else 1, score.train if on_training else score.test)


@dataclass(frozen=True)
class GroupSummary:
    """One group in numbers; errors are of the metric, less being better.

    Attributes:
        group: its runs.
        errors: one for each run, ``[runs]``; infinite where a run diverged.
        median: with a bootstrap interval.
        interquartile_mean: with a bootstrap interval.
        outcomes: the share of runs that learned, stalled and diverged, with Wilson's interval.
        epochs: until the target was reached, ``[runs]``; infinite where it never was.
        clip_fraction: median share of clipped steps.
        seconds: median wall time of a run.
    """

    group: Group
    errors: Floats
    median: Estimate
    interquartile_mean: Estimate
    outcomes: dict[str, Estimate]
    epochs: Floats
    clip_fraction: float
    seconds: float

    def count(self, outcome: str) -> int:
        """How many runs ended so."""
        return sum(run.outcome == outcome for run in self.group.runs)


@dataclass(frozen=True)
class Pair:
    """Two groups against each other.

    Attributes:
        better: the one with the higher chance to win.
        worse: the other.
        improvement: the chance that a run of the better one beats one of the other, with its interval.
        p_value: of the Mann-Whitney test, adjusted for the number of pairs (Holm).
        needed: runs of each group with which a difference of this size would be found in four of five comparisons.
    """

    better: GroupSummary
    worse: GroupSummary
    improvement: Estimate
    p_value: float
    needed: float

    @property
    def told_apart(self) -> bool:
        """Whether the data can tell the two apart."""
        return self.p_value < LEVEL


def summarize_groups(
    groups: Sequence[Group], metric: Metric, curves: Mapping[str, Curve], target: float
) -> list[GroupSummary]:
    """Sum up each group; the best median comes first, diverged runs counting as worst."""
    summaries = [_summarize(group, metric, curves, target) for group in groups]
    return sorted(summaries, key=lambda one: (one.median.value, one.interquartile_mean.value, one.count("diverged")))


def _summarize(group: Group, metric: Metric, curves: Mapping[str, Curve], target: float) -> GroupSummary:
    errors = metric.errors(group.runs)
    counts = {outcome: sum(run.outcome == outcome for run in group.runs) for outcome in OUTCOMES}
    return GroupSummary(
        group=group,
        errors=errors,
        median=statistics.median(errors),
        interquartile_mean=statistics.interquartile_mean(errors),
        outcomes={outcome: statistics.share(count, len(group.runs)) for outcome, count in counts.items()},
        epochs=np.array([epochs_to(curves.get(run.run_id), metric.sign, target) for run in group.runs]),
        clip_fraction=_median([run.metrics.get(keys.GRAD_CLIP_FRACTION, np.nan) for run in group.runs]),
        seconds=_median([run.seconds for run in group.runs]),
    )


def epochs_to(curve: Curve | None, sign: int, target: float) -> float:
    """The first epoch in which a score was as good as the target; infinite if none was.

    Example:
        >>> epochs_to(Curve(np.array([1, 2, 3]), np.array([400.0, 90.0, 120.0])), sign=1, target=100)
        2.0
    """
    if curve is None:
        return inf
    reached = curve.step[curve.value * sign <= target * sign]
    return float(reached[0]) if reached.size else inf


def usual_target(groups: Sequence[Group], metric: Metric) -> float:
    """A score that half of the runs that did not diverge end with, or better; NaN if all diverged."""
    errors = np.concatenate([metric.errors(group.runs) for group in groups])
    finite = errors[np.isfinite(errors)]
    return metric.sign * float(np.median(finite)) if finite.size else np.nan


def compare_pairs(summaries: Sequence[GroupSummary]) -> list[Pair]:
    """Hold the best groups against each other, every two of them."""
    rivals = list(combinations([one for one in summaries if len(one.errors) > 1][:MOST_PAIRED], 2))
    p_values = statistics.holm([statistics.difference_p_value(one.errors, two.errors) for one, two in rivals])
    return [_pair(one, two, p_value, len(rivals)) for (one, two), p_value in zip(rivals, p_values, strict=True)]


def _pair(one: GroupSummary, two: GroupSummary, p_value: float, tests: int) -> Pair:
    improvement = statistics.probability_of_improvement(one.errors, two.errors)
    if improvement.value < 0.5:
        one, two = two, one
        improvement = Estimate(1 - improvement.value, 1 - improvement.high, 1 - improvement.low)
    return Pair(one, two, improvement, p_value, statistics.seeds_needed(improvement.value, tests))


def _median(values: Sequence[float]) -> float:
    finite = [value for value in values if isfinite(value)]
    return float(np.median(finite)) if finite else np.nan
