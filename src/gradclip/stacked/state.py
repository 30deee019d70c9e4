"""The tensors of the replicas in training, and the device and dtype that they have."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gradclip.stacked.varying import SettingPath

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class TensorOptions:
    """Device and floating-point dtype of a training."""

    device: torch.device
    dtype: torch.dtype

    def convert(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device, and cast it to the dtype if it is a floating-point tensor."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    @contextmanager
    def default_dtype(self) -> Iterator[None]:
        """Make the dtype torch's default within the context, as Lightning does during a step."""
        previous = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(previous)


@dataclass
class TrainState:
    """All tensors of the replicas that are still in training; one row for each replica.

    Attributes:
        ids: index of each replica among all, ``[replicas]``, on the CPU.
        parameters: trained parameters, ``[replicas, parameters]``.
        constants: frozen parameters and buffers of the networks, by name, ``[replicas, ...]``.
        optimizer_state: state of the optimizer, ``[replicas, parameters]`` each.
        optimizer_settings: optimizer settings that differ among replicas, by path, ``[replicas, 1]``.
        clipper_state: state of the clipper, ``[replicas, ...]``.
        clipper_settings: clipping settings that differ among replicas, by path, ``[replicas]``.
    """

    ids: Tensor
    parameters: Tensor
    constants: Mapping[str, Tensor]
    optimizer_state: Mapping[str, Tensor]
    optimizer_settings: Mapping[SettingPath, Tensor]
    clipper_state: Mapping[str, Tensor]
    clipper_settings: Mapping[SettingPath, Tensor]

    def select_ids(self, ids: Sequence[int]) -> "TrainState":
        """Return the state of those of the given replicas that are still in training."""
        wanted = torch.isin(self.ids, torch.tensor(ids))
        return self if wanted.all() else self.select(torch.nonzero(wanted).flatten())

    def select(self, rows: Tensor) -> "TrainState":
        """Return the state of some rows."""
        index = rows.to(self.parameters.device)

        def pick(tensors: Mapping[K, Tensor]) -> dict[K, Tensor]:
            return {key: tensor[index] for key, tensor in tensors.items()}

        return TrainState(
            ids=self.ids[rows],
            parameters=self.parameters[index],
            constants=pick(self.constants),
            optimizer_state=pick(self.optimizer_state),
            optimizer_settings=pick(self.optimizer_settings),
            clipper_state=pick(self.clipper_state),
            clipper_settings=pick(self.clipper_settings),
        )

    def drop(self, rows: Tensor) -> "TrainState":
        """Return the state without some rows."""
        stays = torch.ones(len(self.ids), dtype=torch.bool)
        stays[rows] = False
        return self.select(torch.nonzero(stays).flatten())
