"""The contract of a clipper."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gradclip.norms import global_norm

Gradients = Mapping[str, Tensor]  # by parameter name, each of its parameter's shape
State = Mapping[str, Tensor]  # what an adaptive method remembers; empty for the others


class Report(NamedTuple):
    """What a clipper did, as scalar tensors on the gradients' device.

    Attributes:
        norm: global L2 norm before clipping.
        norm_clipped: global L2 norm after clipping.
        clipped: whether any gradient was changed.
    """

    norm: Tensor
    norm_clipped: Tensor
    clipped: Tensor


class Clipper(ABC):
    """A pure transform of named gradients: it changes no input and asks no tensor for its value.

    So the same object runs in place on ``.grad`` in a Lightning loop and under ``torch.vmap`` over many replicas.
    """

    def init(self, parameters: Gradients) -> State:
        """Return the state before the first step: nothing, unless a method remembers."""
        return {}

    @abstractmethod
    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State
    ) -> tuple[dict[str, Tensor], State, Report]:
        """Return the clipped gradients, the next state and what was done."""


def report(before: Gradients, after: Gradients) -> Report:
    """Compare gradients before and after clipping."""
    norm, norm_clipped = global_norm([*before.values()]), global_norm([*after.values()])
    changed = [_differ(before[name], after[name]).any() for name in before]
    return Report(norm, norm_clipped, torch.stack(changed).any() if changed else torch.tensor(False))


def _differ(before: Tensor, after: Tensor) -> Tensor:
    """Where elements changed; a NaN that stays one did not."""
    return (before != after) & ~(before.isnan() & after.isnan())
