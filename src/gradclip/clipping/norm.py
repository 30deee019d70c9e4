"""Clipping by the global norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import AT_LEAST_1, FIXED, POSITIVE
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import global_norm


@dataclass(frozen=True)
class Norm(Rescaler):
    """Rescale all gradients together so that their global norm is at most c.

    Rule: g·min(1, c/‖g‖); ``order`` chooses the norm.
    The direction is kept. Below the threshold nothing changes, to the bit. Unlike torch there is no 1e-6 added to the
    norm, and a norm whose square exceeds float32 is still measured right.

    Non-finite gradients: a NaN makes all NaN; an infinity becomes NaN, the rest zero.
    This is as in torch.

    Source: Pascanu et al. 2013.
    Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", algorithm 1.

    Args:
        value: the threshold c, in loss units per weight unit.
        order: p of the norm; ``inf`` is the largest magnitude.

    Raises:
        ClippingError: value is not above 0, or order below 1.

    Example:
        >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
        >>> Norm(1.0)(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.8000])
    """

    value: Annotated[float | Tensor, POSITIVE]
    order: Annotated[float, AT_LEAST_1, FIXED] = 2.0

    limits: ClassVar = {"norm": "value"}
    limits_when: ClassVar = {"order": 2.0, "parameters": "*"}

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the scalar that brings the global norm to at most the threshold."""
        norm = global_norm([*gradients.values()], self.order)
        return torch.clamp(self.value / norm, max=1.0), state
