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
