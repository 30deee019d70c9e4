"""One combination of settings that a search tries, and the scores of its runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from gradclip.formatting import chosen_on_test
from gradclip.scores import LoggedScore, Score, Split, score_named
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
        score: the examples whose score counts, ``train`` or ``test``; ``auto``: those that choose.
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
    def split(self) -> Split:
        """The kind of examples whose score counts."""
        if self.score == "auto":
            return next((job.choosing_split for job in self.jobs if job.score), "test")
        return "train" if self.score == "train" else "test"

    @property
    def loss(self) -> float:
        """How far from perfect over its seeds; a diverged seed is infinitely far, so that it counts as the worst."""
        return self._loss_on(self.split)

    @property
    def average(self) -> float:
        """The score over its seeds; NaN if diverged."""
        return self.average_on(self.split)

    def average_on(self, split: Split) -> float:
        """Return the score on one kind of examples over its seeds; NaN if diverged."""
        loss = self._loss_on(split)
        return self.measured.value(loss) if self.measured and math.isfinite(loss) else math.nan

    @property
    def scores(self) -> dict[str, float]:
        """The score over its seeds by the names of metrics: on the examples that count, and on those of the test."""
        splits: list[Split] = [*dict.fromkeys((self.split, "test"))]
        return {self.measured.final(split): self.average_on(split) for split in splits} if self.measured else {}

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest finite score; NaN without any."""
        scores = [job.score_on(self.split) for job in self.jobs]
        finite = [score for score in scores if math.isfinite(score)] or [math.nan]
        return min(finite), max(finite)

    @property
    def measured(self) -> Score | None:
        """What its runs measured; None where all broke down."""
        return next((score_named(job.score, job.higher_is_better) for job in self.jobs if job.score), None)

    def _loss_on(self, split: Split) -> float:
        measured, scores = self.measured, [job.score_on(split) for job in self.jobs]
        errors = [measured.error(score) if measured and not math.isnan(score) else math.inf for score in scores]
        return OVER_SEEDS[self.over_seeds](errors)


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
    one = next((trial for trial in trials if trial.measured), None)
    return one.measured.final(one.split) if one and one.measured else "final score"


def caveat_of(trials: Sequence[Trial]) -> list[str]:
    """Say that settings were chosen on the test examples, where they were; what a module of the user's logs may be any.

    Args:
        trials: of a search; the first that measured a score counts.
    """
    one = next((trial for trial in trials if trial.measured), None)
    if one is None or one.split != "test" or isinstance(one.measured, LoggedScore):
        return []
    validated = any("validation" in job.scores for job in one.jobs)
    return [chosen_on_test("hydra.sweeper.score=test asks for them") if validated else chosen_on_test()]
