"""Batches of stacked replicas: each meets its own rows in its own order, those of its ordinary run."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gradclip.data.base import TrainingData
from gradclip.data.loaders import Loader
from gradclip.data.sequences import GeneratedSequences

Batch = tuple[Tensor, ...]


class _Source:
    """Training examples that some replicas share, in an order for each of their seeds."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.dataset: Any = loaders[0].dataset
        self.samplers: list[Any] = [loader.sampler for loader in loaders]
        self.places: list[Any] = []  # of each batch of an epoch

    def begin(self, epoch: int) -> None:
        for sampler in self.samplers:
            sampler.set_epoch(epoch)
        orders = [list(sampler) for sampler in self.samplers]
        stored = isinstance(orders[0][0], Tensor)
        self.places = [torch.stack(rows) for rows in zip(*orders, strict=True)] if stored else orders[0]

    def take(self, number: int, orders: Tensor) -> Batch:
        """The batch of each order, ``[orders, rows, ...]``."""
        places = self.places[number]
        if isinstance(places, Tensor):
            return tuple(self.dataset[places[orders]])
        return tuple(tensor.expand(len(orders), *tensor.shape) for tensor in self.dataset[places])


class StackedBatches:
    """The training batches of all replicas, taken from the loaders that an ordinary run has.

    Args:
        datas: the data of each replica, which may share them.
    """

    def __init__(self, datas: Sequence[TrainingData]) -> None:
        loaders = {id(data): data.train_dataloader() for data in datas}
        self.batches = len(next(iter(loaders.values())).sampler)
        datasets: dict[int, list[int]] = {}
        for key, loader in loaders.items():
            datasets.setdefault(id(loader.dataset), []).append(key)
        self.sources = [_Source([loaders[key] for key in keys]) for keys in datasets.values()]
        place = {key: (s, o) for s, keys in enumerate(datasets.values()) for o, key in enumerate(keys)}
        self._datas = list(datas)  # alive, so that no other object takes an id
        self._source, self._order = torch.tensor([place[id(data)] for data in datas]).T

    def epoch(self, epoch: int) -> range:
        """Begin an epoch, counted from 0; return the numbers of its batches."""
        for source in self.sources:
            source.begin(epoch)
        return range(self.batches)

    def take(self, number: int, replicas: Tensor) -> Batch:
        """Return inputs and target of a batch for some replicas, ``[replicas, rows, ...]`` each."""
        parts, places = [], []
        for source_number, source in enumerate(self.sources):
            chosen = torch.nonzero(self._source[replicas] == source_number).flatten()
            if len(chosen):
                parts.append(source.take(number, self._order[replicas[chosen]]))
                places.append(chosen)
        if len(parts) == 1:
            return parts[0]
        back = torch.cat(places).argsort()
        return tuple(torch.cat(tensors)[back] for tensors in zip(*parts, strict=True))


class StackedEvaluation:
    """The examples on which replicas are scored, those that several have in common taken once.

    Args:
        datas: the data of each replica, which may share them.
    """

    def __init__(self, datas: Sequence[TrainingData]) -> None:
        self._replicas: list[dict[Any, list[int]]] = [{}, {}]  # of training and of test examples, by what is read
        self._loaders: dict[Any, Loader] = {}
        known: dict[int, list[Any]] = {}
        for replica, data in enumerate(datas):
            if id(data) not in known:
                loaders = data.val_dataloader()
                known[id(data)] = [_identity(loader) for loader in loaders]
                self._loaders = dict(zip(known[id(data)], loaders, strict=True)) | self._loaders
            for part, key in zip(self._replicas, known[id(data)], strict=True):
                part.setdefault(key, []).append(replica)

    def batches(self, part: int, epoch: int) -> Iterator[tuple[list[int], Batch]]:
        """Batches of the training (0) or test (1) examples, each with the replicas that it is for."""
        for key, replicas in self._replicas[part].items():
            sampler: Any = self._loaders[key].sampler
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            for batch in self._loaders[key]:
                yield replicas, tuple(batch)


def _identity(loader: Loader) -> Any:
    """What tells one loader's examples from another's."""
    dataset = loader.dataset
    return (dataset.stream, dataset.seed) if isinstance(dataset, GeneratedSequences) else id(dataset)
