"""The definition of divergence, and the place where it occurred."""

from dataclasses import dataclass

import numpy as np

from gradclip.arrays import Booleans, Floats

LOST_UPDATES = 30  # in a row; they halve a loss scale of 65,536 to less than 0.0001
LOSS_SCALE = "loss scale"  # place of a divergence


@dataclass(frozen=True)
class Divergence:
    """The first non-finite value of a run.

    Attributes:
        step: the optimizer step, counted from 1.
        epoch: the epoch, counted from 1.
        place: ``loss``; ``gradient <parameter>`` or ``weight <parameter>``; ``update <parameter>`` if the square of a
            gradient overflowed in the optimizer, which no longer moves that parameter; ``loss scale`` if a loss scaler
            skipped every update from this step on; ``score`` if only the score of an epoch overflowed; ``buffer
            <buffer>`` or ``validation <metric>`` if the gradients do not show it.
    """

    step: int
    epoch: int
    place: str


def diverged_steps(loss: Floats, skipped: Booleans, weights: Floats) -> Booleans:
    """Return which steps have a non-finite weight, or a non-finite loss and an update that was not skipped.

    Args:
        loss: training loss, ``[...]``, such as ``[steps]`` or ``[steps, replicas]``.
        skipped: whether the update was skipped, ``[...]``.
        weights: norm of each parameter after the step, ``[..., parameters]``.

    Returns:
        Whether each step diverged, ``[...]``.
    """
    finite, diverged = np.isfinite(weights), ~(np.isfinite(loss) | skipped)
    if not finite.all():  # one test of all values is faster than a test of each step
        diverged |= ~finite.all(axis=-1)
    return diverged


def stops_moving(norms: Floats, weights: Floats, updates: Floats) -> Booleans:
    """Return in which steps a parameter that had moved stops moving for good, ``[steps, parameters]``.

    Steps in which its gradient is zero do not count. It must be measured again later.

    Args:
        norms: norm of each gradient after clipping, ``[steps, parameters]``.
        weights: norm of each parameter after the step, ``[steps, parameters]``.
        updates: norm of each parameter's change in the step, ``[steps, parameters]``; NaN if it was not measured.
    """
    measured = ~np.isnan(updates) & (norms > 0)
    moves_again = _from_each_step_on(measured & (updates > 0))
    is_measured_later = np.append(_from_each_step_on(measured)[1:], np.zeros_like(measured[:1]), axis=0)
    had_moved = np.insert(np.logical_or.accumulate(updates > 0)[:-1], 0, True, axis=0)  # or it is the first step
    keeps_norm = np.diff(weights, axis=0, prepend=weights[:1]) == 0
    return np.asarray(is_measured_later & had_moved & keeps_norm & ~moves_again)


def _from_each_step_on(flags: Booleans) -> Booleans:
    """Return whether a flag is set in each step or in a later one, ``[steps, parameters]``."""
    later: Booleans = np.logical_or.accumulate(flags[::-1])[::-1]
    return later
