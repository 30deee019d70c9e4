"""Clipping of every element."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Report, State, report


@dataclass(frozen=True)
class Value(Clipper):
    """Clip each element to [-c, c], or to [lower, c].

    The direction bends where elements are cut. Infinite elements become the nearer end; NaN stays NaN.

    Source: ``torch.nn.utils.clip_grad_value_`` and Keras's ``clipvalue``.

    Args:
        value: the threshold c, in loss units per weight unit.
        lower: the lower end, at most 0; -c if None.

    Example:
        >>> gradients = {"weight": torch.tensor([-7.0, 0.5])}
        >>> Value(5.0)(gradients, gradients, {})[0]["weight"]
        tensor([-5.0000,  0.5000])
        >>> Value(5.0, lower=-1.0)(gradients, gradients, {})[0]["weight"]
        tensor([-1.0000,  0.5000])
    """

    value: float | Tensor
    lower: float | None = None

    bends_direction: ClassVar[bool] = True

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return gradients with no element beyond the threshold."""
        upper = torch.as_tensor(self.value)
        lower = -upper if self.lower is None else torch.as_tensor(self.lower)
        clipped = {name: _clamp(gradient, lower, upper) for name, gradient in gradients.items()}
        return clipped, state, report(gradients, clipped)


def _clamp(gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return gradient.clamp(lower.to(gradient), upper.to(gradient))
