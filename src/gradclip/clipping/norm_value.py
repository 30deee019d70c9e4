"""Clipping by the global norm, then of every element."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gradclip.clipping.arguments import check_positive
from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.clipping.chain import Chain
from gradclip.clipping.norm import Norm
from gradclip.clipping.value import Value


@dataclass(frozen=True)
class NormValue(Clipper):
    """Limit the global norm, then each element: :class:`Norm` followed by :class:`Value`.

    Non-finite gradients end as in those two: NaN stays NaN.

    Args:
        norm: threshold of the global L2 norm, applied first.
        value: threshold of each element, applied second.

    Raises:
        ClippingError: norm or value is not above 0.

    Example:
        >>> import torch
        >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
        >>> NormValue(norm=1.0, value=0.7)(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.7000])
    """

    norm: float
    value: float | Tensor

    changes_direction: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(norm=self.norm, value=self.value)

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients within both thresholds."""
        return Chain(Norm(self.norm), Value(self.value)).transform(gradients, parameters, state)
