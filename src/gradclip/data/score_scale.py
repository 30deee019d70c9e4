"""What the scores of a run are measured against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradclip import keys


@dataclass(frozen=True)
class ScoreScale:
    """What scores are measured against.

    Attributes:
        score: what is measured: ``keys.MSE``, in the target's unit squared, or ``keys.ACCURACY``.
        baseline: the score of the best guess that ignores the inputs: of predicting the mean, or chance.
        solved_at: the score on test examples from which the problem counts as solved; None if there is no such mark.
    """

    score: keys.Score
    baseline: float
    solved_at: float | None = None

    def normalized(self, value: float) -> float:
        """How far a score lies on the way from the baseline, 0, to perfect, 1.

        Example:
            >>> ScoreScale(keys.ACCURACY, baseline=0.25).normalized(0.625)
            0.5
        """
        return (value - self.baseline) / (self.score.perfect - self.baseline)

    def is_solved(self, value: float) -> bool | None:
        """Whether a score counts as a solution; None where there is no mark."""
        return None if self.solved_at is None else self.normalized(value) >= self.normalized(self.solved_at)

    def best_index(self, values: Sequence[float]) -> int | None:
        """Position of the first best finite score; None without any."""
        gains = [self.normalized(value) if np.isfinite(value) else -np.inf for value in values]
        return int(np.argmax(gains)) if gains and max(gains) > -np.inf else None
