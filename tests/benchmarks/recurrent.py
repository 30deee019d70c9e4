"""Success rates of recurrent networks with and without clipping, over seeds.

``python tests/benchmarks/recurrent.py`` prints the tables of docs/recurrent.md, which takes about half an hour. The
exit code is 1 if a claim does not hold. With ``--figures FOLDER`` it also draws the figures of that page.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from reference import train_once

from gradclip.compare.statistics import Estimate, proportion
from gradclip.plots.heat_maps import plot_time_heat_map
from gradclip.plots.style import BLUE, RED, draw
from gradclip.training.outcome import Summary

SOLVE = ("data.steps_per_epoch=250", "trainer.stop_when_solved=true")  # scores the test sequences every 250 updates
CLIPPINGS = {"none": ("clip=none",), "norm 1": ("clip=norm", "clip.value=1")}
THRESHOLDS = (0.01, 0.3, 1, 3, 10, 30)
LENGTHS = (10, 20, 30, 40)
SNAPSHOTS = 30  # at most, of the hidden states in one run; runs of the command keep fewer
FADED = 1e-6  # smaller norms get the same colour
Wish = Callable[["Successes"], bool]


@dataclass(frozen=True)
class Successes:
    """The number of runs that succeeded."""

    count: int
    runs: int

    @classmethod
    def of(cls, summaries: Sequence[Summary], success: Callable[[Summary], bool]) -> "Successes":
        """Count the successful runs."""
        return cls(sum(map(success, summaries)), len(summaries))

    @property
    def rate(self) -> Estimate:
        """The success rate with Wilson's interval."""
        return proportion(self.count, self.runs)


def at_least(share: float) -> Wish:
    """Return a check that at least this share of the runs succeeds."""
    return lambda successes: successes.count >= share * successes.runs


def at_most(share: float) -> Wish:
    """Return a check that at most this share of the runs succeeds."""
    return lambda successes: successes.count <= share * successes.runs


@dataclass(frozen=True)
class Row:
    """Runs over several seeds, with the criterion of success and the expected success rate."""

    overrides: tuple[str, ...]
    seeds: int
    success: Callable[[Summary], bool]
    wish: Wish
    claim: str


def solved(summary: Summary) -> bool:
    """Return whether the mark of the task was reached: an error below 1% on 10,000 unseen sequences."""
    return bool(summary.solved)


def learned(summary: Summary) -> bool:
    """Return whether the run learned, and its final error is below half of the baseline's."""
    return summary.outcome == "learned" and summary.scores["test"] < 1 / 12


def diverged(summary: Summary) -> bool:
    """Return whether the run diverged."""
    return summary.outcome == "diverged"


ORDER = ("trainer.max_epochs=4", *SOLVE)
GRAVES = ("+experiment=recurrent_graves", "trainer.stop_when_solved=true")
ROWS = (
    Row(("+experiment=recurrent_explosion", *ORDER), 20, solved, at_most(0.05), "solved"),
    Row(("+experiment=recurrent_norm_scaling", *ORDER), 20, solved, at_least(0.95), "solved"),
    Row(("+experiment=recurrent_divergence",), 20, diverged, at_least(0.9), "diverged"),
    Row(("+experiment=recurrent_divergence_norm_scaling",), 20, learned, at_least(0.9), "test MSE below half of 1/6"),
    Row((*GRAVES, "clip=none"), 5, solved, at_most(0.2), "solved"),
    Row(GRAVES, 5, solved, at_least(0.8), "solved"),
)
SLOWER = ("+experiment=recurrent_norm_scaling", "optimizer.lr=0.1", "trainer.max_epochs=12", *SOLVE)


def run_all(pool: ProcessPoolExecutor, overrides: Sequence[str], seeds: int) -> list[Summary]:
    """Train the same run over several seeds."""
    return list(pool.map(train_once, [tuple(overrides)] * seeds, range(seeds)))


def format_successes(successes: Successes) -> str:
    """Format the count and the confidence interval of the rate."""
    _, low, high = successes.rate
    return f"{successes.count} of {successes.runs} | {low:.0%} to {high:.0%}"


def table_of_claims(pool: ProcessPoolExecutor) -> bool:
    """Print the first table; return whether all rates are as expected."""
    print("| run | success | seeds | 95% interval | steps, median |\n|---|---|---|---|---|")
    right = True
    for row in ROWS:
        summaries = run_all(pool, row.overrides, row.seeds)
        successes = Successes.of(summaries, row.success)
        right &= row.wish(successes)
        steps = int(np.median([summary.steps for summary in summaries]))
        name = " ".join(override for override in row.overrides if override not in ORDER)
        print(f"| `{name}` | {row.claim} | {format_successes(successes)} | {steps:,} |", flush=True)
    return right


def table_of_thresholds(pool: ProcessPoolExecutor) -> bool:
    """Print how often each threshold solves temporal order at a smaller learning rate.

    Return whether a threshold between the ends is clearly the best.
    """
    print("\n| `clip.value` | solved | 95% interval |\n|---|---|---|")
    counts = []
    for threshold in THRESHOLDS:
        summaries = run_all(pool, [*SLOWER, f"clip.value={threshold}"], 10)
        successes = Successes.of(summaries, solved)
        counts.append(successes.count)
        print(f"| {threshold:g} | {format_successes(successes)} |", flush=True)
    return max(counts[1:-1]) > 2 * max(counts[0], counts[-1])


def rates_by_length(pool: ProcessPoolExecutor) -> dict[str, list[Successes]]:
    """Print and return the rates at which temporal order is solved in 3,000 updates, by length."""
    print("\n| steps T | none | 95% interval | norm 1 | 95% interval |\n|---|---|---|---|---|")
    rates: dict[str, list[Successes]] = {name: [] for name in CLIPPINGS}
    for length in LENGTHS:
        for name, clipping in CLIPPINGS.items():
            settings = ("+experiment=recurrent_explosion", *SOLVE, "trainer.max_epochs=12", f"data.length={length}")
            summaries = run_all(pool, [*settings, *clipping], 10)
            rates[name].append(Successes.of(summaries, solved))
        print(f"| {length} | {' | '.join(format_successes(of_name[-1]) for of_name in rates.values())} |", flush=True)
    return rates


def plot_rates(figure: Figure, rates: dict[str, list[Successes]]) -> None:
    """Plot the share of runs that solved the task by length, with confidence intervals."""
    axes = figure.subplots()
    for (name, of_name), color in zip(rates.items(), (RED, BLUE), strict=True):
        rate, low, high = np.array([successes.rate for successes in of_name]).T
        axes.plot(LENGTHS, rate, marker="o", color=color, label=f"clip {name}")
        axes.fill_between(LENGTHS, low, high, color=color, alpha=0.15, linewidth=0)
    title = "Temporal order solved in 3,000 updates (10 seeds, 95% interval)"
    axes.set(title=title, xlabel="time steps T", ylabel="share of runs under 1% error", ylim=(-0.03, 1.03))
    axes.legend()


def plot_through_time(figure: Figure) -> None:
    """Plot gradients by time step that vanish, explode, and have a constant norm."""
    from reference import configure

    from gradclip.training.components import build_components

    panels: list[Axes] = list(figure.subplots(1, 3, sharey=True, gridspec_kw={"left": 0.06, "right": 1.03}))
    records = {}
    for name in ("recurrent_vanishing", "recurrent_explosion", "recurrent_norm_scaling"):
        parts = build_components(configure((f"+experiment={name}", "trainer.max_epochs=4")), Path.cwd())
        parts.hidden.snapshots = SNAPSHOTS
        parts.trainer.fit(parts.module, parts.data)
        assert parts.hidden.record is not None
        (norms,) = parts.hidden.record.norms.values()
        records[name] = (parts.hidden.record.step, norms)
    scale = np.clip(np.concatenate([norms.ravel() for _, norms in records.values()]), FADED, None)
    titles = ("Vanishing", "Exploding", "Norm held at 1")
    for axes, (step, norms), title in zip(panels, records.values(), titles, strict=True):
        plot_time_heat_map(axes, step, norms, scale)
        axes.set(title=title, xlabel="optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    panels[0].set_ylabel("time step")
    bar = figure.colorbar(panels[-1].collections[0], ax=panels, pad=0.02)
    bar.set_label("log10 of the gradient norm\nat the hidden state (−6: 10⁻⁶ or less)")


def main() -> int:
    """Train all runs, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--figures", type=Path)
    folder = parser.parse_args().figures
    if folder:
        draw(folder / "through_time.png", plot_through_time, size=(11.0, 4.0))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        right = table_of_claims(pool)
        rates = rates_by_length(pool)
        right &= table_of_thresholds(pool)
    if folder:
        draw(folder / "success_by_length.png", partial(plot_rates, rates=rates))
    print("\nAll as claimed." if right else "\nNOT as claimed.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
