"""Figures that compare groups of runs: the score of each run, learning curves, gradient norms, and speed.

The groups are always given in the same order, the best first: the index of a group determines its colour, which is
thus the same in every figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradclip.arrays import Floats, Integers
from gradclip.plots.style import BLACK, GREY, RED, integer_ticks, legend_below, score_axis, series_style
from gradclip.plots.training import MARKED_EPOCHS

MAX_NORM_RATIO = 1e6  # largest norm of a group to the median of these; beyond it the norm has exploded and is not drawn
ROW_HEIGHT = 0.36  # inches, enough for two lines of text
CHARACTER_WIDTH = 0.08  # inches
LABEL_WIDTH = 36  # characters per line of a row's label
QUARTILES = (25, 50, 75)
NEVER = 1.06  # horizontal position of the first group that never reached the target, as a fraction of the axes
NEVER_STEP = 0.012  # distance to the next such group
SPEED_STEP = 0.01  # distance between groups of the same speed, so that none hides another, as a fraction of the axes
LARGEST_SCORE = 1e100  # larger scores are drawn here, since the ticks of a longer axis would overflow


@dataclass(frozen=True)
class GroupScores:
    """The final score of each run of a group.

    Attributes:
        label: label of the group.
        scores: scores of the runs that did not diverge, ``[runs]``.
        diverged: number of runs that diverged.
        test_median: median on the test examples, if the scores are measured on other examples; otherwise NaN.
    """

    label: str
    scores: Floats
    diverged: int
    test_median: float = np.nan


def plot_scores(figure: Figure, groups: Sequence[GroupScores], score: str, title: str, is_fraction: bool) -> None:
    """Plot a dot for each run, one row per group, with the median, the interquartile range and the median on test.

    Args:
        figure: an empty figure.
        groups: the groups from top to bottom.
        score: name of the score.
        title: title of the figure.
        is_fraction: whether the score is a fraction, from 0 to 1.
    """
    axes = _rows(figure, [group.label for group in groups])
    for row, group in enumerate(groups):
        shown = np.clip(group.scores, -LARGEST_SCORE, LARGEST_SCORE)
        if group.diverged:
            text = f"{group.diverged} of {group.diverged + len(group.scores)} diverged"
            axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", color=RED, fontsize=9)
        axes.plot(np.clip(group.test_median, -LARGEST_SCORE, LARGEST_SCORE), row, "D", color=BLACK, fillstyle="none")
        if not len(group.scores):
            continue
        color, heights = series_style(row).color, row + np.linspace(-0.2, 0.2, len(group.scores) + 2)[1:-1]
        axes.plot(shown, heights, "o", color=color, markersize=5, alpha=0.75, markeredgewidth=0)
        if not group.diverged and len(group.scores) > 1:
            low, middle, high = np.percentile(shown, QUARTILES)
            axes.hlines(row, low, high, color=color, linewidth=8, alpha=0.25)
            axes.plot([middle, middle], [row - 0.32, row + 0.32], color=BLACK, linewidth=2)
    test_medians = np.array([group.test_median for group in groups])
    on_test = ", diamond: median on test" if np.isfinite(test_medians).any() else ""
    marks = f"dots: runs, line: median, bar: interquartile range{on_test}"
    scores = np.concatenate([test_medians, *(group.scores for group in groups)])
    are_drawn = np.isfinite(scores).any()
    axes.set(title=title, xlabel=score)
    figure.supxlabel(f"({marks if are_drawn else 'no run has a finite score'})", fontsize=11)  # may be wider than axes
    score_axis(axes, scores, is_fraction, along="x", fits=True)


def _rows(figure: Figure, labels: Sequence[str]) -> Axes:
    """Add axes with one row per label, the first at the top; the figure grows with the labels."""
    wrapped = [wrap(label, LABEL_WIDTH) for label in labels]
    length = max(len(line) for lines in wrapped for line in lines)
    height = ROW_HEIGHT * len(labels) * max(1, max(map(len, wrapped)) / 2)
    figure.set_layout_engine("constrained")
    figure.set_size_inches(7.0 + CHARACTER_WIDTH * length, max(3.0, 1.3 + height))
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), ["\n".join(lines) for lines in wrapped], fontsize=10)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return axes


@dataclass(frozen=True)
class LearningBand:
    """The score of a group over epochs.

    Attributes:
        label: label of the group.
        epoch: the epochs, ``[epochs]``.
        quartiles: 25th, 50th and 75th percentiles of the score, ``[epochs, 3]``; NaN where they fall on a diverged run.
    """

    label: str
    epoch: Integers
    quartiles: Floats


def plot_learning_curves(
    figure: Figure, bands: Sequence[LearningBand], score: str, title: str, is_fraction: bool
) -> None:
    """Plot the median and interquartile range of the score of each group over epochs.

    Args:
        figure: an empty figure.
        bands: scores of the groups.
        score: name of the score.
        title: title of the figure.
        is_fraction: whether the score is a fraction, from 0 to 1.
    """
    axes = figure.subplots()
    axes.set(title=title, xlabel="epoch\n(line: median, band: interquartile range)", ylabel=score)
    figure.subplots_adjust(bottom=0.17)  # two lines
    for index, band in enumerate(bands):
        style = series_style(index)
        ends_finite = np.isfinite(band.quartiles[-1:, 1]).any()
        label = band.label if ends_finite else f"{band.label}: diverged"
        axes.fill_between(
            band.epoch, band.quartiles[:, 0], band.quartiles[:, 2], color=style.color, alpha=0.15, linewidth=0
        )
        marker = "x" if not ends_finite else "o" if len(band.epoch) < MARKED_EPOCHS else ""
        axes.plot(
            *(band.epoch, band.quartiles[:, 1]), color=style.color, linestyle=style.line, marker=marker, label=label
        )
    score_axis(axes, [value for band in bands for value in band.quartiles.ravel()], is_fraction)
    integer_ticks(axes.xaxis)
    legend_below(figure, axes)


@dataclass(frozen=True)
class NormRange:
    """Gradient norms of a group before clipping.

    Attributes:
        label: label of the group.
        norms: 50th, 90th and 99th percentiles and maximum over the steps, each the median over the runs, ``[4]``.
        threshold: threshold of the norm; NaN if there is none.
    """

    label: str
    norms: Floats
    threshold: float


def plot_norm_ranges(figure: Figure, ranges: Sequence[NormRange]) -> None:
    """Plot the percentiles of each group's gradient norms, and its threshold; an exploded norm is shown as a number."""
    axes = _rows(figure, [group.label for group in ranges])
    limit = _largest_usual([group.norms[3] for group in ranges])
    for row, group in enumerate(ranges):
        color, (middle, p90, p99, largest) = series_style(row).color, group.norms
        axes.hlines(row, middle, min(p99, limit), color=color, linewidth=7, alpha=0.35)
        axes.plot(p90 if p90 <= limit else np.nan, row, "o", color=color)
        axes.plot(largest if largest <= limit else np.nan, row, "|", color=color, markersize=13)
        if largest > limit:
            text = f"up to {largest:.0e}".replace("e+", "e")
            axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", color=RED, fontsize=9)
    thresholds = np.array([group.threshold for group in ranges])
    if np.isfinite(thresholds).any():
        axes.plot(thresholds, range(len(ranges)), "d", color=RED, label="threshold of the norm")
    for mark, width, label in (("", 7, "median to 99th percentile"), ("o", 0, "90th percentile"), ("|", 0, "largest")):
        axes.plot([], [], marker=mark, linewidth=width, color=GREY, alpha=0.5 if width else 1, label=label)
    axes.set(title="Gradient norms before clipping", xlabel="gradient norm (global L2, loss per unit of weight)")
    axes.set_xscale("log")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _largest_usual(largest: Sequence[float]) -> float:
    """Return the largest norm to draw; exploded norms would compress all others."""
    finite = np.array([norm for norm in largest if np.isfinite(norm)])
    usual = finite[finite < np.median(finite) * MAX_NORM_RATIO] if finite.size else finite
    return float(usual.max()) if usual.size else np.inf


@dataclass(frozen=True)
class Speed:
    """Speed of a group: the epochs after which its runs reached the target, and their final scores.

    Attributes:
        label: label of the group.
        epochs: epochs to the target of the runs that reached it, ``[runs]``; empty if none did.
        quartiles: 25th, 50th and 75th percentiles of the final score, ``[3]``; NaN where they fall on a diverged run.
        runs: number of runs of the group.
    """

    label: str
    epochs: Floats
    quartiles: Floats
    runs: int


def plot_speed(
    figure: Figure,
    groups: Sequence[Speed],
    score: str,
    target: str,
    title: str,
    higher_is_better: bool,
    is_fraction: bool,
) -> None:
    """Plot the final score by the epochs to the target: median and interquartile range of each group.

    A group that never reached the target is drawn beside the axes; a group whose median run diverged is only in the
    legend.

    Args:
        figure: an empty figure.
        groups: the groups in the order of the legend.
        score: label of the vertical axis.
        target: label of the horizontal axis.
        title: title of the figure.
        higher_is_better: whether larger scores are better.
        is_fraction: whether the score is a fraction, from 0 to 1.
    """
    axes = figure.subplots()
    best = "upper left" if higher_is_better else "lower left"
    axes.set(title=title, xlabel=f"{target}\n({best} is best)", ylabel=score)
    figure.subplots_adjust(bottom=0.17)  # two lines
    epochs = {index: np.percentile(group.epochs, QUARTILES) for index, group in enumerate(groups) if len(group.epochs)}
    step = SPEED_STEP * np.ptp([*epochs.values()]) if epochs else 0.0
    never = [index for index in range(len(groups)) if index not in epochs]
    for index, group in enumerate(groups):
        style, median = series_style(index), group.quartiles[1]
        if index in never:
            usual, transform = NEVER + NEVER_STEP * never.index(index), axes.get_yaxis_transform()
        else:
            shift = step * (index - (len(groups) - 1) / 2)
            (fast, usual, slow), transform = epochs[index] + shift, axes.transData
            axes.plot([fast, slow], [median, median], color=style.color)
        axes.plot(
            [usual] * 3, group.quartiles, color=style.color, marker=style.marker, markevery=[1],
            label=_speed_label(group), transform=transform, clip_on=False,
        )  # fmt: skip
    if never:
        middle = NEVER + NEVER_STEP * (len(never) - 1) / 2
        axes.text(middle, -0.035, "never", transform=axes.transAxes, ha="center", va="top")
        figure.subplots_adjust(right=0.97 / (middle + 0.07))
    integer_ticks(axes.xaxis)
    if len(never) == len(groups):
        axes.set_xticks([])
    score_axis(axes, np.concatenate([group.quartiles for group in groups]), is_fraction)
    legend_below(figure, axes)


def _speed_label(group: Speed) -> str:
    """Return the legend label of a group, with its divergence and the number of runs that reached the target."""
    diverged = "" if np.isfinite(group.quartiles[1]) else ": diverged"
    count = "" if len(group.epochs) == group.runs else f" ({len(group.epochs)} of {group.runs} reached it)"
    return f"{group.label}{diverged}{count}"
