"""The data module of made sequences: fresh ones at every step, or a fixed set."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, TensorDataset

from gradclip import keys
from gradclip.data.base import Loader, Raw, Shape, TrainingData, WholeBatches, evaluation_batch_size
from gradclip.data.batches import OrderedBatches, ShuffledBatches
from gradclip.data.score_scale import ScoreScale
from gradclip.data.tasks import TASKS, Task
from gradclip.errors import DataError

RAW_EXAMPLES = 3
TEST_BLOCK = 100  # sequences
TRAINING, TESTING, FIXED = range(3)  # streams of random numbers that never meet


class Blocks(Sampler[tuple[int, range]]):
    """Which blocks of sequences make up each batch: an epoch, 0, and a range of their numbers.

    Args:
        blocks: how many there are.
        joined: how many make a batch.
    """

    def __init__(self, blocks: int, joined: int = 1) -> None:
        self.blocks, self.joined, self.epoch = blocks, joined, 0

    def __len__(self) -> int:
        return math.ceil(self.blocks / self.joined)

    def __iter__(self) -> Iterator[tuple[int, range]]:
        for first in range(0, self.blocks, self.joined):
            yield self.epoch, range(first, min(first + self.joined, self.blocks))


class FreshBlocks(Blocks):
    """The same, of another epoch each time."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each."""
        self.epoch = epoch


class DrawnSequences(Dataset[tuple[Tensor, Tensor]]):
    """Sequences in blocks that depend on stream, seed, epoch and number alone.

    A run taken up again meets the same ones.

    Args:
        task: how sequences are drawn.
        stream: which stream of random numbers.
        seed: seed of the stream.
        block: sequences of a block, over all processes together.
        rank: which process this is; it takes its share of every block.
        world_size: number of processes.
    """

    def __init__(self, task: Task, stream: int, seed: int, block: int, rank: int = 0, world_size: int = 1) -> None:
        self.task, self.stream, self.seed, self.block = task, stream, seed, block
        self.share = slice(rank, None, world_size)

    def __getitem__(self, place: tuple[int, range]) -> tuple[Tensor, Tensor]:
        epoch, blocks = place
        seeds = ([self.stream, self.seed, epoch, number] for number in blocks)
        drawn = [self.task.draw(np.random.default_rng(seed), self.block) for seed in seeds]
        inputs, target = zip(*drawn, strict=True)
        return self._join(inputs), self._join(target)

    def _join(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return torch.from_numpy(whole[self.share])


class SequenceData(TrainingData):
    """Batches of inputs ``[sequences, steps, inputs]`` and target, as :class:`gradclip.data.tasks.Task` draws them.

    Validation goes over the training sequences, of fresh ones over the first batches of the epoch as many as test,
    then over the test sequences, which are the same whatever the seed.

    Args:
        name: of the task, a key of ``TASKS``.
        batch_size: sequences of a training batch, over all processes together.
        seed: seed of the training sequences and of their order.
        steps_per_epoch: batches of an epoch, where each is fresh.
        train_sequences: size of a fixed training set; None makes fresh sequences at every step.
        test_sequences: how many sequences test, a multiple of 100.
        **settings: of the task.

    Raises:
        DataError: the sequences are too short for the task, or fewer than a batch.

    Example:
        >>> data = SequenceData("adding", length=50)
        >>> inputs, target = next(iter(data.train_dataloader()))
        >>> inputs.shape, target.shape
        (torch.Size([32, 50, 2]), torch.Size([32, 1]))
    """

    def __init__(
        self,
        name: str,
        batch_size: int = 32,
        seed: int = 0,
        steps_per_epoch: int = 100,
        train_sequences: int | None = None,
        test_sequences: int = 10_000,
        **settings: Any,
    ) -> None:
        super().__init__()
        if train_sequences is not None and train_sequences < batch_size:
            raise DataError(f"trainer.batch_size: got {batch_size}; there are {train_sequences} training sequences")
        self.task = TASKS[name](**settings)
        self.name = name
        self.source = f"gradclip.data.tasks.{name}({', '.join(f'{key}={value}' for key, value in settings.items())})"
        self.batch_size, self.seed = batch_size, seed
        self.steps_per_epoch, self.test_sequences = steps_per_epoch, test_sequences
        self.train_set = None if train_sequences is None else self._fixed_set(train_sequences)

    @property
    def shape(self) -> Shape:
        """What the network has to fit."""
        task = self.task
        return Shape((task.steps, task.inputs), (task.steps, task.outputs) if task.every_step else (task.outputs,))

    @property
    def score_scale(self) -> ScoreScale:
        """What scores are measured against."""
        return self.task.score_scale

    @property
    def raw(self) -> Raw:
        """What a stored model needs to know."""
        inputs, _ = self._test_set[0, range(1)]
        columns = tuple(f"x{number}" for number in range(self.task.inputs))
        return Raw(
            inputs[:RAW_EXAMPLES].numpy(), columns, "target", None, classes=self.score_scale.score is keys.ACCURACY
        )

    def frames(self) -> dict[str, pd.DataFrame | None]:
        """No rows: sequences are made on the fly."""
        return {"training": None, "testing": None}

    def rows_of_batch(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return which sequences of a fixed set are in a training batch; none of fresh ones, which have no number."""
        if self.train_set is None:
            return ()
        return ShuffledBatches(len(self.train_set), self.batch_size, self.seed).rows_of(epoch, batch)

    def train_dataloader(self) -> Loader:
        """Training batches; each process its share."""
        if self.train_set is None:
            fresh = DrawnSequences(self.task, TRAINING, self.seed, self.batch_size, *self.process)
            return WholeBatches(fresh, FreshBlocks(self.steps_per_epoch))
        batches = ShuffledBatches(len(self.train_set), self.batch_size, self.seed, *self.process)
        return WholeBatches(self.train_set, batches)

    def val_dataloader(self) -> list[Loader]:
        """Training sequences, then test sequences."""
        size = evaluation_batch_size(self.shape.example)
        test = WholeBatches(self._test_set, Blocks(self.test_sequences // TEST_BLOCK, max(1, size // TEST_BLOCK)))
        if self.train_set is not None:
            return [WholeBatches(self.train_set, OrderedBatches(len(self.train_set), size)), test]
        blocks = min(self.steps_per_epoch, math.ceil(self.test_sequences / self.batch_size))
        seen = DrawnSequences(self.task, TRAINING, self.seed, self.batch_size)
        return [WholeBatches(seen, FreshBlocks(blocks, max(1, size // self.batch_size))), test]

    @property
    def _test_set(self) -> DrawnSequences:
        return DrawnSequences(self.task, TESTING, 0, TEST_BLOCK)

    def _fixed_set(self, count: int) -> TensorDataset:
        inputs, target = self.task.draw(np.random.default_rng([FIXED, self.seed]), count)
        return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(target))
