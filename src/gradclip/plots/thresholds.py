"""Figures of a score by threshold, and by two settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradclip.arrays import Booleans, Floats
from gradclip.formatting import format_value
from gradclip.plots.style import (
    BLACK,
    GREY,
    LINE_STYLES,
    MARKERS,
    RED,
    legend_below,
    log_ticks,
    score_axis,
    series_style,
    spans_decades,
)

DODGE = 0.02  # distance between the dots of two methods, as a fraction of the axis
SPREAD = np.array([0.0, -0.004, 0.004, -0.008, 0.008])  # offsets of the dots of one threshold, likewise
CELL_WIDTH, CELL_HEIGHT = 1.0, 0.45  # inches, at least
MAX_TICKS = 9  # with more thresholds, one tick for each would not fit


@dataclass(frozen=True)
class ThresholdLine:
    """The score by threshold, for one clipping method.

    Attributes:
        label: the method, and other settings that distinguish the line.
        threshold: the thresholds, ``[thresholds]``.
        numbers: number of the group of each threshold, ``[thresholds]``.
        scores: scores ``[runs]`` of the runs that did not diverge, one array per threshold.
        quartiles: 25th, 50th and 75th percentiles of the score, ``[thresholds, 3]``; NaN where they fall on a diverged
            run.
        diverged: proportion of runs that diverged, ``[thresholds]``.
        test_medians: medians on the test examples, if the scores are measured on other examples, ``[thresholds]``;
            otherwise NaN.
    """

    label: str
    threshold: Floats
    numbers: Sequence[int]
    scores: Sequence[Floats]
    quartiles: Floats
    diverged: Floats
    test_medians: Floats


def plot_thresholds(
    figure: Figure,
    lines: Sequence[ThresholdLine],
    unclipped: Sequence[tuple[str, float]],
    edge: float | None,
    score: str,
    threshold: str,
    is_fraction: bool,
) -> None:
    """Plot the score of each run by threshold, with the medians.

    If any run diverged, a second panel shows the proportion of diverged runs.

    Args:
        figure: an empty figure.
        lines: lines of the clipping methods.
        unclipped: label and median of each group without clipping.
        edge: threshold of the best group, if it is the largest or smallest tried; otherwise None.
        score: name of the score.
        threshold: label of the horizontal axis.
        is_fraction: whether the score is a fraction, from 0 to 1.
    """
    any_diverged = any(line.diverged.any() for line in lines)
    heights = [4, 1] if any_diverged else [4]
    axes, *lower = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axes.set(title=f"{score} by threshold: runs and medians", ylabel=score)
    tried = np.unique(np.concatenate([line.threshold for line in lines]))
    for index, line in enumerate(lines):
        dodge = (index - (len(lines) - 1) / 2) * DODGE  # keeps dots of two methods from overlapping
        _plot_line(axes, line, index, (tried[-1] / tried[0]) ** (dodge + SPREAD))
        for panel in lower:
            panel.plot(line.threshold, line.diverged, color=GREY, linestyle=line_style(index), clip_on=False)
            for at, proportion, number in zip(line.threshold, line.diverged, line.numbers, strict=True):
                color = series_style(number).color
                panel.plot(at, proportion, line_marker(index), color=color, markersize=5, clip_on=False)
    for panel in lower:
        panel.set(ylabel="diverged", ylim=(0, 1), yticks=[0, 1], yticklabels=["none", "all"])
    test_medians = np.concatenate([line.test_medians for line in lines])
    if np.isfinite(test_medians).any():
        thresholds = np.concatenate([line.threshold for line in lines])
        axes.plot(thresholds, test_medians, "D", color=BLACK, fillstyle="none", label="median on test")
    for index, (label, median) in enumerate(unclipped, start=1):  # no line of a method is grey
        text = label if np.isfinite(median) else f"{label}: median run diverged"
        axes.axhline(median, color=GREY, linestyle=line_style(index), linewidth=1.5, label=text)
    if edge is not None:
        label = "best group, at the edge of the thresholds tried"
        axes.axvline(edge, color=RED, linewidth=7, alpha=0.25, zorder=0, label=label)
    bottom = [axes, *lower][-1]
    bottom.set(xlabel=threshold, xscale="log")
    if len(tried) <= MAX_TICKS:
        bottom.set_xticks(tried, [f"{value:g}" for value in tried])
        bottom.set_xticks([], minor=True)
    else:
        log_ticks(bottom.xaxis)
    scores = np.concatenate([test_medians, *(runs for line in lines for runs in line.scores)])
    score_axis(axes, scores, is_fraction, fits=True)
    legend_below(figure, axes)


def _plot_line(axes: Axes, line: ThresholdLine, index: int, factors: Floats) -> None:
    """Plot the dots of the runs in the colours of their groups, and a line through their medians.

    Args:
        axes: axes to draw into.
        line: line to draw.
        index: index of the line.
        factors: horizontal offsets of the dots of a threshold as factors, repeated if needed.
    """
    for at, number, scores in zip(line.threshold, line.numbers, line.scores, strict=True):
        positions = at * np.resize(factors, len(scores))
        style = {"color": series_style(number).color, "markersize": 6, "alpha": 0.75, "markeredgewidth": 0}
        axes.plot(positions, scores, line_marker(index), **style)  # type: ignore[arg-type]  # values of several types
    axes.plot(
        *(line.threshold, line.quartiles[:, 1]), color=BLACK, linestyle=line_style(index), marker=line_marker(index),
        markersize=7, fillstyle="none", linewidth=1.1, zorder=1.5, label=f"{line.label}, median",
    )  # fmt: skip


def line_style(index: int) -> object:
    """Return the line style of a method by its number."""
    return LINE_STYLES[index % len(LINE_STYLES)]


def line_marker(index: int) -> str:
    """Return the marker of a method by its number; sixteen methods differ in the marker or the line style."""
    return MARKERS[(index + index // len(LINE_STYLES)) % len(MARKERS)]


@dataclass(frozen=True)
class Grid:
    """Medians by two settings.

    Attributes:
        names: names of the row setting and of the column setting.
        rows: values of the first setting.
        columns: values of the second setting.
        medians: medians, ``[rows, columns]``; NaN where the median run diverged, or there is no run.
        diverged: whether the median run diverged, ``[rows, columns]``.
    """

    names: tuple[str, str]
    rows: list[float]
    columns: list[float]
    medians: Floats
    diverged: Booleans


def plot_grid(figure: Figure, grid: Grid, score: str) -> None:
    """Plot the median of each pair of settings as a colour and as a number.

    Args:
        figure: an empty figure.
        grid: the medians.
        score: name of the score.
    """
    rows, columns = grid.medians.shape
    figure.set_size_inches(max(8.0, 2.0 + CELL_WIDTH * columns), max(4.5, 1.2 + CELL_HEIGHT * rows))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    axes.grid(False)
    axes.set_facecolor(GREY)
    is_log = spans_decades(grid.medians) and bool(np.nanmin(grid.medians) > 0)
    mesh = axes.pcolormesh(np.ma.masked_invalid(grid.medians), norm="log" if is_log else "linear", cmap="viridis")
    for row, column in np.ndindex(rows, columns):
        median = grid.medians.item(row, column)
        text = "diverged" if grid.diverged[row, column] else format_value(median) if np.isfinite(median) else "no run"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", bbox={"facecolor": "white", "lw": 0})
    axes.set_xticks(np.arange(columns) + 0.5, [f"{value:g}" for value in grid.columns])
    axes.set_yticks(np.arange(rows) + 0.5, [f"{value:g}" for value in grid.rows])
    axes.set(title=f"Median {score}", xlabel=grid.names[1], ylabel=grid.names[0])
    if np.isfinite(grid.medians).any():
        figure.colorbar(mesh, ax=axes, pad=0.02).set_label(score)
