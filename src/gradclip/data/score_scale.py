"""Normalization of a score: 0 for a prediction that ignores the inputs, 1 for a perfect one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gradclip.scores import Score, Split

ROUNDING = 1e-6  # relative error of a score, which is measured in float32


@dataclass(frozen=True)
class ScoreScale:
    """A score with its baseline and the value at which the problem counts as solved.

    Attributes:
        score: ``MSE``, in the target's unit squared, ``ACCURACY``, or a metric that the module logs.
        baseline: score of the best prediction that ignores the inputs on the training examples: the mean of the
            targets, or chance; NaN if unknown.
        solved_at: score at which the problem counts as solved; None if no such value is set.
        on_split: score of the same prediction on the examples of each split; empty if it is the same on all.
    """

    score: Score
    baseline: float = math.nan
    solved_at: float | None = None
    on_split: Mapping[Split, float] = field(default_factory=dict)

    def baseline_on(self, split: Split) -> float:
        """Return the baseline on a split; the one on the training examples if the prediction is perfect on the split.

        Example:
            >>> from gradclip.scores import MSE
            >>> scale = ScoreScale(MSE, baseline=4.0, on_split={"validation": 9.0, "test": 0.0})
            >>> scale.baseline_on("validation"), scale.baseline_on("test")
            (9.0, 4.0)
        """
        known = self.on_split.get(split, self.baseline)
        return self.baseline if known == self.score.perfect else known

    def normalized(self, value: float, split: Split = "train") -> float:
        """Return the normalized score: 0 at the split's baseline, 1 if perfect, negative if worse than the baseline.

        Example:
            >>> from gradclip.scores import ACCURACY
            >>> ScoreScale(ACCURACY, baseline=0.25).normalized(0.625)
            0.5
        """
        baseline = self.baseline_on(split)
        return (value - baseline) / (self.score.perfect - baseline)

    @property
    def solved_from(self) -> float | None:
        """The worst score that counts as solved: ``solved_at``, up to rounding; None if that is not set.

        Example:
            >>> from gradclip.scores import MSE
            >>> ScoreScale(MSE, baseline=1.0, solved_at=0.5).solved_from
            0.5000005
        """
        if self.solved_at is None:
            return None
        return self.solved_at * (1 - ROUNDING if self.score.higher_is_better else 1 + ROUNDING)

    def is_solved(self, value: float) -> bool | None:
        """Return whether a score counts as solved; None if ``solved_at`` is not set."""
        worst = self.solved_from
        return None if worst is None else self.score.error(value) <= self.score.error(worst)

    def best_index(self, values: Sequence[float]) -> int | None:
        """Return the index of the first best finite score; None if no score is finite."""
        errors = [self.score.error(value) if math.isfinite(value) else math.inf for value in values]
        smallest = min(errors, default=math.inf)
        return errors.index(smallest) if smallest < math.inf else None
