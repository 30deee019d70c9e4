"""The figures of a comparison by file name; the first in alphabetical order is the most important one."""

from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from gradclip import keys
from gradclip.compare.edges import edges
from gradclip.compare.figure_data import (
    THRESHOLD,
    group_scores,
    learning_band,
    median_grid,
    norm_range,
    speed_of,
    threshold_lines,
    unclipped_medians,
)
from gradclip.compare.report import format_score_value
from gradclip.compare.summary import Comparison
from gradclip.plots.groups import plot_learning_curves, plot_norm_ranges, plot_scores, plot_speed
from gradclip.plots.thresholds import plot_grid, plot_thresholds
from gradclip.tracking.stored_runs import Curve

MAX_ROWS = 20
MAX_CURVES = 9
MIN_SPEEDS = 4  # groups; fewer points show no more than the table
THRESHOLDS = {"norm": "threshold of the norm, clip.value", "value": "threshold of each element, clip.value"}
UNIT = "loss per unit of weight"  # unit of the thresholds above

Figures = dict[str, Callable[[Figure], None]]


def figures(comparison: Comparison, curves: Mapping[str, Curve]) -> Figures:
    """Return the figures for which the groups have data, by file name."""
    metric, shown = comparison.metric, comparison.summaries[:MAX_ROWS]
    scores = [group_scores(summary) for summary in shown]
    title = f"{metric.name} of each run{_of_all(len(shown), comparison)}"
    plots: Figures = {
        keys.COMPARISON_FIGURE: partial(
            plot_scores, groups=scores, score=metric.name, title=title, is_fraction=metric.is_fraction
        )
    }
    if curves:
        plots |= _figures_over_epochs(comparison, curves)
    if any(keys.GRAD_NORM_P90 in run.metrics for summary in shown for run in summary.group.runs):
        plots["gradient_norms"] = partial(plot_norm_ranges, ranges=[norm_range(summary) for summary in shown])
    return plots | _figures_over_settings(comparison)


def _figures_over_epochs(comparison: Comparison, curves: Mapping[str, Curve]) -> Figures:
    """Return the learning curves and the speed of the best groups."""
    metric, shown = comparison.metric, comparison.summaries[:MAX_CURVES]
    which = _of_all(len(shown), comparison)
    bands = [learning_band(summary, curves) for summary in shown]
    title = f"{metric.curve} by epoch{which}"
    plots: Figures = {
        "learning_curves": partial(
            plot_learning_curves, bands=bands, score=metric.curve, title=title, is_fraction=metric.is_fraction
        )
    }
    speeds = [speed_of(summary) for summary in shown]
    different_epochs = np.unique(np.concatenate([summary.epochs_to_target for summary in shown]))
    if np.isfinite([speed.quartiles[1] for speed in speeds]).sum() >= MIN_SPEEDS and len(different_epochs) > 1:
        plots["speed"] = partial(
            plot_speed,
            groups=speeds,
            score=metric.name,
            target=f"epochs until {metric.curve} reaches {format_score_value(comparison.target, metric)}",
            title=f"Speed and final score{which}",
            higher_is_better=metric.sign < 0,
            is_fraction=metric.is_fraction,
        )
    return plots


def _figures_over_settings(comparison: Comparison) -> Figures:
    """Return a heat map if two settings form a grid; otherwise the scores by threshold, if there are thresholds."""
    metric, summaries = comparison.metric, comparison.summaries
    if grid := median_grid(summaries):
        return {"heat_map": partial(plot_grid, grid=grid, score=metric.name)}
    lines = threshold_lines(summaries)
    if not lines:
        return {}
    unclipped = unclipped_medians(summaries)
    return {
        "threshold": partial(
            plot_thresholds,
            lines=lines,
            unclipped=unclipped if len(unclipped) == 1 else [],  # several grey lines could not be distinguished
            edge=next((edge.value for edge in edges(comparison) if edge.setting == THRESHOLD), None),
            score=metric.name,
            threshold=_threshold_label({line.label.split()[0] for line in lines}),
            is_fraction=metric.is_fraction,
        )
    }


def _of_all(shown: int, comparison: Comparison) -> str:
    groups = len(comparison.summaries)
    return "" if shown == groups else f", best {shown} of {groups} groups"


def _threshold_label(methods: Collection[str]) -> str:
    """Return the label of a threshold axis, with the unit if it is known for all methods."""
    if not {*methods} <= {*THRESHOLDS}:
        return "clip.value"
    what = THRESHOLDS[next(iter(methods))] if len(methods) == 1 else "clip.value"
    return f"{what}, {UNIT}"
