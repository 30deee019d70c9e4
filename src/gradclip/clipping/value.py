"""Elementwise clipping."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import AT_MOST_0, POSITIVE
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.norms import as_real


@dataclass(frozen=True)
class Value(Clipper):
    """Clip each element to [-c, c], or to [lower, c].

    Rule: each element to [−c, c], or [``lower``, c].
    The direction changes where elements are clipped. Of a complex gradient real and imaginary parts are clipped.

    Non-finite gradients: an infinity becomes the nearer end, NaN stays.

    Source: torch, Keras ``clipvalue``.
    ``torch.nn.utils.clip_grad_value_`` and the argument of Keras's optimizers.

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

    value: Annotated[float | Tensor, POSITIVE]
    lower: Annotated[float | None, AT_MOST_0] = None

    changes_direction: ClassVar[bool] = True
    limits: ClassVar = {"value": "value"}

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients without an element beyond the threshold."""
        lower = -self.value if self.lower is None else self.lower
        clipped = {name: _clamp(gradient, lower, self.value) for name, gradient in gradients.items()}
        return clipped, state


def _clamp(gradient: Tensor, lower: float | Tensor, upper: float | Tensor) -> Tensor:
    if gradient.is_complex():
        return torch.view_as_complex(_clamp(as_real(gradient), lower, upper))
    ends = (torch.as_tensor(end, dtype=gradient.dtype, device=gradient.device) for end in (lower, upper))
    return gradient.clamp(*ends)
