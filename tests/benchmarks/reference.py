"""Check of the tutorial's three runs, and of one with a smaller learning rate, over 40 seeds.

``python tests/benchmarks/reference.py`` prints a Markdown table with the published numbers. The exit code is 1 if a
median lies outside its reference band, or if a run of the tutorial without clipping does not diverge. The bands of the
tutorial's runs come from an independent implementation over 2,000 seeds.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir

from gradclip.config.paths import CONFIG_FOLDER, register_resolvers
from gradclip.config.schema import TrainConfig
from gradclip.config.validation import validate
from gradclip.training.outcome import Summary

SEEDS = range(40)


class Reference(NamedTuple):
    """A run of the tutorial's network: its overrides, its published errors, and the bands of its medians."""

    overrides: tuple[str, ...]
    published: str
    train_band: tuple[float, float]
    test_band: tuple[float, float]


NOTHING = (np.nan, np.nan)
REFERENCES = (
    Reference(("clip=none",), "nan / nan", NOTHING, NOTHING),
    Reference(("clip=norm", "clip.value=1.0"), "5.08 / 27.43", (2.1, 3.4), (16.0, 23.0)),
    Reference(("clip=value", "clip.value=5.0"), "9.49 / 9.99", (30.0, 65.0), (36.0, 75.0)),
    Reference(("clip=none", "optimizer.lr=0.001"), "", (0.2, 1.0), (2.5, 6.0)),
)


def configure(overrides: Sequence[str]) -> TrainConfig:
    """Return the config of an untracked run, composed as the command does it."""
    register_resolvers()
    quietly = ["tracking=none", "figures=false", "trainer.progress_bar=false"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return validate(compose("train", [*overrides, *quietly]))


def train_once(overrides: tuple[str, ...], seed: int) -> Summary:
    """Train one untracked run with the pipeline of the command."""
    from gradclip.training.job import Job
    from gradclip.training.pipeline import train

    with tempfile.TemporaryDirectory() as folder:
        return train(Job(configure([*overrides, f"seed={seed}"]), (), Path(folder))).summary


def describe(errors: list[float]) -> str:
    """Return the median, and the 5th and 95th percentiles, as text; diverged runs rank last."""
    if np.isnan(errors).all():
        return "nan in all"
    low, median, high = np.percentile(np.nan_to_num(errors, nan=np.inf), [5, 50, 95])
    return f"**{median:.3g}** ({low:.3g} to {high:.3g})"


def lies_in(errors: list[float], band: tuple[float, float]) -> bool:
    """Return whether the median lies in its band; without a band, whether all runs diverged."""
    if np.isnan(band).all():
        return bool(np.isnan(errors).all())
    return bool(band[0] <= np.median(np.nan_to_num(errors, nan=np.inf)) <= band[1])


def main() -> int:
    """Train all runs, and print the table."""
    rows, right = [], True
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        for reference in REFERENCES:
            summaries = list(pool.map(train_once, [reference.overrides] * len(SEEDS), SEEDS))
            train, test = ([run.scores[split] for run in summaries] for split in ("train", "test"))
            right &= lies_in(train, reference.train_band) and lies_in(test, reference.test_band)
            diverged = sum(run.outcome == "diverged" for run in summaries)
            share = f"{diverged} of {len(SEEDS)}"
            command = " ".join(reference.overrides)
            rows.append(f"| `{command}` | {share} | {describe(train)} | {describe(test)} | {reference.published} |")
    print("| run | diverged | train MSE | test MSE | published run (train / test) |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))
    print("\nAll within the reference bands." if right else "\nNOT within the reference bands.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
