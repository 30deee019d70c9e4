"""Tensors of the replicas in training, and their device and dtype."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from gradclip.norms.tensors import wide_type
from gradclip.stacked.varying import SettingPath, flatten_settings, may_vary

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class TensorOptions:
    """Device and floating-point dtype of the training."""

    device: torch.device
    dtype: torch.dtype

    @property
    def wide(self) -> torch.dtype:
        """The widest floating-point dtype of the device, in which sums and norms are computed."""
        return wide_type(torch.empty(0, device=self.device))

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


def distinct(objects: Sequence[T]) -> tuple[list[T], Tensor]:
    """Return the distinct objects, compared by identity, and the index of each object among them, ``[objects]``.

    Example:
        >>> shared, own = object(), object()
        >>> distinct([shared, own, shared])[1]
        tensor([0, 1, 0])
    """
    unique = {id(one): one for one in objects}
    index = {key: number for number, key in enumerate(unique)}
    return list(unique.values()), torch.tensor([index[id(one)] for one in objects])


def varying_values(settings: Sequence[Mapping[str, Any]], options: TensorOptions) -> dict[SettingPath, Tensor]:
    """Return the numbers that differ among replicas, by path: ``[replicas]`` each, in the widest dtype.

    Example:
        >>> options = TensorOptions(torch.device("cpu"), torch.float32)
        >>> varying_values([{"value": 1.0, "beta": 0.9}, {"value": 5.0, "beta": 0.9}], options)
        {('value',): tensor([1., 5.], dtype=torch.float64)}
    """
    rows = [flatten_settings(one) for one in settings]
    columns = {path: [row[path] for row in rows] for path, value in rows[0].items() if may_vary(path, value)}
    return {
        path: torch.tensor(column, dtype=options.wide, device=options.device)
        for path, column in columns.items()
        if len(set(column)) > 1
    }


@dataclass
class TrainState:
    """All tensors of the replicas in training, which a step changes in place; one row for each replica.

    Attributes:
        ids: index of each replica among all, ``[replicas]``, on the CPU.
        step: number of optimizer steps taken, ``[1]``.
        parameters: trained parameters, ``[replicas, parameters]``.
        constants: frozen parameters and buffers of the networks, by name, ``[replicas, ...]``.
        optimizer_state: state of the optimizer, ``[replicas, parameters]`` each.
        optimizer_settings: optimizer settings that differ among replicas, by path, ``[replicas, 1]``.
        clipper_state: state of the clipper, ``[replicas, ...]``.
        clipper_settings: clipping settings that differ among replicas, by path, ``[replicas]``.
    """

    ids: Tensor
    step: Tensor
    parameters: Tensor
    constants: Mapping[str, Tensor]
    optimizer_state: Mapping[str, Tensor]
    optimizer_settings: Mapping[SettingPath, Tensor]
    clipper_state: Mapping[str, Tensor]
    clipper_settings: Mapping[SettingPath, Tensor]

    def rows_of(self, ids: Sequence[int]) -> Tensor | None:
        """Return the rows of the given replicas that are in the state; None if these are all rows."""
        wanted = torch.isin(self.ids, torch.tensor(ids))
        return None if wanted.all() else torch.nonzero(wanted).flatten()

    def select(self, rows: Tensor) -> "TrainState":
        """Return a copy of some rows of the state; ``rows`` are indices on the CPU."""
        index = rows.to(self.parameters.device)

        def pick(tensors: Mapping[K, Tensor]) -> dict[K, Tensor]:
            return {key: tensor[index] for key, tensor in tensors.items()}

        return TrainState(
            ids=self.ids[rows],
            step=self.step,
            parameters=self.parameters[index],
            constants=pick(self.constants),
            optimizer_state=pick(self.optimizer_state),
            optimizer_settings=pick(self.optimizer_settings),
            clipper_state=pick(self.clipper_state),
            clipper_settings=pick(self.clipper_settings),
        )
