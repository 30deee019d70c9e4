"""Clipping at a percentile of the norms seen so far."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradclip.clipping.arguments import check_count, check_range
from gradclip.clipping.base import Gradients, Rescaler, State
from gradclip.norms import global_norm


@dataclass(frozen=True)
class Auto(Rescaler):
    """Clip the global norm at the p-th percentile of the norms seen so far, this step's included.

    A non-finite gradient ends as in :class:`~gradclip.clipping.norm.Norm` and is not remembered: later steps are as
    if it had not come. (In the published code one NaN turns all later gradients to NaN.)

    Source: Seetharaman, Wichern, Pardo & Le Roux 2020, "AutoClip: adaptive gradient clipping for source separation
    networks". It remembers every norm; here the latest ``history``, which is the same until so many steps are over.

    Args:
        value: the percentile p, 0 to 100; the lower, the more is clipped. What a schedule raises above 100 is 100.
        history: how many norms are remembered.

    Raises:
        ClippingError: value is no percentile, or history no whole number from 1 on.

    Example:
        >>> clipper, state = Auto(value=0.0), {}
        >>> state = clipper.init({})
        >>> for size in (1.0, 4.0):
        ...     gradients = {"weight": torch.tensor([size])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]
        tensor([1.])
    """

    value: float | Tensor = 10.0
    history: int = 2000

    def __post_init__(self) -> None:
        check_range(0, 100, value=self.value)
        check_count(history=self.history)

    def init(self, parameters: Gradients) -> State:
        """Return an empty history."""
        device = next(iter(parameters.values())).device if parameters else None
        empty = torch.full((self.history,), torch.nan, dtype=torch.float64, device=device)
        return {"norms": empty, "seen": torch.zeros((), dtype=torch.int64, device=device)}

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what brings the global norm to at most the percentile."""
        norm = global_norm([*gradients.values()])
        after = self._remember(state, norm)
        threshold = _percentile(after["norms"], after["seen"].clamp(max=self.history), self.value)
        coefficient = torch.where(norm == 0, torch.ones_like(norm), torch.clamp(threshold / norm, max=1.0))
        return torch.where(norm.isfinite(), coefficient, 1 / norm), after

    def _remember(self, state: State, norm: Tensor) -> dict[str, Tensor]:
        place = torch.arange(self.history, device=norm.device) == state["seen"] % self.history
        norms = torch.where(place & norm.isfinite(), norm, state["norms"])
        return {"norms": norms, "seen": state["seen"] + norm.isfinite()}


def _percentile(norms: Tensor, count: Tensor, percentile: float | Tensor) -> Tensor:
    """Interpolated as NumPy does; of the numbers among ``norms``, of which there are ``count``.

    :func:`torch.nanquantile` is the same, but ``torch.vmap`` cannot stack it.
    """
    ordered = norms.sort().values  # NaN comes last
    last = (count - 1).clamp(min=0)
    position = torch.minimum(last * percentile / 100, last)  # a schedule may lead above 100
    below, above = (ordered.gather(0, end.long().reshape(1))[0] for end in (position.floor(), position.ceil()))
    return below + (above - below) * (position - position.floor())
