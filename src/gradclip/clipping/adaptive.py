"""Clipping of each unit relative to its weights."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import POSITIVE
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.norms import unit_norms


@dataclass(frozen=True)
class Adaptive(Clipper):
    """Limit each unit's gradient norm to a fraction c of its weight norm.

    Rule: g_i·min(1, c·max(‖w_i‖, ε)/‖g_i‖) for each unit.
    A unit is the weights of one output: a row of a Linear weight, a filter of a convolution (torch keeps the outputs
    in the first dimension). A bias or other vector is one unit as a whole. Without ε a tensor that starts at zero
    would stay there.

    Non-finite gradients: as in ``norm``, within that unit.
    A NaN makes its unit NaN; an infinite element becomes NaN and the finite ones of its unit zero.

    Source: Brock et al. 2021 (AGC).
    Brock, De, Smith & Simonyan, "High-performance large-scale image recognition without normalization", equation 3. As
    in optax and timm, vectors are one unit; unlike them nothing is added to a norm.

    Args:
        value: the fraction c of a unit's weight norm.
        eps: the least weight norm that counts, ε, in weight units.
        exclude: pattern of the parameters that are not clipped, such as the head's; None clips all.

    Raises:
        ClippingError: value or eps is not above 0.

    Example:
        >>> weights = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}
        >>> gradients = {"weight": torch.tensor([[0.6, 0.8], [0.6, 0.8]])}
        >>> Adaptive(0.01)(gradients, weights, {})[0]["weight"]
        tensor([[3.0000e-02, 4.0000e-02],
                [6.0000e-06, 8.0000e-06]])
    """

    value: Annotated[float | Tensor, POSITIVE] = 0.01
    eps: Annotated[float, POSITIVE] = 1e-3
    exclude: str | None = None

    changes_direction: ClassVar[bool] = True

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients with no unit above that fraction of its weights."""
        clipped = {name: self._clip(name, gradient, parameters[name]) for name, gradient in gradients.items()}
        return clipped, state

    def _clip(self, name: str, gradient: Tensor, parameter: Tensor) -> Tensor:
        if gradient.numel() == 0 or (self.exclude is not None and fnmatchcase(name, self.exclude)):
            return gradient
        limit = self.value * unit_norms(parameter.detach()).clamp(min=self.eps)
        coefficient = torch.clamp(limit / unit_norms(gradient), max=1.0)
        return (gradient * coefficient).to(gradient.dtype)
