"""Successive halving over seeds: all settings get a few seeds, the best go on to more.

After Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization", with seeds
as the resource: what makes one run of a setting doubtful is its seed, and runs of the same length train together.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from gradclip.sweep.results import JobResult
from gradclip.sweep.search.search_settings import SearchSettings
from gradclip.sweep.search.space import Space
from gradclip.sweep.search.trial import Trial

Launch = Callable[[Sequence[list[str]]], list[JobResult]]


def rounds(seeds: int, first: int, factor: int) -> list[int]:
    """How many seeds a setting has had at the end of each round.

    Args:
        seeds: number of seeds of a setting that is never dropped.
        first: number of seeds in the first round.
        factor: by which each round has more; 1: a single round.

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
    """The best of a round, one in ``factor`` rounded up; none that diverged or failed."""
    fit = [trial for trial in trials if trial.state not in {"diverged", "failed"}]
    return sorted(fit, key=lambda trial: trial.loss)[: math.ceil(len(trials) / factor)]


def run_rounds(trials: Sequence[Trial], space: Space, settings: SearchSettings, launch: Launch) -> list[Trial]:
    """Run a batch of settings, each round as one launch, and return them in the same order.

    Args:
        trials: the settings to try.
        space: the ranges and the seeds.
        settings: of the search.
        launch: runs jobs and returns how they ended.
    """
    done = {trial.number: trial for trial in trials}
    going = list(trials)
    for start, end in pairwise([0, *rounds(len(space.seeds), settings.first_seeds, settings.reduction_factor)]):
        going = _run_round(going, space, space.seeds[start:end], launch)
        done |= {trial.number: trial for trial in going}
        going = survivors(going, settings.reduction_factor)
    return list(done.values())


def _run_round(going: Sequence[Trial], space: Space, seeds: Sequence[str], launch: Launch) -> list[Trial]:
    if not going:
        return []
    jobs = launch([space.job(trial.values, seed) for trial in going for seed in seeds])
    shares = [jobs[start : start + len(seeds)] for start in range(0, len(jobs), len(seeds))]
    return [replace(trial, jobs=(*trial.jobs, *share)) for trial, share in zip(going, shares, strict=True)]
