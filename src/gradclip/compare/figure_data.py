"""Arrays for the figures of a comparison."""

from collections.abc import Mapping, Sequence
from math import inf, isfinite, prod
from operator import itemgetter

import numpy as np

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.compare.labels import distinguishing_names, short_setting
from gradclip.compare.metric import Metric
from gradclip.compare.summary import GroupSummary
from gradclip.formatting import parse_number
from gradclip.plots.groups import GroupScores, LearningBand, NormRange, Speed
from gradclip.plots.thresholds import Grid, ThresholdLine
from gradclip.tracking.stored_runs import Curve

THRESHOLD = "clip.value"
MAX_GRID_VALUES = 30  # of a setting; the figure grows with them
NORM_THRESHOLDS = {"norm": "clip.value", "normalize": "clip.value", "norm_value": "clip.norm"}  # setting by method


def threshold_lines(summaries: Sequence[GroupSummary]) -> list[ThresholdLine]:
    """Return a line for each clipping method with at least two thresholds."""
    clipping = [(number, one) for number, one in enumerate(summaries) if 0 < _threshold(one) < inf]  # on a log axis
    lines: dict[tuple[tuple[str, str], ...], dict[int, GroupSummary]] = {}
    for number, summary in sorted(clipping, key=lambda item: _threshold(item[1])):
        settings = {name: value for name, value in summary.group.settings.items() if name != THRESHOLD}
        words = {"clip": _setting(summary, "clip.name") or "all methods"}
        words |= {name: short_setting(name, value) for name, value in settings.items()}
        lines.setdefault(tuple(words.items()), {})[number] = summary
    several = [(dict(line), groups) for line, groups in lines.items() if len(set(map(_threshold, groups.values()))) > 1]
    names = distinguishing_names([words for words, _ in several])
    labels = [" ".join(words[name] for name in shown) for (words, _), shown in zip(several, names, strict=True)]
    return [_line(label, groups) for label, (_, groups) in sorted(zip(labels, several, strict=True), key=itemgetter(0))]


def _setting(summary: GroupSummary, name: str) -> str | None:
    """Return the value of a setting that all runs of a group share; None if they lack it or mix values."""
    values = {run.parameters.get(name) for run in summary.group.runs}
    return values.pop() if len(values) == 1 else None


def _threshold(summary: GroupSummary) -> float:
    return parse_number(_setting(summary, THRESHOLD))


def _line(label: str, groups: Mapping[int, GroupSummary]) -> ThresholdLine:
    return ThresholdLine(
        label,
        np.array([_threshold(group) for group in groups.values()]),
        list(groups),
        [_finite_scores(group) for group in groups.values()],
        np.array([quartiles(group.errors, group.metric) for group in groups.values()]),
        np.array([group.outcomes["diverged"].value for group in groups.values()]),
        np.array([_test_median(group) for group in groups.values()]),
    )


def group_scores(summary: GroupSummary) -> GroupScores:
    """Return the score of each run of a group."""
    scores = _finite_scores(summary)
    return GroupScores(summary.group.label, scores, len(summary.errors) - len(scores), _test_median(summary))


def _test_median(summary: GroupSummary) -> float:
    """Return the median on the test examples; NaN if it is not reported, or falls on a diverged run."""
    return summary.metric.to_value(summary.test_median.value) if summary.test_median else np.nan


def _finite_scores(summary: GroupSummary) -> Floats:
    return np.array([summary.metric.to_value(error) for error in summary.errors if np.isfinite(error)])


def speed_of(summary: GroupSummary) -> Speed:
    """Return how soon the runs of a group reached the target, and their final scores."""
    epochs, ends = summary.epochs_to_target, np.array(quartiles(summary.errors, summary.metric))
    return Speed(summary.group.label, epochs[np.isfinite(epochs)], ends, len(summary.errors))


def unclipped_medians(summaries: Sequence[GroupSummary]) -> list[tuple[str, float]]:
    """Return the label and median of each group without clipping; NaN if the median run diverged."""
    groups = [summary for summary in summaries if _setting(summary, "clip.name") == "none"]
    return [(summary.group.label, summary.metric.to_value(summary.median.value)) for summary in groups]


def quartiles(errors: Floats, metric: Metric) -> list[float]:
    """Return the 25th, 50th and 75th percentiles of the metric; NaN for one that falls on a diverged run."""
    ends = np.percentile(errors, [25, 50, 75], method="linear" if np.isfinite(errors).all() else "inverted_cdf")
    return [metric.to_value(float(end)) for end in ends]


def learning_band(summary: GroupSummary, curves: Mapping[str, Curve]) -> LearningBand:
    """Join the curves of a group.

    If any run diverged, every run without a point at an epoch counts as diverged there.

    Args:
        summary: summary of the group.
        curves: the score over epochs, by run id.
    """
    group, metric = summary.group, summary.metric
    found = [curves[run.run_id] for run in group.runs if run.run_id in curves]
    if not found:
        return LearningBand(group.label, np.empty(0, np.int64), np.empty((0, 3)))
    epochs = np.unique(np.concatenate([curve.step for curve in found]))
    missing = np.inf if summary.count("diverged") else np.nan  # curves may be thinned out, or training stopped early
    errors = np.full((len(epochs), len(group.runs)), missing)
    for column, curve in enumerate(found):
        errors[np.searchsorted(epochs, curve.step), column] = metric.to_errors(curve.value)
    ends = [quartiles(of_epoch[~np.isnan(of_epoch)], metric) for of_epoch in errors]
    return LearningBand(group.label, epochs, np.array(ends))


def norm_range(summary: GroupSummary) -> NormRange:
    """Return the gradient norms and the threshold of a group."""
    percentiles = keys.GRAD_NORM_PERCENTILES
    norms = np.array([[run.metrics.get(key, np.nan) for key in percentiles] for run in summary.group.runs])
    norms = norms[np.isfinite(norms).all(axis=1)]
    medians = np.median(norms, axis=0) if len(norms) else np.full(len(percentiles), np.nan)
    threshold = NORM_THRESHOLDS.get(_setting(summary, "clip.name") or "", "")
    return NormRange(summary.group.label, medians, parse_number(_setting(summary, threshold)))


def median_grid(summaries: Sequence[GroupSummary]) -> Grid | None:
    """Return the groups as a grid; None unless they differ in two numeric settings and fill at least half of it."""
    names = sorted({name for summary in summaries for name in summary.group.settings})
    points = np.array([[parse_number(summary.group.settings.get(name)) for name in names] for summary in summaries])
    if len(names) != 2 or np.isnan(points).any():
        return None
    rows, columns = np.unique(points[:, 0]).tolist(), np.unique(points[:, 1]).tolist()
    values = (len(rows), len(columns))
    if min(values) < 2 or max(values) > MAX_GRID_VALUES or len(points) < prod(values) / 2:
        return None
    medians, diverged = np.full((len(rows), len(columns)), np.nan), np.zeros((len(rows), len(columns)), dtype=bool)
    for summary, (row, column) in zip(summaries, points.tolist(), strict=True):
        cell, error = (rows.index(row), columns.index(column)), summary.median.value
        medians[cell], diverged[cell] = summary.metric.to_value(error), not isfinite(error)
    return Grid((names[0], names[1]), rows, columns, medians, diverged)
