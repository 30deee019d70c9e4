"""Clipping at a percentile of the norms seen so far."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from gradclip.clipping.arguments import FIXED, PERCENTILE, Range
from gradclip.clipping.base import Gradients, Rescaler, State, device_of
from gradclip.norms import global_norm


@dataclass(frozen=True)
class Auto(Rescaler):
    """Clip the global norm at the c-th percentile of the norms so far, this step's included.

    Rule: ``norm`` at the c-th percentile of the norms so far.

    Non-finite gradients: as in ``norm``, not remembered.
    Later steps are as if there had been none. (In the published code one NaN turns all later gradients to NaN.)

    Source: Seetharaman et al. 2020.
    Seetharaman, Wichern, Pardo & Le Roux, "AutoClip: adaptive gradient clipping for source separation networks". It
    remembers every norm; here the latest ``history``, which is the same until so many steps are over.

    Args:
        value: the percentile c, 0 to 100; the lower, the more is clipped, and 0 is the least norm so far. What a
            schedule raises above 100 is 100.
        history: how many norms are remembered.

    Raises:
        ClippingError: value is no percentile, or history no whole number from 1 to a million.

    Example:
        >>> clipper, state = Auto(value=0.0), {}
        >>> state = clipper.init({})
        >>> for size in (1.0, 4.0):
        ...     gradients = {"weight": torch.tensor([size])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]
        tensor([1.])
    """

    value: Annotated[float | Tensor, PERCENTILE] = 10.0
    history: Annotated[int, Range(1, 1_000_000, whole=True), FIXED] = 2000

    def init(self, parameters: Gradients) -> State:
        """Return an empty history."""
        device = device_of(parameters)
        empty = torch.full((self.history,), torch.nan, dtype=torch.float64, device=device)
        return {"norms": empty, "seen": torch.zeros((), dtype=torch.int64, device=device)}

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the scalar that brings the global norm to at most the percentile."""
        norm = global_norm([*gradients.values()])
        after = self._remember(state, norm)
        threshold = _percentile(after["norms"], after["seen"].clamp(max=self.history), self.value)
        coefficient = torch.where(norm == 0, torch.ones_like(norm), torch.clamp(threshold / norm, max=1.0))
        return torch.where(norm.isfinite(), coefficient, 1 / norm), after

    def _remember(self, state: State, norm: Tensor) -> dict[str, Tensor]:
        oldest = torch.arange(self.history, device=norm.device) == state["seen"] % self.history
        norms = torch.where(oldest & norm.isfinite(), norm, state["norms"])
        return {"norms": norms, "seen": state["seen"] + norm.isfinite()}


def _percentile(norms: Tensor, count: Tensor, percentile: float | Tensor) -> Tensor:
    """The percentile of the ``count`` numbers among ``norms``, the others being NaN, interpolated as NumPy does.

    :func:`torch.nanquantile` is the same, but ``torch.vmap`` refuses it.
    """
    ordered = norms.sort().values  # NaN is last
    last = (count - 1).clamp(min=0).double()  # whose hundredth float32 would round
    position = torch.minimum(last * percentile / 100, last)  # a schedule may raise the percentile above 100
    below, above = (ordered.gather(0, end.long().reshape(1))[0] for end in (position.floor(), position.ceil()))
    return below + (above - below) * (position - position.floor())
