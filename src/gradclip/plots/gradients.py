"""Gradients over the steps of a run: norms, largest elements, the clipping coefficient, and their distribution."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.formatting import format_value
from gradclip.norms.arrays import differ
from gradclip.plots.style import (
    BLUE,
    ORANGE,
    RED,
    bin_edges,
    integer_ticks,
    legend_below,
    log_axis_over_decades,
    mark_at_edge,
    mark_divergence,
    show_message,
    spans_decades,
)
from gradclip.telemetry.divergence import Divergence

MARKED_STEPS = 60
BEFORE = "before clipping"
NORM_LABEL = "gradient norm (global L2)"
NORM_UNIT = f"{NORM_LABEL}, loss per unit of weight"
THRESHOLD_STYLES = {"norm": "--", "value": "-."}  # a legend may have both; they also differ in print without colours
PERCENTILES = {50: ":", 90: "--", 99: "-"}  # line styles by percentile
WINDOWS = 50  # windows of the rolling median in each run; a shorter run is not smoothed
NEARLY_ALL = 0.9  # if this fraction of the steps is clipped, single steps are not marked


def plot_norms(
    figure: Figure,
    step: NDArray[np.int64],
    norm: Floats,
    norm_clipped: Floats,
    max_abs: Floats,
    thresholds: Mapping[str, float | Floats],
    title: str,
    divergence: Divergence | None,
    state: str = BEFORE,
) -> None:
    """Plot the global gradient norm of every step before and after clipping, with the thresholds.

    If the clipping limits single elements, a second panel shows the largest element with its threshold.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        norm: global L2 norm before clipping, ``[steps]``, loss units per weight unit.
        norm_clipped: global L2 norm after clipping, ``[steps]``, in the same unit.
        max_abs: largest absolute element before clipping, ``[steps]``, in the same unit.
        thresholds: thresholds of the clipping method, ``norm`` for the norm and ``value`` for single elements; one
            number each, or one for each step, ``[steps]``.
        title: title of the figure.
        divergence: the first non-finite value; None if the run did not diverge.
        state: legend label of ``norm``.
    """
    panels = list(figure.subplots(2 if "value" in thresholds else 1, sharex=True, squeeze=False)[:, 0])
    panels[0].set(title=title, ylabel=NORM_LABEL if len(panels) == 1 else "norm (global L2)")
    changed = differ(norm, norm_clipped)
    label = state if changed or state != BEFORE else "before and after clipping (identical)"
    _plot_steps(panels[0], step, norm, label)
    if changed:
        _plot_steps(panels[0], step, norm_clipped, "after clipping", ORANGE, 1.6)
        _mark_clipped(panels[0], step[norm_clipped != norm], len(step))
    log_axis_over_decades(panels[0], np.hstack([norm, norm_clipped, thresholds.get("norm", np.nan)]))
    if "norm" in thresholds:
        _draw_threshold(panels[0], step, thresholds["norm"], "the norm", THRESHOLD_STYLES["norm"])
    if "value" in thresholds:
        panels[1].set(ylabel="largest |element|")
        _plot_steps(panels[1], step, max_abs, BEFORE)
        _draw_threshold(panels[1], step, thresholds["value"], "each element", THRESHOLD_STYLES["value"])
        log_axis_over_decades(panels[1], np.hstack([max_abs, thresholds["value"]]))
    for panel in panels:
        if divergence is not None:
            mark_divergence(panel, divergence.step, divergence)
    panels[-1].set_xlabel("optimizer step")
    integer_ticks(panels[-1].xaxis)
    legend_below(figure, *panels)


def plot_coefficients(figure: Figure, step: NDArray[np.int64], coefficient: Floats, title: str) -> None:
    """Plot the clipping coefficient of every step.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        coefficient: norm after clipping divided by norm before clipping, ``[steps]``.
        title: title of the figure.
    """
    axes = figure.subplots()
    axes.set(title=title, xlabel="optimizer step", ylabel="norm after / norm before clipping")
    if not np.isfinite(coefficient).any():
        show_message(axes, "no finite gradient above zero")
        return
    axes.plot(step, coefficient, ".", color=BLUE, markersize=4, alpha=0.5, label="each step")
    axes.plot(step, rolling_median(coefficient), color=ORANGE, linewidth=1.8, label="rolling median")
    axes.axhline(1, color=RED, linestyle="--", label="unchanged")
    log_axis_over_decades(axes, [*coefficient, 1.0])
    integer_ticks(axes.xaxis)
    legend_below(figure, axes)


def plot_norm_histogram(
    figure: Figure, norm: Floats, thresholds: Mapping[str, float | Floats], state: str = BEFORE
) -> None:
    """Plot a histogram of the gradient norms, with the threshold and percentiles.

    Args:
        figure: an empty figure.
        norm: global L2 norm of every step, ``[steps]``, loss units per weight unit.
        thresholds: thresholds of the clipping method; only ``norm`` is drawn, if it is the same at every step.
        state: end of the title, which says what the norms are.
    """
    axes = figure.subplots()
    axes.set(title=f"Gradient norms {state}", xlabel=NORM_UNIT, ylabel="optimizer steps")
    finite = norm[np.isfinite(norm) & (norm > 0)]
    if finite.size == 0:
        show_message(axes, "no finite gradient above zero")
        return
    threshold = thresholds.get("norm", np.nan)
    fixed = np.nan if isinstance(threshold, np.ndarray) else threshold
    axes.hist(finite, bins=bin_edges(finite, in_ratios=spans_decades(finite)), color=BLUE, alpha=0.75)
    axes.set_xscale("log" if spans_decades([*finite, fixed]) else "linear")
    for percentile, style in PERCENTILES.items():
        value = float(np.percentile(finite, percentile))
        label = f"{percentile}th percentile: {format_value(value)}"
        axes.axvline(value, color="black", linewidth=0.9, linestyle=style, label=label)
    if np.isfinite(fixed):  # a threshold of elements does not limit the norm
        axes.axvline(fixed, color=RED, linestyle=THRESHOLD_STYLES["norm"], label=f"threshold of the norm: {fixed:g}")
    integer_ticks(axes.yaxis)
    legend_below(figure, axes)


def _plot_steps(
    axes: Axes, step: NDArray[np.int64], values: Floats, label: str, color: str = BLUE, linewidth: float = 0.9
) -> None:
    marker = "." if len(step) < MARKED_STEPS else ""
    axes.plot(step, values, color=color, linewidth=linewidth, marker=marker, label=label)


def _draw_threshold(axes: Axes, step: NDArray[np.int64], threshold: float | Floats, quantity: str, style: str) -> None:
    """Draw a threshold over the steps: a line across the panel, or one that follows a schedule."""
    if isinstance(threshold, np.ndarray):
        label = f"threshold of {quantity}: {threshold[0]:g} to {threshold[-1]:g}" if len(step) else None
        axes.plot(step, threshold, color=RED, linestyle=style, label=label)
    else:
        axes.axhline(threshold, color=RED, linestyle=style, label=f"threshold of {quantity}: {threshold:g}")


def _mark_clipped(axes: Axes, clipped: NDArray[np.int64], steps: int) -> None:
    """Draw a tick at the lower edge for each clipped step, unless nearly all steps are clipped."""
    if len(clipped) < steps * NEARLY_ALL:
        mark_at_edge(axes, clipped, "|", "clipped steps", height=0.015)


def rolling_median(values: Floats) -> Floats:
    """Return the rolling median over a window of one fiftieth of the run; non-finite values are ignored.

    Args:
        values: one or several series, ``[steps]`` or ``[steps, series]``.
    """
    window = max(1, len(values) // WINDOWS)
    finite = pd.DataFrame(np.where(np.isfinite(values), values, np.nan))
    smooth = finite.rolling(window, center=True, min_periods=1).median().to_numpy()
    return np.asarray(smooth.reshape(np.shape(values)))
