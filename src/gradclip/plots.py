"""Figures from plain arrays, in one style."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
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
    "legend.framealpha": 0.85,  # what lies behind it stays in sight and does not disturb reading
    "figure.dpi": 110,
    "figure.subplot.left": 0.11,  # fixed margins: to have them computed doubles the time of drawing
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.13,
    "figure.subplot.top": 0.91,
}
DECADES_FOR_LOG_AXIS = 1.5
BINS = 50
FEW_EPOCHS = 3  # so few points are drawn as dots, else they would not be seen
FEW_STEPS = 60
MOST_DECADES = 16  # of a colour scale: below them one could not tell colours apart
MOST_LINES = 8
LONGEST_NAME = 24
HEAT = colormaps["viridis"].with_extremes(under=PALE)
HEAT_LABEL = "log10 of the norm (grey: zero, red: not finite)"
NORM_LABEL = "gradient norm (global L2, loss per unit of weight)"
PERCENTILES = {50: ":", 90: "--", 99: "-"}  # and the style of their line
BEFORE = "before clipping"
USUAL_RATIO = 1e-3  # of update to weight, in networks that train well


def draw(path: Path, plot: Callable[[Figure], None], size: tuple[float, float] = (8.0, 4.5)) -> None:
    """Draw a figure into a PNG file."""
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        plot(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def plot_target(figure: Figure, train: Floats, test: Floats, unit: str) -> None:
    """Histogram and box plot of the target, ``[rows]`` each, in its own unit."""
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
    """The score on training and test examples over epochs, one value an epoch, with that of a guess."""
    axes = figure.subplots()
    axes.set(title=title, xlabel="epoch", ylabel=score)
    if not np.isfinite([*train, *test]).any():
        say(axes, "no finite score" if divergence is None else f"no finite score: {_describe(divergence)}")
        return
    axes.axhline(baseline, color=GREY, linestyle="--", label=f"a guess that ignores the inputs: {baseline:,.4g}")
    marker = "o" if len(train) < FEW_EPOCHS else ""
    epochs = np.arange(1, len(train) + 1)
    axes.plot(epochs, _finite(train), color=BLUE, marker=marker, label="train")
    axes.plot(epochs, _finite(test), color=ORANGE, marker=marker, label="test")
    log_axis_over_decades(axes, [*train, *test])
    if divergence is not None:
        _mark_end(axes, divergence.epoch, divergence)
    _whole_ticks(axes.xaxis)
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
    """Global gradient norm of every step, before and after clipping, ``[steps]`` each, with the thresholds."""
    axes = figure.subplots()
    marker = "." if len(step) < FEW_STEPS else ""
    changed = not np.array_equal(norm, norm_clipped, equal_nan=True)
    for name, threshold in thresholds.items():
        _line(axes.axhline, threshold, name)
    label = state if changed or state != BEFORE else "before and after clipping, the same"
    axes.plot(step, _finite(norm), color=BLUE, linewidth=0.9, marker=marker, label=label)
    if changed:
        axes.plot(step, _finite(norm_clipped), color=ORANGE, linewidth=1.6, marker=marker, label="after clipping")
        _mark_clipped(axes, step[norm_clipped != norm], len(step))
    axes.set(title=title, xlabel="optimizer step", ylabel=NORM_LABEL)
    _whole_ticks(axes.xaxis)
    log_axis_over_decades(axes, [*norm, *norm_clipped])
    if divergence is not None:
        _mark_end(axes, divergence.step, divergence)
    axes.legend()


def plot_heat_map(
    figure: Figure,
    step: NDArray[np.int64],
    names: Sequence[str],
    norms: Floats,
    divergence: Divergence | None,
    state: str = BEFORE,
) -> None:
    """Gradient norm of each parameter at each step, ``[steps, parameters]``."""
    figure.subplots_adjust(left=0.26)
    axes = figure.subplots()
    axes.set(title=f"Norm of each gradient, {state}", xlabel="optimizer step", ylabel="parameter")
    logs = _logarithms(norms)
    if not np.isfinite(logs).any():
        say(axes, "no finite gradient")
        return
    edges = np.append(step, step[-1] + 1) - 0.5
    _heat(axes, edges, np.arange(len(names) + 1), logs, logs)
    bar = figure.colorbar(axes.collections[0], ax=axes, pad=0.02)
    bar.set_label(HEAT_LABEL)
    axes.set_yticks(np.arange(len(names)) + 0.5, [_shorten(name) for name in names], fontsize=9)
    axes.invert_yaxis()
    _whole_ticks(axes.xaxis)
    if divergence is not None:
        axes.set_title(f"Norm of each gradient: diverged at step {divergence.step}")


def plot_hidden_states(figure: Figure, step: NDArray[np.int64], norms: Floats, title: str, layer: str = "") -> None:
    """Gradient norm with respect to the hidden state, ``[snapshots, time steps]``, by optimizer step and time step."""
    axes = figure.subplots()
    plot_time_heat_map(axes, step, norms, norms)
    axes.set(title=title, xlabel="optimizer step", ylabel=f"time step, {layer}" if layer else "time step")
    if axes.collections:
        bar = figure.colorbar(axes.collections[0], ax=axes, pad=0.02)
        bar.set_label(HEAT_LABEL)


def plot_time_heat_map(axes: Axes, step: NDArray[np.int64], norms: Floats, scale: Floats) -> None:
    """The heat map alone, ``[snapshots, time steps]``, in colours that span the finite values of ``scale``."""
    logs = _logarithms(norms)
    if not np.isfinite(logs).any():
        say(axes, "no finite gradient")
        return
    edges = np.append(step, step[-1] + (step[-1] - step[-2] if len(step) > 1 else 1)) - 0.5
    ends = _logarithms(scale)
    ends = np.maximum(ends, ends[np.isfinite(ends)].max() - MOST_DECADES)
    _heat(axes, edges, np.arange(norms.shape[1] + 1) + 0.5, logs, ends)
    for axis in (axes.xaxis, axes.yaxis):
        _whole_ticks(axis)


def _heat(axes: Axes, steps: Floats, rows: NDArray[Any], logs: Floats, scale: Floats) -> None:
    """Logarithms as colours between the ends of ``scale``; zero has its own colour, as has what is not finite."""
    axes.grid(False)
    axes.set_facecolor(RED)  # what is not finite is left out and shows it
    ends = scale[np.isfinite(scale)]
    lowest, highest = ends.min(), max(ends.max(), ends.min() + 1e-9)  # without a range there is nothing below it
    shown = np.where(np.isneginf(logs), lowest - 1, np.maximum(logs, lowest))
    axes.pcolormesh(steps, rows, np.ma.masked_invalid(shown.T), cmap=HEAT, vmin=lowest, vmax=highest)


def _logarithms(norms: Floats) -> Floats:
    """To base 10; NaN where a norm is not finite, -inf where it is zero."""
    with np.errstate(divide="ignore"):
        logs: Floats = np.log10(np.where(np.isfinite(norms), norms, np.nan))
    return logs


def plot_update_ratios(figure: Figure, step: NDArray[np.int64], names: Sequence[str], ratios: Floats) -> None:
    """How much each step changed each parameter, as a share of its norm, ``[steps, parameters]``."""
    axes = figure.subplots()
    axes.set(title="Update to weight ratio", xlabel="optimizer step", ylabel="norm of the change / norm of the weights")
    measured = np.isfinite(ratios).any(axis=1)
    if not measured.any():
        say(axes, "no finite update")
        return
    order = np.argsort(-np.nanmedian(ratios[measured], axis=0))[:MOST_LINES]
    marker = "." if measured.sum() < FEW_STEPS else ""
    for column in sorted(order):
        axes.plot(step[measured], _finite(ratios[measured, column]), marker=marker, linewidth=0.9, label=names[column])
    _whole_ticks(axes.xaxis)
    axes.axhline(USUAL_RATIO, color=GREY, linestyle="--", label="about 0.001 is usual")
    log_axis_over_decades(axes, [*ratios[measured].ravel(), USUAL_RATIO])
    axes.legend()


def plot_norm_histogram(figure: Figure, norm: Floats, thresholds: Mapping[str, float], state: str = BEFORE) -> None:
    """How often each gradient norm occurred, ``[steps]``, with thresholds and percentiles."""
    axes = figure.subplots()
    axes.set(title=f"Gradient norms {state}", xlabel=NORM_LABEL, ylabel="optimizer steps")
    finite = norm[np.isfinite(norm) & (norm > 0)]
    if finite.size == 0:
        say(axes, "no finite gradient")
        return
    wide = spans_decades(finite)
    edges = np.geomspace(finite.min(), finite.max(), BINS) if wide else np.histogram_bin_edges(finite, BINS)
    axes.hist(finite, bins=edges.tolist(), color=BLUE, alpha=0.75)
    axes.set_xscale("log" if wide else "linear")
    for percentile, style in PERCENTILES.items():
        place = float(np.percentile(finite, percentile))
        label = f"{percentile}th percentile: {place:,.4g}"
        axes.axvline(place, color="black", linewidth=0.9, linestyle=style, label=label)
    if "norm" in thresholds:  # the limit of a single element is no limit of the norm
        _line(axes.axvline, thresholds["norm"], "norm")
    _whole_ticks(axes.yaxis)
    axes.legend()


def _line(draw_line: Callable[..., object], threshold: float, name: str) -> None:
    what, style = ("the norm", "--") if name == "norm" else ("each element", ":")
    draw_line(threshold, color=RED, linestyle=style, label=f"threshold of {what}: {threshold:g}")


def _mark_clipped(axes: Axes, steps: NDArray[np.int64], of: int) -> None:
    """Ticks along the lower edge, unless nearly every step would have one."""
    if len(steps) < of * 0.9:
        height = axes.get_xaxis_transform()  # the vertical position as a share of the axes
        axes.plot(steps, np.full(len(steps), 0.015), "|", color=RED, transform=height, label="clipped steps")


def _whole_ticks(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[-LONGEST_NAME:]


def say(axes: Axes, text: str) -> None:
    """Say why there is nothing to see."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=RED)
    axes.set(xticks=[], yticks=[])


def _describe(divergence: Divergence) -> str:
    return f"diverged in epoch {divergence.epoch}, at step {divergence.step}, first in the {divergence.place}"


def _mark_end(axes: Axes, position: float, divergence: Divergence) -> None:
    axes.axvline(position, color=RED, linewidth=1.5, label=_describe(divergence))


def _finite(values: Sequence[float] | Floats) -> Floats:
    """Gaps where values are not finite, so that a curve ends at its last finite point."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array), array, np.nan)


def spans_decades(values: Floats) -> bool:
    """Whether a logarithmic axis shows the values better."""
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(positive.size and np.log10(positive.max() / positive.min()) > DECADES_FOR_LOG_AXIS)


def log_axis_over_decades(axes: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic where the values span decades."""
    if spans_decades(np.asarray(values, dtype=float)):
        axes.set_yscale("log")
