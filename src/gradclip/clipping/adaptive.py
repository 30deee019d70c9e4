"""Clipping of each unit relative to its weights."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import check_positive
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.norms import safe_scale


@dataclass(frozen=True)
class Adaptive(Clipper):
    """Limit each unit's gradient norm to a share of its weight norm: g_i · min(1, λ · max(‖w_i‖, ε) / ‖g_i‖).

    A unit is what one output sees: a row of a Linear weight, a filter of a convolution, torch keeping the outputs in
    the first dimension. A bias or other vector is one unit as a whole. Without ε a tensor that starts at zero could
    never leave it. A NaN spoils its own unit only; an infinite element becomes NaN and the finite ones of its unit
    zero.

    Source: Brock, De, Smith & Simonyan 2021, "High-performance large-scale image recognition without normalization"
    (AGC), equation 3. As in optax and timm, vectors are one unit; unlike them nothing is added to a norm.

    Args:
        value: the share λ, of a unit's weight norm, without unit.
        eps: the least weight norm that counts, ε.
        exclude: pattern of the parameters that are left alone, such as the head's; None clips all.

    Raises:
        ClippingError: value or eps is not above 0.

    Example:
        >>> weights = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}
        >>> gradients = {"weight": torch.tensor([[0.6, 0.8], [0.6, 0.8]])}
        >>> Adaptive(0.01)(gradients, weights, {})[0]["weight"]
        tensor([[3.0000e-02, 4.0000e-02],
                [6.0000e-06, 8.0000e-06]])
    """

    value: float | Tensor = 0.01
    eps: float = 1e-3
    exclude: str | None = None

    changes_direction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(value=self.value, eps=self.eps)

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients no unit of which is larger than its share of the weights."""
        clipped = {name: self._clip(name, gradient, parameters[name]) for name, gradient in gradients.items()}
        return clipped, state

    def _clip(self, name: str, gradient: Tensor, parameter: Tensor) -> Tensor:
        if gradient.numel() == 0 or (self.exclude is not None and fnmatchcase(name, self.exclude)):
            return gradient
        limit = self.value * unit_norms(parameter).clamp(min=self.eps)
        coefficient = torch.clamp(limit / unit_norms(gradient), max=1.0)
        return (gradient * coefficient).to(gradient.dtype)


def unit_norms(tensor: Tensor) -> Tensor:
    """Return the L2 norm of each unit, of the tensor's rank, every dimension but the first of size 1, in float64.

    Example:
        >>> unit_norms(torch.tensor([[3.0, 4.0], [6.0, 8.0]]))
        tensor([[ 5.],
                [10.]], dtype=torch.float64)
    """
    inner = tuple(range(1, tensor.ndim)) or tuple(range(tensor.ndim))  # a vector is one unit
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    scale = safe_scale(wide.abs().amax(inner, keepdim=True))
    norms: Tensor = torch.linalg.vector_norm(wide / scale, dim=inner, keepdim=True).double() * scale
    return norms
