"""Clipping at a percentile of the norms seen so far."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Report, State, report, rescale
from gradclip.norms import global_norm


@dataclass(frozen=True)
class Auto(Clipper):
    """Clip the global norm at the p-th percentile of the norms seen so far, this step's included.

    A non-finite gradient ends as in :class:`~gradclip.clipping.norm.Norm` and is not remembered: later steps are as
    if it had not come. (In the published code one NaN turns all later gradients to NaN.)

    Source: Seetharaman, Wichern, Pardo & Le Roux 2020, "AutoClip: adaptive gradient clipping for source separation
    networks". It remembers every norm; here the latest ``history``, which is the same until so many steps are over.

    Args:
        value: the percentile p, 0 to 100; the lower, the more is clipped.
        history: how many norms are remembered.

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

    def init(self, parameters: Gradients) -> State:
        """Return an empty history."""
        device = next(iter(parameters.values())).device if parameters else None
        empty = torch.full((self.history,), torch.nan, device=device)
        return {"norms": empty, "seen": torch.zeros((), dtype=torch.int64, device=device)}

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return gradients whose global norm is at most the percentile."""
        norm = global_norm([*gradients.values()])
        after = self._remember(state, norm)
        share = torch.as_tensor(self.value / 100, dtype=torch.float32, device=norm.device)
        threshold = torch.nanquantile(after["norms"], share)
        coefficient = torch.where(norm == 0, torch.ones_like(norm), torch.clamp(threshold / norm, max=1.0))
        clipped = rescale(gradients, torch.where(norm.isfinite(), coefficient, _unusable(norm)))
        return clipped, after, report(gradients, clipped)

    def _remember(self, state: State, norm: Tensor) -> dict[str, Tensor]:
        place = torch.arange(self.history, device=norm.device) == state["seen"] % self.history
        norms = torch.where(place & norm.isfinite(), norm.to(torch.float32), state["norms"])
        return {"norms": norms, "seen": state["seen"] + norm.isfinite()}


def _unusable(norm: Tensor) -> Tensor:
    """What a non-finite gradient is multiplied by: NaN for a NaN, 0 for an infinite norm."""
    return 1 / norm
