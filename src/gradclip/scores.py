"""Scores of predictions, the splits on which they are measured, and the names of their metrics."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, Literal, get_args

from gradclip.keys import LOSS_TRAIN, SCORE, SCORE_MODE, SCORE_SPLIT

Split = Literal["train", "validation", "test"]  # train the network; choose settings; are only reported
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
ChoosingSplit = Literal["validation", "test"]
CONTEXTS: Final[Mapping[Split, str]] = {"train": "training", "validation": "validation", "test": "testing"}  # MLflow's


def choosing_split(splits: Container[Split]) -> ChoosingSplit:
    """Return the split that chooses: validation if there is one, else test."""
    return "validation" if "validation" in splits else "test"


def judging_split(splits: Container[Split]) -> Split:
    """Return the split on which an outcome is judged: validation if there is one, else train."""
    return "validation" if "validation" in splits else "train"


@dataclass(frozen=True)
class Score:
    """A score of a network's predictions, and the names of its metrics.

    Attributes:
        name: ``mse`` or ``accuracy``.
        perfect: value of a perfect prediction.

    Example:
        >>> MSE.by_epoch("train"), ACCURACY.final("test")
        ('mse/train', 'final/accuracy_test')
    """

    name: str
    perfect: float

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits on which it may be measured, in order."""
        return SPLITS

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return self.perfect > 0

    def error(self, value: float) -> float:
        """Return how far a value is from perfect; lower is better."""
        return abs(value - self.perfect)

    def value(self, error: float) -> float:
        """Return the value whose distance from perfect is the given error."""
        return abs(self.perfect - error)

    def unscaling_factor(self, target_scale: float) -> float:
        """Return the factor from the score in scaled units to the score in the target's own unit.

        Args:
            target_scale: target units per unit of the scaled target.

        Example:
            >>> MSE.unscaling_factor(10.0), ACCURACY.unscaling_factor(10.0)
            (100.0, 1.0)
        """
        return target_scale**2 if self == MSE else 1.0

    def by_epoch(self, split: Split) -> str:
        """Return the name of the score on a split, once an epoch."""
        return f"{self.name}/{split}"

    def final(self, split: Split) -> str:
        """Return the name of the final score on a split."""
        return f"final/{self.name}_{split}"

    def best(self, split: ChoosingSplit) -> str:
        """Return the name of the best score on the split that chooses."""
        return f"best/{self.name}_{split}"

    def finals(self, metrics: Mapping[str, float]) -> dict[Split, float]:
        """Return the final score on each split for which a run, with these metrics, has one."""
        return {split: metrics[self.final(split)] for split in self.splits if self.final(split) in metrics}

    def split_of(self, metric: str) -> Split | None:
        """Return the split on which a metric of this score is measured; None for any other metric.

        Example:
            >>> MSE.split_of("best/mse_validation"), MSE.split_of("mse/train"), MSE.split_of("grad/norm")
            ('validation', 'train', None)
        """
        for split in self.splits:
            if metric in {self.by_epoch(split), self.final(split)} or (split != "train" and metric == self.best(split)):
                return split
        return None

    def choosing_split(self, metrics: Container[str]) -> ChoosingSplit:
        """Return the split that chooses for a run with metrics of these names: validation if it is there, else test.

        Example:
            >>> MSE.choosing_split({"final/mse_validation", "final/mse_test"}), MSE.choosing_split({"final/mse_test"})
            ('validation', 'test')
        """
        return choosing_split([split for split in self.splits if self.final(split) in metrics])


@dataclass(frozen=True)
class LoggedScore(Score):
    """A metric that a user-defined module logs, used as its score: its better direction is known, a perfect value not.

    On the training examples, the score is the mean loss of an epoch's batches.

    Attributes:
        split: the split that it counts as: ``test`` if the module measured it on test examples, else ``validation``.

    Example:
        >>> score = LoggedScore("val_loss", -inf)
        >>> score.splits, score.by_epoch("validation"), score.final("train"), score.final("validation")
        (('train', 'validation'), 'val_loss', 'final/loss/train', 'final/val_loss')
    """

    split: ChoosingSplit = "validation"

    @property
    def splits(self) -> tuple[Split, ...]:
        """The training split, and the split that the metric counts as."""
        return ("train", self.split)

    def by_epoch(self, split: Split) -> str:
        """Return the name of the mean loss of an epoch's batches, or else of the metric."""
        return LOSS_TRAIN if split == "train" else self.name

    def final(self, split: Split) -> str:
        """Return the name of the final value on a split."""
        return f"final/{self.by_epoch(split)}"

    def best(self, split: ChoosingSplit) -> str:
        """Return the name of the metric's best value."""
        return f"best/{self.name}"

    def error(self, value: float) -> float:
        """Return a value so that lower is better."""
        return -value if self.higher_is_better else value

    def value(self, error: float) -> float:
        """Return the value that has the given error."""
        return self.error(error)


MSE: Final = Score("mse", perfect=0.0)  # mean squared error, in the squared unit of the target
ACCURACY: Final = Score("accuracy", perfect=1.0)  # fraction of correct class predictions
SCORES: Final = {score.name: score for score in (MSE, ACCURACY)}


def score_named(name: str, higher_is_better: bool = False, split: ChoosingSplit = "validation") -> Score:
    """Return one of our scores by its name; any other name is a metric that a user-defined module logs.

    Args:
        name: name of the score.
        higher_is_better: whether larger values of a logged metric are better.
        split: the split that a logged metric counts as.
    """
    return SCORES.get(name) or LoggedScore(name, inf if higher_is_better else -inf, split)


def stored_score(metrics: Mapping[str, float], tags: Mapping[str, str]) -> Score | None:
    """Return the score of a stored run; None if the run has no final score on the split that chooses."""
    split: ChoosingSplit = "test" if tags.get(SCORE_SPLIT) == "test" else "validation"
    named = [score_named(tags[SCORE], tags.get(SCORE_MODE) == "max", split)] if tags.get(SCORE) else SCORES.values()
    return next((score for score in named if score.final(score.choosing_split(metrics)) in metrics), None)
