"""Batches of stacked replicas: each replica gets the rows of its ordinary run, in the same order."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gradclip.data.base import TrainingData
from gradclip.data.loaders import Loader
from gradclip.data.sequences import GeneratedSequences

Batch = tuple[Tensor, ...]


class StackedBatches:
    """The training batches of all replicas, read from the loaders of their ordinary runs.

    Args:
        data: the data of each replica; replicas may share them.

    Attributes:
        batches_per_epoch: number of batches in an epoch.
    """

    def __init__(self, data: Sequence[TrainingData]) -> None:
        loaders = {id(one): one.train_dataloader() for one in data}
        self.batches_per_epoch = len(next(iter(loaders.values())).sampler)
        sharing: dict[int, list[int]] = {}  # the data that read from the same data set, by its id
        for key, loader in loaders.items():
            sharing.setdefault(id(loader.dataset), []).append(key)
        self._sources = [_SharedDataset([loaders[key] for key in keys]) for keys in sharing.values()]
        index = {key: (source, order) for source, keys in enumerate(sharing.values()) for order, key in enumerate(keys)}
        self._source, self._order = torch.tensor([index[id(one)] for one in data]).T
        self._data = list(data)  # a reference, so that no other object gets one of these ids

    def start_epoch(self, epoch: int) -> range:
        """Start an epoch, counted from 0; return the indices of its batches."""
        for source in self._sources:
            source.start_epoch(epoch)
        return range(self.batches_per_epoch)

    def batch(self, index: int, replicas: Tensor) -> Batch:
        """Return inputs and targets of a batch for some replicas, ``[replicas, rows, ...]`` each.

        Args:
            index: of the batch within the epoch, counted from 0.
            replicas: indices of the replicas, ``[replicas]``.
        """
        parts, rows = [], []
        for number, source in enumerate(self._sources):
            chosen = torch.nonzero(self._source[replicas] == number).flatten()
            if len(chosen):
                parts.append(source.batch(index, self._order[replicas[chosen]]))
                rows.append(chosen)
        if len(parts) == 1:
            return parts[0]
        in_order = torch.cat(rows).argsort()
        return tuple(torch.cat(tensors)[in_order] for tensors in zip(*parts, strict=True))


class _SharedDataset:
    """A data set that several replicas read, in one order for each seed."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.dataset: Any = loaders[0].dataset
        self.samplers: list[Any] = [loader.sampler for loader in loaders]
        self.indices: list[Any] = []  # of each batch: rows for each order, ``[orders, rows]``, or what is to be drawn

    def start_epoch(self, epoch: int) -> None:
        for sampler in self.samplers:
            sampler.set_epoch(epoch)
        orders = [list(sampler) for sampler in self.samplers]
        stored = isinstance(orders[0][0], Tensor)
        self.indices = [torch.stack(rows) for rows in zip(*orders, strict=True)] if stored else orders[0]

    def batch(self, index: int, orders: Tensor) -> Batch:
        """Return a batch in each of some orders, ``[orders, rows, ...]``."""
        indices = self.indices[index]
        if isinstance(indices, Tensor):
            return tuple(self.dataset[indices[orders]])
        return tuple(tensor.expand(len(orders), *tensor.shape) for tensor in self.dataset[indices])


class StackedEvaluationBatches:
    """The examples on which replicas are scored; those that several have in common are read once.

    Args:
        data: the data of each replica; replicas may share them.
    """

    def __init__(self, data: Sequence[TrainingData]) -> None:
        self._replicas: list[dict[Any, list[int]]] = [{}, {}]  # for training and test examples, by their key
        self._loaders: dict[Any, Loader] = {}
        keys_of: dict[int, list[Any]] = {}
        for replica, one in enumerate(data):
            if id(one) not in keys_of:
                loaders = one.val_dataloader()
                keys_of[id(one)] = [_examples_key(loader) for loader in loaders]
                self._loaders = dict(zip(keys_of[id(one)], loaders, strict=True)) | self._loaders
            for part, key in zip(self._replicas, keys_of[id(one)], strict=True):
                part.setdefault(key, []).append(replica)

    def batches(self, part: int, epoch: int) -> Iterator[tuple[list[int], Batch]]:
        """Yield batches of the training (0) or test (1) examples, each with the indices of its replicas."""
        for key, replicas in self._replicas[part].items():
            sampler: Any = self._loaders[key].sampler
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            for batch in self._loaders[key]:
                yield replicas, tuple(batch)


def _examples_key(loader: Loader) -> Any:
    """Return a key that loaders of the same examples have in common."""
    dataset = loader.dataset
    return (dataset.stream, dataset.seed) if isinstance(dataset, GeneratedSequences) else id(dataset)
