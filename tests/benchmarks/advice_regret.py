"""Regret of advice: its error on the test rows, divided by the error of the best of all settings tried."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gradclip.config.overrides import merge
from tests.benchmarks.advice_problems import Problem
from tests.benchmarks.advice_trials import Settings, Trials

FACTORS = [10 ** (exponent / 2) for exponent in range(-5, 2)]  # thresholds relative to the magnitude of the target
ORIGINAL, CLIPPED, PLAIN = "original", "clipped", "plain remedy"
SCALED_TARGET, SMALLER_RATE, ADAM = "scaled target", "smaller rate", "Adam"
SOLVED = 0.01  # smaller values of 1 − accuracy are raised to this one, so that ratios stay finite


class Candidate(NamedTuple):
    """Settings that are tried on a problem: their role, their name in the table, and their overrides."""

    role: str
    name: str
    settings: Settings


class Tried(NamedTuple):
    """A candidate with its results."""

    candidate: Candidate
    trials: Trials


class Judged(NamedTuple):
    """The advice on a problem, and the candidates that it is compared with.

    Attributes:
        problem: the problem.
        advised: the first suggestion.
        second: the second suggestion; None if there is none.
        tried: all other candidates.
    """

    problem: Problem
    advised: Tried
    second: Tried | None
    tried: Sequence[Tried]

    @property
    def best(self) -> Tried:
        """The best candidate by the rows that choose."""
        return best(self.tried)

    @property
    def regret(self) -> float:
        """The error of the advised settings divided by the error of the best candidate."""
        return regret(self.advised.trials, self.best.trials)

    @property
    def better_plain_remedy(self) -> Candidate | None:
        """The best candidate if it is a plain remedy; None otherwise."""
        return self.best.candidate if self.best.candidate.role == PLAIN else None

    @property
    def names_it_first(self) -> bool:
        """Whether the first suggestion is a remedy of the same kind as the best plain remedy."""
        better, advised = self.better_plain_remedy, self.advised.candidate
        return better is not None and kind_of(better.settings, self.problem) == kind_of(advised.settings, self.problem)


def candidates(problem: Problem, learning_rate: float) -> list[Candidate]:
    """Return all candidates: the original run, and thresholds and plain remedies with and without learning rate decay.

    Args:
        problem: the problem.
        learning_rate: learning rate of the original run.
    """
    thresholds = [f"{problem.scale * factor:.2g}" for factor in FACTORS]
    clipped = {f"norm {float(value):g}": ("clip=norm", f"clip.value={value}") for value in thresholds}
    plain: dict[str, Settings] = {SCALED_TARGET: ("data.scale_target=standard",)} if problem.can_scale_target else {}
    plain |= {f"{SMALLER_RATE} {factor}": (f"optimizer.lr={learning_rate * factor:g}",) for factor in (0.1, 0.01)}
    plain[ADAM] = ("optimizer=adam", "optimizer.lr=0.001")
    return [
        Candidate(ORIGINAL, ORIGINAL, problem.overrides),
        *_with_both_schedules(problem, CLIPPED, clipped),
        *_with_both_schedules(problem, PLAIN, {name: ("clip=none", *changes) for name, changes in plain.items()}),
    ]


def _with_both_schedules(problem: Problem, role: str, changes: Mapping[str, Settings]) -> Iterator[Candidate]:
    for schedule, suffix in (((), ""), (("schedule=warmup_cosine",), ", decay")):
        for name, some in changes.items():
            yield Candidate(role, name + suffix, tuple(merge(problem.overrides, [*some, *schedule])))


def kind_of(settings: Settings, problem: Problem) -> str:
    """Return which plain remedy some settings are; an empty string if they clip or are something else."""
    new = set(settings) - set(problem.overrides)
    if any(text.startswith("clip=") and text != "clip=none" for text in settings):
        return ""
    if any(text.startswith("data.scale_target=") for text in new):
        return SCALED_TARGET
    if "optimizer=adam" in new:
        return ADAM
    return SMALLER_RATE if any(text.startswith("optimizer.lr=") for text in new) else ""


def best(tried: Sequence[Tried], *roles: str) -> Tried:
    """Return the candidate of some roles, or of all, with the best median error on the rows that choose."""
    return min(
        (one for one in tried if not roles or one.candidate.role in roles),
        key=lambda one: np.median(one.trials.choosing),
    )


def regret(advised: Trials, other: Trials) -> float:
    """Return the ratio of two median errors on the test rows; infinite if the advised settings diverged.

    Args:
        advised: results of the advised settings.
        other: results of the best candidate.
    """
    low = SOLVED if other.score == "accuracy" else 0.0
    first, second = (max(median_error(one), low) for one in (advised, other))
    if math.isinf(first):
        return math.inf
    return first / second


def median_error(trials: Trials) -> float:
    """Return the median error on the test rows; infinite if at least half of the runs diverged."""
    return float(np.median(trials.test))
