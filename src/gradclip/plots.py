"""Figures from plain arrays, in one style."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradclip.telemetry.record import Divergence

Floats = NDArray[np.float64]

BLUE, ORANGE, GREY, RED = "#1f5fa8", "#e07b26", "#8a8f98", "#b3261e"
STYLE = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 110,
    "figure.subplot.left": 0.11,  # fixed margins: to have them computed doubles the time of drawing
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.13,
    "figure.subplot.top": 0.91,
}
DECADES_FOR_LOG_AXIS = 1.5
LOG_BINS = 50


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
    figure: Figure, train: Sequence[float], test: Sequence[float], title: str, divergence: Divergence | None
) -> None:
    """Mean squared error of training and test rows over epochs, one value an epoch, in the target's unit squared."""
    axes = figure.subplots()
    epochs = np.arange(1, len(train) + 1)
    axes.plot(epochs, _finite(train), color=BLUE, marker="o" if len(train) < 3 else "", label="train")
    axes.plot(epochs, _finite(test), color=ORANGE, marker="o" if len(test) < 3 else "", label="test")
    axes.set(title=title, xlabel="epoch", ylabel="mean squared error (target unit²)")
    _log_axis_over_decades(axes, [*train, *test])
    if divergence is not None:
        _mark_end(axes, divergence.epoch, f"diverged in epoch {divergence.epoch}, step {divergence.step}")
    axes.legend()


def plot_norms(
    figure: Figure,
    step: NDArray[np.int64],
    norm: Floats,
    norm_clipped: Floats,
    thresholds: Mapping[str, float],
    title: str,
    divergence: Divergence | None,
) -> None:
    """Global gradient norm of every step, before and after clipping, ``[steps]`` each, with the thresholds."""
    axes = figure.subplots()
    few = "." if len(step) < 60 else ""
    axes.plot(step, _finite(norm), color=BLUE, linewidth=0.9, marker=few, label="before clipping")
    axes.plot(step, _finite(norm_clipped), color=ORANGE, linewidth=1.1, marker=few, label="after clipping")
    for name, threshold in thresholds.items():
        _line(axes.axhline, threshold, name)
    axes.set(title=title, xlabel="optimizer step", ylabel="gradient norm (global L2)")
    _log_axis_over_decades(axes, [*norm, *norm_clipped])
    if divergence is not None:
        _mark_end(axes, divergence.step, f"diverged at step {divergence.step} ({divergence.place})")
    axes.legend()


def plot_norm_histogram(figure: Figure, norm: Floats, thresholds: Mapping[str, float]) -> None:
    """How often each gradient norm before clipping occurred, ``[steps]``, with thresholds and 90th percentile."""
    axes = figure.subplots()
    finite = norm[np.isfinite(norm) & (norm > 0)]
    axes.set(title="Gradient norms before clipping", xlabel="gradient norm (global L2)", ylabel="optimizer steps")
    if finite.size == 0:
        axes.text(0.5, 0.5, "no finite gradient", transform=axes.transAxes, ha="center", color=GREY)
        return
    wide = _spans_decades(finite)
    edges = np.geomspace(finite.min(), finite.max(), LOG_BINS) if wide else np.histogram_bin_edges(finite, LOG_BINS)
    axes.hist(finite, bins=edges.tolist(), color=BLUE, alpha=0.75)
    axes.set_xscale("log" if wide else "linear")
    axes.axvline(
        float(np.percentile(finite, 90)), color=GREY, linestyle="--", label=f"90th percentile {np.percentile(finite, 90):.3g}"
    )
    if "norm" in thresholds:  # the limit of a single element is no limit of the norm
        _line(axes.axvline, thresholds["norm"], "norm")
    axes.legend()


def _line(draw_line: Callable[..., object], threshold: float, name: str) -> None:
    what = "norm" if name == "norm" else "each element"
    draw_line(threshold, color=RED, linestyle="--" if name == "norm" else ":", label=f"threshold of {what}: {threshold:g}")


def _mark_end(axes: Axes, position: float, text: str) -> None:
    axes.axvline(position, color=RED, linewidth=1.5, label=text)


def _finite(values: Sequence[float] | Floats) -> Floats:
    """Gaps where values are not finite, so that a curve ends at its last finite point."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array), array, np.nan)


def _spans_decades(values: Floats) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return bool(positive.size and np.log10(positive.max() / positive.min()) > DECADES_FOR_LOG_AXIS)


def _log_axis_over_decades(axes: Axes, values: Sequence[float]) -> None:
    if _spans_decades(np.asarray(values, dtype=float)):
        axes.set_yscale("log")
