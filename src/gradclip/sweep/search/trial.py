"""One combination of settings that a search tries, and the scores of its runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from gradclip import keys
from gradclip.sweep.results import JobResult

State = Literal["complete", "pruned", "diverged", "failed"]
OVER_SEEDS: dict[str, Callable[[Sequence[float]], float]] = {"median": median, "mean": fmean, "worst": max}


@dataclass(frozen=True)
class Trial:
    """One setting of a search and what its runs came to.

    Attributes:
        number: counted from 0, as Optuna does.
        values: the searched settings, as they are written in overrides.
        jobs: its runs, one a seed.
        score: which score counts, ``test`` or ``train``.
        over_seeds: how the seeds' scores become one, ``median``, ``mean`` or ``worst``.
        seeds: how many there are, all rounds together.
    """

    number: int
    values: dict[str, str]
    jobs: tuple[JobResult, ...]
    score: str
    over_seeds: str
    seeds: int

    @property
    def state(self) -> State:
        """How it ended."""
        if any(job.error for job in self.jobs):
            return "failed"
        if math.isinf(self.loss):
            return "diverged"
        return "complete" if len(self.jobs) == self.seeds else "pruned"

    @property
    def loss(self) -> float:
        """How far from perfect over its seeds; a diverged seed is infinitely far, so that it counts as the worst."""
        return OVER_SEEDS[self.over_seeds](self._errors)

    @property
    def average(self) -> float:
        """The score over its seeds; NaN if diverged."""
        loss = self.loss if math.isfinite(self.loss) else math.nan
        return self.measured.value(loss) if self.measured else loss

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest finite score; NaN without any."""
        finite = [score for score in self._scores if math.isfinite(score)] or [math.nan]
        return min(finite), max(finite)

    @property
    def measured(self) -> keys.Score | None:
        """What its runs measured; None where all broke down."""
        return next((keys.score_named(job.score, job.higher_is_better) for job in self.jobs if job.score), None)

    @property
    def _scores(self) -> list[float]:
        return [job.score_test if self.score == "test" else job.score_train for job in self.jobs]

    @property
    def _errors(self) -> list[float]:
        scores = [math.nan] * len(self.jobs) if self.measured is None else map(self.measured.error, self._scores)
        return [math.inf if math.isnan(error) else error for error in scores]


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The best setting among those that kept all seeds; None without any."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda trial: trial.loss, default=None)


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """The best first: by how many seeds they kept, then by loss."""
    states = ("complete", "pruned", "diverged", "failed")
    return sorted(trials, key=lambda trial: (states.index(trial.state), -len(trial.jobs), trial.loss))


def metric_of(trials: Sequence[Trial]) -> str:
    """The metric that a search makes better, by its name in the store."""
    score = next((trial.measured for trial in trials if trial.measured), None)
    if score is None:
        return f"final {trials[0].score} score"
    return score.final_test if trials[0].score == "test" else score.final_train
