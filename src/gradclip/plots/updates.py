"""Figure of the update-to-weight ratio over the steps of a run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.plots.gradients import MARKED_STEPS, rolling_median
from gradclip.plots.heat_maps import without_common_prefix
from gradclip.plots.style import GREY, integer_ticks, legend_below, log_axis_over_decades, series_style, show_message

MAX_LINES = 6
USUAL_UPDATE_RATIO = 1e-3  # in networks that train well


def plot_update_ratios(figure: Figure, step: NDArray[np.int64], names: Sequence[str], ratios: Floats) -> None:
    """Plot the rolling median of the update-to-weight ratio of up to six parameters with the largest ratios.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        names: names of the parameters.
        ratios: norm of each parameter's update divided by its norm, ``[steps, parameters]``; NaN where not measured.
    """
    axes = figure.subplots()
    axes.set(title="Update-to-weight ratio", xlabel="optimizer step", ylabel="update norm / weight norm")
    measured = np.isfinite(ratios).any(axis=1)
    if not measured.any():
        show_message(axes, "no finite update")
        return
    _, short = without_common_prefix(names)
    smooth = rolling_median(ratios[measured])
    known = np.flatnonzero(np.isfinite(smooth).any(axis=0))  # a parameter that is zero has no ratio
    largest = sorted(known[np.argsort(-np.nanmedian(smooth[:, known], axis=0))][:MAX_LINES])
    if len(largest) < len(known):
        axes.set_title(f"Update-to-weight ratio, the largest {len(largest)} of {len(known)}")
    marker = "." if measured.sum() < MARKED_STEPS else ""
    for index, column in enumerate(largest):
        style = series_style(index)
        axes.plot(step[measured], smooth[:, column], marker=marker, color=style.color, label=short[column])
    axes.axhline(USUAL_UPDATE_RATIO, color=GREY, linestyle="--", label="about 0.001 is usual")
    log_axis_over_decades(axes, [*smooth.ravel(), USUAL_UPDATE_RATIO])
    integer_ticks(axes.xaxis)
    legend_below(figure, axes)
