"""Clipping of each tensor at a multiple of its own average norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from gradclip.clipping.arguments import COUNT, POSITIVE, SHARE
from gradclip.clipping.base import Gradients, Rescaler, State, device_of
from gradclip.norms import norm_of_norms, tensor_norms


@dataclass(frozen=True)
class ParameterEMA(Rescaler):
    """Limit each gradient to a multiple c of its own average norm.

    Rule: g_i·min(1, c·γ_i/‖g_i‖), γ_i its average norm.
    γ_i is the exponential moving average of the norm of that tensor after clipping. For the first ``warmup`` steps
    the global norm is limited to ``warmup_norm`` instead, and γ_i is the least norm after clipping. Other than in the
    paper, so that no tensor is frozen for ever, a gradient of exactly zero does not set γ_i, and a tensor that had only
    such gradients is not limited until it has had another.

    Non-finite gradients: as in ``norm``, within that tensor (in all while warming up), not remembered.
    While warming up all tensors share one norm.

    Source: Wang et al. 2025 (AdaGC).
    "AdaGC: enhancing LLM pretraining stability via adaptive gradient clipping", algorithm 1.

    Args:
        value: the multiple c of the average norm, without unit.
        beta: share of the old average kept at each step.
        warmup: steps that start the averages.
        warmup_norm: threshold of the global norm during these, in loss units per weight unit.

    Raises:
        ClippingError: a number is out of its range.

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
    beta: Annotated[float, SHARE] = 0.98
    warmup: Annotated[int, COUNT] = 100
    warmup_norm: Annotated[float, POSITIVE] = 1.0

    changes_direction: ClassVar[bool] = True

    def init(self, parameters: Gradients) -> State:
        """Return averages that limit nothing yet, by parameter name."""
        device = device_of(parameters)
        averages = {
            f"average.{name}": torch.full((), torch.inf, dtype=torch.float64, device=device) for name in parameters
        }
        return averages | {"steps": torch.zeros((), dtype=torch.int64, device=device)}

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what pulls back each gradient that is far above its own average, ``[gradients]``."""
        if not gradients:
            return torch.ones(()), state
        norms = tensor_norms([*gradients.values()])
        averages = torch.stack([state[f"average.{name}"] for name in gradients])
        warming_up = state["steps"] < self.warmup
        coefficients = torch.where(warming_up, self._for_all(norms), self._for_each(norms, averages))
        averages = self._remember(averages, norms, coefficients * norms, warming_up)
        named = {f"average.{name}": average for name, average in zip(gradients, averages.unbind(), strict=True)}
        after = dict(state) | named | {"steps": state["steps"] + norms.isfinite().all()}
        return coefficients, after

    def _for_all(self, norms: Tensor) -> Tensor:
        return torch.clamp(self.warmup_norm / norm_of_norms(norms), max=1.0).expand_as(norms)

    def _for_each(self, norms: Tensor, averages: Tensor) -> Tensor:
        coefficients = torch.where(norms == 0, torch.ones_like(norms), self.value * averages / norms).clamp(max=1.0)
        return torch.where(norms.isfinite(), coefficients, 1 / norms)

    def _remember(self, averages: Tensor, norms: Tensor, clipped: Tensor, warming_up: Tensor) -> Tensor:
        first = warming_up | averages.isinf()
        after = torch.where(first, torch.minimum(averages, clipped), self.beta * averages + (1 - self.beta) * clipped)
        counts = norms.isfinite().all() & ((norms > 0) | ~first)
        return torch.where(counts, after, averages)
