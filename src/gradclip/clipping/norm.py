"""Clipping by the global norm."""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from gradclip.clipping.arguments import check_positive, check_range
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms import global_norm


@dataclass(frozen=True)
class Norm(Rescaler):
    """Rescale all gradients together: g · min(1, c / ‖g‖), with one norm over all of them.

    The direction is kept. Below the threshold nothing changes, to the bit. A NaN anywhere makes every gradient NaN;
    an infinite element becomes NaN and the finite ones zero, as in torch. Unlike torch there is no 1e-6 added to the
    norm, and a norm whose square exceeds float32 is still measured right.

    Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.

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

    value: float | Tensor
    order: float = 2.0

    def __post_init__(self) -> None:
        check_positive(value=self.value)
        check_range(1, inf, order=self.order)

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what brings the global norm to at most the threshold."""
        norm = global_norm([*gradients.values()], self.order)
        return torch.clamp(self.value / norm, max=1.0), state
