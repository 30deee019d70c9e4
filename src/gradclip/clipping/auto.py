"""Clipping at a percentile of the most recent norms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, State, device_of
from gradclip.clipping.norm_rules import NormRule, Numbers
from gradclip.ranges import FIXED, PERCENTILE, Range


@dataclass(frozen=True)
class Auto(NormRule):
    """Clip the global norm at the c-th percentile of the most recent norms, including this step's.

    Rule: ``norm`` at the c-th percentile of the most recent norms.

    Non-finite gradients: as in ``norm``; state unchanged.
    Later steps are clipped as if the step had not occurred. (In the published code, one NaN turns all later gradients
    to NaN.)

    Source: Seetharaman et al. 2020.
    Seetharaman, Wichern, Pardo & Le Roux, "AutoClip: adaptive gradient clipping for source separation networks". The
    paper keeps every norm; this class keeps the most recent ``history`` norms.

    Args:
        value: the percentile c, from 0 to 100. Lower values clip more; 0 is the smallest norm. A schedule cannot raise
            it above 100.
        history: number of norms to keep.

    Raises:
        ClippingError: value is not a percentile, or history is not a whole number from 1 to a million.

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

    def rule(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> tuple[Numbers, dict[str, Numbers]]:
        """Return the coefficient that limits the global norm to the percentile, and the next state."""
        after = {"norms": self._remember(state, norm, xp), "seen": state["seen"] + 1}
        count = xp.where(after["seen"] < self.history, after["seen"], self.history)
        threshold = _percentile(after["norms"], count, self.value, xp)
        return xp.where(norm > threshold, threshold / norm, 1.0), after

    def _remember(self, state: Mapping[str, Numbers], norm: Numbers, xp: Any) -> Numbers:
        """Return the norms, with the oldest replaced by this one."""
        place = state["seen"] % self.history
        if xp is torch:
            places = torch.arange(self.history, device=norm.device)
            return torch.where(places == place, norm, state["norms"])
        norms = state["norms"].copy()
        norms[place] = norm
        return norms


def _percentile(norms: Numbers, count: Numbers, percentile: float | Tensor, xp: Any) -> Numbers:
    """Return a percentile of the ``count`` numbers in ``norms``, interpolated as in NumPy; its other entries are NaN.

    :func:`torch.nanquantile` computes the same, but does not work under ``torch.vmap``.
    """
    last = (count - 1) * xp.ones_like(norms[0])  # in float64: float32 would round the position
    position = xp.minimum(last * percentile / 100, last)  # a schedule may raise the percentile above 100
    ends = xp.floor(position), xp.ceil(position)
    if xp is not torch:
        indices = [int(end) for end in ends]
        below, above = np.partition(norms[:count], indices)[indices]
    else:
        ordered = norms.sort().values
        below, above = (ordered.gather(0, end.long().reshape(1))[0] for end in ends)
    return below + (above - below) * (position - ends[0])
