"""Does advice hold? Problems as they were started, and as advised, over seeds: a table in Markdown, failures included.

The advice is taken from one run; the seeds that it is tried with are others. Exit code 1 if on the tutorial's problem
an advised setting does not beat both published ones: ``python tests/benchmarks/advice.py [seeds] [problem ...]``.
"""

import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1

from gradclip import keys
from gradclip.advise.training import train_seeds
from gradclip.cli.advise import probe_norms, read_evidence
from gradclip.compare.metric import Metric
from gradclip.compare.report import format_error
from gradclip.compare.statistics import difference_p_value, probability_of_improvement
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.suggestions import suggest
from gradclip.sweep.results import read_results

FIRST_SEED = 1000
MAGNITUDE = Metric("", sign=1, curve="")
PUBLISHED = (("clip=norm", "clip.value=1.0"), ("clip=value", "clip.value=5.0"))
GENERATED = ("data.random_state=7", "data.features=50", "data.samples=400", "data.noise=10")


class Problem(NamedTuple):
    """A problem, how a run of it was started, and whether its norms are measured by a probe."""

    name: str
    overrides: tuple[str, ...]
    probe: bool = False


class Scores(NamedTuple):
    """Final errors of some seeds, ``[seeds]`` each, less being better; infinite where a run diverged."""

    train: np.ndarray
    test: np.ndarray
    learned: np.ndarray  # whether a run did better than a guess


def problems(table: Path) -> list[Problem]:
    """All of them; the advice was made for that of the tutorial."""
    tables: dict[str, tuple[str, ...]] = {
        "tutorial": (),
        "diabetes": ("data=diabetes",),
        "regression, 50 features": GENERATED,
        "Friedman, heavy tails": ("data=table", f"data.path={table}", "data.target=y"),
    }
    return [
        Problem("tutorial", PUBLISHED[1]),
        *(Problem(name, (*data, *PUBLISHED[0])) for name, data in tables.items()),
        *(Problem(name, (*data, "clip=none"), probe) for name, data in tables.items() for probe in (False, True)),
        Problem("temporal order", ("+experiment=recurrent_explosion",)),
        Problem("adding", ("+experiment=recurrent_divergence",)),
    ]


def write_friedman(path: Path) -> None:
    """Friedman's first function a hundred times as large, with noise of Student's t (2 degrees of freedom)."""
    inputs, target = make_friedman1(600, noise=0.0, random_state=0)
    noise = np.random.default_rng(0).standard_t(2, len(target)) * 30
    pd.DataFrame(inputs, columns=[f"x{i}" for i in range(10)]).assign(y=100 * target + noise).to_csv(path, index=False)


def tracking_in(folder: Path) -> TrackingSettings:
    """A store of its own."""
    address = (f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts")
    return compose_config([*address, "tracking.experiment=advice"]).tracking


def advised(problem: Problem, folder: Path) -> tuple[str, ...]:
    """What the advice makes of one run."""
    tracking = tracking_in(folder)
    (run_id,) = train_seeds(problem.overrides, range(1), tracking, Path(tempfile.mkdtemp(dir=folder), "first"))
    evidence = read_evidence(tracking, run_id)
    probe = probe_norms(tracking, evidence, Path(tempfile.mkdtemp(dir=folder), "probe")) if problem.probe else None
    return tuple(merge(evidence.training.command or (), suggest(probe or evidence, evidence)[0].changes))


@cache
def scores_of(overrides: tuple[str, ...], seeds: int, folder: Path) -> Scores:
    """Train over fresh seeds."""
    multirun = Path(tempfile.mkdtemp(dir=folder), "seeds")
    train_seeds(overrides, range(FIRST_SEED, FIRST_SEED + seeds), tracking_in(folder), multirun)
    results = read_results(multirun)
    sign = -1 if results[0].score == keys.ACCURACY.name else 1
    both = np.array([[sign * run.score_on("train"), sign * run.score_on("test")] for run in results])
    learned = np.array([run.outcome == "learned" for run in results])
    train, test = np.where(np.isfinite(both), both, np.inf).T
    return Scores(train, test, learned)


def format_scores(errors: np.ndarray) -> str:
    """Median and quartiles."""
    if np.isinf(np.median(errors)):
        return f"diverged ({np.isinf(errors).sum()} of {len(errors)})"
    ends = sorted(abs(np.percentile(errors, [25, 50, 75], method="inverted_cdf")))
    low, middle, high = (format_error(float(end), MAGNITUDE) for end in ends)
    return f"{middle} ({low}, {high})"


def verdict(new: Scores, old: Scores) -> str:
    """Whether the runs as advised are better than the runs as they were."""
    if difference_p_value(new.test, old.test) >= 0.05:
        return "not significant"
    if new.learned.mean() < 0.5:
        return "**no**: nothing is learned"
    return "yes" if probability_of_improvement(new.test, old.test).value > 0.5 else "**no**"


def short(overrides: Sequence[str], table: Path) -> str:
    """Overrides without what belongs to the problem."""
    kept = [text for text in overrides if not text.startswith(("data.path", "data.target=")) and text not in GENERATED]
    return f"`{' '.join(kept)}`".replace(str(table), table.name)


def row(problem: Problem, new: tuple[str, ...], old_scores: Scores, new_scores: Scores, table: Path) -> str:
    """A problem as it was and as advised."""
    chance = probability_of_improvement(new_scores.test, old_scores.test)
    odds = f"{chance.value:.2f} ({chance.low:.2f} to {chance.high:.2f})"
    arms = (short(problem.overrides, table), old_scores), (short(new, table), new_scores)
    (was, *before), (advised, *after) = (
        [settings, format_scores(scores.train), format_scores(scores.test)] for settings, scores in arms
    )
    was += ", `probe=true`" if problem.probe else ""
    cells = [problem.name, was, *before, advised, *after, odds, verdict(new_scores, old_scores)]
    return f"| {' | '.join(cells)} |"


def main(seeds: int, names: Sequence[str]) -> int:
    """Run all, or the problems of some names, and print the table, a row as soon as it is known."""
    beaten = True
    print("| problem | as it was | train | test | as advised | train | test | probability of improvement | better |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_friedman(table := folder / "friedman.csv")
        for problem in problems(table):
            if names and not problem.name.startswith(tuple(names)):
                continue
            new = advised(problem, folder)
            old_scores, new_scores = scores_of(problem.overrides, seeds, folder), scores_of(new, seeds, folder)
            print(row(problem, new, old_scores, new_scores, table), flush=True)
            if problem.name == "tutorial":
                published = [np.median(scores_of(one, seeds, folder).test) for one in PUBLISHED]
                beaten &= bool(np.median(new_scores.test) < min(published))
    print(f"\nScores: median (quartiles) over {seeds} seeds; MSE, or accuracy for temporal order.")
    return 0 if beaten else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:]))
