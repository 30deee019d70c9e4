"""The metric by which runs are compared, and the split on which it is measured."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from gradclip.arrays import Floats
from gradclip.errors import ConfigError, did_you_mean
from gradclip.formatting import chosen_on_test
from gradclip.scores import ACCURACY, SCORES, LoggedScore, Score, Split, stored_score
from gradclip.tracking.stored_runs import StoredRun

MONITOR = re.compile(r"callbacks\..+\.monitor")
ENDED_BY_TEST = "The test rows decided when some runs ended, so the scores on them look better than they are."


@dataclass(frozen=True)
class Metric:
    """The metric by which runs are compared.

    Attributes:
        name: name of the metric; the last value of each run is compared.
        sign: 1 if lower is better, -1 if higher is better.
        curve: metric of the same score at each epoch; empty for a metric that is not a score.
        reported: final score on the test examples, reported beside the metric; empty if the metric itself is measured
            on them, or is not a score, or not all runs have test examples.
        caveat: a sentence that qualifies the choice of the metric; empty if none is needed.
        is_fraction: whether its values are fractions, from 0 to 1.
        perfect: value of a perfect run, from which errors are measured; 0 if there is none.
    """

    name: str
    sign: int
    curve: str
    reported: str = ""
    caveat: str = ""
    is_fraction: bool = False
    perfect: float = 0.0

    @property
    def ratios(self) -> str:
        """What the tests within a factor of 1.1 compare."""
        return "fractions of wrong predictions" if self.is_fraction else "scores"

    def errors(self, runs: Sequence[StoredRun]) -> Floats:
        """Return the values of runs as errors, ``[runs]``; infinite if a run diverged or has no value."""
        errors = self.to_errors(np.array([run.metrics.get(self.name, np.nan) for run in runs]))
        diverged = np.array([run.outcome == "diverged" for run in runs])
        return np.where(np.isfinite(errors) & ~diverged, errors, inf)

    def to_errors(self, values: Floats) -> Floats:
        """Convert values of the metric to errors, where lower is better."""
        return (values - self.perfect) * self.sign

    def to_value(self, error: float) -> float:
        """Convert an error to a value of the metric; NaN for the infinite error of a diverged run."""
        return float(self.perfect + error * self.sign) if isfinite(error) else np.nan

    def in_order(self, low: float, high: float) -> tuple[float, float]:
        """Return the ends of an interval of errors in ascending order of the metric's values."""
        return (low, high) if self.sign > 0 else (high, low)


def choose_metric(runs: Sequence[StoredRun], name: str | None = None, split: Split | None = None) -> Metric:
    """Return the metric to compare by.

    Args:
        runs: runs to compare.
        name: name of the metric; None means the final score on the split.
        split: split of the score; None means validation if all runs have a score on it, otherwise test.

    Raises:
        ConfigError: the runs lack the metric, have different scores, or name and split contradict each other.
    """
    scored = [(score, run) for run in runs if (score := stored_score(run.metrics, run.tags))]
    scored.sort(key=lambda one: "test" in one[0].splits)  # if a module scored some runs on test rows, that counts
    scores = {score.name: score for score, _ in scored}
    if name is None:
        if len(scores) != 1:
            finals = " and ".join(sorted({score.final(score.choosing_split(run.metrics)) for score, run in scored}))
            raise ConfigError(f"metric: the runs have {finals or 'no final score'}; set metric=... or runs=...")
        (score,) = scores.values()
        return _of_score(runs, score, score.final(split or _choosing_split(runs, score)), split)
    known = {key for run in runs for key in run.metrics}
    if name not in known:
        raise ConfigError(f"metric: got {name!r}; no run has it{did_you_mean(name, known)}")
    for score in scores.values():
        if score.split_of(name):
            return _of_score(runs, score, name, split)
    if split:
        raise ConfigError(f"split: got {split!r}; metric={name} is not a score")
    for score in SCORES.values():  # a user-defined module may log one of these besides its own metric
        if found := score.split_of(name):
            sign = -1 if score.higher_is_better else 1
            return Metric(name, sign, score.by_epoch(found), is_fraction=score is ACCURACY, perfect=score.perfect)
    return Metric(name, 1, "")


def _choosing_split(runs: Sequence[StoredRun], score: Score) -> Split:
    """Return the validation split if all runs have a score on it, otherwise the test split."""
    return "test" if any(score.choosing_split(run.metrics) == "test" for run in runs) else "validation"


def _of_score(runs: Sequence[StoredRun], score: Score, name: str, split: Split | None) -> Metric:
    """Return a metric that is the score on a split; ``split`` is the requested one, if any.

    Raises:
        ConfigError: the metric is measured on another split, or some runs lack a final score on it.
    """
    found = score.split_of(name)
    assert found is not None
    if split not in {None, found}:
        raise ConfigError(f"split: got {split!r}; {name} is the score on the {found} rows")
    asked = f"split: got {split!r}" if split else f"metric: got {name!r}"
    having = sum(score.final(found) in run.metrics for run in runs)
    if having < len(runs):
        some = f"only {having} of {len(runs)} runs have" if having else "no run has"
        raise ConfigError(f"{asked}; {some} {score.final(found)}")
    is_loss = found == "train" and isinstance(score, LoggedScore)
    sign = -1 if score.higher_is_better and not is_loss else 1
    # The test score of the best epoch is not stored; that of the last epoch belongs to other weights.
    is_beside = found != "test" and name != score.best("validation")
    has_test = is_beside and all("test" in score.finals(run.metrics) for run in runs)
    reported = score.final("test") if has_test else ""
    if found == "test":
        caveat = _caveat(runs, score, f"split={split}" if split else f"metric={name}")
    else:
        caveat = ENDED_BY_TEST if reported and _ended_by_test(runs, score) else ""
    perfect = score.perfect if isfinite(score.perfect) else 0.0
    return Metric(name, sign, score.by_epoch(found), reported, caveat, score is ACCURACY, perfect)


def _ended_by_test(runs: Sequence[StoredRun], score: Score) -> bool:
    """Return whether a callback of a run, such as early stopping, monitors the score on the test rows."""
    monitored = score.by_epoch("test")
    settings = (one for run in runs for one in run.parameters.items())
    return any(value == monitored and MONITOR.fullmatch(name) for name, value in settings)


def _caveat(runs: Sequence[StoredRun], score: Score, asked: str) -> str:
    """Return a sentence on why the test split chooses: it was requested, or some runs have no validation rows."""
    validated = sum("validation" in score.finals(run.metrics) for run in runs)
    if validated == len(runs):
        return chosen_on_test(f"{asked} selects them")
    some = f"only {validated} of {len(runs)} runs have validation rows"
    return chosen_on_test(some) if validated else chosen_on_test()
