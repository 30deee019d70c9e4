"""Learning curves: the score by epoch, and the loss by step before a run diverged."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.formatting import format_value
from gradclip.plots.style import (
    BLUE,
    GREY,
    SPLIT_COLORS,
    describe_divergence,
    integer_ticks,
    legend_below,
    log_axis_over_decades,
    mark_at_edge,
    mark_divergence,
    score_axis,
    show_message,
)
from gradclip.scores import Split
from gradclip.telemetry.divergence import Divergence

MARKED_EPOCHS = 3  # curves of fewer epochs have markers, since a curve of one point would be invisible
STEPS_BEFORE_DIVERGENCE = 200  # number of steps shown


def plot_learning_curve(
    figure: Figure,
    curves: Mapping[Split, Sequence[float]],
    score: str,
    baseline: float,
    title: str,
    divergence: Divergence | None,
    is_fraction: bool = False,
    labels: Mapping[Split, str] = MappingProxyType({}),
) -> None:
    """Plot the score on each split by epoch, with the baseline.

    Args:
        figure: an empty figure.
        curves: score of each epoch, by split.
        score: label of the axis, with the unit.
        baseline: score of the best guess that ignores the inputs; NaN if not known.
        title: title of the figure.
        divergence: the first non-finite value; None if the run did not diverge.
        is_fraction: whether the score is a fraction, from 0 to 1.
        labels: labels of the curves; by default the names of the splits.
    """
    axes = figure.subplots()
    axes.set(title=title, xlabel="epoch", ylabel=score)
    scores = [score for curve in curves.values() for score in curve]
    if not np.isfinite(scores).any():
        show_message(axes, "no finite score")
        return
    if np.isfinite(baseline):
        text = f"{baseline:.1%}" if is_fraction else format_value(baseline)
        axes.axhline(baseline, color=GREY, linestyle="--", label=f"baseline that ignores the inputs: {text}")
    for split, curve in curves.items():
        marker = "o" if len(curve) < MARKED_EPOCHS else ""
        epochs = np.arange(1, len(curve) + 1)
        axes.plot(epochs, curve, color=SPLIT_COLORS[split], marker=marker, label=labels.get(split, split))
    score_axis(axes, scores, is_fraction)
    if divergence is not None:
        mark_divergence(axes, divergence.epoch, divergence)
    integer_ticks(axes.xaxis)
    legend_below(figure, axes)


def plot_step_losses(
    figure: Figure, step: NDArray[np.int64], loss: Floats, title: str, divergence: Divergence | None
) -> None:
    """Plot the training loss of the last steps before a run diverged.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        loss: loss of each step's batch, ``[steps]``, loss units.
        title: title of the figure.
        divergence: the first non-finite value; None if the run did not diverge.
    """
    axes = figure.subplots()
    axes.set(title=title, xlabel="optimizer step", ylabel="training loss of the batch")
    shown = slice(None) if divergence is None else step >= divergence.step - STEPS_BEFORE_DIVERGENCE
    step, loss = step[shown], loss[shown]
    finite = np.isfinite(loss) & (loss > 0)
    if not finite.any():
        show_message(axes, "no finite loss" if divergence is None else describe_divergence(divergence))
        return
    axes.plot(step, loss, "o-", color=BLUE, markersize=4, label="loss")
    log_axis_over_decades(axes, loss[finite])
    broken = step[~np.isfinite(loss)]
    if broken.size:
        mark_at_edge(axes, broken, "x", "loss not finite")
    if divergence is not None:
        mark_divergence(axes, divergence.step, divergence)
    integer_ticks(axes.xaxis)
    legend_below(figure, axes)
