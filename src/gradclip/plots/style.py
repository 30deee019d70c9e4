"""Style of all figures: colours, axes and legends; saving of figures."""

from collections.abc import Callable, Sequence
from math import isqrt
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gradclip.arrays import Floats, Integers
from gradclip.formatting import shortened
from gradclip.scores import Split
from gradclip.telemetry.divergence import Divergence

# Palette of Okabe and Ito 2008, distinguishable with any colour vision; without yellow, which is too pale for lines.
# Their red is an orange-red.
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000"),
)
GREY, PALE = "#7A7F87", "#D9DCE0"
SPLIT_COLORS: dict[Split, str] = {"train": BLUE, "validation": GREEN, "test": ORANGE}
SERIES_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK)  # red is reserved for divergence and thresholds
LINE_STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "v")  # a diamond is a median on the test examples
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
    "legend.framealpha": 0.85,  # keeps curves behind the legend visible
    "legend.fontsize": 10,
    "figure.dpi": 110,
    # Margins are fixed, since computing them doubles the drawing time; the left one has room for ticks such as -100000.
    "figure.subplot.left": 0.13,
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.13,
    "figure.subplot.top": 0.91,
    "figure.constrained_layout.w_pad": 0.1,  # inches, of the figures whose margins are computed
    "figure.constrained_layout.h_pad": 0.07,
    "svg.fonttype": "none",  # keeps text as text
    "pdf.fonttype": 42,
}
PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.4g}%")
PERCENT_ENDS = (-0.02, 1.02)  # limits of an axis of fractions, so that marks at 0% and 100% are whole
NARROW_LOG_AXIS = 300.0  # ratio of the ends of a logarithmic axis; below it, there may be a single power of ten
LOG_AXIS_DECADES = 1.5  # an axis is logarithmic if its values span more decades
CLOSE = 1e-9  # values that differ less, relative to their size, are drawn as equal
LEAST_BINS, MOST_BINS = 10, 50  # of a histogram
EDGE = 0.97  # vertical position of marks for non-finite values, as a fraction of the axes
BESIDE_POWER = 0.85  # width of a label, as a fraction of the axes, that leaves room for a text such as 1e-6 beside it
ROW_LENGTH = 70  # characters of all tick labels that fit side by side
LEGEND_WIDTH, LEGEND_HANDLE = 90, 6  # in characters: the width below the axes, and that of a legend handle
LEGEND_ROW = 0.21  # inches


class SeriesStyle(NamedTuple):
    """Colour, line style and marker of one series, the same in every figure."""

    color: str
    line: Any
    marker: str


def series_style(index: int) -> SeriesStyle:
    """Return the style of a series by its number; once all colours are used, lines and markers change."""
    repeat, color = divmod(index, len(SERIES_COLORS))
    return SeriesStyle(SERIES_COLORS[color], LINE_STYLES[repeat % len(LINE_STYLES)], MARKERS[repeat % len(MARKERS)])


def draw(path: Path, plot: Callable[[Figure], None], size: tuple[float, float] = (8.0, 4.5)) -> None:
    """Draw a figure and save it.

    Args:
        path: path of the file, whose suffix is the format: ``.png``, ``.pdf`` or ``.svg``; its folder is created.
        plot: function that fills the figure.
        size: width and height in inches, which ``plot`` may change.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=size)
        plot(figure)
        for text in figure.findobj(Text):
            if text.get_text():  # names may contain $; tick labels, which may be mathematics, are still empty
                text.set_parse_math(False)
        shorten_labels(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def shorten_labels(figure: Figure) -> None:
    """Shorten texts that are longer than their panel, such as names of columns, in the middle."""
    for axes in figure.axes:
        cell = axes.get_subplotspec()
        panel = figure.bbox if cell is None else cell.get_position(figure).transformed(figure.transFigure)
        for text in (child for child in axes.get_children() if isinstance(child, Text)):
            _shorten(text, text.get_window_extent().width, panel.width)
        room = panel.width * BESIDE_POWER  # its right end is where a power of ten of all ticks may be
        _shorten(axes.xaxis.label, axes.xaxis.label.get_window_extent().width, room)
        middle = (panel.y0 + panel.y1) / 2
        room = 2 * min(middle, figure.bbox.height - middle)  # a vertical label may be longer than a low panel
        _shorten(axes.yaxis.label, axes.yaxis.label.get_window_extent().height, room)


def _shorten(text: Text, length: float, room: float) -> None:
    """Shorten each line of a text so that its length, in pixels, fits into the room."""
    lines = text.get_text().split("\n")
    if length > room:
        fitting = int(max(map(len, lines)) * 0.95 * room / length)  # letters differ in width
        text.set_text("\n".join(shortened(line, fitting) for line in lines))


def show_message(axes: Axes, text: str) -> None:
    """Show a text instead of an empty plot."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=RED)
    axes.set(xticks=[], yticks=[])


def legend_below(figure: Figure, *panels: Axes) -> None:
    """Place one legend for all panels below them, with as many columns as fit; the figure grows by its height."""
    entries = [panel.get_legend_handles_labels() for panel in panels]
    handles = {label: handle for found in entries for handle, label in zip(*found, strict=True)}
    widths = [len(label) + LEGEND_HANDLE for label in handles]
    columns = len(widths) if sum(widths) <= LEGEND_WIDTH else max(1, min(LEGEND_WIDTH // max(widths), 4))
    height, added = figure.get_figheight(), LEGEND_ROW * (-(-len(widths) // columns) + 0.5)
    margins = figure.subplotpars
    bottom, top = margins.bottom * height + added, margins.top * height + added
    figure.set_figheight(height + added)
    figure.subplots_adjust(bottom=bottom / (height + added), top=top / (height + added))
    drawn = [*handles.values()]
    figure.legend(drawn, [*handles], loc="lower center", ncols=columns, frameon=False)


def integer_ticks(axis: Axis) -> None:
    """Set few ticks, at integers only."""
    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def score_axis(
    axes: Axes, scores: Sequence[float] | Floats, is_fraction: bool, along: Literal["x", "y"] = "y", fits: bool = False
) -> None:
    """Make an axis show fractions as percent, and other scores logarithmically if they span decades.

    The axis has no ticks if no score is finite.

    Args:
        axes: axes to format, with everything drawn.
        scores: the scores that are drawn.
        is_fraction: whether the score is a fraction, from 0 to 1.
        along: the axis to format, by default the vertical one.
        fits: whether an axis of fractions ends where the drawn ones do; by default it shows all from 0 to 1.
    """
    axis = axes.yaxis if along == "y" else axes.xaxis
    if not np.isfinite(scores).any():
        axis.set_ticks([])
    elif is_fraction:
        low, high = axis.get_view_interval() if fits else PERCENT_ENDS
        axes.set(**{f"{along}lim": (max(low, PERCENT_ENDS[0]), min(high, PERCENT_ENDS[1]))})
        axis.set_major_formatter(PERCENT)
    elif spans_decades(scores):
        axes.set(**{f"{along}scale": "log"})
        log_ticks(axis)


def describe_divergence(divergence: Divergence) -> str:
    """Return a description of where a run diverged."""
    return f"diverged in epoch {divergence.epoch}, at step {divergence.step}, first in the {divergence.place}"


def mark_divergence(axes: Axes, position: float, divergence: Divergence) -> None:
    """Draw a vertical line where a run diverged.

    Args:
        axes: axes to draw into.
        position: position on the horizontal axis.
        divergence: the divergence that the legend describes.
    """
    axes.axvline(position, color=RED, linewidth=1.5, label=describe_divergence(divergence))


def mark_at_edge(axes: Axes, positions: Floats | Integers, marker: str, label: str, height: float = EDGE) -> None:
    """Draw a red mark at each of some horizontal positions, such as steps whose loss is not finite.

    Args:
        axes: axes to draw into.
        positions: the positions, ``[marks]``.
        marker: Matplotlib's marker.
        label: label in the legend.
        height: vertical position of all marks, as a fraction of the axes.
    """
    heights, transform = np.full(len(positions), height), axes.get_xaxis_transform()
    axes.plot(positions, heights, marker, color=RED, transform=transform, label=label)


def bin_edges(values: Floats, in_ratios: bool = False) -> list[float]:
    """Return the edges of a histogram's bins.

    There are as many bins as the square root of the number of values, but from 10 to 50: NumPy's own rules may choose
    millions, or refuse values that differ only by rounding.

    Args:
        values: finite values, at least one.
        in_ratios: whether the edges have equal ratios instead of equal differences; the values must then be above 0.

    Example:
        >>> len(bin_edges(np.array([1e20, 1e20])))
        11
    """
    bins = min(max(isqrt(values.size), LEAST_BINS), MOST_BINS)
    low, high = float(values.min()), float(values.max())
    if in_ratios:
        return [float(edge) for edge in np.geomspace(low, high, bins + 1)]
    size = max(abs(low), abs(high))
    margin = 0.0 if high - low > CLOSE * size else max(0.5, CLOSE * size)
    return [float(edge) for edge in np.linspace(low - margin, high + margin, bins + 1)]


def spans_decades(values: Sequence[float] | Floats) -> bool:
    """Return whether the finite values span enough decades for a logarithmic axis, which cannot show negative ones."""
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array)]
    positive = finite[finite > 0]
    if not positive.size or finite.min() < 0:
        return False
    return bool(np.log10(positive.max() / positive.min()) > LOG_AXIS_DECADES)


def log_axis_over_decades(axes: Axes, values: Sequence[float] | Floats) -> None:
    """Make the vertical axis logarithmic if the values span decades; curves then have gaps at zeros."""
    if spans_decades(values):
        axes.set_yscale("log", nonpositive="mask")
        log_ticks(axes.yaxis)


def log_ticks(axis: Axis) -> None:
    """Set ticks at 1 and 3 of each decade, as plain numbers, if a logarithmic axis has too few powers of ten.

    Matplotlib would label so many other ticks that they overlap.

    Args:
        axis: the axis, with everything drawn.
    """
    low, high = axis.get_view_interval()
    if high / low < NARROW_LOG_AXIS:
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def slant(names: Sequence[str], panels: int = 1) -> dict[str, Any]:
    """Return the keywords of horizontal tick labels: at an angle if they do not fit side by side.

    Args:
        names: the labels.
        panels: number of panels beside one another.
    """
    fits = sum(map(len, names)) <= ROW_LENGTH / panels
    return {} if fits else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
