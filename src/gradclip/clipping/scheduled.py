"""A threshold that changes over the steps."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gradclip.clipping.arguments import check_count, check_positive
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.errors import ClippingError


@dataclass(frozen=True)
class Scheduled(Clipper):
    """Multiply a clipper's threshold by a factor that goes from ``start`` to ``end`` over ``steps``, and stays there.

    Args:
        clipper: any clipper whose main threshold is called ``value``.
        start: the factor at the first step.
        end: the factor from step ``steps`` + 1 on.
        steps: how many steps it takes.
        shape: ``linear``, or ``exponential``: by the same ratio at every step.

    Raises:
        ClippingError: start or end is not above 0, steps no whole number from 1 on, or the clipper has no threshold.

    Example:
        >>> from gradclip import Value
        >>> clipper = Scheduled(Value(1.0), start=4.0, end=2.0, steps=1)
        >>> state = clipper.init({})
        >>> for _ in range(2):
        ...     gradients = {"weight": torch.tensor([9.0])}
        ...     clipped, state, _ = clipper(gradients, gradients, state)
        ...     print(clipped["weight"])
        tensor([4.])
        tensor([2.])
    """

    clipper: Clipper
    start: float = 1.0
    end: float = 1.0
    steps: int = 1
    shape: Literal["linear", "exponential"] = "linear"

    def __post_init__(self) -> None:
        check_positive(start=self.start, end=self.end)
        check_count(steps=self.steps)
        if getattr(self.clipper, "value", None) is None:
            raise ClippingError(f"clipper: got {self.clipper}; must have a threshold called value")

    @property
    def changes_direction(self) -> bool:  # type: ignore[override]
        """As the clipper does."""
        return self.clipper.changes_direction

    @property
    def may_skip(self) -> bool:  # type: ignore[override]
        """As the clipper does."""
        return self.clipper.may_skip

    def init(self, parameters: Gradients) -> State:
        """Return the clipper's state and a count of steps."""
        device = next(iter(parameters.values())).device if parameters else None
        return {**self.clipper.init(parameters), "step": torch.zeros((), dtype=torch.int64, device=device)}

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Clip at this step's threshold."""
        clipper: Any = self.clipper
        now = replace(clipper, value=clipper.value * self._factor(state["step"]))
        clipped, after = now.transform(gradients, parameters, state)
        return clipped, {**after, "step": state["step"] + 1}

    def skips(self, state: State, after: State) -> Tensor:
        """As the clipper does."""
        return self.clipper.skips(state, after)

    def _factor(self, step: Tensor) -> Tensor:
        progress = torch.clamp(step / self.steps, max=1.0)
        if self.shape == "linear":
            return self.start + (self.end - self.start) * progress
        return self.start * (self.end / self.start) ** progress
