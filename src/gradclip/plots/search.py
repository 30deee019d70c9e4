"""Figure of a search: the score of each trial, by trial number and by each searched setting."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradclip.arrays import Floats, Integers
from gradclip.plots.style import ORANGE, integer_ticks, log_ticks, mark_at_edge, score_axis, show_message, slant

COLUMNS = 3  # panels side by side
RUNGS = colormaps["Blues"]


@dataclass(frozen=True)
class SearchedSetting:
    """The values of one setting over the trials.

    Attributes:
        name: name of the setting.
        positions: position of each trial on the horizontal axis, ``[trials]``.
        names: tick labels of the positions 0, 1, …; empty if the positions are the values of a numeric setting.
        is_log: whether the setting was searched on a logarithmic scale.
    """

    name: str
    positions: Floats
    names: Sequence[str]
    is_log: bool


@dataclass(frozen=True)
class SearchTrials:
    """The trials of a search.

    Attributes:
        score: name of the score, and how it is aggregated over the seeds.
        values: score of each trial, ``[trials]``; NaN if it has none.
        lowest: lowest score of each trial's seeds, ``[trials]``.
        highest: highest score of each trial's seeds, ``[trials]``.
        seeds: number of seeds that each trial was given, ``[trials]``, which is its rung.
        all_seeds: number of seeds of a trial that was never dropped.
        without_score: indices of the trials without a score, by the reason: ``diverged`` or ``failed``.
        best: index of the best trial; None if there is none.
        best_so_far: best score up to each trial, ``[trials]``; NaN before the first score.
        is_fraction: whether the score is a fraction, from 0 to 1.
    """

    score: str
    values: Floats
    lowest: Floats
    highest: Floats
    seeds: Integers
    all_seeds: int
    without_score: dict[str, list[int]]
    best: int | None
    best_so_far: Floats
    is_fraction: bool


def plot_search(figure: Figure, trials: SearchTrials, settings: Sequence[SearchedSetting]) -> None:
    """Plot the score of each trial, with the range over its seeds, by trial number and by each setting.

    Args:
        figure: an empty figure.
        trials: scores of the trials.
        settings: settings to show, one panel each.
    """
    rows = -(-len(settings) // COLUMNS)
    columns = min(len(settings), COLUMNS)
    figure.set_size_inches(9.0, 3.6 + 2.8 * rows)
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(1 + rows, columns)
    top = figure.add_subplot(grid[0, :])
    _plot_trials(top, trials, np.arange(len(trials.values), dtype=float))
    top.set(title="Search", xlabel="trial", ylabel=trials.score)
    integer_ticks(top.xaxis)
    if not top.lines:
        return
    top.step(np.arange(len(trials.values)), trials.best_so_far, where="post", color=ORANGE, label="best so far")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    for index, setting in enumerate(settings):
        axes = figure.add_subplot(grid[1 + index // columns, index % columns], sharey=top)
        axes.set_xlabel(setting.name)
        if setting.is_log:
            axes.set_xscale("log")
        _plot_trials(axes, trials, setting.positions)
        if setting.is_log:
            log_ticks(axes.xaxis)
        if setting.names:
            axes.set_xticks(range(len(setting.names)), setting.names, **slant(setting.names, columns))
            axes.set_xlim(-0.5, len(setting.names) - 0.5)
        axes.tick_params(labelleft=index % columns == 0)


def _plot_trials(axes: Axes, trials: SearchTrials, positions: Floats) -> None:
    """Plot one mark per trial, darker for more seeds; trials without a score are marked at the upper edge."""
    if not np.isfinite(trials.values).any():
        show_message(axes, "no trial has a finite score")
        return
    for seeds in np.unique(trials.seeds):
        rung = (trials.seeds == seeds) & np.isfinite(trials.values)
        color = RUNGS(0.3 + 0.65 * seeds / trials.all_seeds)
        axes.vlines(positions[rung], trials.lowest[rung], trials.highest[rung], color=color, alpha=0.6)
        every = f"all {seeds} seeds" if seeds > 1 else "one seed"
        label = f"{seeds} of {trials.all_seeds} seeds" if seeds < trials.all_seeds else every
        axes.plot(positions[rung], trials.values[rung], "o", color=color, markersize=5, label=label)
    for (word, where), marker in zip(trials.without_score.items(), "x+", strict=False):
        mark_at_edge(axes, positions[where], marker, word)
    if trials.best is not None:
        axes.plot(positions[trials.best], trials.values[trials.best], "*", color=ORANGE, markersize=15, label="best")
    score_axis(axes, [*trials.values, *trials.lowest, *trials.highest], trials.is_fraction)
