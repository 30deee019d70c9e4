"""Data module of synthetic sequences, generated at every step or once as a fixed training set."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, TensorDataset

from gradclip.data.base import SCHEMA_EXAMPLES, DataSchema, DataShape, TrainingData
from gradclip.data.checks import check_batch_size
from gradclip.data.loaders import (
    BatchLoader,
    Loader,
    ShuffledBatchSampler,
    evaluation_batch_size,
    evaluation_loader,
    shuffled_loader,
)
from gradclip.data.score_scale import ScoreScale
from gradclip.data.tasks import TASKS, Task
from gradclip.errors import DataError, check_choice
from gradclip.ranges import COUNT, counts_from
from gradclip.scores import ACCURACY, Split

BLOCK_SIZE = 100  # sequences per block of the validation and test sets
VALIDATION_SIZE, TEST_SIZE = counts_from(0, BLOCK_SIZE), counts_from(BLOCK_SIZE, BLOCK_SIZE)
# Random streams: the first number of each generator's seed, so that no two sets have the same sequences.
TRAINING, TEST, FIXED_TRAINING_SET, VALIDATION = range(4)


class BlockSampler(Sampler[tuple[int, range]]):
    """Batches of whole blocks of generated sequences, in order, with other sequences in each epoch.

    Each batch is a pair of the epoch and the block numbers.

    Args:
        blocks: number of blocks.
        blocks_per_batch: blocks per batch; the last batch may have fewer.
    """

    def __init__(self, blocks: int, blocks_per_batch: int = 1) -> None:
        self.blocks, self.blocks_per_batch, self.epoch = blocks, blocks_per_batch, 0

    def __len__(self) -> int:
        return math.ceil(self.blocks / self.blocks_per_batch)

    def __iter__(self) -> Iterator[tuple[int, range]]:
        for first in range(0, self.blocks, self.blocks_per_batch):
            yield self.epoch, range(first, min(first + self.blocks_per_batch, self.blocks))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0; Lightning calls this before each epoch."""
        self.epoch = epoch


class GeneratedSequences(Dataset[tuple[Tensor, Tensor]]):
    """Blocks of sequences; each depends only on the stream, the seed, the epoch and the block number.

    A resumed run therefore gets the same sequences.

    Args:
        task: the task that generates the sequences.
        stream: number of the random stream, which keeps training, validation and test sequences apart.
        seed: seed within the stream.
        block_size: sequences per block, over all processes.
        rank: rank of this process, which takes every ``world_size``-th sequence of a batch.
        world_size: number of processes.
    """

    def __init__(self, task: Task, stream: int, seed: int, block_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.task, self.stream, self.seed, self.block_size = task, stream, seed, block_size
        self._part = slice(rank, None, world_size)

    def __getitem__(self, epoch_and_blocks: tuple[int, range]) -> tuple[Tensor, Tensor]:
        epoch, blocks = epoch_and_blocks
        seeds = ([self.stream, self.seed, epoch, number] for number in blocks)
        drawn = [self.task.draw(np.random.default_rng(seed), self.block_size) for seed in seeds]
        inputs, target = zip(*drawn, strict=True)
        return self._join(inputs), self._join(target)

    def _join(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        batch = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)  # which would copy a single block too
        return torch.from_numpy(batch[self._part])


class SequenceData(TrainingData):
    """Batches of a synthetic task: inputs ``[sequences, steps, inputs]`` and the target of the task.

    Validation and test sequences do not depend on the seed. If new training sequences are generated at every step, the
    training score of an epoch is measured on its first batches, with about as many sequences as the test split has.

    Args:
        name: name of the task, a key of ``TASKS``.
        batch_size: sequences per training batch, over all processes.
        seed: seed of the training sequences and of their order.
        steps_per_epoch: batches per epoch, if ``train_sequences`` is None.
        train_sequences: size of a fixed training set; None generates new sequences at every step.
        validation_sequences: number of validation sequences, a multiple of 100.
        test_sequences: number of test sequences, a multiple of 100.
        **settings: arguments of the task, such as ``length``.

    Raises:
        DataError: the task is unknown, the sequences are too short for it, a number is out of range, or the fixed
            training set is smaller than a batch.

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
        validation_sequences: int = 0,
        test_sequences: int = 10_000,
        **settings: Any,
    ) -> None:
        super().__init__()
        check_choice("data", name, TASKS, DataError)
        self.steps_per_epoch = COUNT.check("data.steps_per_epoch", steps_per_epoch, DataError)
        self.validation_sequences = VALIDATION_SIZE.check("data.validation_sequences", validation_sequences, DataError)
        self.test_sequences = TEST_SIZE.check("data.test_sequences", test_sequences, DataError)
        train_sequences = COUNT.check_optional("data.train_sequences", train_sequences, DataError)
        available = math.inf if train_sequences is None else train_sequences
        self.batch_size = check_batch_size(batch_size, available, "sequences")
        self.task = TASKS[name](**settings)
        self.name = name
        self.source = f"gradclip.data.tasks.{name}({', '.join(f'{key}={value}' for key, value in settings.items())})"
        self.seed = seed
        self.train_set = None if train_sequences is None else self._fixed_set(train_sequences)

    @property
    def shape(self) -> DataShape:
        """Shapes that the network must fit."""
        task = self.task
        return DataShape((task.steps, task.inputs), (task.steps, task.outputs) if task.every_step else (task.outputs,))

    @property
    def score_scale(self) -> ScoreScale:
        """The score of the task, with its baseline and the value at which it counts as solved."""
        return self.task.score_scale

    @property
    def schema(self) -> DataSchema:
        """Inputs ``x0, x1, ...`` and the target, with the first test sequences; nothing is scaled."""
        inputs, _ = self._evaluation_sequences(TEST)[0, range(1)]
        columns = tuple(f"x{number}" for number in range(self.task.inputs))
        is_classification = self.score_scale.score is ACCURACY
        return DataSchema(inputs[:SCHEMA_EXAMPLES].numpy(), columns, "target", None, is_classification)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits in order."""
        return ("train", "validation", "test") if self.validation_sequences else ("train", "test")

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the indices of a training batch in the fixed set, over all processes; empty without a fixed set."""
        if self.train_set is None:
            return ()
        return ShuffledBatchSampler(len(self.train_set), self.batch_size, self.seed).batch_indices(epoch, batch)

    def train_dataloader(self) -> Loader:
        """Return a loader of the training batches; with several processes, of this process's part of each."""
        if self.train_set is None:
            generated = GeneratedSequences(self.task, TRAINING, self.seed, self.batch_size, *self.rank_and_world_size)
            return BatchLoader(generated, BlockSampler(self.steps_per_epoch))
        return shuffled_loader(self.train_set, self.batch_size, self.seed, *self.rank_and_world_size)

    def val_dataloader(self) -> list[Loader]:
        """Return the loaders of training, validation (if any) and test sequences."""
        counts = {VALIDATION: self.validation_sequences, TEST: self.test_sequences}
        others = [self._evaluation_loader(stream, count) for stream, count in counts.items() if count]
        if self.train_set is not None:
            return [evaluation_loader(self.train_set, self.shape.example), *others]
        generated = GeneratedSequences(self.task, TRAINING, self.seed, self.batch_size)
        blocks = min(self.steps_per_epoch, math.ceil(self.test_sequences / self.batch_size))
        size = evaluation_batch_size(self.shape.example)
        return [BatchLoader(generated, BlockSampler(blocks, max(1, size // self.batch_size))), *others]

    def _evaluation_loader(self, stream: int, count: int) -> Loader:
        """Return a loader of sequences that are the same for every seed."""
        size = evaluation_batch_size(self.shape.example)
        batches = [*BlockSampler(count // BLOCK_SIZE, max(1, size // BLOCK_SIZE))]  # a list stays in epoch 0
        return BatchLoader(self._evaluation_sequences(stream), batches)

    def _evaluation_sequences(self, stream: int) -> GeneratedSequences:
        return GeneratedSequences(self.task, stream, 0, BLOCK_SIZE)

    def _fixed_set(self, count: int) -> TensorDataset:
        inputs, target = self.task.draw(np.random.default_rng([FIXED_TRAINING_SET, self.seed]), count)
        return TensorDataset(torch.from_numpy(inputs), torch.from_numpy(target))
