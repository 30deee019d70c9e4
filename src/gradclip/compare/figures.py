"""The figures of a comparison by file name; the first in alphabetical order is the most important one."""

from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from gradclip import keys
from gradclip.compare.figure_data import (
    group_scores,
    learning_band,
    median_grid,
    norm_range,
    speed_of,
    threshold_edge,
    threshold_lines,
    unclipped_medians,
)
from gradclip.compare.summary import Comparison
from gradclip.plots.groups import plot_learning_curves, plot_norm_ranges, plot_scores, plot_speed
from gradclip.plots.thresholds import plot_grid, plot_thresholds
from gradclip.tracking.stored_runs import Curve

MAX_ROWS = 20
MAX_CURVES = 9
MIN_SPEEDS = 4  # groups; fewer points show no more than the table
THRESHOLDS = {"norm": "threshold of the norm, clip.value", "value": "threshold of each element, clip.value"}
UNIT = "loss per unit of weight"  # unit of the thresholds above


def figures(comparison: Comparison, curves: Mapping[str, Curve]) -> dict[str, Callable[[Figure], None]]:
    """Return the figures for which the groups have data, by file name."""
    metric, summaries = comparison.metric, dict(enumerate(comparison.summaries))
    shown = {number: summary for number, summary in summaries.items() if number < MAX_ROWS}
    curves_shown = min(len(summaries), MAX_CURVES)
    best_curves = _of_all(curves_shown, comparison)
    scores = [group_scores(number, summary, metric) for number, summary in shown.items()]
    title = f"{metric.name} of each run{_of_all(len(shown), comparison)}"
    plots: dict[str, Callable[[Figure], None]] = {
        keys.COMPARISON_FIGURE: partial(
            plot_scores, groups=scores, score=metric.name, title=title, is_fraction=metric.is_fraction
        )
    }
    if curves:
        bands = [learning_band(number, shown[number], metric, curves) for number in range(curves_shown)]
        title = f"{metric.curve}: median and interquartile range{best_curves}"
        plots["learning_curves"] = partial(
            plot_learning_curves, bands=bands, score=metric.curve, title=title, is_fraction=metric.is_fraction
        )
        speeds = [speed_of(number, shown[number], metric) for number in range(curves_shown)]
        if np.isfinite([speed.quartiles[1] for speed in speeds]).sum() >= MIN_SPEEDS:
            plots["speed"] = partial(
                plot_speed,
                groups=speeds,
                score=metric.name,
                target=f"epochs until {metric.curve} reaches {comparison.target:.4g}",
                title=f"Speed and final score{best_curves}",
                higher_is_better=metric.sign < 0,
                is_fraction=metric.is_fraction,
            )
    if any(keys.GRAD_NORM_P90 in run.metrics for summary in shown.values() for run in summary.group.runs):
        ranges = [norm_range(number, summary) for number, summary in shown.items()]
        plots["gradient_norms"] = partial(plot_norm_ranges, ranges=ranges)
    if grid := median_grid(comparison.summaries, metric):
        plots["heat_map"] = partial(plot_grid, grid=grid, score=metric.name)
    elif lines := threshold_lines(summaries, metric):
        unclipped = unclipped_medians(comparison.summaries, metric)
        plots["threshold"] = partial(
            plot_thresholds,
            lines=lines,
            unclipped=unclipped if len(unclipped) == 1 else [],  # several grey lines could not be distinguished
            edge=threshold_edge(comparison),
            score=metric.name,
            threshold=_threshold_label({line.label.split()[0] for line in lines}),
            is_fraction=metric.is_fraction,
        )
    return plots


def _of_all(shown: int, comparison: Comparison) -> str:
    groups = len(comparison.summaries)
    return "" if shown == groups else f", best {shown} of {groups} groups"


def _threshold_label(methods: Collection[str]) -> str:
    """Return the label of a threshold axis, with the unit if it is known for all methods."""
    if not {*methods} <= {*THRESHOLDS}:
        return "clip.value"
    what = THRESHOLDS[next(iter(methods))] if len(methods) == 1 else "clip.value"
    return f"{what}, {UNIT}"
