"""Batches of stacked replicas: each replica gets the rows of its ordinary run, in the same order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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


class StackedBatches:
    """The training batches of all replicas, read from the loaders of their ordinary runs.

    Stored examples are kept on the device, and a batch consists of row indices for each data set. Generated examples
    are moved to the device batch by batch.

    Args:
        data: the data set of each replica; replicas may share one.
        options: device and dtype of the training.

    Attributes:
        batches_per_epoch: number of batches in an epoch.
        width: number of tensors that :meth:`tensors` returns.
    """

    def __init__(self, data: Sequence[TrainingData], options: TensorOptions) -> None:
        unique = {id(one): one for one in data}
        number = {key: index for index, key in enumerate(unique)}
        self._loaders: list[Any] = [one.train_dataloader() for one in unique.values()]  # samplers have epochs
        self._data_of = torch.tensor([number[id(one)] for one in data])  # index of each replica's data set
        self._options = options
        self.batches_per_epoch = len(self._loaders[0].sampler)
        self._epoch: Sequence[Any] = ()  # its batches: rows, [data, rows], or items of generated data
        self._is_stored = isinstance(self._loaders[0].sampler, ShuffledBatchSampler)
        self.width = 1 if self._is_stored else 2
        self._examples, self._first_row = self._read_stored() if self._is_stored else ((), torch.empty(0))

    def start_epoch(self, epoch: int) -> range:
        """Start an epoch, counted from 0; return the indices of its batches."""
        for loader in self._loaders:
            loader.sampler.set_epoch(epoch)
        if self._is_stored:  # copy all rows at once: each copy stalls a GPU
            orders = torch.stack([loader.sampler.order() for loader in self._loaders]).to(self._options.device)
            self._epoch = torch.split(orders, self._loaders[0].sampler.batch_size, dim=1)
        else:
            self._epoch = list(zip(*(loader.sampler for loader in self._loaders), strict=True))
        return range(self.batches_per_epoch)

    def tensors(self, index: int) -> tuple[Tensor, ...]:
        """Return a batch of the epoch for all data sets, on the device, as the functions from :meth:`reader` expect it.

        Args:
            index: index of the batch within the epoch, counted from 0.
        """
        if self._is_stored:
            return (self._epoch[index],)
        examples = [loader.dataset[batch] for loader, batch in zip(self._loaders, self._epoch[index], strict=True)]
        return tuple(self._options.convert(torch.stack(part)) for part in zip(*examples, strict=True))

    def reader(self, replicas: Tensor) -> Callable[[Sequence[Tensor]], Batch]:
        """Return a function that reads the batches of some replicas, with operations on the device only.

        Args:
            replicas: indices of the replicas, ``[replicas]``.
        """
        data_of = self._data_of[replicas]
        index = data_of.to(self._options.device)
        if not self._is_stored:
            return lambda tensors: _with_max_abs(*(tensor.index_select(0, index) for tensor in tensors))
        first_row = self._first_row[data_of].to(self._options.device)[:, None]
        row_max_abs = _max_abs(*self._examples)

        def read(tensors: Sequence[Tensor]) -> Batch:
            rows = tensors[0].index_select(0, index) + first_row
            inputs, targets = (_gather(part, rows) for part in self._examples)
            return Batch(inputs, targets, row_max_abs[:, rows].amax(dim=2))

        return read

    def _read_stored(self) -> tuple[Examples, Tensor]:
        """Return all stored examples as one table on the device, and the first row of each data set."""
        datasets: dict[int, Any] = {id(loader.dataset): loader.dataset for loader in self._loaders}
        sizes = torch.tensor([len(dataset) for dataset in datasets.values()])
        parts = [dataset[torch.arange(len(dataset))] for dataset in datasets.values()]
        starts = dict(zip(datasets, (sizes.cumsum(0) - sizes).tolist(), strict=True))
        examples = tuple(self._options.convert(torch.cat(part)) for part in zip(*parts, strict=True))
        return examples, torch.tensor([starts[id(loader.dataset)] for loader in self._loaders])


def _gather(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a table, ``[*rows.shape, ...]``."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, *table.shape[1:])


def _with_max_abs(inputs: Tensor, targets: Tensor) -> Batch:
    return Batch(inputs, targets, _max_abs(inputs, targets))


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
        keys_of: dict[int, list[Any]] = {}
        for replica, one in enumerate(data):
            if id(one) not in keys_of:
                loaders = one.val_dataloader()
                keys_of[id(one)] = [_examples_key(loader) for loader in loaders]
                self._loaders = dict(zip(keys_of[id(one)], loaders, strict=True)) | self._loaders
            for replicas, key in zip(self._replicas.values(), keys_of[id(one)], strict=True):
                replicas.setdefault(key, []).append(replica)

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
