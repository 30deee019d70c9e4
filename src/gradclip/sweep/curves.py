"""Points of a stacked training's curves that are stored; the telemetry has every step."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gradclip import keys
from gradclip.scores import Score, Split
from gradclip.telemetry.record import GradientRecord
from gradclip.tracking.stored_runs import Curve


def curves_of(
    record: GradientRecord, score: Score, scores: Mapping[Split, Sequence[float]], points: int
) -> dict[str, Curve]:
    """Return the finite points of each curve: scores at every epoch, per-step metrics at evenly spaced steps.

    Args:
        record: the gradients of every step; must have at least one step.
        score: the score that was measured.
        scores: the scores on each split, one value per epoch.
        points: approximate number of steps per curve, in addition to the last one.
    """
    window = max(1, -(-len(record.step) // points))
    rows = np.append(np.arange(0, len(record.step) - 1, window), len(record.step) - 1)
    by_epoch = {
        score.by_epoch(split): _finite(np.arange(1, len(values) + 1), np.array(values))
        for split, values in scores.items()
    }
    by_step = {key: _finite(record.step[rows], values[rows]) for key, values in record.metrics.items()}
    return by_epoch | by_step | {keys.GRAD_NORM_PEAK: _peaks(record, window)}


def _peaks(record: GradientRecord, window: int) -> Curve:
    """Return the largest norm of each window of steps, at the last step of the window."""
    norm = np.where(np.isfinite(record.norm), record.norm, -np.inf)
    starts = np.arange(0, len(norm), window)
    ends = np.minimum(starts + window, len(norm)) - 1
    return _finite(record.step[ends], np.maximum.reduceat(norm, starts))


def _finite(steps: NDArray[np.int64], values: NDArray[np.float64]) -> Curve:
    finite = np.isfinite(values)
    return Curve(steps[finite], values[finite])
