"""The regret of advice: its error on the test rows, divided by that of the best of everything that was tried."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gradclip.config.overrides import merge
from tests.benchmarks.advice_problems import Problem
from tests.benchmarks.advice_trials import Settings, Trials

FACTORS = [10 ** (exponent / 2) for exponent in range(-5, 2)]  # of the magnitude of the target: half a decade apart
AS_IT_WAS, CLIPPED, PLAIN = "as it was", "clipped", "plain remedy"
SCALED_TARGET, SMALLER_RATE, ADAM = "scaled target", "smaller rate", "Adam"
SOLVED = 0.01  # 1 − accuracy: better ones count as this one, so that 0 errors and 1 in 1,000 are no infinite ratio


class Candidate(NamedTuple):
    """Settings that are tried on a problem: the role they play, a name for the table, and the overrides."""

    role: str
    name: str
    settings: Settings


class Tried(NamedTuple):
    """A candidate, and how it did."""

    candidate: Candidate
    trials: Trials


class Judged(NamedTuple):
    """A problem, what was advised on it, and what was best.

    Attributes:
        problem: the problem.
        advised: what was advised first, with its settings.
        second: what was advised next; None if nothing was.
        tried: all that it is compared with.
    """

    problem: Problem
    advised: Tried
    second: Tried | None
    tried: Sequence[Tried]

    @property
    def best(self) -> Tried:
        """The best of everything, by the rows that choose."""
        return best(self.tried)

    @property
    def regret(self) -> float:
        """How many times the error of the best the advised settings have."""
        return regret(self.advised.trials, self.best.trials)

    @property
    def better_plain_remedy(self) -> Candidate | None:
        """The plain remedy that no clipping and no run as it was surpasses; None if there is none."""
        return self.best.candidate if self.best.candidate.role == PLAIN else None

    @property
    def names_it_first(self) -> bool:
        """Whether the first advice is a remedy of that kind."""
        better, advised = self.better_plain_remedy, self.advised.candidate
        return better is not None and kind_of(better.settings, self.problem) == kind_of(advised.settings, self.problem)


def candidates(problem: Problem, learning_rate: float) -> list[Candidate]:
    """All that is tried: the run as it was, thresholds at its schedule and at one that decays, plain remedies.

    Args:
        problem: the problem.
        learning_rate: of the run as it was.
    """
    thresholds = [f"{problem.scale * factor:.2g}" for factor in FACTORS]
    clipped = {f"norm {float(value):g}": ("clip=norm", f"clip.value={value}") for value in thresholds}
    plain: dict[str, Settings] = {SCALED_TARGET: ("data.scale_target=standard",)} if problem.can_scale_target else {}
    plain |= {f"{SMALLER_RATE} {factor}": (f"optimizer.lr={learning_rate * factor:g}",) for factor in (0.1, 0.01)}
    plain[ADAM] = ("optimizer=adam", "optimizer.lr=0.001")
    return [
        Candidate(AS_IT_WAS, AS_IT_WAS, problem.overrides),
        *_with_both_schedules(problem, CLIPPED, clipped),
        *_with_both_schedules(problem, PLAIN, {name: ("clip=none", *changes) for name, changes in plain.items()}),
    ]


def _with_both_schedules(problem: Problem, role: str, changes: Mapping[str, Settings]) -> Iterator[Candidate]:
    for schedule, suffix in (((), ""), (("schedule=warmup_cosine",), ", decay")):
        for name, some in changes.items():
            yield Candidate(role, name + suffix, tuple(merge(problem.overrides, [*some, *schedule])))


def kind_of(settings: Settings, problem: Problem) -> str:
    """Which plain remedy some settings are; nothing if they clip, or are another."""
    new = set(settings) - set(problem.overrides)
    if any(text.startswith("clip=") and text != "clip=none" for text in settings):
        return ""
    if any(text.startswith("data.scale_target=") for text in new):
        return SCALED_TARGET
    if "optimizer=adam" in new:
        return ADAM
    return SMALLER_RATE if any(text.startswith("optimizer.lr=") for text in new) else ""


def best(tried: Sequence[Tried], *roles: str) -> Tried:
    """The best of those of some roles, or of all, by the median error on the rows that choose."""
    return min(
        (one for one in tried if not roles or one.candidate.role in roles),
        key=lambda one: np.median(one.trials.choosing),
    )


def regret(advised: Trials, other: Trials) -> float:
    """The ratio of two median errors on the test rows; infinite where the advised settings diverged.

    Args:
        advised: of the advised settings.
        other: of the best.
    """
    low = SOLVED if other.score == "accuracy" else 0.0
    first, second = (max(median_error(one), low) for one in (advised, other))
    if math.isinf(first):
        return math.inf
    return first / second


def median_error(trials: Trials) -> float:
    """The median error on the test rows; infinite where half of the runs or more diverged."""
    return float(np.median(trials.test))
