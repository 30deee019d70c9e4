"""Figures of the target and of predictions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradclip.arrays import Floats
from gradclip.formatting import shortened
from gradclip.plots.style import BLUE, GREY, SPLIT_COLORS, bin_edges, slant
from gradclip.scores import Split

MAX_NUMBERED_CLASSES = 12  # with more classes, the counts in the cells would be illegible
MAX_NAMED_CLASSES = 30  # with more classes, their names would be illegible
CLASS_LENGTH = 18  # characters of a class's name
ROWS_HEIGHT = 190  # points, of all rows of a confusion matrix


def plot_target(figure: Figure, rows: Mapping[Split, Floats], unit: str) -> None:
    """Plot a histogram and a box plot of the target.

    Args:
        figure: an empty figure.
        rows: target of each split, ``[rows]``, in its own unit.
        unit: label of the axis.
    """
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1], gridspec_kw={"hspace": 0.12})
    train = rows["train"]
    bins = bin_edges(np.concatenate([*rows.values()]))
    total = sum(map(len, rows.values()))
    for split, target in rows.items():
        label = f"{split} ({len(target)} rows)"
        order = 2 - len(target) / total  # the fewest in front
        top.hist(target, bins=bins, color=SPLIT_COLORS[split], alpha=0.65, label=label, zorder=order)
    top.set(title=f"Target: mean {train.mean():.3g}, standard deviation {train.std():.3g} (train)", ylabel="rows")
    top.legend()
    upwards = [*rows][::-1]
    boxes = bottom.boxplot([rows[split] for split in upwards], orientation="horizontal", widths=0.6, patch_artist=True)
    for box, split in zip(boxes["boxes"], upwards, strict=True):
        box.set(facecolor=SPLIT_COLORS[split], alpha=0.65)
    for line in boxes["medians"]:
        line.set(color="black")
    bottom.set_yticklabels(upwards, fontsize=10)
    bottom.set_xlabel(unit)


def plot_predictions(figure: Figure, target: Floats, predicted: Floats, unit: str, title: str) -> None:
    """Plot predicted against true values of the test examples, with a line for perfect predictions.

    Args:
        figure: an empty figure.
        target: true values, ``[examples]``.
        predicted: finite predictions, ``[examples]``.
        unit: name and unit of the target.
        title: title of the figure.
    """
    axes = figure.subplots()
    ends = [min(target.min(), predicted.min()), max(target.max(), predicted.max())]
    axes.plot(ends, ends, color=GREY, linestyle="--", label="perfect prediction")
    axes.plot(target, predicted, "o", color=BLUE, markersize=4, alpha=0.4, label=f"{len(target)} test examples")
    axes.set(title=title, xlabel=f"true {unit}", ylabel="predicted")
    axes.legend(loc="upper left")


def plot_confusion(figure: Figure, counts: NDArray[np.int64], names: Sequence[str], title: str) -> None:
    """Plot a confusion matrix, with colours for fractions of the true class.

    Args:
        figure: an empty figure.
        counts: numbers of test examples, ``[true classes, predicted classes]``.
        names: names of the classes.
        title: title of the figure.
    """
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    axes.grid(False)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(names) <= MAX_NUMBERED_CLASSES:
        for row, column in np.ndindex(*counts.shape):
            color = "white" if fractions[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color)
    are_named = len(names) <= MAX_NAMED_CLASSES
    by = "" if are_named else " (number, in the order of the names)"
    axes.set(title=title, xlabel=f"predicted class{by}", ylabel=f"true class{by}")
    if are_named:
        short, size = [shortened(name, CLASS_LENGTH) for name in names], min(11, ROWS_HEIGHT / len(names))
        axes.set_xticks(range(len(names)), short, fontsize=size, **slant(short))
        axes.set_yticks(range(len(names)), short, fontsize=size)
    figure.colorbar(image, ax=axes, pad=0.02).set_label("fraction of the true class")
