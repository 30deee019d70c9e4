"""A clipper that changes nothing, so that baselines report the same quantities."""

from dataclasses import dataclass

from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State


@dataclass(frozen=True)
class Identity(Clipper):
    """Return the gradients unchanged.

    Rule: g.

    Non-finite gradients: unchanged.

    Example:
        >>> import torch
        >>> gradients = {"bias": torch.tensor([3.0, 4.0])}
        >>> Identity()(gradients, gradients, {})[2].norm
        tensor(5., dtype=torch.float64)
    """

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return the same gradients in a new mapping."""
        return dict(gradients), state

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Change nothing."""
        return state
