"""Regret of advice compared with the best of all settings tried.

``python -m tests.benchmarks.advice [seeds] [problem ...]`` prints a Markdown table. The advice comes from one run, and
is judged by runs with other seeds. The best settings are chosen on validation rows, if there are any, and reported on
test rows. ``--held-out`` uses the problems that were added after the first version of the advice; results on them
led to two later changes. ``--folder`` keeps the trained runs, so that a second call with another advice need not train
them again.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from gradclip import keys
from gradclip.advise.evidence import read_evidence
from gradclip.advise.probe import run_probe
from gradclip.advise.training import train_settings
from gradclip.config.composition import compose_config
from gradclip.config.overrides import merge
from gradclip.config.tracking import TrackingSettings
from gradclip.diagnosis.suggestions import suggest
from gradclip.formatting import chosen_on_test
from tests.benchmarks.advice_problems import Problem, problems
from tests.benchmarks.advice_regret import (
    CLIPPED,
    ORIGINAL,
    PLAIN,
    Candidate,
    Judged,
    Tried,
    best,
    candidates,
    median_error,
)
from tests.benchmarks.advice_trials import Laboratory, Trials

FIRST_SEED = 1000
NOTHING = "nothing"  # the advice is to change nothing
HEADER = [
    "problem",
    "original",
    "advised",
    "best threshold",
    "best plain remedy",
    "best of all",
    "regret",
    "learned / diverged",
]


def tracking_in(folder: Path) -> TrackingSettings:
    """Return the settings of a store in a folder."""
    address = (f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts")
    return compose_config([*address, "tracking.experiment=advice"]).tracking


def advice_on(problem: Problem, folder: Path) -> list[list[Candidate]]:
    """Return the suggestions for one run in their order; a suggestion of several thresholds has several candidates.

    Args:
        problem: the problem.
        folder: folder of the store.
    """
    tracking = tracking_in(folder)
    evidence = measured = read_evidence(first_run(problem, tracking, folder), tracking)
    if evidence.needs_probe:  # the condition of probe=auto
        measured = run_probe(evidence, tracking, Path(tempfile.mkdtemp(dir=folder), "probe"), may_be_long=False)
    return [
        [
            Candidate("advised", remedy.what, tuple(merge(problem.overrides, changes)))
            for changes in product(*(_values(change) for change in remedy.changes))
        ]
        for remedy in suggest(measured, evidence)
        if remedy.changes
    ]


def _values(change: str) -> list[str]:
    """Return an override for each of several values."""
    name, _, values = change.partition("=")
    return [f"{name}={value}" for value in values.split(",")]


def first_run(problem: Problem, tracking: TrackingSettings, folder: Path) -> str:
    """Return the id of the run that is advised on; it is trained if it is not in the store.

    Args:
        problem: the problem.
        tracking: settings of the store.
        folder: folder of the store.
    """
    path, key = folder / "runs.json", " ".join(problem.overrides)
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if key not in known:
        multirun = Path(tempfile.mkdtemp(dir=folder), "first")
        (known[key],) = train_settings([problem.overrides], range(1), tracking, multirun, keys.CONFIRMATION)
        path.write_text(json.dumps(known))
    return known[key]


def judge(problem: Problem, laboratory: Laboratory, folder: Path) -> Judged:
    """Train the advised settings and all candidates that they are compared with.

    Args:
        problem: the problem.
        laboratory: trains the settings.
        folder: folder of the store.
    """
    advice = advice_on(problem, folder)[:2] or [[Candidate("advised", NOTHING, problem.overrides)]]
    others = candidates(problem, compose_config(problem.overrides).parts.optimizer.lr)
    settings = [one.settings for some in [others, *advice] for one in some]
    trials = dict(zip(settings, laboratory.train(settings), strict=True))
    tried, *suggested = ([Tried(one, trials[one.settings]) for one in some] for some in [others, *advice])
    first, *second = map(best, suggested)
    return Judged(problem, first, second[0] if second else None, tried)


def row(judged: Judged) -> str:
    """Return a row of the table."""
    problem, tried = judged.problem, judged.tried
    original, clipped, plain = (best(tried, role) for role in (ORIGINAL, CLIPPED, PLAIN))
    cells = [
        problem.name + ("" if original.trials.split == "validation" else " *"),
        f"`{' '.join(problem.start)}` {error(original.trials)}",
        f"{what(judged.advised.candidate, problem)} {error(judged.advised.trials)}",
        f"{clipped.candidate.name}: {error(clipped.trials)}",
        f"{plain.candidate.name}: {error(plain.trials)}",
        judged.best.candidate.name,
        ratio(judged.regret),
        outcomes(judged.advised.trials),
    ]
    return f"| {' | '.join(cells)} |"


def what(advised: Candidate, problem: Problem) -> str:
    """Return the advised overrides without those of the problem, as text."""
    if advised.name == NOTHING:
        return NOTHING
    return f"`{' '.join(text for text in advised.settings if text not in problem.task)}`"


def error(trials: Trials) -> str:
    """Return the median error on the test rows as text."""
    value = median_error(trials)
    return "diverged" if np.isinf(value) else f"{float(f'{value:.3g}'):g}"


def ratio(value: float) -> str:
    """Return a regret as text, in bold if it is large."""
    return f"**{value:.3g}**" if value > 1.5 else f"{value:.2f}"


def outcomes(trials: Trials) -> str:
    """Return the numbers of seeds that learned and that diverged, as text."""
    return " / ".join(f"{trials.outcomes.count(outcome)}" for outcome in ("learned", "diverged"))


def summary(judged: Sequence[Judged]) -> str:
    """Return sentences that summarize the table."""
    regrets = np.array([one.regret for one in judged])
    worst = judged[int(np.argmax(regrets))].problem
    better = [one for one in judged if one.better_plain_remedy]
    first = sum(one.names_it_first for one in better)
    second = [one.second.trials for one in judged if one.second]
    diverged = sum(np.isinf(median_error(trials)) for trials in second)
    return "\n".join(
        [
            f"Errors on test rows, medians over seeds; * {chosen_on_test()}",
            f"Regret: median {np.median(regrets):.2f}, worst {regrets.max():.3g} ({worst.name}, "
            f"`{' '.join(worst.start)}`); above 1.5 in {np.sum(regrets > 1.5)} of {len(judged)} problems.",
            f"A plain remedy is the best of all in {len(better)} problems; the advice names its kind first in {first}.",
            f"The second suggestion diverged in {diverged} of the {len(second)} problems that have one.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=10)
    parser.add_argument("names", nargs="*", metavar="problem", help="beginnings of names; by default all problems")
    parser.add_argument("--held-out", action="store_true", help="use problems added after the first version")
    parser.add_argument("--folder", type=Path, help="folder that keeps the trained runs")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"argument seeds: got {options.seeds}; must be at least 1")
    with tempfile.TemporaryDirectory() as made:
        folder: Path = (options.folder or Path(made)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        chosen = problems(options.names, options.held_out, folder)
        if not chosen:
            parser.error(f"problem: got {' '.join(options.names)}; no problem name starts with it")
        laboratory = Laboratory(range(FIRST_SEED, FIRST_SEED + options.seeds), folder / "trials.json")
        print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
        judged = []
        for problem in chosen:
            judged.append(judge(problem, laboratory, folder))
            print(row(judged[-1]), flush=True)
    print(f"\n{summary(judged)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
