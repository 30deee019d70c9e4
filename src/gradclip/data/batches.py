"""The order in which rows are visited."""

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler


class ShuffledBatches(Sampler[Tensor]):
    """Batches of row positions in an order that depends on the seed and the epoch alone.

    Stateless, so that a run taken up again meets the same batches. With several processes each takes its share of
    every batch; a last batch loses the few rows that cannot be shared out evenly, so that the mean over processes is
    the mean over the joined batch.

    Args:
        rows: number of rows.
        batch_size: rows of a batch, over all processes together.
        seed: seed of the order.
        rank: which process this is.
        world_size: number of processes.

    Example:
        >>> [len(batch) for batch in ShuffledBatches(rows=70, batch_size=32, seed=0)]
        [32, 32, 6]
    """

    def __init__(self, rows: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._shared_rows / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        state = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(int(state[0] >> np.uint64(1))))
        for batch in torch.split(order[: self._shared_rows], self.batch_size):
            yield batch[self.rank :: self.world_size]

    def rows_of(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the rows of a batch, in order.

        Args:
            epoch: counted from 1.
            batch: within the epoch, counted from 0.
        """
        self.set_epoch(epoch - 1)
        return tuple(sorted(next(islice(self, batch, None)).tolist()))

    @property
    def _shared_rows(self) -> int:
        return self.rows - self.rows % self.world_size


class OrderedBatches(Sampler[Tensor]):
    """Batches of row positions, first to last."""

    def __init__(self, rows: int, batch_size: int) -> None:
        self.rows, self.batch_size = rows, batch_size

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.split(torch.arange(self.rows), self.batch_size)
