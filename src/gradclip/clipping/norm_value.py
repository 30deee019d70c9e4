"""Clipping by the global norm, then element-wise."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, State
from gradclip.clipping.chain import Chain
from gradclip.clipping.norm import Norm
from gradclip.clipping.value import Value
from gradclip.ranges import POSITIVE


@dataclass(frozen=True)
class NormValue(Clipper):
    """Limit the global norm, then each element: :class:`Norm` followed by :class:`Value`.

    Rule: the global norm to at most ``norm``, then each element to [−c, c].

    Non-finite gradients: a NaN makes all NaN; an infinity becomes NaN, the rest zero.
    As in :class:`Norm`; :class:`Value` keeps its NaN.

    Args:
        norm: threshold of the global L2 norm, applied first, in loss units per weight unit.
        value: threshold of each element, applied second, in the same unit.

    Raises:
        ClippingError: norm or value is not above 0.

    Example:
        >>> import torch
        >>> gradients = {"weight": torch.tensor([3.0, 4.0])}
        >>> NormValue(norm=1.0, value=0.7)(gradients, gradients, {})[0]["weight"]
        tensor([0.6000, 0.7000])
    """

    norm: Annotated[float, POSITIVE]
    value: Annotated[float | Tensor, POSITIVE]

    changes_direction: ClassVar[bool] = True
    limits: ClassVar = {"norm": "norm", "value": "value"}

    def transform(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[dict[str, Tensor], State]:
        """Return gradients within both thresholds."""
        return self._chain().transform(gradients, parameters, state)

    def clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        """Clip in place with one method after the other."""
        return self._chain().clip_in_place(gradients, parameters, state)

    def _chain(self) -> Chain:
        return Chain(Norm(self.norm), Value(self.value))
