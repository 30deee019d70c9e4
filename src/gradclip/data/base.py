"""What training asks of any data."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gradclip.data.scaling import Scaling
from gradclip.data.score_scale import ScoreScale

Loader = DataLoader[tuple[Tensor, ...]]
EVALUATION_VALUES = 2_000_000  # input values of a batch that is only evaluated: large, since no gradients are kept


@dataclass(frozen=True)
class Shape:
    """What a network has to fit.

    Attributes:
        example: shape of one example's inputs: ``(inputs,)`` for rows, ``(steps, inputs)`` for sequences.
        outputs: shape of what is predicted for it, its last dimension being the network's outputs.
    """

    example: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Raw:
    """Examples as a user has them, and the way from there to the network and back.

    Attributes:
        examples: a few of them, a frame of rows or an array ``[examples, steps, inputs]``.
        columns: names of the inputs.
        target: name of what is predicted.
        scaling: the fitted scalers; None where nothing is scaled.
        classes: whether outputs are logits, the prediction being the class of the largest.
    """

    examples: pd.DataFrame | NDArray[np.float32]
    columns: tuple[str, ...]
    target: str
    scaling: Scaling | None
    classes: bool


class TrainingData(LightningDataModule):
    """Batches of inputs and target, both as scaled for training, and what is known of them.

    Validation goes over training examples, then over all test examples.

    Attributes:
        name: what the data are called in the store.
        source: where they came from, for the store.
    """

    name: str
    source: str

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """What the network has to fit."""

    @property
    @abstractmethod
    def score_scale(self) -> ScoreScale:
        """What scores are measured against."""

    @property
    @abstractmethod
    def raw(self) -> Raw:
        """What a stored model needs to know."""

    @abstractmethod
    def frames(self) -> dict[str, pd.DataFrame | None]:
        """The rows for ``training`` and for ``testing``; None where examples are made on the fly."""

    @abstractmethod
    def rows_of_batch(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return which rows or sequences, counted from 0, are in a training batch over all processes.

        Args:
            epoch: counted from 1.
            batch: within the epoch, counted from 0.
        """

    @property
    def target_scale(self) -> float:
        """How many of the target's own units one unit of the network's output is."""
        return 1.0 if self.raw.scaling is None else self.raw.scaling.target_scale

    @property
    def process(self) -> tuple[int, int]:
        """Which process this is, and of how many that train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class WholeBatches(DataLoader[tuple[Tensor, ...]]):
    """A loader that takes whole batches at once, with no collating of single examples.

    Lightning keeps its state in checkpoints, so that a training that stopped within an epoch goes on with the batch
    that would have come next. It draws no number from torch's generator, which is left to the network.

    Args:
        examples: takes what ``batches`` yields and returns a batch.
        batches: their order, which depends on nothing but the epoch.
    """

    def __init__(self, examples: Dataset[Any], batches: Sampler[Any]) -> None:
        super().__init__(examples, sampler=batches, batch_size=None, generator=torch.Generator())
        self._start = self._handed_out = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:  # type: ignore[override]
        self._handed_out, self._start = self._start, 0
        for batch in islice(super().__iter__(), self._handed_out, None):
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of a pass have been handed out."""
        return {"handed_out": self._handed_out % len(self)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next pass after those."""
        self._start = state_dict["handed_out"]


def evaluation_batch_size(example: Sequence[int]) -> int:
    """How many examples of a shape are evaluated at once.

    Example:
        >>> evaluation_batch_size((20,)), evaluation_batch_size((1000, 100))
        (100000, 20)
    """
    return max(1, EVALUATION_VALUES // int(np.prod(example)))
