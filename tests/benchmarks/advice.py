"""Does advice hold? Problems as they were started, and as advised, over seeds: a table in Markdown, failures included.

The advice is taken from one run; the seeds that it is tried with are others. Exit code 1 if on the tutorial's problem
an advised setting does not beat both published ones: ``python tests/benchmarks/advice.py [seeds]``.
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
import pandas as pd
from reference import configure, train_once
from sklearn.datasets import make_friedman1

from gradclip import keys
from gradclip.advise.evidence import gather
from gradclip.advise.overrides import base_overrides, merge
from gradclip.advise.suggestions import suggest
from gradclip.compare.statistics import difference_p_value, probability_of_improvement
from gradclip.config import flatten
from gradclip.telling import tell_number
from gradclip.tracking.stored import StoredRun

FIRST_SEED = 1000
PUBLISHED = (("clip=norm", "clip.value=1.0"), ("clip=value", "clip.value=5.0"))
GENERATED = ("data.random_state=7", "data.features=50", "data.samples=400", "data.noise=10")


class Problem(NamedTuple):
    """A problem, how a run of it was started, and what it is called."""

    name: str
    overrides: tuple[str, ...]


def problems(table: Path) -> list[Problem]:
    """All of them; the last two are tables that the advice was not made for."""
    friedman = ("data=table", f"data.path={table}", "data.target=y")
    return [
        *(Problem("tutorial", overrides) for overrides in (*PUBLISHED, ("clip=none",))),
        Problem("diabetes", ("data=diabetes", "clip=norm", "clip.value=1.0")),
        Problem("diabetes", ("data=diabetes", "clip=none")),
        Problem("temporal order", ("+experiment=recurrent_explosion",)),
        Problem("adding", ("+experiment=recurrent_divergence",)),
        Problem("regression, 50 features", (*GENERATED, "clip=none")),
        Problem("regression, 50 features", (*GENERATED, "clip=norm", "clip.value=1.0")),
        Problem("Friedman, heavy tails", (*friedman, "clip=none")),
        Problem("Friedman, heavy tails", (*friedman, "clip=norm", "clip.value=1.0")),
    ]


def write_friedman(path: Path) -> None:
    """Friedman's first function a hundred times as large, with noise of Student's t (2 degrees of freedom)."""
    inputs, target = make_friedman1(600, noise=0.0, random_state=0)
    noise = np.random.default_rng(0).standard_t(2, len(target)) * 30
    pd.DataFrame(inputs, columns=[f"x{i}" for i in range(10)]).assign(y=100 * target + noise).to_csv(path, index=False)


def advised(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """What the advice makes of one run."""
    from gradclip.pipeline import Job, train

    config = configure(overrides)
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Job("as it was", Path(folder), {}))
        telemetry = pd.read_parquet(Path(folder) / keys.TELEMETRY_FILE)
    summary, tags = result.summary, {keys.COMMAND: " ".join(["python", "src/train.py", *overrides])}
    run = StoredRun("", "", None, "FINISHED", 0.0, flatten(config), summary.metrics(), summary.tags() | tags)
    evidence = gather(run, telemetry)
    return tuple(merge(base_overrides(run), suggest(evidence, evidence)[0].changes))


def errors_of(pool: ProcessPoolExecutor, overrides: tuple[str, ...], seeds: int) -> np.ndarray:
    """Final test errors, less being better; infinite where a run diverged."""
    places = range(FIRST_SEED, FIRST_SEED + seeds)
    summaries = list(pool.map(train_once, [overrides] * seeds, places))
    sign = -1 if summaries[0].score.name == keys.ACCURACY.name else 1  # from another process, so not the same object
    return np.array([np.inf if run.outcome == "diverged" else sign * run.score_test for run in summaries])


def tell(errors: np.ndarray) -> str:
    """Median, and middle half."""
    if np.isinf(np.median(errors)):
        return f"diverged ({np.isinf(errors).sum()} of {len(errors)})"
    low, middle, high = np.abs(np.percentile(errors, [25, 50, 75], method="inverted_cdf"))
    return f"{tell_number(middle)} ({tell_number(low)}, {tell_number(high)})"


def tell_outcome(errors: np.ndarray, others: np.ndarray) -> str:
    """Whether the advice held."""
    if difference_p_value(errors, others) >= 0.05:
        return "cannot be told"
    return "yes" if probability_of_improvement(errors, others).value > 0.5 else "**no**"


def short(overrides: Sequence[str], table: Path) -> str:
    """Overrides without what belongs to the problem."""
    told = [text for text in overrides if not text.startswith(("data.path", "data.target=")) and text not in GENERATED]
    return f"`{' '.join(told)}`".replace(str(table), table.name)


def main(seeds: int) -> int:
    """Run all and print the table, a row as soon as it is known."""
    known: dict[tuple[str, ...], np.ndarray] = {}
    beaten = True
    print("| problem | as it was | test score | as advised | test score | probability of improvement | held |")
    print("|---|---|---|---|---|---|---|", flush=True)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        table = Path(folder) / "friedman.csv"
        write_friedman(table)
        for name, was in problems(table):
            new = advised(was)
            for overrides in (was, new):
                if overrides not in known:
                    known[overrides] = errors_of(pool, overrides, seeds)
            old_errors, new_errors = known[was], known[new]
            chance = probability_of_improvement(new_errors, old_errors)
            odds = f"{chance.value:.2f} ({chance.low:.2f} to {chance.high:.2f})"
            row = [name, short(was, table), tell(old_errors), short(new, table), tell(new_errors), odds]
            print(f"| {' | '.join([*row, tell_outcome(new_errors, old_errors)])} |", flush=True)
            if name == "tutorial":
                known |= {one: errors_of(pool, one, seeds) for one in PUBLISHED if one not in known}
                beaten &= all(np.median(new_errors) < np.median(known[one]) for one in PUBLISHED)
    print(f"\nScores: median (middle half) over {seeds} seeds; MSE, or accuracy for temporal order.")
    return 0 if beaten else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
