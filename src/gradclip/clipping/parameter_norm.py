"""Clipping of each tensor by its norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms.tensors import tensor_norms
from gradclip.ranges import POSITIVE


@dataclass(frozen=True)
class ParameterNorm(Rescaler):
    """Rescale the gradient of each parameter tensor so that its L2 norm is at most c.

    Rule: g_i·min(1, c/‖g_i‖) for each tensor.
    Each tensor keeps its direction; the gradient as a whole does not.

    Non-finite gradients: as in ``norm``, within that tensor.
    A NaN makes its tensor NaN. An infinite element becomes NaN, and the finite elements of its tensor become zero.

    Source: Keras ``clipnorm``.
    As in Keras 2.4 and later, tf.keras and Keras 3. (Up to Keras 2.3.1 it meant the global norm.)

    Args:
        value: the threshold c for each tensor, in loss units per weight unit.

    Raises:
        ClippingError: value is not above 0.

    Example:
        >>> gradients = {"weight": torch.tensor([3.0, 4.0]), "bias": torch.tensor([0.5])}
        >>> ParameterNorm(1.0)(gradients, gradients, {})[0]
        {'weight': tensor([0.6000, 0.8000]), 'bias': tensor([0.5000])}
    """

    value: Annotated[float | Tensor, POSITIVE]

    changes_direction: ClassVar[bool] = True

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the coefficient that limits each tensor's norm to the threshold, ``[gradients]``, and the state."""
        norms = tensor_norms([*gradients.values()])
        return torch.clamp(self.value / norms, max=1.0), state
