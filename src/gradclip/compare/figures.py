"""The figures of a comparison, to be drawn by :func:`gradclip.plots.draw`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.compare.figure_data import (
    Grid,
    LearningBand,
    NormRange,
    ThresholdLine,
    learning_band,
    median_grid,
    norm_range,
    quartiles,
    threshold_lines,
    unclipped_medians,
)
from gradclip.compare.summary import Comparison, GroupSummary, Metric
from gradclip.plots import BLUE, GREY, ORANGE, RED, log_axis_over_decades, show_message
from gradclip.tracking.stored_runs import Curve

COLORS = (BLUE, ORANGE, "#2a8a5b", "#8e5bb0", "#c2487e", "#6b5344", "#159ab3", "#a3a01c")
MAX_CURVES = len(COLORS)
MAX_ROWS = 20
MAX_LABEL_LENGTH = 40  # characters of a row's label
SHORT_LABEL_LENGTH = 20  # characters, of which four labels fit side by side
MAX_LINES_WITH_INNER_LEGEND = 4
MAX_NORM_RATIO = 1e6  # of a norm to the median one; a larger one has exploded and is not shown


def figures(comparison: Comparison, curves: Mapping[str, Curve]) -> dict[str, Callable[[Figure], None]]:
    """Return every figure for which the groups have data, by file name."""
    summaries, metric = comparison.summaries, comparison.metric
    plots: dict[str, Callable[[Figure], None]] = {}
    if lines := threshold_lines(summaries, metric):
        unclipped = unclipped_medians(summaries, metric)
        plots["threshold"] = partial(plot_thresholds, lines=lines, unclipped=unclipped, metric=metric.name)
    if curves:
        bands = [learning_band(summary, metric, curves) for summary in summaries[:MAX_CURVES]]
        plots["learning_curves"] = partial(plot_learning_curves, bands=bands, score=metric.curve)
    if any(keys.GRAD_NORM_P90 in run.metrics for summary in summaries for run in summary.group.runs):
        plots["gradient_norms"] = partial(plot_norms, ranges=[norm_range(summary) for summary in summaries[:MAX_ROWS]])
    if grid := median_grid(summaries, metric):
        plots["heat_map"] = partial(plot_grid, grid=grid, metric=metric.name)
    if curves and any(np.isfinite(summary.epochs_to_target).any() for summary in summaries):
        plots["speed"] = partial(plot_speed, summaries=summaries[:MAX_CURVES], metric=metric, target=comparison.target)
    return plots


def plot_thresholds(
    figure: Figure, lines: Sequence[ThresholdLine], unclipped: Sequence[tuple[str, float]], metric: str
) -> None:
    """Plot the metric by threshold and, where any run diverged, the proportion that did below it.

    Args:
        figure: to draw into.
        lines: one for each clipping method.
        unclipped: label and median of each group without clipping.
        metric: its name.
    """
    diverged = any(line.diverged.any() for line in lines)
    heights = [4, 1] if diverged else [4]
    axes, *lower = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axes.set(title=f"{metric} by threshold: median and interquartile range", ylabel=metric)
    for line, color in zip(lines, COLORS, strict=False):
        axes.fill_between(line.threshold, line.quartiles[:, 0], line.quartiles[:, 2], color=color, alpha=0.18, lw=0)
        axes.plot(line.threshold, line.quartiles[:, 1], "o-", color=color, label=line.label)
        for proportions in lower:
            proportions.plot(line.threshold, line.diverged, ".-", color=color, clip_on=False)
            proportions.set(ylabel="diverged", ylim=(0, 1), yticks=[0, 1], yticklabels=["none", "all"])
    for label, median in unclipped:
        text = label if isfinite(median) else f"{label}: the median run diverged"
        axes.axhline(median, color=GREY, linestyle="--", label=text)
    [axes, *lower][-1].set(xscale="log", xlabel="threshold (clip.value)")
    log_axis_over_decades(axes, [value for line in lines for value in line.quartiles.ravel()])
    _add_legend(figure, axes)


def plot_learning_curves(figure: Figure, bands: Sequence[LearningBand], score: str) -> None:
    """Plot the score over epochs: median and interquartile range of each group.

    Args:
        figure: to draw into.
        bands: one for each group.
        score: its name.
    """
    axes = figure.subplots()
    axes.set(title=f"{score}: median and interquartile range of the runs", xlabel="epoch", ylabel=score)
    for band, color in zip(bands, COLORS, strict=False):
        diverged = not np.isfinite(band.quartiles[-1:, 1]).any()
        axes.fill_between(band.epoch, band.quartiles[:, 0], band.quartiles[:, 2], color=color, alpha=0.18, lw=0)
        label = f"{band.label} (most diverged)" if diverged else band.label
        axes.plot(band.epoch, band.quartiles[:, 1], color=color, label=label)
    log_axis_over_decades(axes, [value for band in bands for value in band.quartiles.ravel()])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _add_legend(figure, axes)


def plot_norms(figure: Figure, ranges: Sequence[NormRange]) -> None:
    """Plot the percentiles of each group's gradient norms, and its threshold."""
    figure.subplots_adjust(left=0.34, bottom=0.21)
    axes = figure.subplots()
    rows = np.arange(len(ranges))
    norms, thresholds = np.array([group.norms for group in ranges]), np.array([group.threshold for group in ranges])
    axes.hlines(rows, norms[:, 0], norms[:, 2], color=BLUE, linewidth=5, alpha=0.35, label="median to 99th percentile")
    axes.plot(norms[:, 1], rows, "o", color=BLUE, label="90th percentile")
    axes.plot(norms[:, 3], rows, "|", color=GREY, markersize=12, label="largest")
    if np.isfinite(thresholds).any():
        axes.plot(thresholds, rows, "d", color=RED, label="threshold of the norm")
    axes.set(title="Gradient norms before clipping", xlabel="gradient norm (global L2)")
    axes.set_yticks(rows, [_shorten(group.label) for group in ranges], fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(right=_right_limit(norms[:, 3]))
    axes.invert_yaxis()
    figure.legend(loc="lower center", ncols=4, fontsize=9)  # inside the axes it would hide rows


def plot_grid(figure: Figure, grid: Grid, metric: str) -> None:
    """Plot the median of each pair of settings as a colour and as a number.

    Args:
        figure: to draw into.
        grid: the medians.
        metric: its name.
    """
    axes = figure.subplots()
    axes.grid(False)
    axes.set_facecolor(GREY)
    logarithmic = _needs_logarithm(grid.medians)
    shown = np.ma.masked_invalid(np.log10(grid.medians) if logarithmic else grid.medians)
    mesh = axes.pcolormesh(shown, cmap="viridis")
    for row, column in np.ndindex(*grid.medians.shape):
        text = "diverged" if grid.diverged[row, column] else f"{grid.medians[row, column]:.3g}"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", bbox={"facecolor": "white", "lw": 0})
    axes.set_xticks(np.arange(len(grid.columns)) + 0.5, [f"{value:g}" for value in grid.columns])
    axes.set_yticks(np.arange(len(grid.rows)) + 0.5, [f"{value:g}" for value in grid.rows])
    axes.set(title=f"{metric}, median", xlabel=grid.names[1], ylabel=grid.names[0])
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label(f"log10 of {metric}" if logarithmic else metric)


def plot_speed(figure: Figure, summaries: Sequence[GroupSummary], metric: Metric, target: float) -> None:
    """Plot the final metric by the epochs to the target: medians and interquartile ranges of each group.

    Args:
        figure: to draw into.
        summaries: of the groups.
        metric: on the vertical axis.
        target: value of the score that counts as reached.
    """
    axes = figure.subplots()
    title = f"Speed and final score: {metric.name}"
    axes.set(title=title, xlabel=f"epochs until {metric.curve} reaches {target:.4g}", ylabel=metric.name)
    values = []
    for summary, color in zip(summaries, COLORS, strict=False):
        epochs, (low, median, high) = summary.epochs_to_target, quartiles(summary.errors, metric)
        reached = epochs[np.isfinite(epochs)]
        if not (len(reached) and isfinite(median)):
            continue
        count = "" if len(reached) == len(epochs) else f" ({len(reached)} of {len(epochs)} reach it)"
        fast, usual, slow = np.percentile(reached, [25, 50, 75])
        axes.hlines(median, fast, slow, color=color)
        axes.vlines(usual, low, high if isfinite(high) else median, color=color)
        axes.plot(usual, median, "o", color=color, label=f"{summary.group.label}{count}")
        values += [low, median, high]
    if not values:
        show_message(axes, "no group reaches the target with a finite median")
        return
    log_axis_over_decades(axes, values)
    _add_legend(figure, axes)


def _right_limit(largest: Floats) -> float | None:
    """Return a limit of the axis that keeps exploded norms from squeezing the others; None where none exploded."""
    finite = largest[np.isfinite(largest)]
    usual = finite[finite < np.median(finite) * MAX_NORM_RATIO] if finite.size else finite
    return None if usual.size == finite.size else float(usual.max() * 1e3)


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Place the legend of a few lines inside the axes, and that of many below, where it hides none."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) <= MAX_LINES_WITH_INNER_LEGEND:
        axes.legend(frameon=True, framealpha=0.7, edgecolor="none", fontsize=9)
        return
    columns = 4 if max(map(len, labels)) <= SHORT_LABEL_LENGTH else 2
    figure.subplots_adjust(bottom=0.14 + 0.05 * -(-len(labels) // columns))
    figure.legend(loc="lower center", ncols=columns, frameon=False, fontsize=9)


def _needs_logarithm(values: Floats) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > 30)


def _shorten(label: str) -> str:
    return label if len(label) <= MAX_LABEL_LENGTH else label[: MAX_LABEL_LENGTH - 1] + "…"
