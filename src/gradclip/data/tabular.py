"""The data module: a table, scaled, in batches."""

from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch.utils.data import TensorDataset

from gradclip import keys
from gradclip.data.base import Loader, Raw, Shape, TrainingData, WholeBatches, evaluation_batch_size
from gradclip.data.batches import OrderedBatches, ShuffledBatches
from gradclip.data.checks import check_varies
from gradclip.data.scaling import fit_scaling
from gradclip.data.score_scale import ScoreScale
from gradclip.data.sources import Table
from gradclip.errors import DataError

RAW_EXAMPLES = 3


class TabularData(TrainingData):
    """Batches of inputs ``[rows, inputs]`` and target ``[rows, 1]``, both as scaled for training.

    Validation goes over all training rows, then over all test rows.

    Args:
        table: the table.
        batch_size: rows of a training batch, over all processes together.
        scale_inputs: ``none``, ``standard`` or ``minmax``.
        scale_target: the same for the target.
        seed: seed of the order of the batches.

    Raises:
        DataError: there are fewer training rows than a batch has, or none to test, or all training targets are the
            same.

    Example:
        >>> from gradclip.data.sources import regression
        >>> inputs, target = next(iter(TabularData(regression()).train_dataloader()))
        >>> inputs.shape, target.shape
        (torch.Size([32, 20]), torch.Size([32, 1]))
    """

    def __init__(
        self,
        table: Table,
        batch_size: int = 32,
        scale_inputs: str = "none",
        scale_target: str = "none",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(table.train_rows) < batch_size:
            raise DataError(f"trainer.batch_size: got {batch_size}; there are {len(table.train_rows)} training rows")
        if len(table.test_rows) == 0:
            raise DataError(f"data.test_fraction: leaves none of {len(table.train_rows)} rows to test")
        check_varies(table.target.iloc[table.train_rows])
        self.table, self.batch_size, self.seed = table, batch_size, seed
        self.name, self.source = table.name, table.source
        self.scaling = fit_scaling(table, scale_inputs, scale_target)
        self.train_set = self._tensors("train")
        self.test_set = self._tensors("test")

    @property
    def shape(self) -> Shape:
        """What the network has to fit: inputs after one-hot encoding, one output."""
        return Shape((int(self.train_set.tensors[0].shape[1]),), (1,))

    @cached_property
    def score_scale(self) -> ScoreScale:
        """The mean squared error, against that of predicting the mean, on the training rows."""
        return ScoreScale(keys.MSE, float(np.var(self.table.target.iloc[self.table.train_rows])))

    @property
    def raw(self) -> Raw:
        """What a stored model needs to know."""
        examples = self.table.features.iloc[self.table.test_rows[:RAW_EXAMPLES]]
        return Raw(examples, tuple(examples.columns), str(self.table.target.name), self.scaling, classes=False)

    def frames(self) -> dict[str, pd.DataFrame | None]:
        """The table's training and test rows."""
        return self.table.frames()

    def rows_of_batch(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the table's rows, counted from 0, in a training batch over all processes.

        Args:
            epoch: counted from 1.
            batch: within the epoch, counted from 0.
        """
        positions = ShuffledBatches(len(self.train_set), self.batch_size, self.seed).rows_of(epoch, batch)
        return tuple(sorted(int(row) for row in self.table.train_rows[list(positions)]))

    def train_dataloader(self) -> Loader:
        """Shuffled training batches; each process its share."""
        batches = ShuffledBatches(len(self.train_set), self.batch_size, self.seed, *self.process)
        return WholeBatches(self.train_set, batches)

    def val_dataloader(self) -> list[Loader]:
        """All training rows, then all test rows."""
        sets = (self.train_set, self.test_set)
        size = evaluation_batch_size(self.shape.example)
        return [WholeBatches(rows, OrderedBatches(len(rows), size)) for rows in sets]

    def _tensors(self, part: str) -> TensorDataset:
        rows = self.table.train_rows if part == "train" else self.table.test_rows
        return TensorDataset(
            *(torch.tensor(array, dtype=torch.float32) for array in self.scaling.transform(self.table, rows))
        )
