"""Figures of a comparison, from its summaries; drawn by :func:`gradclip.plots.draw`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradclip import keys
from gradclip.compare.arrays import (
    Grid,
    LearningBand,
    NormRange,
    ThresholdLine,
    learning_band,
    median_grid,
    norm_range,
    quartiles,
    threshold_lines,
    unclipped,
)
from gradclip.compare.report import Comparison
from gradclip.compare.summary import GroupSummary, Metric
from gradclip.plots import BLUE, GREY, ORANGE, RED, log_axis_over_decades, show_message
from gradclip.tracking.stored_runs import Curve

Floats = NDArray[np.float64]

COLORS = (BLUE, ORANGE, "#2a8a5b", "#8e5bb0", "#c2487e", "#6b5344", "#159ab3", "#a3a01c")
MOST_CURVES = len(COLORS)
MOST_BARS = 20
LONGEST_LABEL = 40  # letters of a row's label
SHORT_LABEL = 20  # letters, of which four fit side by side
FEW_LINES = 4  # among which there is room for a legend
MOST_TIMES_USUAL = 1e6  # what lies further above the usual norms has exploded


def figures(comparison: Comparison, curves: Mapping[str, Curve]) -> dict[str, Callable[[Figure], None]]:
    """Every figure that the groups have something for, by name."""
    summaries, metric = comparison.summaries, comparison.metric
    drawn: dict[str, Callable[[Figure], None]] = {}
    if lines := threshold_lines(summaries, metric):
        without = unclipped(summaries, metric)
        drawn["threshold"] = partial(plot_thresholds, lines=lines, without=without, metric=metric.name)
    if curves:
        bands = [learning_band(one, metric, curves) for one in summaries[:MOST_CURVES]]
        drawn["learning_curves"] = partial(plot_learning_curves, bands=bands, score=metric.curve)
    if any(keys.GRAD_NORM_P90 in run.metrics for one in summaries for run in one.group.runs):
        drawn["gradient_norms"] = partial(plot_norms, ranges=[norm_range(one) for one in summaries[:MOST_BARS]])
    if grid := median_grid(summaries, metric):
        drawn["heat_map"] = partial(plot_grid, grid=grid, metric=metric.name)
    if curves and any(np.isfinite(one.epochs).any() for one in summaries):
        drawn["speed"] = partial(plot_speed, summaries=summaries[:MOST_CURVES], metric=metric, target=comparison.target)
    return drawn


def plot_thresholds(
    figure: Figure, lines: Sequence[ThresholdLine], without: Sequence[tuple[str, float]], metric: str
) -> None:
    """The metric against the threshold, median and middle half; below it the share of runs that diverged, if any did.

    Args:
        figure: to draw into.
        lines: one for each way of clipping.
        without: label and median of what clips nothing.
        metric: its name.
    """
    title, diverged = f"{metric} by threshold: median and middle half", any(line.diverged.any() for line in lines)
    axes, *others = figure.subplots(1 + diverged, sharex=True, squeeze=False, height_ratios=[4, 1][: 1 + diverged])[
        :, 0
    ]
    axes.set(title=title, ylabel=metric)
    for line, color in zip(lines, COLORS, strict=False):
        axes.fill_between(line.threshold, line.quartiles[:, 0], line.quartiles[:, 2], color=color, alpha=0.18, lw=0)
        axes.plot(line.threshold, line.quartiles[:, 1], "o-", color=color, label=line.label)
        for share in others:
            share.plot(line.threshold, line.diverged, ".-", color=color, clip_on=False)
            share.set(ylabel="diverged", ylim=(0, 1), yticks=[0, 1], yticklabels=["none", "all"])
    for label, middle in without:
        told = label if isfinite(middle) else f"{label}: the median run diverged"
        axes.axhline(middle, color=GREY, linestyle="--", label=told)
    [axes, *others][-1].set(xscale="log", xlabel="threshold (clip.value)")
    log_axis_over_decades(axes, [value for line in lines for value in line.quartiles.ravel()])
    _legend(figure, axes)


def plot_learning_curves(figure: Figure, bands: Sequence[LearningBand], score: str) -> None:
    """The score over epochs, median and middle half of each group."""
    axes = figure.subplots()
    axes.set(title=f"{score}: median and middle half of the runs", xlabel="epoch", ylabel=score)
    for band, color in zip(bands, COLORS, strict=False):
        diverged = not np.isfinite(band.quartiles[-1:, 1]).any()
        axes.fill_between(band.epoch, band.quartiles[:, 0], band.quartiles[:, 2], color=color, alpha=0.18, lw=0)
        label = f"{band.label} (most diverged)" if diverged else band.label
        axes.plot(band.epoch, band.quartiles[:, 1], color=color, label=label)
    log_axis_over_decades(axes, [value for band in bands for value in band.quartiles.ravel()])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axes)


def plot_norms(figure: Figure, ranges: Sequence[NormRange]) -> None:
    """Where the norms of each group lie, and its threshold."""
    figure.subplots_adjust(left=0.34, bottom=0.21)
    axes = figure.subplots()
    rows = np.arange(len(ranges))
    norms, thresholds = np.array([one.norms for one in ranges]), np.array([one.threshold for one in ranges])
    axes.hlines(rows, norms[:, 0], norms[:, 2], color=BLUE, linewidth=5, alpha=0.35, label="median to 99th percentile")
    axes.plot(norms[:, 1], rows, "o", color=BLUE, label="90th percentile")
    axes.plot(norms[:, 3], rows, "|", color=GREY, markersize=12, label="largest")
    if np.isfinite(thresholds).any():
        axes.plot(thresholds, rows, "d", color=RED, label="threshold of the norm")
    axes.set(title="Gradient norms before clipping", xlabel="gradient norm (global L2)")
    axes.set_yticks(rows, [_shorten(one.label) for one in ranges], fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(right=_right_end(norms[:, 3]))
    axes.invert_yaxis()
    figure.legend(loc="lower center", ncols=4, fontsize=9)  # on the rows it would hide some


def plot_grid(figure: Figure, grid: Grid, metric: str) -> None:
    """The median of each pair of settings, as a colour and in figures."""
    axes = figure.subplots()
    axes.grid(False)
    axes.set_facecolor(GREY)
    shown = np.ma.masked_invalid(np.log10(grid.medians) if _spread(grid.medians) else grid.medians)
    mesh = axes.pcolormesh(shown, cmap="viridis")
    for row, column in np.ndindex(*grid.medians.shape):
        told = "diverged" if grid.diverged[row, column] else f"{grid.medians[row, column]:.3g}"
        axes.text(column + 0.5, row + 0.5, told, ha="center", va="center", bbox={"facecolor": "white", "lw": 0})
    axes.set_xticks(np.arange(len(grid.columns)) + 0.5, [f"{value:g}" for value in grid.columns])
    axes.set_yticks(np.arange(len(grid.rows)) + 0.5, [f"{value:g}" for value in grid.rows])
    axes.set(title=f"{metric}, median", xlabel=grid.names[1], ylabel=grid.names[0])
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label(f"log10 of {metric}" if _spread(grid.medians) else metric)


def plot_speed(figure: Figure, summaries: Sequence[GroupSummary], metric: Metric, target: float) -> None:
    """How soon the target is reached against what the runs end with: medians and middle halves."""
    axes = figure.subplots()
    title = f"Speed against final score: {metric.name}"
    axes.set(title=title, xlabel=f"epochs until {metric.curve} reaches {target:.4g}", ylabel=metric.name)
    ends = []
    for one, color in zip(summaries, COLORS, strict=False):
        reached = one.epochs[np.isfinite(one.epochs)]
        low, middle, high = quartiles(one.errors, metric)
        if not (len(reached) and isfinite(middle)):
            continue
        share = "" if len(reached) == len(one.epochs) else f" ({len(reached)} of {len(one.epochs)} reach it)"
        fast, usual, slow = np.percentile(reached, [25, 50, 75])
        axes.hlines(middle, fast, slow, color=color)
        axes.vlines(usual, low, high if isfinite(high) else middle, color=color)
        axes.plot(usual, middle, "o", color=color, label=f"{one.group.label}{share}")
        ends += [low, middle, high]
    if not ends:
        show_message(axes, "no group has both")
        return
    log_axis_over_decades(axes, ends)
    _legend(figure, axes)


def _right_end(largest: Floats) -> float | None:
    """Where the axis ends, so that what exploded does not squeeze the rest."""
    finite = largest[np.isfinite(largest)]
    usual = finite[finite < np.median(finite) * MOST_TIMES_USUAL] if finite.size else finite
    return None if usual.size == finite.size else float(usual.max() * 1e3)


def _legend(figure: Figure, axes: Axes) -> None:
    """Among a few lines there is room; many it would hide, and stands below them."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) <= FEW_LINES:
        axes.legend(frameon=True, framealpha=0.7, edgecolor="none", fontsize=9)
        return
    columns = 4 if max(map(len, labels)) <= SHORT_LABEL else 2
    figure.subplots_adjust(bottom=0.14 + 0.05 * -(-len(labels) // columns))
    figure.legend(loc="lower center", ncols=columns, frameon=False, fontsize=9)


def _spread(values: Floats) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > 30)


def _shorten(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
