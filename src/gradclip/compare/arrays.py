"""What the figures of a comparison show, as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from gradclip import keys
from gradclip.compare.grouping import short_setting
from gradclip.compare.summary import GroupSummary, Metric
from gradclip.tracking.stored_runs import Curve

Floats = NDArray[np.float64]

THRESHOLD = "clip.value"
NORM_METHODS = {
    "norm": "clip.value",
    "normalize": "clip.value",
    "norm_value": "clip.norm",
}  # and where the limit stands
PERCENTILES = (keys.GRAD_NORM_P50, keys.GRAD_NORM_P90, keys.GRAD_NORM_P99, keys.GRAD_NORM_MAX)


@dataclass(frozen=True)
class ThresholdLine:
    """A metric by threshold, for one way of clipping.

    Attributes:
        label: the clipping and the other settings.
        threshold: ``[thresholds]``.
        quartiles: 25th, 50th and 75th percentile of the metric, ``[thresholds, 3]``; NaN where they are diverged runs'.
        diverged: share of the runs that diverged, ``[thresholds]``.
    """

    label: str
    threshold: Floats
    quartiles: Floats
    diverged: Floats


def threshold_lines(summaries: Sequence[GroupSummary], metric: Metric) -> list[ThresholdLine]:
    """A line for each way of clipping that has at least two thresholds."""
    clipping = [one for one in summaries if number(one.group.runs[0].parameters.get(THRESHOLD)) is not None]
    ways: dict[str, list[GroupSummary]] = {}
    for one in sorted(clipping, key=_threshold):
        ways.setdefault(_way(one, clipping), []).append(one)
    return [_line(label, group, metric) for label, group in ways.items() if len(set(map(_threshold, group))) > 1]


def _threshold(one: GroupSummary) -> float:
    return float(one.group.runs[0].parameters[THRESHOLD])


def _way(one: GroupSummary, others: Sequence[GroupSummary]) -> str:
    """The clipping, and the other settings that tell it from groups of the same method."""
    method = one.group.runs[0].parameters["clip.name"]
    same = [other.group.values for other in others if other.group.runs[0].parameters["clip.name"] == method]
    telling = [
        short_setting(name, value)
        for name, value in one.group.values.items()
        if name != THRESHOLD and any(values.get(name) != value for values in same)
    ]
    return " ".join([method, *telling])


def unclipped(summaries: Sequence[GroupSummary], metric: Metric) -> list[tuple[str, float]]:
    """The median of each group that clips nothing; NaN where the median run diverged."""
    groups = [one for one in summaries if one.group.runs[0].parameters.get("clip.name") == "none"]
    return [(one.group.label, metric.value_of(one.median.value)) for one in groups]


def _line(label: str, group: Sequence[GroupSummary], metric: Metric) -> ThresholdLine:
    return ThresholdLine(
        label,
        np.array([_threshold(one) for one in group]),
        np.array([quartiles(one.errors, metric) for one in group]),
        np.array([one.outcomes["diverged"].value for one in group]),
    )


def quartiles(errors: Floats, metric: Metric) -> list[float]:
    """25th, 50th and 75th percentile of the metric; NaN where they are a diverged run's."""
    ends = np.percentile(errors, [25, 50, 75], method="linear" if np.isfinite(errors).all() else "inverted_cdf")
    return [metric.value_of(float(end)) for end in ends]


@dataclass(frozen=True)
class LearningBand:
    """The scores of a group over epochs: 25th, 50th and 75th percentile, ``[epochs, 3]``, NaN where diverged."""

    label: str
    epoch: NDArray[np.int64]
    quartiles: Floats


def learning_band(one: GroupSummary, metric: Metric, curves: Mapping[str, Curve]) -> LearningBand:
    """Put a group's curves together; where a run's curve has ended it counts as diverged."""
    found = [curves[run.run_id] for run in one.group.runs if run.run_id in curves]
    if not found:
        return LearningBand(one.group.label, np.empty(0, np.int64), np.empty((0, 3)))
    epochs = np.unique(np.concatenate([curve.step for curve in found]))
    errors = np.full((len(one.group.runs), len(epochs)), np.inf)
    for row, curve in enumerate(found):
        errors[row, np.searchsorted(epochs, curve.step)] = curve.value * metric.sign
    if not any(run.outcome == "diverged" for run in one.group.runs):
        errors = np.where(np.isfinite(errors), errors, np.nan)  # thinned out, or stopped when solved
        return LearningBand(one.group.label, epochs, np.nanpercentile(errors, [25, 50, 75], axis=0).T * metric.sign)
    return LearningBand(one.group.label, epochs, np.array([quartiles(column, metric) for column in errors.T]))


@dataclass(frozen=True)
class NormRange:
    """Norms before clipping of a group's runs, medians over the runs, and the threshold of the norm if it has one.

    Attributes:
        label: the group.
        norms: 50th, 90th, 99th percentile and the largest, ``[4]``.
        threshold: NaN where there is none.
    """

    label: str
    norms: Floats
    threshold: float


def norm_range(one: GroupSummary) -> NormRange:
    """The gradient norms of a group."""
    norms = np.array([[run.metrics.get(key, np.nan) for key in PERCENTILES] for run in one.group.runs])
    norms = norms[np.isfinite(norms).all(axis=1)]
    first = one.group.runs[0].parameters
    threshold = number(first.get(NORM_METHODS.get(first.get("clip.name", ""), "")))
    return NormRange(
        one.group.label,
        np.median(norms, axis=0) if len(norms) else np.full(len(PERCENTILES), np.nan),
        np.nan if threshold is None else threshold,
    )


@dataclass(frozen=True)
class Grid:
    """Medians over two settings.

    Attributes:
        names: the settings, of rows and of columns.
        rows: values of the first.
        columns: values of the second.
        medians: ``[rows, columns]``; NaN where the median run diverged, or there is none.
        diverged: where it diverged, ``[rows, columns]``.
    """

    names: tuple[str, str]
    rows: list[float]
    columns: list[float]
    medians: Floats
    diverged: NDArray[np.bool_]


def median_grid(summaries: Sequence[GroupSummary], metric: Metric) -> Grid | None:
    """The groups as a grid, where all that differs are two settings that are numbers."""
    names = sorted({name for one in summaries for name in one.group.values})
    values = [[number(one.group.values.get(name)) for name in names] for one in summaries]
    if len(names) != 2 or any(value is None for row in values for value in row):
        return None
    places = np.array(values, dtype=float)
    rows, columns = (sorted(set(places[:, axis].tolist())) for axis in (0, 1))
    if min(len(rows), len(columns)) < 2:
        return None
    medians, diverged = np.full((len(rows), len(columns)), np.nan), np.zeros((len(rows), len(columns)), dtype=bool)
    for one, (row, column) in zip(summaries, places.tolist(), strict=True):
        place = rows.index(row), columns.index(column)
        medians[place], diverged[place] = metric.value_of(one.median.value), not isfinite(one.median.value)
    return Grid((names[0], names[1]), rows, columns, medians, diverged)


def number(text: str | None) -> float | None:
    """A setting as a number, if it is one."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
