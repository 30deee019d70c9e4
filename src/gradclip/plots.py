"""Figures of a run from plain arrays, in one style.

Each ``plot_…`` function fills an empty Matplotlib figure; :func:`draw` saves it as a PNG file.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.telemetry.record import Divergence

BLUE, ORANGE, GREY, PALE, RED = "#1f5fa8", "#e07b26", "#8a8f98", "#d9dce0", "#b3261e"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,  # curves behind it stay visible and do not disturb reading
    "figure.dpi": 110,
    "figure.subplot.left": 0.11,  # fixed margins: computing them doubles the time of drawing
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.13,
    "figure.subplot.top": 0.91,
}
LOG_AXIS_DECADES = 1.5  # an axis is logarithmic if its values span more
BINS = 50
MARKED_EPOCHS = 3  # curves of fewer epochs have markers: a curve of one point would be invisible
MARKED_STEPS = 60
MAX_DECADES = 16  # of a colour scale; with more, colours could not be distinguished
MAX_LINES = 8
MAX_NAME_LENGTH = 24
HEAT = colormaps["viridis"].with_extremes(under=PALE)
HEAT_LABEL = "log10 of the norm (grey: zero, red: not finite)"
NORM_LABEL = "gradient norm (global L2, loss per unit of weight)"
PERCENTILES = {50: ":", 90: "--", 99: "-"}  # with their line styles
BEFORE = "before clipping"
USUAL_UPDATE_RATIO = 1e-3  # of networks that train well


def draw(path: Path, plot: Callable[[Figure], None], size: tuple[float, float] = (8.0, 4.5)) -> None:
    """Draw a figure and save it as a PNG file.

    Args:
        path: the file; its folder is created.
        plot: fills the figure.
        size: width and height, in inches.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        plot(figure)
        for text in figure.findobj(Text):
            if text.get_text():  # a name, in which $ is no mathematics; the numbers of axes have no text until saved
                text.set_parse_math(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def plot_target(figure: Figure, train: Floats, test: Floats, unit: str) -> None:
    """Plot a histogram and a box plot of the target.

    Args:
        figure: an empty figure.
        train: target of the training rows, ``[rows]``, in its own unit.
        test: target of the test rows, ``[rows]``, in its own unit.
        unit: label of the axis.
    """
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1], gridspec_kw={"hspace": 0.12})
    bins = np.histogram_bin_edges(np.concatenate([train, test]), bins="auto").tolist()
    top.hist(train, bins=bins, color=BLUE, alpha=0.65, label=f"train ({len(train)} rows)")
    top.hist(test, bins=bins, color=ORANGE, alpha=0.65, label=f"test ({len(test)} rows)")
    top.set(title=f"Target: mean {train.mean():.3g}, standard deviation {train.std():.3g} (train)", ylabel="rows")
    top.legend()
    boxes = bottom.boxplot([test, train], orientation="horizontal", widths=0.6, patch_artist=True)
    for box, color in zip(boxes["boxes"], (ORANGE, BLUE), strict=True):
        box.set(facecolor=color, alpha=0.65)
    bottom.set_yticklabels(["test", "train"])
    bottom.set_xlabel(unit)


def plot_learning_curve(
    figure: Figure,
    train: Sequence[float],
    test: Sequence[float],
    score: str,
    baseline: float,
    title: str,
    divergence: Divergence | None,
) -> None:
    """Plot the score on training and test examples by epoch, with the baseline.

    Args:
        figure: an empty figure.
        train: score on the training examples, one for each epoch.
        test: score on the test examples, one for each epoch.
        score: label of the axis, with the unit.
        baseline: score of a prediction that ignores the inputs.
        title: title of the figure.
        divergence: the first non-finite value; None in a run that did not diverge.
    """
    axes = figure.subplots()
    axes.set(title=title, xlabel="epoch", ylabel=score)
    if not np.isfinite([*train, *test]).any():
        show_message(axes, "no finite score" if divergence is None else f"no finite score: {_describe(divergence)}")
        return
    axes.axhline(baseline, color=GREY, linestyle="--", label=f"a guess that ignores the inputs: {baseline:,.4g}")
    marker = "o" if len(train) < MARKED_EPOCHS else ""
    epochs = np.arange(1, len(train) + 1)
    axes.plot(epochs, _with_gaps(train), color=BLUE, marker=marker, label="train")
    axes.plot(epochs, _with_gaps(test), color=ORANGE, marker=marker, label="test")
    log_axis_over_decades(axes, [*train, *test])
    if divergence is not None:
        _mark_divergence(axes, divergence.epoch, divergence)
    _integer_ticks(axes.xaxis)
    axes.legend()


def plot_norms(
    figure: Figure,
    step: NDArray[np.int64],
    norm: Floats,
    norm_clipped: Floats,
    thresholds: Mapping[str, float],
    title: str,
    divergence: Divergence | None,
    state: str = BEFORE,
) -> None:
    """Plot the global gradient norm of every step before and after clipping, with the thresholds.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        norm: global L2 norm before clipping, ``[steps]``, loss units per weight unit.
        norm_clipped: global L2 norm after clipping, ``[steps]``, in the same unit.
        thresholds: of the clipping method, ``norm`` for the norm and any other name for single elements.
        title: title of the figure.
        divergence: the first non-finite value; None in a run that did not diverge.
        state: what ``norm`` is, for the legend.
    """
    axes = figure.subplots()
    marker = "." if len(step) < MARKED_STEPS else ""
    changed = not np.array_equal(norm, norm_clipped, equal_nan=True)
    for name, threshold in thresholds.items():
        _draw_threshold(axes.axhline, threshold, name)
    label = state if changed or state != BEFORE else "before and after clipping, the same"
    axes.plot(step, _with_gaps(norm), color=BLUE, linewidth=0.9, marker=marker, label=label)
    if changed:
        axes.plot(step, _with_gaps(norm_clipped), color=ORANGE, linewidth=1.6, marker=marker, label="after clipping")
        _mark_clipped(axes, step[norm_clipped != norm], len(step))
    axes.set(title=title, xlabel="optimizer step", ylabel=NORM_LABEL)
    _integer_ticks(axes.xaxis)
    log_axis_over_decades(axes, [*norm, *norm_clipped])
    if divergence is not None:
        _mark_divergence(axes, divergence.step, divergence)
    axes.legend()


def plot_heat_map(
    figure: Figure,
    step: NDArray[np.int64],
    names: Sequence[str],
    norms: Floats,
    divergence: Divergence | None,
    state: str = BEFORE,
) -> None:
    """Plot the gradient norm of each parameter at each step as a heat map.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        names: of the parameters.
        norms: L2 norm of each gradient, ``[steps, parameters]``, loss units per weight unit.
        divergence: the first non-finite value; None in a run that did not diverge.
        state: what the norms are, for the title.
    """
    figure.subplots_adjust(left=0.26)
    axes = figure.subplots()
    axes.set(title=f"Norm of each gradient, {state}", xlabel="optimizer step", ylabel="parameter")
    logs = _logarithms(norms)
    if not np.isfinite(logs).any():
        show_message(axes, "no finite gradient")
        return
    edges = np.append(step, step[-1] + 1) - 0.5
    _draw_heat_map(axes, edges, np.arange(len(names) + 1), logs, logs)
    bar = figure.colorbar(axes.collections[0], ax=axes, pad=0.02)
    bar.set_label(HEAT_LABEL)
    axes.set_yticks(np.arange(len(names)) + 0.5, [_shorten(name) for name in names], fontsize=9)
    axes.invert_yaxis()
    _integer_ticks(axes.xaxis)
    if divergence is not None:
        axes.set_title(f"Norm of each gradient: diverged at step {divergence.step}")


def plot_hidden_states(figure: Figure, step: NDArray[np.int64], norms: Floats, title: str, layer: str = "") -> None:
    """Plot the gradient norm at the hidden states by optimizer step and time step as a heat map.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[snapshots]``.
        norms: L2 norm of the derivative with respect to the hidden state, ``[snapshots, time steps]``.
        title: title of the figure.
        layer: name of the recurrent layer; empty if there is only one.
    """
    axes = figure.subplots()
    plot_time_heat_map(axes, step, norms, norms)
    axes.set(title=title, xlabel="optimizer step", ylabel=f"time step, {layer}" if layer else "time step")
    if axes.collections:
        bar = figure.colorbar(axes.collections[0], ax=axes, pad=0.02)
        bar.set_label(HEAT_LABEL)


def plot_time_heat_map(axes: Axes, step: NDArray[np.int64], norms: Floats, scale: Floats) -> None:
    """Plot the heat map of :func:`plot_hidden_states` into existing axes.

    Args:
        axes: empty axes.
        step: optimizer steps, ``[snapshots]``.
        norms: L2 norm of the derivative with respect to the hidden state, ``[snapshots, time steps]``.
        scale: norms whose finite values set the limits of the colour scale, any shape.
    """
    logs = _logarithms(norms)
    if not np.isfinite(logs).any():
        show_message(axes, "no finite gradient")
        return
    edges = np.append(step, step[-1] + (step[-1] - step[-2] if len(step) > 1 else 1)) - 0.5
    scale_logs = _logarithms(scale)
    scale_logs = np.maximum(scale_logs, scale_logs[np.isfinite(scale_logs)].max() - MAX_DECADES)
    _draw_heat_map(axes, edges, np.arange(norms.shape[1] + 1) + 0.5, logs, scale_logs)
    for axis in (axes.xaxis, axes.yaxis):
        _integer_ticks(axis)


def _draw_heat_map(axes: Axes, columns: Floats, rows: NDArray[Any], logs: Floats, scale: Floats) -> None:
    """Draw logarithms as colours; zero and non-finite values have colours of their own.

    Args:
        axes: where to draw.
        columns: edges of the columns, ``[columns + 1]``.
        rows: edges of the rows, ``[rows + 1]``.
        logs: logarithms, ``[columns, rows]``; -inf for zero, NaN for a non-finite value.
        scale: logarithms whose finite values set the limits of the colour scale, any shape.
    """
    axes.grid(False)
    axes.set_facecolor(RED)  # non-finite values are masked, so that the background shows
    finite = scale[np.isfinite(scale)]
    lowest, highest = finite.min(), max(finite.max(), finite.min() + 1e-9)  # an empty range would have no "under"
    shown = np.where(np.isneginf(logs), lowest - 1, np.maximum(logs, lowest))
    axes.pcolormesh(columns, rows, np.ma.masked_invalid(shown.T), cmap=HEAT, vmin=lowest, vmax=highest)


def _logarithms(norms: Floats) -> Floats:
    """Return logarithms to base 10; NaN where a norm is not finite, -inf where it is zero."""
    with np.errstate(divide="ignore"):
        logs: Floats = np.log10(np.where(np.isfinite(norms), norms, np.nan))
    return logs


def plot_update_ratios(figure: Figure, step: NDArray[np.int64], names: Sequence[str], ratios: Floats) -> None:
    """Plot the update to weight ratio of the parameters by step; at most the eight largest.

    Args:
        figure: an empty figure.
        step: optimizer steps, ``[steps]``.
        names: of the parameters.
        ratios: norm of each parameter's update over its norm, ``[steps, parameters]``; NaN where not measured.
    """
    axes = figure.subplots()
    axes.set(title="Update to weight ratio", xlabel="optimizer step", ylabel="norm of the change / norm of the weights")
    measured = np.isfinite(ratios).any(axis=1)
    if not measured.any():
        show_message(axes, "no finite update")
        return
    order = np.argsort(-np.nanmedian(ratios[measured], axis=0))[:MAX_LINES]
    marker = "." if measured.sum() < MARKED_STEPS else ""
    for column in sorted(order):
        axes.plot(
            step[measured], _with_gaps(ratios[measured, column]), marker=marker, linewidth=0.9, label=names[column]
        )
    _integer_ticks(axes.xaxis)
    axes.axhline(USUAL_UPDATE_RATIO, color=GREY, linestyle="--", label="about 0.001 is usual")
    log_axis_over_decades(axes, [*ratios[measured].ravel(), USUAL_UPDATE_RATIO])
    axes.legend()


def plot_norm_histogram(figure: Figure, norm: Floats, thresholds: Mapping[str, float], state: str = BEFORE) -> None:
    """Plot a histogram of the gradient norms, with the threshold and percentiles.

    Args:
        figure: an empty figure.
        norm: global L2 norm of every step, ``[steps]``, loss units per weight unit.
        thresholds: of the clipping method; only that of the norm, ``norm``, is drawn.
        state: what the norms are, for the title.
    """
    axes = figure.subplots()
    axes.set(title=f"Gradient norms {state}", xlabel=NORM_LABEL, ylabel="optimizer steps")
    finite = norm[np.isfinite(norm) & (norm > 0)]
    if finite.size == 0:
        show_message(axes, "no finite gradient")
        return
    wide = spans_decades(finite)
    edges = np.geomspace(finite.min(), finite.max(), BINS) if wide else np.histogram_bin_edges(finite, BINS)
    axes.hist(finite, bins=edges.tolist(), color=BLUE, alpha=0.75)
    axes.set_xscale("log" if wide else "linear")
    for percentile, style in PERCENTILES.items():
        value = float(np.percentile(finite, percentile))
        label = f"{percentile}th percentile: {value:,.4g}"
        axes.axvline(value, color="black", linewidth=0.9, linestyle=style, label=label)
    if "norm" in thresholds:  # a threshold of single elements does not limit the norm
        _draw_threshold(axes.axvline, thresholds["norm"], "norm")
    _integer_ticks(axes.yaxis)
    axes.legend()


def _draw_threshold(draw_line: Callable[..., object], threshold: float, name: str) -> None:
    quantity, style = ("the norm", "--") if name == "norm" else ("each element", ":")
    draw_line(threshold, color=RED, linestyle=style, label=f"threshold of {quantity}: {threshold:g}")


def _mark_clipped(axes: Axes, clipped: NDArray[np.int64], steps: int) -> None:
    """Draw a tick at the lower edge for each clipped step, unless nearly all of the steps are clipped."""
    if len(clipped) < steps * 0.9:
        transform = axes.get_xaxis_transform()  # vertical positions are fractions of the axes
        axes.plot(clipped, np.full(len(clipped), 0.015), "|", color=RED, transform=transform, label="clipped steps")


def _integer_ticks(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else "…" + name[-MAX_NAME_LENGTH:]


def show_message(axes: Axes, text: str) -> None:
    """Show a text in place of a plot that would be empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=RED)
    axes.set(xticks=[], yticks=[])


def _describe(divergence: Divergence) -> str:
    return f"diverged in epoch {divergence.epoch}, at step {divergence.step}, first in the {divergence.place}"


def _mark_divergence(axes: Axes, position: float, divergence: Divergence) -> None:
    axes.axvline(position, color=RED, linewidth=1.5, label=_describe(divergence))


def _with_gaps(values: Sequence[float] | Floats) -> Floats:
    """Return the values with NaN for every non-finite one, so that a curve ends at its last finite point."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array), array, np.nan)


def spans_decades(values: Floats) -> bool:
    """Return whether the positive finite values span so many decades that a logarithmic axis shows them better."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(positive.size and np.log10(positive.max() / positive.min()) > LOG_AXIS_DECADES)


def log_axis_over_decades(axes: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic if the values span decades."""
    if spans_decades(np.asarray(values, dtype=float)):
        axes.set_yscale("log")
