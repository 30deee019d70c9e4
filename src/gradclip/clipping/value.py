"""Clipping of every element."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import check_positive, check_range
from gradclip.clipping.base import Clipper, Gradients, State


@dataclass(frozen=True)
class Value(Clipper):
    """Clip each element to [-c, c], or to [lower, c].

    The direction bends where elements are cut. Infinite elements become the nearer end; NaN stays NaN.

    Source: ``torch.nn.utils.clip_grad_value_`` and Keras's ``clipvalue``.

    Args:
        value: the threshold c, in loss units per weight unit.
        lower: the lower end, at most 0; -c if None.

    Raises:
        ClippingError: value is not above 0, or lower is.

    Example:
        >>> gradients = {"weight": torch.tensor([-7.0, 0.5])}
        >>> Value(5.0)(gradients, gradients, {})[0]["weight"]
        tensor([-5.0000,  0.5000])
        >>> Value(5.0, lower=-1.0)(gradients, gradients, {})[0]["weight"]
        tensor([-1.0000,  0.5000])
    """

    value: float | Tensor
    lower: float | None = None

    changes_direction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(value=self.value)
        check_range(-inf, 0, lower=self.lower)

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients with no element beyond the threshold."""
        lower = -self.value if self.lower is None else self.lower
        clipped = {name: _clamp(gradient, lower, self.value) for name, gradient in gradients.items()}
        return clipped, state


def _clamp(gradient: Tensor, lower: float | Tensor, upper: float | Tensor) -> Tensor:
    ends = (torch.as_tensor(end, dtype=gradient.dtype, device=gradient.device) for end in (lower, upper))
    return gradient.clamp(*ends)
