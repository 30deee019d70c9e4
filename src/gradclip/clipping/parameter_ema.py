"""Clipping of each tensor at a multiple of its average norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.averages import split_entries, stack_entries
from gradclip.clipping.base import Gradients, State, device_of
from gradclip.clipping.norm_rules import NormRule, Numbers
from gradclip.norms.arrays import row_norms
from gradclip.norms.tensors import norm_of_norms, tensor_norms
from gradclip.ranges import COUNT, DECAY_RATE, POSITIVE


@dataclass(frozen=True)
class ParameterEMA(NormRule):
    """Limit each gradient to a multiple c of its own average norm.

    Rule: g_i·min(1, c·γ_i/‖g_i‖), γ_i its average norm.
    γ_i is the exponential moving average of the tensor's norm after clipping. During the first ``warmup`` steps the
    global norm is limited to ``warmup_norm`` instead, and γ_i is the smallest norm after clipping so far. Unlike in the
    paper, a gradient of exactly zero does not initialize γ_i, and a tensor that has had only such gradients is not
    limited until after its first nonzero one. Otherwise it would stay frozen.

    Non-finite gradients: as in ``norm``, within that tensor (within all during warm-up); state unchanged.
    During warm-up all tensors share one norm.

    Source: Wang et al. 2025 (AdaGC).
    "AdaGC: enhancing LLM pretraining stability via adaptive gradient clipping", algorithm 1.

    Args:
        value: the multiple c of the average norm, without unit.
        beta: fraction of the old average kept at each step.
        warmup: number of steps that initialize the averages.
        warmup_norm: threshold of the global norm during warm-up, in loss units per weight unit.

    Raises:
        ClippingError: a number is out of range.

    Example:
        >>> clipper = ParameterEMA(value=1.5, warmup=1, warmup_norm=4.0)
        >>> state = clipper.init({"weight": torch.zeros(1)})
        >>> for size in (2.0, 8.0):
        ...     gradients = {"weight": torch.tensor([size])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        >>> clipped["weight"]
        tensor([3.])
    """

    value: Annotated[float | Tensor, POSITIVE] = 1.05
    beta: Annotated[float, DECAY_RATE] = 0.98
    warmup: Annotated[int, COUNT] = 100
    warmup_norm: Annotated[float, POSITIVE] = 1.0

    changes_direction: ClassVar[bool] = True

    def init(self, parameters: Gradients) -> State:
        """Return infinite averages, which limit nothing, by parameter name, and a step count of zero."""
        device = device_of(parameters)
        averages = {
            f"average.{name}": torch.full((), torch.inf, dtype=torch.float64, device=device) for name in parameters
        }
        return averages | {"steps": torch.zeros((), dtype=torch.int64, device=device)}

    def measure(self, gradients: Gradients) -> Tensor:
        """Return the norm of each gradient, ``[gradients]``."""
        return tensor_norms([*gradients.values()])

    def gather(self, state: State, gradients: Gradients) -> State:
        """Return the average of each gradient's norm, ``[gradients]``, and the number of steps."""
        return {"averages": stack_entries(state, "average", gradients), "steps": state["steps"]}

    def scatter(self, after: State, state: State, gradients: Gradients) -> State:
        """Return the state with the new averages of these gradients."""
        return {**state, **split_entries("average", gradients, after["averages"]), "steps": after["steps"]}

    def rule(self, norm: Numbers, state: Mapping[str, Numbers], xp: Any) -> tuple[Numbers, dict[str, Numbers]]:
        """Return the coefficient of each gradient, ``[gradients]``, and the next state."""
        norms, averages = norm, state["averages"]
        warming_up = state["steps"] < self.warmup
        if xp is torch:  # computes both, so that the number of steps is not read
            coefficients = torch.where(warming_up, self._for_all(norms, xp), self._for_each(norms, averages, xp))
        else:
            coefficients = self._for_all(norms, xp) if warming_up else self._for_each(norms, averages, xp)
        averages = self._remember(averages, norms, coefficients * norms, warming_up, xp)
        return coefficients, {"averages": averages, "steps": state["steps"] + 1}

    def _for_all(self, norms: Numbers, xp: Any) -> Numbers:
        total = norm_of_norms(norms) if xp is torch else row_norms(norms[None])[0]
        return xp.where(total > self.warmup_norm, self.warmup_norm / total, total * 0 + 1)

    def _for_each(self, norms: Numbers, averages: Numbers, xp: Any) -> Numbers:
        largest = self.value * averages
        return xp.where(norms > largest, largest / norms, 1.0)

    def _remember(self, averages: Numbers, norms: Numbers, clipped: Numbers, warming_up: Numbers, xp: Any) -> Numbers:
        first = warming_up | xp.isinf(averages)
        after = xp.where(first, xp.minimum(averages, clipped), self.beta * averages + (1 - self.beta) * clipped)
        return xp.where((norms > 0) | ~first, after, averages)
