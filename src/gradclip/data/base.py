"""Interface between data sets and training: batches, shapes, schema and score scale."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor

from gradclip.data.classes import Label
from gradclip.data.scaling import Scaling
from gradclip.data.score_scale import ScoreScale
from gradclip.scores import ChoosingSplit, Split, choosing_split

SCHEMA_EXAMPLES = 3


@dataclass(frozen=True)
class DataShape:
    """Shapes of a single example, without the batch dimension.

    Attributes:
        example: shape of the inputs, ``(inputs,)`` for a row or ``(steps, inputs)`` for a sequence.
        outputs: shape of the network's outputs; its last dimension is the network's ``out_features``.
    """

    example: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class DataSchema:
    """Columns, target and scaling of a data set, with unscaled examples; stored with each model.

    Attributes:
        examples: the first ``SCHEMA_EXAMPLES`` test examples, as a frame of rows or an array
            ``[examples, steps, inputs]``.
        columns: names of the inputs.
        target: name of the target.
        scaling: the fitted scalers; None if nothing is scaled.
        is_classification: whether the network's outputs are class logits.
        labels: the user's class labels, in the order of the outputs; None if classes are only numbered.
    """

    examples: pd.DataFrame | NDArray[np.float32]
    columns: tuple[str, ...]
    target: str
    scaling: Scaling | None
    is_classification: bool
    labels: tuple[Label, ...] | None = None


class TrainingData(LightningDataModule):
    """Base of all data modules; batches are pairs of inputs and target, both scaled for training.

    The network is trained on the training split. The validation split chooses the best epoch, when to stop, and
    settings; the test split is only reported. Without a validation split, the test split chooses. ``val_dataloader``
    returns one loader for each of ``splits``, over all its examples. Only a user-defined data module may lack test
    examples.

    Attributes:
        name: name of the data set in the store.
        source: path of the file, or the call that generates the data.
        notes: messages to the user about how the data were read, one sentence each.
        class_weights: class weights in the loss, ``[classes]``; None if all examples count equally.
        digest: SHA-256 of the file or folder of the table when it was read; empty for other data.
    """

    name: str
    source: str
    notes: tuple[str, ...] = ()
    class_weights: Tensor | None = None
    digest: str = ""

    @property
    @abstractmethod
    def shape(self) -> DataShape:
        """Shapes that the network must fit."""

    @property
    @abstractmethod
    def score_scale(self) -> ScoreScale:
        """The score of this data set, with its baseline."""

    @property
    @abstractmethod
    def schema(self) -> DataSchema:
        """Columns, target and scaling, with a few unscaled examples."""

    @property
    @abstractmethod
    def splits(self) -> tuple[Split, ...]:
        """The splits in order: ``train``, ``validation`` (if any), ``test`` (if any)."""

    @property
    def choosing_split(self) -> ChoosingSplit:
        """The split that chooses: validation, or test if there is no validation split."""
        return choosing_split(self.splits)

    def frames(self) -> dict[Split, pd.DataFrame | None]:
        """Return the unscaled rows of each split; None for data sets without rows."""
        return dict.fromkeys(self.splits)

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the indices of the examples in a training batch, over all processes, in ascending order.

        The default is an empty tuple, for data sets whose examples have no index.

        Args:
            epoch: number of the epoch, counted from 1.
            batch: index of the batch within the epoch, counted from 0.
        """
        return ()

    @property
    def target_scale(self) -> float:
        """Target units per unit of the network's output."""
        return 1.0 if self.schema.scaling is None else self.schema.scaling.target_scale

    @property
    def rank_and_world_size(self) -> tuple[int, int]:
        """Rank of this process, and number of processes that train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
