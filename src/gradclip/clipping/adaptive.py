"""Clipping of each unit's gradient relative to its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.clipping.patterns import check_matches
from gradclip.clipping.rescaling import rescale, rescale_in_place
from gradclip.errors import ClippingError
from gradclip.norms import gpu
from gradclip.norms.units import split_units, unit_norms
from gradclip.ranges import LARGEST, POSITIVE, Range
from gradclip.sharding import to_local


@dataclass(frozen=True)
class Adaptive(Clipper):
    """Limit each unit's gradient norm to a fraction c of its weight norm.

    Rule: g_i·min(1, c·max(‖w_i‖, ε)/‖g_i‖) for each unit.
    A unit has the weights of one output: a row of a Linear weight or a filter of a convolution, since torch keeps
    outputs in the first dimension. A bias or other vector is one unit. Without ε, a tensor that starts at zero would
    stay there.

    Non-finite gradients: as in ``norm``, within that unit.
    A NaN makes its unit NaN. An infinite element becomes NaN, and the finite elements of its unit become zero.

    Source: Brock et al. 2021 (AGC).
    Brock, De, Smith & Simonyan, "High-performance large-scale image recognition without normalization", equation 3. As
    in optax and timm, a vector is one unit. Unlike there, nothing is added to a norm.

    Args:
        value: the fraction c of a unit's weight norm.
        eps: the lower limit ε of a weight norm, in weight units.
        exclude: name pattern of parameters that are not clipped, such as the head's; None clips all.

    Raises:
        ClippingError: value or eps is not above 0, or exclude is not text; in ``init``, if it matches no parameter.

    Example:
        >>> weights = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}
        >>> gradients = {"weight": torch.tensor([[0.6, 0.8], [0.6, 0.8]])}
        >>> Adaptive(0.01)(gradients, weights, {})[0]["weight"]
        tensor([[3.0000e-02, 4.0000e-02],
                [6.0000e-06, 8.0000e-06]])
    """

    value: Annotated[float | Tensor, POSITIVE] = 0.01
    eps: Annotated[float, Range(0, LARGEST, above_low=True)] = 1e-3
    exclude: str | None = None

    changes_direction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.exclude, str | None):
            raise ClippingError(f"exclude: got {self.exclude!r}; must be a name pattern, such as 'head.*', or None")

    def init(self, parameters: Gradients) -> State:
        """Return an empty state.

        Raises:
            ClippingError: ``exclude`` matches no parameter.
        """
        if self.exclude is not None and parameters:
            check_matches("exclude", self.exclude, parameters)
        return {}

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients with no unit above its limit."""
        clipped = {name: gradients[name] for name in gradients if self._is_clipped(name)}
        local = [*map(to_local, clipped.values())]
        factors = self._factors([*clipped.values()], [parameters[name].detach() for name in clipped])
        each = dict(zip(clipped, split_units(factors, local), strict=True))
        return rescale(gradients, [each.get(name) for name in gradients]), state

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Rescale each unit in place."""
        clipped = {name: gradients[name] for name in gradients if self._is_clipped(name)}
        local = [*map(to_local, clipped.values())]
        factors = self._factors([*clipped.values()], [parameters[name] for name in clipped], self._least)
        if gpu.can_measure_units(local):
            gpu.multiply_units(local, factors)
        else:
            rescale_in_place(clipped, split_units(factors, local))
        return state

    def _factors(self, gradients: Sequence[Tensor], weights: Sequence[Tensor], least: float = 0.0) -> Tensor:
        """Return the coefficient of each unit, ``[units]``; ``least`` is passed to ``unit_norms``."""
        norms, norms_of_weights = unit_norms([*gradients, *weights], least).chunk(2)
        return torch.clamp(self.value * norms_of_weights.clamp(min=self.eps) / norms, max=1.0)

    @property
    def _least(self) -> float:
        """The size below which norms need not be exact: gradients are not clipped, and weight norms count as ε."""
        is_known = not isinstance(self.value, Tensor) or self.value.is_cpu
        return min(float(self.value), 1.0) * self.eps if is_known else 0.0

    def _is_clipped(self, name: str) -> bool:
        return self.exclude is None or not fnmatchcase(name, self.exclude)
