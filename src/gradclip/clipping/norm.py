"""Clipping by the global norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import global_norm
from gradclip.ranges import AT_LEAST_1, FIXED, POSITIVE


@dataclass(frozen=True)
class Norm(Rescaler):
    """Rescale all gradients together so that their global norm is at most c.

    Rule: g·min(1, c/‖g‖); ``order`` chooses the norm.
    The direction is kept. A gradient whose norm is below the threshold stays bitwise unchanged. Unlike torch, this adds
    no 1e-6 to the norm, and it measures norms correctly even if their square overflows float32.

    Non-finite gradients: a NaN makes all NaN; an infinity becomes NaN, the rest zero.
    The same as in torch.

    Source: Pascanu et al. 2013.
    Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", algorithm 1.

    Args:
        value: the threshold c, in loss units per weight unit.
        order: the order p of the norm; ``inf`` is the largest magnitude.

    Raises:
        ClippingError: value is not above 0, or order is below 1.

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
        """Return the coefficient that limits the global norm to the threshold, and the state."""
        norm = global_norm([*gradients.values()], self.order)
        return torch.clamp(self.value / norm, max=1.0), state
