"""The figure of a search: the score by trial, and by each searched setting."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradclip.arrays import Floats
from gradclip.plots import BLUE, GREY, ORANGE, RED, log_axis_over_decades, show_message, spans_decades
from gradclip.sweep.search.trial import Trial, best_trial, metric_of

MOST_SETTINGS = 4  # more would be too small to read
MOST_NAMES = 6  # so few different values stand side by side
LABELS = {"complete": "all seeds", "pruned": "pruned", "diverged": "diverged", "failed": "failed"}


def plot_search(figure: Figure, trials: Sequence[Trial]) -> None:
    """The score of each trial, lowest to highest over its seeds, by its number and by what it was tried with."""
    score = f"{metric_of(trials)}, {trials[0].over_seeds}"
    settings = list(trials[0].values)[:MOST_SETTINGS]
    figure.subplots_adjust(hspace=0.36, wspace=0.1, top=0.94, bottom=0.1)
    grid = figure.add_gridspec(2, len(settings))
    top = figure.add_subplot(grid[0, :])
    _plot(top, trials, np.array([trial.number for trial in trials], dtype=float))
    _plot_best_so_far(top, trials)
    top.set(title="Search", xlabel="trial", ylabel=score)
    top.xaxis.set_major_locator(MaxNLocator(integer=True))
    if top.collections or top.lines:
        top.legend(fontsize="small", ncols=6, loc="lower right", bbox_to_anchor=(1.0, 0.98))
    for column, name in enumerate(settings):
        axes = figure.add_subplot(grid[1, column], sharey=top)
        _plot(axes, trials, _positions(axes, [trial.values[name] for trial in trials]))
        axes.set(xlabel=name, ylabel="" if column else score)
        axes.tick_params(labelleft=column == 0)


def _plot(axes: Axes, trials: Sequence[Trial], positions: Floats) -> None:
    """One mark for each trial; what has no score is marked at the upper edge."""
    scores = np.array([trial.average for trial in trials])
    if not np.isfinite(scores).any():
        show_message(axes, "no setting has a finite score")
        return
    states = np.array([trial.state for trial in trials])
    lowest, highest = np.array([trial.range for trial in trials]).T
    complete, pruned = states == "complete", states == "pruned"
    axes.plot(positions[pruned], scores[pruned], "o", color=GREY, markersize=4, label=LABELS["pruned"])
    axes.vlines(positions[complete], lowest[complete], highest[complete], color=BLUE, alpha=0.4)
    axes.plot(positions[complete], scores[complete], "o", color=BLUE, label=LABELS["complete"])
    for state, marker in (("diverged", "x"), ("failed", "+")):
        at = positions[states == state]
        if at.size:
            edge = axes.get_xaxis_transform()  # the vertical position as a share of the axes
            axes.plot(at, np.full(at.size, 0.97), marker, color=RED, transform=edge, label=LABELS[state])
    if best := best_trial(trials):
        where = list(trials).index(best)
        axes.plot(positions[where], best.average, "*", color=ORANGE, markersize=15, label="best")
    log_axis_over_decades(axes, [*scores, *lowest[complete], *highest[complete]])


def _plot_best_so_far(axes: Axes, trials: Sequence[Trial]) -> None:
    found = [best_trial(trials[: count + 1]) for count in range(len(trials))]
    scores = [np.nan if best is None else best.average for best in found]
    axes.step(
        [trial.number for trial in trials], scores, where="post", color=ORANGE, linewidth=1.2, label="best so far"
    )


def _positions(axes: Axes, written: Sequence[str]) -> Floats:
    """Where values stand on the horizontal axis: numbers by their size, a few different ones or names side by side."""
    names = sorted(set(written), key=_by_size)
    if len(names) <= MOST_NAMES or not all(map(_is_number, names)):
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return np.array([names.index(value) for value in written], dtype=float)
    numbers = np.array([float(value) for value in written])
    if spans_decades(numbers):
        axes.set_xscale("log")
    return numbers


def _is_number(written: str) -> bool:
    try:
        return math.isfinite(float(written))
    except ValueError:
        return False


def _by_size(written: str) -> tuple[float, str]:
    return (float(written) if _is_number(written) else np.inf, written)
