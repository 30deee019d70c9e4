"""Clipping of each unit relative to its weights."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from gradclip.clipping.arguments import POSITIVE
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.clipping.rescaling import rescale, rescale_in_place
from gradclip.norms import gpu
from gradclip.norms.units import unit_norms, unit_norms_together


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
        clipped = self._clipped(gradients)
        norms = unit_norms([gradients[name] for name in clipped])
        weights = unit_norms([parameters[name].detach() for name in clipped])
        factors = {name: self._factor(*pair) for name, *pair in zip(clipped, norms, weights, strict=True)}
        return rescale(gradients, [factors.get(name) for name in gradients]), state

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Rescale each unit in place, all factors computed at once; arguments are those of the base class."""
        clipped = self._clipped(gradients)
        of_clipped = [gradients[name] for name in clipped]
        both = of_clipped + [parameters[name] for name in clipped]
        if gpu.can_measure_units(both):
            gpu.multiply_units(of_clipped, self._factor(*gpu.flat_unit_norms(both).chunk(2)))
        elif clipped:
            self._rescale_each(gradients, parameters, clipped)
        return state

    def _rescale_each(self, gradients: Gradients, parameters: Gradients, clipped: list[str]) -> None:
        """Rescale those gradients in place, by torch's own operations."""
        matrices = [name for name in clipped if gradients[name].ndim > 1]
        vectors = [name for name in clipped if gradients[name].ndim < 2]
        of_both = unit_norms_together(
            [of[name] for of in (gradients, parameters) for name in matrices],
            [of[name] for of in (gradients, parameters) for name in vectors],
            self._least,
        )
        norms, weights = of_both[: len(matrices)], of_both[len(matrices) : 2 * len(matrices)]
        if vectors:
            of_gradients, of_weights = of_both[-1].chunk(2)
            norms, weights = [*norms, of_gradients], [*weights, of_weights]
        factors = self._factor(_flatten_dense_tensors(norms), _flatten_dense_tensors(weights))  # type: ignore[no-untyped-call]
        each = _unflatten_dense_tensors(factors, norms)  # type: ignore[no-untyped-call]
        each = [*each[:-1], *each[-1].unbind()] if vectors else each
        rescale_in_place({name: gradients[name] for name in matrices + vectors}, each)

    @property
    def _least(self) -> float:
        """A norm below which no gradient is clipped, and that counts as the least weight norm."""
        is_known = not isinstance(self.value, Tensor) or self.value.is_cpu
        return min(float(self.value), 1.0) * self.eps if is_known else 0.0

    def _factor(self, norms: Tensor, weights: Tensor) -> Tensor:
        return torch.clamp(self.value * weights.clamp(min=self.eps) / norms, max=1.0)

    def _clipped(self, gradients: Gradients) -> list[str]:
        return [name for name in gradients if self.exclude is None or not fnmatchcase(name, self.exclude)]
