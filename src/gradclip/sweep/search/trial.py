"""One combination of settings that a search tries, and the scores of its runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal, get_args

from gradclip.formatting import chosen_on_test
from gradclip.scores import Score, Split, score_named
from gradclip.sweep.results import JobResult

State = Literal["finished", "dropped", "diverged", "failed"]  # the best first
OVER_SEEDS: dict[str, Callable[[Sequence[float]], float]] = {"median": median, "mean": fmean, "worst": max}


@dataclass(frozen=True)
class Trial:
    """One combination of settings of a search, with the results of its runs.

    Attributes:
        number: number of the trial, counted from 0 as in Optuna.
        values: the searched settings, as written in overrides.
        jobs: results of its runs, one for each seed.
        score: split whose score counts, ``train`` or ``test``; ``auto`` is the choosing split.
        over_seeds: aggregation of the scores over seeds, ``median``, ``mean`` or ``worst``.
        seeds: number of seeds over all rounds.
    """

    number: int
    values: dict[str, str]
    jobs: tuple[JobResult, ...]
    score: str
    over_seeds: str
    seeds: int

    @property
    def overrides(self) -> list[str]:
        """The searched settings as overrides."""
        return [f"{name}={value}" for name, value in self.values.items()]

    @property
    def state(self) -> State:
        """Whether it ran over all seeds, was dropped after some, diverged or failed."""
        if any(job.error for job in self.jobs):
            return "failed"
        if math.isinf(self.loss):
            return "diverged"
        return "finished" if len(self.jobs) == self.seeds else "dropped"

    @property
    def split(self) -> Split:
        """The split whose score counts."""
        if self.score == "auto":
            return next((job.choosing_split for job in self.jobs if job.score), "test")
        return "train" if self.score == "train" else "test"

    @property
    def loss(self) -> float:
        """The error over its seeds; a diverged seed has an infinite error."""
        return self._loss_on(self.split)

    @property
    def average(self) -> float:
        """The score over its seeds; NaN if diverged."""
        return self.average_on(self.split)

    def average_on(self, split: Split) -> float:
        """Return the score on a split over its seeds; NaN if diverged."""
        loss = self._loss_on(split)
        return self.measured.value(loss) if self.measured and math.isfinite(loss) else math.nan

    @property
    def scores(self) -> dict[str, float]:
        """The scores over its seeds by metric name, on the split that counts and on the test split, if there is one."""
        if self.measured is None:
            return {}
        splits: list[Split] = [self.split]
        if self.split != "test" and any("test" in job.scores for job in self.jobs):
            splits.append("test")
        return {self.measured.final(split): self.average_on(split) for split in splits}

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest finite score; NaN if there is none."""
        scores = [job.score_on(self.split) for job in self.jobs]
        finite = [score for score in scores if math.isfinite(score)] or [math.nan]
        return min(finite), max(finite)

    @property
    def measured(self) -> Score | None:
        """The score that its runs measured; None if all failed."""
        return next((score_named(job.score, job.higher_is_better) for job in self.jobs if job.score), None)

    def _loss_on(self, split: Split) -> float:
        measured, scores = self.measured, [job.score_on(split) for job in self.jobs]
        errors = [measured.error(score) if measured and not math.isnan(score) else math.inf for score in scores]
        return OVER_SEEDS[self.over_seeds](errors)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the best trial that ran over all seeds; None if there is none."""
    finished = [trial for trial in trials if trial.state == "finished"]
    return min(finished, key=lambda trial: trial.loss, default=None)


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials with the best first: by state, number of seeds and loss."""
    states = get_args(State)
    return sorted(trials, key=lambda trial: (states.index(trial.state), -len(trial.jobs), trial.loss))


def metric_of(trials: Sequence[Trial]) -> str:
    """Return the stored name of the metric that a search optimizes."""
    one = next((trial for trial in trials if trial.measured), None)
    return one.measured.final(one.split) if one and one.measured else "final score"


def caveat_of(trials: Sequence[Trial]) -> list[str]:
    """Return a caveat if settings were chosen on the test split.

    Args:
        trials: trials of a search; the first that measured a score counts.
    """
    one = next((trial for trial in trials if trial.measured), None)
    if one is None or one.split != "test":
        return []
    validated = any("validation" in job.scores for job in one.jobs)
    return [chosen_on_test("hydra.sweeper.score=test selects them") if validated else chosen_on_test()]
