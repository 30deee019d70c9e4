"""Rescaling to a fixed global norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import global_norm
from gradclip.ranges import POSITIVE


@dataclass(frozen=True)
class Normalize(Rescaler):
    """Rescale all gradients together to a fixed global L2 norm, up as well as down.

    Rule: g·c/‖g‖, up as well as down.
    The direction is kept, but the size of the gradient is lost: near a minimum, the steps shrink only if the learning
    rate does. A gradient of zero stays zero. A gradient whose norm is below 3e-39·c ends below c, since it is
    multiplied by the largest float32 number.

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
        """Return the coefficient that brings the global norm to c, and the state."""
        norm = global_norm([*gradients.values()])
        largest = torch.finfo(torch.float32).max  # the largest factor for a float32 gradient
        coefficient = torch.where(norm * largest < self.value, largest, self.value / norm)
        return torch.where(norm == 0, torch.ones_like(norm), coefficient), state
