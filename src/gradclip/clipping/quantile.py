"""Clipping at a running estimate of a quantile of the norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from gradclip.clipping.base import Gradients, State, device_of
from gradclip.clipping.norm_rules import NormRule, Numbers
from gradclip.ranges import PERCENTILE, Range


@dataclass(frozen=True)
class Quantile(NormRule):
    """Clip the global norm at a running estimate of its c-th percentile.

    Rule: ``norm`` at a running c-th percentile.
    After each step, the estimate C becomes C·exp(−η·(b − c/100)), where b is 1 if ‖g‖ ≤ C and 0 otherwise. C follows
    the norms by at most a factor of exp(η) per step, and is the only state. It starts at the first norm above 0.

    Non-finite gradients: as in ``norm``; state unchanged.

    Source: Andrew et al. 2021.
    Andrew, Thakkar, McMahan & Ramaswamy, "Differentially private learning with adaptive clipping": the geometric
    update, with one norm per step and without noise. In the paper, C starts at 0.1.

    Args:
        value: the percentile c, from 0 to 100. Lower values clip more. A schedule cannot raise it above 100.
        rate: η, the largest change of the logarithm of C in one step.

    Raises:
        ClippingError: value is not a percentile, or rate is not above 0 and at most 1.

    Example:
        >>> clipper = Quantile(value=50.0, rate=0.2)
        >>> state = clipper.init({})
        >>> for size in (1.0, 4.0):
        ...     gradients = {"weight": torch.tensor([size])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]  # exp(-0.1)
        tensor([0.9048])
    """

    value: Annotated[float | Tensor, PERCENTILE] = 50.0
    rate: Annotated[float, Range(0, 1, above_low=True)] = 0.2

    def init(self, parameters: Gradients) -> State:
        """Return an estimate of zero, which means that there is none yet."""
        return {"threshold": torch.zeros((), dtype=torch.float64, device=device_of(parameters))}

    def rule(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> tuple[Numbers, dict[str, Numbers]]:
        """Return the coefficient that limits the global norm to the estimate, and the next estimate."""
        threshold = xp.where(state["threshold"] == 0, norm, state["threshold"])
        coefficient = xp.where(norm > threshold, threshold / norm, 1.0)
        below = xp.where(norm <= threshold, xp.ones_like(norm), 0.0)
        error = xp.maximum(below - self.value / 100, below - 1)  # a schedule may raise the percentile above 100
        return coefficient, {"threshold": threshold * xp.exp(-self.rate * error)}
