"""Rescaling to a fixed global norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import POSITIVE
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import global_norm


@dataclass(frozen=True)
class Normalize(Rescaler):
    """Rescale all gradients together to one global L2 norm, up as well as down.

    Rule: g·c/‖g‖, up as well as down.
    The direction is kept, the size of the gradient is lost: near a minimum the steps do not shrink unless the learning
    rate does. A gradient of zero stays zero. One whose norm is below 3e-39 of c ends below c, at what the largest
    float32 factor makes of it.

    Non-finite gradients: a NaN makes all NaN; an infinity becomes NaN, the rest zero.

    Source: the tutorial's gradient scaling.

    Args:
        value: the norm c, in loss units per weight unit.

    Raises:
        ClippingError: value is not above 0.

    Example:
        >>> gradients = {"weight": torch.tensor([0.03, 0.04])}
        >>> Normalize(1.0)(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.8000])
    """

    value: Annotated[float | Tensor, POSITIVE]

    limits: ClassVar = {"norm": "value"}
    limits_when: ClassVar = {"parameters": "*"}

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the scalar that brings the global norm to the threshold."""
        norm = global_norm([*gradients.values()])
        largest = torch.finfo(torch.float32).max  # what a float32 gradient can be multiplied by
        coefficient = torch.where(norm * largest < self.value, largest, self.value / norm)
        return torch.where(norm == 0, torch.ones_like(norm), coefficient), state
