"""Rescaling of each tensor by the running averages of its norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.averages import init_averages, split_entries, stack_entries, weight_of_newest
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import tensor_norms
from gradclip.ranges import DECAY_RATE, POSITIVE


@dataclass(frozen=True)
class Stabilize(Rescaler):
    """Rescale each gradient to c times the average of its norms, divided by their root mean square.

    Rule: g_i·c·m̂_i/(√v̂_i·‖g_i‖), running moments of ‖g_i‖.
    m̂_i and v̂_i are bias-corrected exponential moving averages of ‖g_i‖ and ‖g_i‖², including this step's. While the
    norms are constant, the result has the norm c, regardless of their size. After a spike it is smaller, since v̂_i
    remembers the spike longer. The size of the gradient is lost, as in :class:`Normalize`. A gradient of zero stays
    zero.

    Non-finite gradients: as in ``parameter_norm``; state unchanged.

    Source: Huang et al. 2025 (Stable-SPAM).
    "Stable-SPAM: how to train in 4-bit more stably than 16-bit Adam", AdaGN, and its code; there c is 1.

    Args:
        value: the norm c of each tensor whose norms are constant, in loss units per weight unit.
        gamma1: fraction of the old average norm kept at each step.
        gamma2: fraction of the old average squared norm kept at each step.
        eps: added to the denominator, in loss units per weight unit.

    Raises:
        ClippingError: a number is out of range.

    Example:
        >>> clipper = Stabilize(gamma1=0.0, gamma2=0.5)
        >>> state = clipper.init({"weight": torch.zeros(2)})
        >>> for size in (0.0, 1.0):  # the average square is then 2/3
        ...     gradients = {"weight": torch.tensor([3.0, 4.0]) * size}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]
        tensor([0.7348, 0.9798])
    """

    value: Annotated[float | Tensor, POSITIVE] = 1.0
    gamma1: Annotated[float, DECAY_RATE] = 0.7
    gamma2: Annotated[float, DECAY_RATE] = 0.9
    eps: Annotated[float, POSITIVE] = 1e-8

    changes_direction: ClassVar[bool] = True

    def init(self, parameters: Gradients) -> State:
        """Return averages of zero, by parameter name."""
        return init_averages(parameters, "mean", "root_mean_square")

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the coefficient that gives each gradient its new norm, ``[gradients]``, and the next state."""
        if not gradients:
            return torch.ones(()), state
        norms = tensor_norms([*gradients.values()])
        seen = stack_entries(state, "seen", gradients) + 1
        mean = stack_entries(state, "mean", gradients)
        mean = mean + weight_of_newest(self.gamma1, seen) * (norms - mean)
        newest = weight_of_newest(self.gamma2, seen)
        kept = (1 - newest).sqrt() * stack_entries(state, "root_mean_square", gradients)
        root = torch.hypot(kept, newest.sqrt() * norms)  # avoids squares, which could overflow
        after = split_entries("mean", gradients, mean) | split_entries("root_mean_square", gradients, root)
        after |= split_entries("seen", gradients, seen)
        largest = torch.finfo(torch.float32).max  # the largest factor for a float32 gradient
        coefficients = torch.clamp(self.value * (mean / (root + self.eps)) / norms, max=largest)
        coefficients = torch.where(norms == 0, torch.ones_like(norms), coefficients)
        finite = norms.isfinite()
        after = {key: torch.where(finite.all(), after[key], state[key]) for key in after}
        return torch.where(finite, coefficients, 1 / norms), dict(state) | after
