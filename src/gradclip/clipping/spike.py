"""Clipping of elements above a running maximum."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.averages import init_averages, split_entries, stack_entries, weight_of_newest
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.clipping.value import check_reduced
from gradclip.norms.tensors import as_real, tensor_norms
from gradclip.ranges import DECAY_RATE, POSITIVE
from gradclip.sharding import map_local


@dataclass(frozen=True)
class Spike(Clipper):
    """Scale down the elements of a tensor above c times its running maximum, so that the largest ends at that limit.

    Rule: elements to at most c·m̂_i, a running maximum.
    Elements above c·m̂_i are multiplied by c·m̂_i/max|g_i|. m̂_i is the bias-corrected exponential moving average of the
    tensor's largest magnitude before clipping, including this step's. All these elements have the same factor, so an
    element just above the limit ends below some that were not clipped. In a complex gradient, real and imaginary parts
    count as elements.

    Non-finite gradients: as in ``parameter_norm``; state unchanged.

    Source: Huang et al. 2025 (Stable-SPAM).
    "Stable-SPAM: how to train in 4-bit more stably than 16-bit Adam", AdaClip, and its code; there c is 1.

    Args:
        value: the multiple c of the running maximum, without unit.
        theta: fraction of the old maximum kept at each step.

    Raises:
        ClippingError: a number is out of range.

    Example:
        >>> clipper = Spike(theta=0.5)
        >>> state = clipper.init({"weight": torch.zeros(3)})
        >>> for largest in (3.0, 6.0):  # the average of the maxima is then 5
        ...     gradients = {"weight": torch.tensor([1.0, 2.0, largest])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]
        tensor([1., 2., 5.])
    """

    value: Annotated[float | Tensor, POSITIVE] = 1.0
    theta: Annotated[float, DECAY_RATE] = 0.999

    changes_direction: ClassVar[bool] = True

    def init(self, parameters: Gradients) -> State:
        """Return running maxima of zero, by parameter name."""
        return init_averages(parameters, "maximum")

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients with no element above the limit of its tensor, and the next state."""
        if not gradients:
            return {}, state
        check_reduced(gradients, "spike")
        largest = tensor_norms([as_real(gradient) for gradient in gradients.values()], torch.inf)
        finite = largest.isfinite()
        seen = stack_entries(state, "seen", gradients) + 1
        before = stack_entries(state, "maximum", gradients)
        maxima = before + weight_of_newest(self.theta, seen) * (largest - before)
        limits = torch.where(finite, self.value * maxima, -torch.inf)  # if not finite, all elements are multiplied
        factors = torch.where(finite, self.value * maxima, 1.0) / largest
        clipped = {
            name: map_local(partial(_shrink, limit=limit, factor=factor), gradient)
            for (name, gradient), limit, factor in zip(gradients.items(), limits, factors, strict=True)
        }
        after = split_entries("maximum", gradients, maxima) | split_entries("seen", gradients, seen)
        return clipped, dict(state) | {key: torch.where(finite.all(), after[key], state[key]) for key in after}


def _shrink(gradient: Tensor, limit: Tensor, factor: Tensor) -> Tensor:
    """Multiply the elements whose magnitude is above the limit by the factor."""
    if gradient.is_complex():
        return torch.view_as_complex(_shrink(as_real(gradient), limit, factor))
    wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    shrunk = (wide * factor.to(wide.dtype)).to(gradient.dtype)
    return torch.where(wide.abs() <= limit.to(wide.dtype), gradient, shrunk)
