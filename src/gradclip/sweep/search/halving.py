"""Successive halving over seeds: all settings get a few seeds, the best get more.

After Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization", with seeds
as the resource: the seed is the main uncertainty of a run, and runs of the same length can be stacked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, pairwise

from gradclip.sweep.results import JobResult
from gradclip.sweep.search.search_settings import SearchSettings
from gradclip.sweep.search.space import Space
from gradclip.sweep.search.trial import Trial

Launch = Callable[[Sequence[list[str]]], list[JobResult]]


def rounds(seeds: int, first: int, factor: int) -> list[int]:
    """Return the cumulative number of seeds of a setting after each round.

    Args:
        seeds: number of seeds of a setting that survives all rounds.
        first: number of seeds in the first round.
        factor: growth factor of the number of seeds per round; 1 for a single round.

    Example:
        >>> rounds(seeds=9, first=1, factor=3)
        [1, 3, 9]
        >>> rounds(seeds=5, first=2, factor=3)
        [2, 5]
        >>> rounds(seeds=5, first=2, factor=1)
        [5]
    """
    ends = []
    while factor > 1 and first < seeds:
        ends.append(first)
        first *= factor
    return [*ends, seeds]


def survivors(trials: Sequence[Trial], factor: int) -> list[Trial]:
    """Return the best trials of a round, one in ``factor`` rounded up, without those that diverged or failed."""
    fit = [trial for trial in trials if trial.state not in {"diverged", "failed"}]
    return sorted(fit, key=lambda trial: trial.loss)[: math.ceil(len(trials) / factor)]


def run_rounds(trials: Sequence[Trial], space: Space, settings: SearchSettings, launch: Launch) -> list[Trial]:
    """Run a batch of trials, each round as one launch, and return them in the same order.

    Args:
        trials: the trials to run.
        space: the ranges and the seeds.
        settings: settings of the search.
        launch: runs jobs and returns their results.
    """
    done = {trial.number: trial for trial in trials}
    going = list(trials)
    for start, end in pairwise([0, *rounds(len(space.seeds), settings.first_seeds, settings.reduction_factor)]):
        if not going:
            break
        seeds = space.seeds[start:end]
        jobs = iter(launch([space.job(trial.values, seed) for trial in going for seed in seeds]))
        going = [replace(trial, jobs=(*trial.jobs, *islice(jobs, len(seeds)))) for trial in going]
        done |= {trial.number: trial for trial in going}
        going = survivors(going, settings.reduction_factor)
    return list(done.values())
