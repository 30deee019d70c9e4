"""The style that all figures share: colours, axes, legends, and how a figure is saved."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gradclip.arrays import Floats
from gradclip.scores import Split
from gradclip.telemetry.divergence import Divergence

# Okabe and Ito 2008, which readers with any colour vision can tell apart; without yellow, which is too pale for a line.
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000"),
)
GREY, PALE = "#7A7F87", "#D9DCE0"
SPLIT_COLORS: dict[Split, str] = {"train": BLUE, "validation": GREEN, "test": ORANGE}
SERIES_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK)  # red stands for divergence and thresholds
LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D")
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
    "legend.fontsize": 10,
    "figure.dpi": 110,
    "figure.subplot.left": 0.11,  # fixed margins: computing them doubles the time of drawing
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.13,
    "figure.subplot.top": 0.91,
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
}
LOG_AXIS_DECADES = 1.5  # an axis is logarithmic if its values span more
EDGE = 0.97  # position within the axes of a mark for a value that is not finite
LEGEND_WIDTH, LEGEND_HANDLE = 96, 6  # characters that fit side by side below axes, and those that a handle takes


class SeriesStyle(NamedTuple):
    """How one series is drawn in every figure that shows it."""

    color: str
    line: Any
    marker: str


def series_style(index: int) -> SeriesStyle:
    """Return the style of a series by its number: colours first, then the same colours with other lines and markers."""
    repeat, color = divmod(index, len(SERIES_COLORS))
    return SeriesStyle(SERIES_COLORS[color], LINE_STYLES[repeat % len(LINE_STYLES)], MARKERS[repeat % len(MARKERS)])


def draw(path: Path, plot: Callable[[Figure], None], size: tuple[float, float] = (8.0, 4.5)) -> None:
    """Draw a figure and save it.

    Args:
        path: the file, whose suffix is the format: ``.png``, ``.pdf`` or ``.svg``; its folder is created.
        plot: fills the figure.
        size: width and height, in inches; a plot may choose its own.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        plot(figure)
        for text in figure.findobj(Text):
            if text.get_text():  # a name, in which $ is no mathematics; the numbers of axes have no text until saved
                text.set_parse_math(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def show_message(axes: Axes, text: str) -> None:
    """Show a text in place of a plot that would be empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=RED)
    axes.set(xticks=[], yticks=[])


def legend_below(figure: Figure, *panels: Axes) -> None:
    """Place one legend of all panels below them, with as many columns as its labels leave room for."""
    entries = [panel.get_legend_handles_labels() for panel in panels]
    handles = {label: handle for found in entries for handle, label in zip(*found, strict=True)}
    figure.set_layout_engine("constrained")
    fitting = LEGEND_WIDTH // (max(map(len, handles), default=0) + LEGEND_HANDLE)
    columns = max(1, min(fitting, 4))
    drawn = [*handles.values()]
    figure.legend(drawn, [*handles], loc="outside lower center", ncols=columns, frameon=False, fontsize=10)


def integer_ticks(axis: Axis) -> None:
    """Let an axis have few ticks, at integers only."""
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def percent_axis(axes: Axes) -> None:
    """Make the vertical axis one of fractions from 0 to 1, in percent."""
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))


def describe_divergence(divergence: Divergence) -> str:
    """Say where a run diverged."""
    return f"diverged in epoch {divergence.epoch}, at step {divergence.step}, first in the {divergence.place}"


def mark_divergence(axes: Axes, position: float, divergence: Divergence) -> None:
    """Draw a line where a run diverged.

    Args:
        axes: where to draw.
        position: on the horizontal axis.
        divergence: for the legend.
    """
    axes.axvline(position, color=RED, linewidth=1.5, label=describe_divergence(divergence))


def with_gaps(values: Sequence[float] | Floats) -> Floats:
    """Return the values with NaN for every non-finite one, so that a curve ends at its last finite point."""
    array = np.asarray(values, dtype=float)
    return np.where(np.isfinite(array), array, np.nan)


def spans_decades(values: Sequence[float] | Floats) -> bool:
    """Return whether the positive finite values span so many decades that a logarithmic axis shows them better."""
    array = np.asarray(values, dtype=float)
    positive = array[np.isfinite(array) & (array > 0)]
    return bool(positive.size and np.log10(positive.max() / positive.min()) > LOG_AXIS_DECADES)


def log_axis_over_decades(axes: Axes, values: Sequence[float] | Floats) -> None:
    """Make the vertical axis logarithmic if the values span decades."""
    if spans_decades(values):
        axes.set_yscale("log")


def few_log_ticks(axis: Axis) -> None:
    """Let a logarithmic axis have plain numbers at one and three of each decade, and none between."""
    axis.set_major_locator(LogLocator(subs=(1, 3), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def ticks_at(axis: Axis, values: Sequence[float]) -> None:
    """Let an axis have a tick at each value that was tried, as a plain number."""
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)
