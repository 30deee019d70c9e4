"""Rescaling of each tensor by the running averages of its norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import POSITIVE, SHARE
from gradclip.clipping.averages import init_averages, named, read, weight_of_newest
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import tensor_norms


@dataclass(frozen=True)
class Stabilize(Rescaler):
    """Rescale each gradient to c times its average norm, as a fraction of the root mean square of its norms.

    Rule: g_i·c·m̂_i/(√v̂_i·‖g_i‖), running moments of ‖g_i‖.
    m̂_i and v̂_i are exponential moving averages of ‖g_i‖ and ‖g_i‖², which include this step's norm
    and are corrected for their start. While norms stay the same the result has the norm c, whatever they are; it is
    less after a spike, which v̂_i remembers longer.
    So the size of the gradient is lost, as in :class:`Normalize`. A gradient of zero stays zero.

    Non-finite gradients: as in ``parameter_norm``, not remembered.

    Source: Huang et al. 2025 (Stable-SPAM).
    "Stable-SPAM: how to train in 4-bit more stably than 16-bit Adam", AdaGN, and its code; there c is 1.

    Args:
        value: the norm c of each tensor whose norms stay the same, in loss units per weight unit.
        gamma1: share of the old average norm kept at each step.
        gamma2: share of the old average squared norm kept at each step.
        eps: added to the denominator, in loss units per weight unit.

    Raises:
        ClippingError: a number is out of its range.

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
    gamma1: Annotated[float, SHARE] = 0.7
    gamma2: Annotated[float, SHARE] = 0.9
    eps: Annotated[float, POSITIVE] = 1e-8

    changes_direction: ClassVar[bool] = True

    def init(self, parameters: Gradients) -> State:
        """Return averages of no norms, by parameter name."""
        return init_averages(parameters, "mean", "root_mean_square")

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what gives each gradient its new norm, ``[gradients]``."""
        if not gradients:
            return torch.ones(()), state
        norms = tensor_norms([*gradients.values()])
        seen = read(state, "seen", gradients) + 1
        mean = read(state, "mean", gradients)
        mean = mean + weight_of_newest(self.gamma1, seen) * (norms - mean)
        newest = weight_of_newest(self.gamma2, seen)
        kept = (1 - newest).sqrt() * read(state, "root_mean_square", gradients)
        root = torch.hypot(kept, newest.sqrt() * norms)  # which squares nothing that could overflow
        after = named("mean", gradients, mean) | named("root_mean_square", gradients, root)
        after |= named("seen", gradients, seen)
        largest = torch.finfo(torch.float32).max  # what a float32 gradient can be multiplied by
        coefficients = torch.clamp(self.value * (mean / (root + self.eps)) / norms, max=largest)
        coefficients = torch.where(norms == 0, torch.ones_like(norms), coefficients)
        finite = norms.isfinite()
        after = {key: torch.where(finite.all(), after[key], state[key]) for key in after}
        return torch.where(finite, coefficients, 1 / norms), dict(state) | after
