"""Figure of the README, the tutorial's three runs over several seeds: ``python tests/benchmarks/figure.py``."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.validation import validate
from gradclip.plots.style import BLUE, ORANGE, RED, draw
from gradclip.program import PROJECT_ROOT
from gradclip.training.components import Components, build_components

RUNS = {
    "no clipping": (("clip=none",), RED),
    "norm, threshold 1": (("clip=norm", "clip.value=1.0"), BLUE),
    "value, threshold 5": (("clip=value", "clip.value=5.0"), ORANGE),
}
FIRST_STEPS = 60
SEEDS = 10


def train(overrides: tuple[str, ...]) -> Components:
    """Train one untracked run."""
    quietly = ["tracking=none", "trainer.progress_bar=false"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = validate(compose("train", [*overrides, *quietly]))
    with tempfile.TemporaryDirectory() as folder:
        parts = build_components(config, Path(folder))
        parts.trainer.fit(parts.module, parts.data)
    return parts


def plot(figure: Figure) -> None:
    """Plot gradient norms of the first steps on the left, one seed, and test errors on the right, all seeds."""
    norms, errors = figure.subplots(1, 2)
    for name, (overrides, color) in RUNS.items():
        runs = [train((*overrides, f"seed={seed}")) for seed in range(SEEDS)]
        plot_line(norms, runs[0].monitor.record.norm[:FIRST_STEPS], name, color)
        if overrides != ("clip=none",):  # its errors are not finite
            plot_median(errors, np.array([run.curves["test"] for run in runs]), color)
    norms.set(title="Gradient norm before clipping", xlabel="optimizer step", yscale="log")
    errors.set(title="Mean squared error on test rows", xlabel="epoch", yscale="log")
    norms.legend(loc="center right")
    errors.text(
        0.97, 0.95, f"line: median of {SEEDS} seeds, band: all", transform=errors.transAxes, ha="right", va="top"
    )


def plot_median(axes: Axes, curves: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", color: str) -> None:
    """Plot the median of curves, ``[seeds, epochs]``, and the band that contains all of them."""
    epochs = np.arange(1, curves.shape[1] + 1)
    axes.plot(epochs, np.median(curves, axis=0), color=color)
    axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.2, linewidth=0)


def plot_line(axes: Axes, values: "np.ndarray[tuple[int], np.dtype[np.float64]]", name: str, color: str) -> None:
    """Plot a curve up to its last finite point, with a mark where it ends early.

    Args:
        axes: axes to draw into.
        values: values of the curve.
        name: label in the legend.
        color: colour of the curve.
    """
    finite = values[np.isfinite(values)]
    axes.plot(np.arange(1, len(finite) + 1), finite, color=color, label=name)
    if len(finite) < len(values) and len(finite):
        axes.plot(len(finite), finite[-1], "x", color=color, markersize=10, markeredgewidth=2.5)
        axes.annotate(f"NaN after step {len(finite)}", (len(finite), finite[-1]), (10, -4), textcoords="offset points")


if __name__ == "__main__":
    register_resolvers()
    draw(PROJECT_ROOT / "docs" / "tutorial.png", plot, size=(11, 4))
    sys.exit(0)
