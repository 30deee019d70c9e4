"""Batch samplers, and a data loader of whole batches; the order depends only on the seed and the epoch."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Loader = DataLoader[tuple[Tensor, ...]]
EVALUATION_VALUES = 2_000_000  # input values of an evaluation batch: large, because no gradients are kept


class BatchLoader(DataLoader[tuple[Tensor, ...]]):
    """DataLoader of whole batches that resumes within an epoch.

    The dataset is indexed once for each batch, so nothing is collated. Lightning saves the loader's state in
    checkpoints, so that a resumed run continues with the next batch. The loader draws no numbers from torch's
    global generator and does not affect the network's random numbers.

    Args:
        dataset: returns a whole batch for each item of the sampler.
        sampler: has one item for each batch; the order may depend only on the epoch.
    """

    def __init__(self, dataset: Dataset[Any], sampler: Sampler[Any] | Sequence[Any]) -> None:
        super().__init__(dataset, sampler=sampler, batch_size=None, generator=torch.Generator())
        self._first = self._batches_loaded = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:  # type: ignore[override]
        self._batches_loaded, self._first = self._first, 0
        for batch in islice(super().__iter__(), self._batches_loaded, None):
            self._batches_loaded += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the current epoch have been loaded."""
        return {"handed_out": self._batches_loaded % len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Skip the batches that were already loaded when the next epoch starts."""
        self._first = state_dict["handed_out"]


class ShuffledBatchSampler(Sampler[Tensor]):
    """Batches of shuffled indices; the order depends only on the seed and the epoch.

    A resumed run gets the same batches. With several processes, each takes every ``world_size``-th index of a batch,
    and an epoch drops up to ``world_size - 1`` examples. All parts then have the same size, so that the mean over the
    processes is the mean over the whole batch.

    Args:
        examples: number of examples.
        batch_size: examples per batch, over all processes.
        seed: seed of the shuffling.
        rank: rank of this process.
        world_size: number of processes.

    Example:
        >>> [len(indices) for indices in ShuffledBatchSampler(examples=70, batch_size=32, seed=0)]
        [32, 32, 6]
    """

    def __init__(self, examples: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._used = examples - examples % world_size  # examples per epoch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._used / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in torch.split(self.order(), self.batch_size):
            yield batch[self.rank :: self.world_size]

    def order(self) -> Tensor:
        """Return the shuffled indices of the epoch, over all processes."""
        state = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)
        order = torch.randperm(self.examples, generator=torch.Generator().manual_seed(int(state[0] >> np.uint64(1))))
        return order[: self._used]

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the indices of a batch in ascending order.

        Args:
            epoch: number of the epoch, counted from 1.
            batch: index of the batch within the epoch, counted from 0.
        """
        self.set_epoch(epoch - 1)
        return tuple(sorted(next(islice(self, batch, None)).tolist()))


def shuffled_loader(dataset: Dataset[Any], batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> Loader:
    """Return a loader of training batches shuffled by :class:`ShuffledBatchSampler`.

    Args:
        dataset: the training examples, with a length and indexed by a tensor of indices.
        batch_size: examples per batch, over all processes.
        seed: seed of the shuffling.
        rank: rank of this process.
        world_size: number of processes.
    """
    examples = len(dataset)  # type: ignore[arg-type]  # torch's base class has no length
    return BatchLoader(dataset, ShuffledBatchSampler(examples, batch_size, seed, rank, world_size))


def evaluation_loader(dataset: Dataset[Any], example: Sequence[int]) -> Loader:
    """Return a loader of all examples in order, in large batches; ``example`` is the shape of one example's inputs."""
    indices = torch.arange(len(dataset))  # type: ignore[arg-type]  # torch's base class has no length
    return BatchLoader(dataset, torch.split(indices, evaluation_batch_size(example)))


def evaluation_batch_size(example: Sequence[int]) -> int:
    """Return the batch size for evaluating examples whose inputs have the given shape.

    Example:
        >>> evaluation_batch_size((20,)), evaluation_batch_size((1000, 100))
        (100000, 20)
    """
    return max(1, EVALUATION_VALUES // int(np.prod(example)))
