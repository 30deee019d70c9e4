"""League of clipping methods, each at its best threshold, on the same problems with the same budget and seeds.

``python -m tests.benchmarks.league`` trains the runs that are missing in ``docs/league.parquet``, and rewrites the
tables and the figure of ``docs/league.md``. Training everything takes a quarter of an hour; it can be stopped and
restarted at any time.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gradclip.config.schema import TrainConfig
from gradclip.program import PROJECT_ROOT
from gradclip.stacked.training import StackedTraining, keep_freed_memory
from tests.benchmarks.league_methods import METHODS, Method, limit_during_backward
from tests.benchmarks.league_page import write_page
from tests.benchmarks.league_problems import PROBLEMS, Problem

SEEDS = 10
CPU = torch.device("cpu")
COLUMNS = ("problem", "method", "threshold", "seed", "validation", "test")
Row = tuple[str, str, float, int, float, float]  # the errors are infinite if the run diverged


def read_results(path: Path) -> pd.DataFrame:
    """Return the results so far, one row per run."""
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=COLUMNS)


def train_missing(
    path: Path, problems: Sequence[Problem], methods: Sequence[Method], seeds: int = SEEDS
) -> pd.DataFrame:
    """Train the runs that are missing in the results, and update their file after each method.

    Args:
        path: file of the results.
        problems: problems to train on.
        methods: methods to train with.
        seeds: number of runs per setting.
    """
    results = read_results(path)
    for problem in problems:
        for method in methods:
            own = results[(results.problem == problem.name) & (results.method == method.name)]
            missing = set(method.thresholds(problem)) - set(own.threshold)
            configs = method.configs(problem, sorted(missing)) if missing else {}
            if not configs:
                continue
            rows = pd.DataFrame(list(train(problem, method, configs, seeds)), columns=COLUMNS)
            results = pd.concat([results, rows]) if len(results) else rows
            written = path.with_suffix(".tmp")
            results.to_parquet(written, index=False)
            written.replace(path)
            print(f"{problem.name}, {method.name}: {len(rows)} runs", flush=True)
    return results


def train(problem: Problem, method: Method, configs: dict[float, TrainConfig], seeds: int) -> Iterator[Row]:
    """Train all thresholds and seeds of a method stacked, and yield the errors of each run.

    Args:
        problem: problem to train on.
        method: method to train with.
        configs: configs of the method, by threshold.
        seeds: number of runs per threshold.
    """
    runs = [(threshold, seed) for threshold in configs for seed in range(seeds)]
    replicas = problem.replicas([configs[threshold].model_copy(update={"seed": seed}) for threshold, seed in runs])
    if method.option == "activation":
        replicas = [*map(limit_during_backward, replicas)]
    for ended in StackedTraining(replicas, CPU).run():
        for index, result in ended:
            score, scores = result.score_scale.score, result.summary.scores
            validation, test = (np.nan_to_num(score.error(scores[one]), nan=np.inf) for one in ("validation", "test"))
            yield problem.name, method.name, *runs[index], float(validation), float(test)


def main() -> None:
    """Train the missing runs, and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    docs = PROJECT_ROOT / "docs"
    write_page(train_missing(docs / "league.parquet", PROBLEMS, METHODS), docs)


if __name__ == "__main__":
    main()
