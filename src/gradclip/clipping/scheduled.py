"""A threshold that changes over the steps."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast, get_args

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State, check_clipper, device_of
from gradclip.errors import ClippingError, check_choice
from gradclip.norms.tensors import wide_type
from gradclip.ranges import COUNT, POSITIVE

Shape = Literal["linear", "exponential"]


@dataclass(frozen=True)
class Scheduled(Clipper):
    """Multiply a clipper's threshold by a factor that goes from ``start`` to ``end`` over ``steps``, then stays there.

    Args:
        clipper: any clipper whose main threshold is called ``value``.
        start: the factor at the first step.
        end: the factor from step ``steps`` + 1 on.
        steps: number of optimizer steps from ``start`` to ``end``.
        shape: ``linear``, by equal differences, or ``exponential``, by equal ratios.

    Raises:
        ClippingError: start or end is not above 0, steps is not a whole number of at least 1, shape is unknown, or the
            clipper has no threshold.

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
    start: Annotated[float, POSITIVE] = 1.0
    end: Annotated[float, POSITIVE] = 1.0
    steps: Annotated[int, COUNT] = 1
    shape: Shape = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_clipper("clipper", self.clipper)
        if getattr(self.clipper, "value", None) is None:
            raise ClippingError(f"clipper: got {self.clipper}; must have a threshold called value")
        check_choice("shape", self.shape, get_args(Shape), ClippingError)

    @property
    def changes_direction(self) -> bool:  # type: ignore[override]
        """Whether the clipper changes the direction."""
        return self.clipper.changes_direction

    @property
    def may_skip(self) -> bool:  # type: ignore[override]
        """Whether the clipper may skip an update."""
        return self.clipper.may_skip

    def init(self, parameters: Gradients) -> State:
        """Return the clipper's state and a count of steps."""
        step = torch.zeros((), dtype=torch.int64, device=device_of(parameters))
        return {**self.clipper.init(parameters), "step": step}

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the gradients clipped at this step's threshold, and the next state."""
        clipped, after = self._now(state).transform(gradients, parameters, state)
        return clipped, {**after, "step": state["step"] + 1}

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Clip in place at this step's threshold."""
        after = self._now(state).clip_in_place(gradients, parameters, state)
        return {**after, "step": state["step"] + 1}

    def skips(self, state: State, after: State) -> Tensor:
        """Return whether the clipper skips the update."""
        return self.clipper.skips(state, after)

    def _now(self, state: State) -> Clipper:
        clipper: Any = self.clipper
        factor = factor_at(state["step"], self.start, self.end, self.steps, self.shape)
        return cast(Clipper, replace(clipper, value=clipper.value * factor))


def factor_at(step: Tensor, start: float, end: float, steps: int, shape: Shape) -> Tensor:
    """Return the factor of each step, in float64, since float32 counts only up to 16 million.

    Args:
        step: optimizer steps, counted from 0.
        start: the factor at step 0.
        end: the factor from step ``steps`` on.
        steps: number of steps from ``start`` to ``end``.
        shape: ``linear`` or ``exponential``.

    Example:
        >>> factor_at(torch.arange(4), start=4.0, end=1.0, steps=2, shape="exponential")
        tensor([4., 2., 1., 1.], dtype=torch.float64)
    """
    progress = torch.clamp(step.to(wide_type(step)) / steps, max=1.0)
    if shape == "linear":
        return start + (end - start) * progress
    return start * (end / start) ** progress
