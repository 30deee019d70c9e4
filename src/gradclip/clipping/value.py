"""Element-wise clipping."""

from dataclasses import dataclass
from math import copysign, inf
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.errors import ClippingError
from gradclip.norms.tensors import as_real
from gradclip.ranges import AT_MOST_0, POSITIVE
from gradclip.sharding import is_unreduced, map_local, to_local


@dataclass(frozen=True)
class Value(Clipper):
    """Clip each element to [-c, c], or to [lower, c].

    Rule: each element to [−c, c], or [``lower``, c].
    Clipping an element changes the direction. In a complex gradient, real and imaginary parts are clipped separately.

    Non-finite gradients: an infinity becomes the nearer bound, NaN stays.

    Source: torch, Keras ``clipvalue``.
    ``torch.nn.utils.clip_grad_value_`` and the argument of Keras's optimizers.

    Args:
        value: the threshold c, in loss units per weight unit.
        lower: the lower bound, at most 0; -c if None.

    Raises:
        ClippingError: value is not above 0, or lower is above 0.

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
        """Return gradients with no element outside the bounds."""
        check_reduced(gradients, "value")
        return {name: map_local(self._clamp, gradient) for name, gradient in gradients.items()}, state

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Clamp all gradients in place by two calls, or one by one if a type is complex or does not reach a bound."""
        types = {gradient.dtype for gradient in gradients.values()}
        bounds = self._bounds()
        if not types or any(dtype.is_complex or not _is_in_range(b, dtype) for dtype in types for b in bounds):
            return super().clip_in_place(gradients, parameters, state)
        check_reduced(gradients, "value")
        local = [to_local(gradient) for gradient in gradients.values()]
        lower, upper = ([bound] * len(local) if isinstance(bound, Tensor) else bound for bound in bounds)
        torch._foreach_clamp_min_(local, lower)
        torch._foreach_clamp_max_(local, upper)
        return state

    def _bounds(self) -> tuple[float | Tensor, float | Tensor]:
        return -self.value if self.lower is None else self.lower, self.value

    def _clamp(self, gradient: Tensor) -> Tensor:
        if gradient.is_complex():
            return torch.view_as_complex(self._clamp(as_real(gradient)))
        lower, upper = (as_bound(bound, gradient) for bound in self._bounds())
        return gradient.clamp(lower, upper)


def as_bound(bound: float | Tensor, gradient: Tensor) -> Tensor:
    """Return a bound as a scalar of the gradient's type on its device, infinite beyond the type's range.

    A number is created on the device, since a copy from the CPU would wait.

    Example:
        >>> as_bound(1e5, torch.ones(2, dtype=torch.float16))
        tensor(inf, dtype=torch.float16)
    """
    if isinstance(bound, Tensor):
        return bound.to(gradient.dtype)
    number = bound if _is_in_range(bound, gradient.dtype) else copysign(inf, bound)
    return torch.full((), number, dtype=gradient.dtype, device=gradient.device)


def _is_in_range(bound: float | Tensor, dtype: torch.dtype) -> bool:
    """Return whether a bound is in the range of a type; torch refuses to convert a number that is not."""
    return isinstance(bound, Tensor) or abs(bound) <= torch.finfo(dtype).max


def check_reduced(gradients: Gradients, method: str) -> None:
    """Check that each process has elements of the gradients and not partial sums of them.

    Args:
        gradients: gradients by parameter name.
        method: name of the clipping method, for the message.

    Raises:
        ClippingError: a gradient is a partial sum in each process.
    """
    for name, gradient in gradients.items():
        if is_unreduced(gradient):
            raise ClippingError(
                f"clip: got {method}; the gradient of {name} is only a partial sum in each process, and its elements "
                "cannot be clipped: choose a method that rescales, such as norm"
            )
