"""Batches of stacked replicas: each replica gets the rows of its ordinary run, in the same order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gradclip.data.base import TrainingData
from gradclip.data.loaders import Loader, ShuffledBatchSampler
from gradclip.data.sequences import GeneratedSequences
from gradclip.scores import Split
from gradclip.stacked.state import TensorOptions

Examples = tuple[Tensor, ...]  # inputs and targets


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
        datasets: dict[int, Any] = {id(loader.dataset): loader.dataset for loader in loaders}
        sizes = torch.tensor([len(dataset) for dataset in datasets.values()])
        parts = [dataset[torch.arange(len(dataset))] for dataset in datasets.values()]
        starts = dict(zip(datasets, (sizes.cumsum(0) - sizes).tolist(), strict=True))
        self._examples = tuple(options.convert(torch.cat(part)) for part in zip(*parts, strict=True))  # as one table
        self._first_row = torch.tensor([starts[id(loader.dataset)] for loader in loaders])  # by data set

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
    data_sets = {id(data_set): data_set for data_set in data}
    index_by_id = {key: index for index, key in enumerate(data_sets)}
    loaders: list[Any] = [data_set.train_dataloader() for data_set in data_sets.values()]  # samplers have epochs
    data_of = torch.tensor([index_by_id[id(data_set)] for data_set in data])
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


class StackedEvaluationBatches:
    """Examples on which replicas are scored, on the device; shared examples are read once.

    Args:
        data: the data set of each replica; replicas may share one.
        options: device and dtype of the training.
    """

    def __init__(self, data: Sequence[TrainingData], options: TensorOptions) -> None:
        self._options = options
        self._replicas: dict[Split, dict[Any, list[int]]] = {split: {} for split in data[0].splits}  # by key
        self._loaders: dict[Any, Loader] = {}
        self._fixed: dict[Any, list[Examples]] = {}  # batches that are the same in every epoch
        unique = {id(data_set): data_set for data_set in data}
        loaders_of = {key: data_set.val_dataloader() for key, data_set in unique.items()}
        for replica, data_set in enumerate(data):
            for split, loader in zip(data_set.splits, loaders_of[id(data_set)], strict=True):
                key = _examples_key(loader)
                self._loaders.setdefault(key, loader)
                self._replicas[split].setdefault(key, []).append(replica)

    def groups(self, split: Split) -> dict[Any, list[int]]:
        """Return the replicas that share the examples of a split, by key of the examples."""
        return self._replicas[split]

    def batches(self, key: Any, epoch: int) -> Iterator[Examples]:
        """Yield the batches of examples in an epoch, counted from 0."""
        sampler: Any = self._loaders[key].sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
            yield from map(self._on_device, self._loaders[key])
            return
        if key not in self._fixed:
            self._fixed[key] = [self._on_device(batch) for batch in self._loaders[key]]
        yield from self._fixed[key]

    def _on_device(self, batch: Examples) -> Examples:
        return tuple(map(self._options.convert, batch))


def _examples_key(loader: Loader) -> Any:
    """Return a key that is the same for all loaders of the same examples."""
    dataset = loader.dataset
    return (dataset.stream, dataset.seed) if isinstance(dataset, GeneratedSequences) else id(dataset)
