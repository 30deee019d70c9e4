"""Normalization of a score: 0 for a prediction that ignores the inputs, 1 for a perfect one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip.scores import Score


@dataclass(frozen=True)
class ScoreScale:
    """A score with its baseline and the value from which the problem is solved.

    Attributes:
        score: ``MSE``, in the target's unit squared, ``ACCURACY``, or a metric that the module logs.
        baseline: score of the best prediction that ignores the inputs: the mean of the targets, or chance; NaN where
            it is not known.
        solved_at: test score from which the problem counts as solved; None where no such value is set.
    """

    score: Score
    baseline: float = math.nan
    solved_at: float | None = None

    def normalized(self, value: float) -> float:
        """Return a score relative to the baseline, 0, and a perfect score, 1; worse than the baseline is negative.

        Example:
            >>> from gradclip.scores import ACCURACY
            >>> ScoreScale(ACCURACY, baseline=0.25).normalized(0.625)
            0.5
        """
        return (value - self.baseline) / (self.score.perfect - self.baseline)

    def is_solved(self, value: float) -> bool | None:
        """Return whether a score reaches ``solved_at``; None where that is not set."""
        return None if self.solved_at is None else self.normalized(value) >= self.normalized(self.solved_at)

    def best_index(self, values: Sequence[float]) -> int | None:
        """Return the index of the first best finite score; None where no score is finite."""
        errors = [self.score.error(value) if math.isfinite(value) else math.inf for value in values]
        smallest = min(errors, default=math.inf)
        return errors.index(smallest) if smallest < math.inf else None
