"""Clipping of norms far above their running mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, State, device_of
from gradclip.clipping.norm_rules import NormRule, Numbers
from gradclip.ranges import COUNT, DECAY_RATE, POSITIVE


@dataclass(frozen=True)
class ZScore(NormRule):
    """Pull back a global norm that is more than c standard deviations above its running mean.

    Rule: a norm with a z-score above c is pulled back to μ + σ·c²/z.
    The z-score is z = (‖g‖ - μ)/(σ + ε). μ and σ² are exponential moving averages of the norm after clipping and of
    its squared deviation from μ. They are initialized with the mean and variance of the first ``warmup`` norms before
    clipping. During these steps the norm is limited to ``warmup_norm``, if that is set.

    Non-finite gradients: as in ``norm``; state unchanged.
    (The published code never clips again after a non-finite norm. By default it also limits every norm to 1, which
    hides the rule.)

    Source: Kumar et al. 2025 (ZClip).
    Kumar, Owen, Roy Chowdhury & Güra, "ZClip: adaptive spike mitigation for LLM pre-training", and its code, which
    updates σ² with the already updated μ.

    Args:
        value: the z-score c above which a norm is pulled back, in standard deviations.
        alpha: fraction of the old averages kept at each step.
        warmup: number of steps that initialize the averages.
        warmup_norm: threshold of the norm during warm-up, in loss units per weight unit; None for no limit.
        eps: added to σ in the denominator, in loss units per weight unit.

    Raises:
        ClippingError: a number is out of range.

    Example:
        >>> clipper = ZScore(warmup=2)
        >>> state = clipper.init({})
        >>> for size in (1.0, 3.0, 12.0):  # mean 2, deviation 1: 12 has a z-score of 10
        ...     gradients = {"weight": torch.tensor([size])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]
        tensor([2.6250])
    """

    value: Annotated[float | Tensor, POSITIVE] = 2.5
    alpha: Annotated[float, DECAY_RATE] = 0.97
    warmup: Annotated[int, COUNT] = 25
    warmup_norm: Annotated[float | None, POSITIVE] = None
    eps: Annotated[float, POSITIVE] = 1e-6

    def init(self, parameters: Gradients) -> State:
        """Return averages of zero, in float64, where the square of a float32 norm cannot overflow."""
        device = device_of(parameters)
        zero = torch.zeros((), dtype=torch.float64, device=device)
        return {"mean": zero, "variance": zero, "seen": torch.zeros((), dtype=torch.int64, device=device)}

    def rule(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> tuple[Numbers, dict[str, Numbers]]:
        """Return the coefficient that pulls back a global norm that is an outlier, and the next state."""
        limited = self._limit(norm, state, xp)
        coefficient = xp.where(limited < norm, limited / norm, 1.0)
        typical = xp.where(state["seen"] < self.warmup, norm, limited)
        return coefficient, self._remember(state, typical, xp)

    def _limit(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> Numbers:
        deviation = xp.sqrt(state["variance"])
        score = (norm - state["mean"]) / (deviation + self.eps)
        square = self.value * self.value  # of a huge number, ** would raise an OverflowError
        pulled_back = state["mean"] + deviation * square / score
        at_first = norm if self.warmup_norm is None else xp.where(norm > self.warmup_norm, self.warmup_norm, norm)
        later = xp.where(score > self.value, pulled_back, norm)
        return xp.where(state["seen"] < self.warmup, at_first, later)

    def _remember(self, state: Mapping[str, Numbers], norm: Numbers, xp: Any) -> dict[str, Numbers]:
        seen = state["seen"] + 1
        warming_up = seen <= self.warmup
        keep = xp.where(warming_up, 1 - xp.ones_like(norm) / seen, self.alpha)
        mean = keep * state["mean"] + (1 - keep) * norm
        before = xp.where(warming_up, state["mean"], mean)  # while warming up, Welford's exact variance
        variance = keep * state["variance"] + (1 - keep) * (norm - before) * (norm - mean)
        return {"mean": mean, "variance": variance, "seen": seen}
