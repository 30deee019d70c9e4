"""Batches of stacked replicas: each replica gets the rows of its ordinary run, in the same order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gradclip.data.base import TrainingData
from gradclip.data.loaders import ShuffledBatchSampler
from gradclip.stacked.state import TensorOptions, distinct


class Batch(NamedTuple):
    """One batch of each replica.

    Attributes:
        inputs: ``[replicas, rows, ...]``.
        targets: ``[replicas, rows, ...]``.
        max_abs: largest |element| of each replica's inputs and targets, ``[2, replicas]``; NaN unless both are
            floating-point tensors.
    """

    inputs: Tensor
    targets: Tensor
    max_abs: Tensor


class StackedBatches(ABC):
    """The training batches of all replicas, read from the loaders of their ordinary runs.

    Args:
        loaders: the loader of each data set.
        data_of: index of each replica's data set, ``[replicas]``.
        options: device and dtype of the training.

    Attributes:
        batches_per_epoch: number of batches in an epoch.
        tensors_per_batch: number of tensors that :meth:`tensors` returns.
    """

    tensors_per_batch: ClassVar[int]

    def __init__(self, loaders: Sequence[Any], data_of: Tensor, options: TensorOptions) -> None:
        self._loaders, self._data_of, self._options = loaders, data_of, options
        self.batches_per_epoch = len(loaders[0].sampler)

    def start_epoch(self, epoch: int) -> range:
        """Start an epoch, counted from 0; return the indices of its batches."""
        for loader in self._loaders:
            loader.sampler.set_epoch(epoch)
        self._read_order()
        return range(self.batches_per_epoch)

    @abstractmethod
    def _read_order(self) -> None:
        """Read from the samplers which examples the batches of this epoch consist of."""

    @abstractmethod
    def tensors(self, index: int) -> tuple[Tensor, ...]:
        """Return a batch of the epoch for all data sets, on the device, for the functions of :meth:`reader`."""

    @abstractmethod
    def reader(self, replicas: Tensor) -> Callable[[Sequence[Tensor]], Batch]:
        """Return a function that reads the batches of some replicas, with operations on the device only."""


class StoredBatches(StackedBatches):
    """Batches of stored examples, which are kept on the device: a batch consists of row indices for each data set."""

    tensors_per_batch = 1

    def __init__(self, loaders: Sequence[Any], data_of: Tensor, options: TensorOptions) -> None:
        super().__init__(loaders, data_of, options)
        datasets, dataset_of = distinct([loader.dataset for loader in loaders])
        sizes = torch.tensor([len(dataset) for dataset in datasets])
        parts = [dataset[torch.arange(len(dataset))] for dataset in datasets]
        self._examples = tuple(options.convert(torch.cat(part)) for part in zip(*parts, strict=True))  # as one table
        self._first_row = (sizes.cumsum(0) - sizes)[dataset_of]  # by data set

    def _read_order(self) -> None:
        orders = torch.stack([loader.sampler.order() for loader in self._loaders])
        rows = orders.to(self._options.device)  # copied at once, because each copy stalls a GPU
        self._rows_of_batches = torch.split(rows, self._loaders[0].sampler.batch_size, dim=1)

    def tensors(self, index: int) -> tuple[Tensor, ...]:
        """Return the rows of a batch in each data set, ``[data sets, rows]``."""
        return (self._rows_of_batches[index],)

    def reader(self, replicas: Tensor) -> Callable[[Sequence[Tensor]], Batch]:
        """Return a function that selects rows of the table."""
        data_of = self._data_of[replicas]
        index = data_of.to(self._options.device)
        first_row = self._first_row[data_of].to(self._options.device)[:, None]
        row_max_abs = _max_abs(*self._examples)

        def read(tensors: Sequence[Tensor]) -> Batch:
            rows = tensors[0].index_select(0, index) + first_row
            inputs, targets = (_gather(part, rows) for part in self._examples)
            return Batch(inputs, targets, row_max_abs[:, rows].amax(dim=2))

        return read


class GeneratedBatches(StackedBatches):
    """Batches of generated examples, which are moved to the device batch by batch."""

    tensors_per_batch = 2

    def _read_order(self) -> None:
        self._items_of_batches = list(zip(*(loader.sampler for loader in self._loaders), strict=True))

    def tensors(self, index: int) -> tuple[Tensor, ...]:
        """Return inputs and targets of a batch, ``[data sets, rows, ...]`` each."""
        pairs = zip(self._loaders, self._items_of_batches[index], strict=True)
        examples = [loader.dataset[item] for loader, item in pairs]
        return tuple(self._options.convert(torch.stack(part)) for part in zip(*examples, strict=True))

    def reader(self, replicas: Tensor) -> Callable[[Sequence[Tensor]], Batch]:
        """Return a function that selects the data set of each replica."""
        index = self._data_of[replicas].to(self._options.device)

        def read(tensors: Sequence[Tensor]) -> Batch:
            inputs, targets = (tensor.index_select(0, index) for tensor in tensors)
            return Batch(inputs, targets, _max_abs(inputs, targets))

        return read


def stack_batches(data: Sequence[TrainingData], options: TensorOptions) -> StackedBatches:
    """Return the training batches of all replicas, given the data set of each; replicas may share one."""
    data_sets, data_of = distinct(data)
    loaders: list[Any] = [data_set.train_dataloader() for data_set in data_sets]  # samplers have epochs
    are_stored = isinstance(loaders[0].sampler, ShuffledBatchSampler)
    return (StoredBatches if are_stored else GeneratedBatches)(loaders, data_of, options)


def _gather(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a table, ``[*rows.shape, ...]``."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, *table.shape[1:])


def _max_abs(inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the largest |element| at each index of dimension 0, ``[2, ...]``; NaN unless both are floating-point."""
    if not (inputs.is_floating_point() and targets.is_floating_point()):
        return torch.full((2, len(inputs)), torch.nan, device=inputs.device)
    return torch.stack([part.flatten(1).abs().amax(dim=1) for part in (inputs, targets)])
