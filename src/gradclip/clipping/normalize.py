"""Rescaling to a fixed global norm."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradclip.clipping.arguments import check_positive
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms import global_norm


@dataclass(frozen=True)
class Normalize(Rescaler):
    """Rescale all gradients together to one global L2 norm, up as well as down: g · c / ‖g‖.

    What the tutorial calls gradient scaling. The direction is kept, the size of the gradient is lost: near a minimum
    the steps do not shrink unless the learning rate does. A gradient of zero stays zero, one whose norm is below
    3e-39 of c comes as far as a float32 factor brings it. A NaN anywhere makes every
    gradient NaN; an infinite element becomes NaN and the finite ones zero.

    Args:
        value: the norm c, in loss units per weight unit.

    Raises:
        ClippingError: value is not above 0.

    Example:
        >>> gradients = {"weight": torch.tensor([0.03, 0.04])}
        >>> Normalize(1.0)(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.8000])
    """

    value: float | Tensor

    def __post_init__(self) -> None:
        check_positive(value=self.value)

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what brings the global norm to the threshold."""
        norm = global_norm([*gradients.values()])
        largest = torch.finfo(torch.float32).max  # what a float32 gradient can be multiplied by
        coefficient = torch.where(norm * largest < self.value, largest, self.value / norm)
        return torch.where(norm == 0, torch.ones_like(norm), coefficient), state
