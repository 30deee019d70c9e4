"""Heat maps of gradient norms: by parameter, and by time step of a recurrent layer."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.norms.arrays import differ
from gradclip.plots.gradients import BEFORE
from gradclip.plots.style import PALE, RED, integer_ticks, show_message
from gradclip.telemetry.divergence import Divergence

MAX_DECADES = 16  # on a colour scale over time: gradients vanish without limit; an explosion keeps its run-up
MAX_NAME_LENGTH = 24
HEAT = colormaps["viridis"].with_extremes(under=PALE)
HEAT_LABEL = "log10 of the norm (grey: zero, orange-red: not finite)"


def plot_heat_map(
    figure: Figure,
    step: NDArray[np.int64],
    names: Sequence[str],
    norms: Floats,
    norms_clipped: Floats,
    divergence: Divergence | None,
    title: str = BEFORE,
) -> None:
    """Plot the gradient norm of each parameter at each step as a heat map.

    If clipping changed any norm, a second panel shows the norms after clipping.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        names: names of the parameters.
        norms: L2 norm of each gradient before clipping, ``[steps, parameters]``, loss units per weight unit.
        norms_clipped: the same norms after clipping.
        divergence: the first non-finite value; None if the run did not diverge.
        title: title of the panel with ``norms``.
    """
    panels = {title: _logarithms(norms)}
    if differ(norms, norms_clipped):
        panels["after clipping"] = _logarithms(norms_clipped)
    figure.set_layout_engine("constrained")
    all_axes = list(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0])
    where = "" if divergence is None else f"; diverged at step {divergence.step}"
    heading = figure.suptitle(f"Gradient norm by parameter{where}", x=0, ha="left", weight="bold", size=13)
    heading.set_transform(blended_transform_factory(all_axes[0].transAxes, figure.transFigure))  # begins above the axes
    scale = np.concatenate([*panels.values()])
    prefix, short = without_common_prefix(names)
    all_axes[0].set_ylabel(f"parameter of {prefix}" if prefix else "parameter")
    for axes, (panel_title, logs) in zip(all_axes, panels.items(), strict=True):
        axes.set_title(panel_title, size=11, weight="normal")
        axes.set_xlabel("optimizer step")
        if np.isnan(logs).all() or not np.isfinite(scale).any():
            show_message(axes, "no finite gradient" if np.isnan(logs).all() else "all gradients are zero")
            continue
        edges = np.append(step, step[-1] + 1) - 0.5
        _draw_heat_map(axes, edges, np.arange(len(names) + 1), logs, scale)
        integer_ticks(axes.xaxis)
    drawn = [axes.collections[0] for axes in all_axes if axes.collections]
    if drawn:
        all_axes[0].set_yticks(np.arange(len(names)) + 0.5, short, fontsize=9)
        all_axes[0].set_ylim(len(names), 0)
        figure.colorbar(drawn[0], ax=all_axes, pad=0.02).set_label(HEAT_LABEL)


def without_common_prefix(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the modules that all names begin with, and the names without them; long names are cut at the start.

    Example:
        >>> without_common_prefix(["network.0.weight", "network.0.bias", "network.2.weight"])
        ('network', ['0.weight', '0.bias', '2.weight'])
    """
    modules = zip(*(name.split(".")[:-1] for name in names), strict=False)
    prefix = ".".join(words[0] for words in takewhile(lambda words: len({*words}) == 1, modules))
    return prefix, [_last_words(name.removeprefix(f"{prefix}.")) for name in names]


def _last_words(name: str) -> str:
    """Return as many words from the end of a dotted name as fit."""
    end = name
    while len(end) > MAX_NAME_LENGTH and "." in end:
        end = end.partition(".")[2]
    return name if end == name else f"….{end}"


def plot_hidden_states(figure: Figure, step: NDArray[np.int64], norms: Floats, title: str, layer: str = "") -> None:
    """Plot the gradient norm at the hidden states by optimizer step and time step as a heat map.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[snapshots]``.
        norms: L2 norm of the derivative with respect to the hidden state, ``[snapshots, time steps]``.
        title: title of the figure.
        layer: name of the recurrent layer; empty if the network has only one.
    """
    axes = figure.subplots()
    plot_time_heat_map(axes, step, norms, norms)
    axes.set(title=title, xlabel="optimizer step", ylabel=f"time step, {layer}" if layer else "time step")
    if axes.collections:
        figure.colorbar(axes.collections[0], ax=axes, pad=0.02).set_label(HEAT_LABEL)


def plot_time_heat_map(axes: Axes, step: NDArray[np.int64], norms: Floats, scale: Floats) -> None:
    """Draw the heat map of :func:`plot_hidden_states` into existing axes.

    Args:
        axes: empty axes.
        step: optimizer steps, ``[snapshots]``.
        norms: L2 norm of the derivative with respect to the hidden state, ``[snapshots, time steps]``.
        scale: norms whose finite values set the limits of the colour scale, any shape.
    """
    logs, scale_logs = _logarithms(norms), _logarithms(scale)
    if not np.isfinite(scale_logs).any():
        show_message(axes, "all gradients are zero" if np.isfinite(norms).any() else "no finite gradient")
        return
    half = (step[-1] - step[-2]) / 2 if len(step) > 1 else 0.5
    edges = np.concatenate([step[:1] - 0.5, (step[:-1] + step[1:]) / 2, step[-1:] + half])
    scale_logs = np.maximum(scale_logs, scale_logs[np.isfinite(scale_logs)].max() - MAX_DECADES)
    _draw_heat_map(axes, edges, np.arange(norms.shape[1] + 1) + 0.5, logs, scale_logs)
    for axis in (axes.xaxis, axes.yaxis):
        integer_ticks(axis)


def _draw_heat_map(axes: Axes, columns: Floats, rows: NDArray[Any], logs: Floats, scale: Floats) -> None:
    """Draw logarithms as colours; zero and non-finite values have separate colours.

    Args:
        axes: where to draw.
        columns: edges of the columns, ``[columns + 1]``.
        rows: edges of the rows, ``[rows + 1]``.
        logs: logarithms to draw, ``[columns, rows]``; -inf for zero, NaN for a non-finite value.
        scale: logarithms whose finite values set the limits of the colour scale, any shape.
    """
    axes.grid(False)
    axes.set_facecolor(RED)  # shows through where non-finite values are masked
    finite = scale[np.isfinite(scale)]
    lowest, highest = finite.min(), max(finite.max(), finite.min() + 1e-9)  # "under" needs a range that is not empty
    shown = np.where(np.isneginf(logs), lowest - 1, np.maximum(logs, lowest))
    axes.pcolormesh(columns, rows, np.ma.masked_invalid(shown.T), cmap=HEAT, vmin=lowest, vmax=highest)


def _logarithms(norms: Floats) -> Floats:
    """Return base-10 logarithms; NaN for a non-finite norm, -inf for zero."""
    with np.errstate(divide="ignore"):
        logs: Floats = np.log10(np.where(np.isfinite(norms), norms, np.nan))
    return logs
