"""Clipping of every element."""

from dataclasses import dataclass

from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Report, State, report


@dataclass(frozen=True)
class Value(Clipper):
    """Clip each element to [-c, c].

    The direction bends where elements are cut. Infinite elements become ±c; NaN stays NaN.

    Source: ``torch.nn.utils.clip_grad_value_`` and Keras's ``clipvalue``.

    Args:
        value: the threshold c, in loss units per weight unit.

    Example:
        >>> import torch
        >>> gradients = {"weight": torch.tensor([-7.0, 0.5])}
        >>> Value(5.0)(gradients, gradients, {})[0]["weight"]
        tensor([-5.0000,  0.5000])
    """

    value: float

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return gradients with no element beyond the threshold."""
        clipped = {name: gradient.clamp(-self.value, self.value) for name, gradient in gradients.items()}
        return clipped, state, report(gradients, clipped)
