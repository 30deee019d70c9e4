"""Where replicas are trained, and what belongs to those that still are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Placement:
    """The device and the type that are trained on."""

    device: torch.device
    dtype: torch.dtype

    def put(self, tensor: Tensor) -> Tensor:
        """Put a tensor there; whole numbers keep their type."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Make new tensors of this type, as they are under Lightning."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@dataclass
class State:
    """All that belongs to the replicas that are still trained; each tensor ``[replicas, ...]``.

    Attributes:
        ids: which replicas they are.
        parameters: their trained parameters, ``[replicas, parameters]``.
        tensors: by kind: ``constants`` of the networks, ``memory`` of the optimizer, what the clipper remembers,
            ``clipping``, and the numbers in which its settings, ``clip``, and the ``optimizer``'s differ.
    """

    ids: Tensor
    parameters: Tensor
    tensors: dict[str, dict[Any, Tensor]]

    def of(self, replicas: Sequence[int]) -> "State":
        """Those of some replicas that are still trained."""
        wanted = torch.isin(self.ids, torch.tensor(replicas))
        return self if wanted.all() else self.select(torch.nonzero(wanted).flatten())

    def select(self, rows: Tensor) -> "State":
        """Some rows of it."""
        at = rows.to(self.parameters.device)
        tensors = {kind: {key: value[at] for key, value in part.items()} for kind, part in self.tensors.items()}
        return State(self.ids[rows], self.parameters[at], tensors)

    def without(self, rows: Tensor) -> "State":
        """All but some rows of it."""
        stays = torch.ones(len(self.ids), dtype=torch.bool)
        stays[rows] = False
        return self.select(torch.nonzero(stays).flatten())
