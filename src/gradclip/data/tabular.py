"""The data module of a table of independent rows."""

from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch.utils.data import TensorDataset

from gradclip import keys
from gradclip.data.base import SCHEMA_EXAMPLES, DataSchema, DataShape, TrainingData
from gradclip.data.checks import check_not_constant
from gradclip.data.loaders import Loader, ShuffledBatchSampler, evaluation_loader, shuffled_loader
from gradclip.data.scaling import fit_scaling
from gradclip.data.score_scale import ScoreScale
from gradclip.data.sources import Rows, Table
from gradclip.errors import DataError


class TabularData(TrainingData):
    """Scaled batches of a table: inputs ``[rows, inputs]`` and target ``[rows, 1]``.

    Args:
        table: the table.
        batch_size: rows of a training batch, over all processes together.
        scale_inputs: scaling of the numeric input columns: ``none``, ``standard`` or ``minmax``.
        scale_target: scaling of the target, with the same choices.
        seed: seed of the order of the batches.

    Raises:
        DataError: there are fewer training rows than ``batch_size``, no test rows, or all training targets are equal.

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
        check_not_constant(table.target.iloc[table.train_rows])
        self.table, self.batch_size, self.seed = table, batch_size, seed
        self.name, self.source = table.name, table.source
        self.scaling = fit_scaling(table, scale_inputs, scale_target)
        self.train_set, self.test_set = self._dataset(table.train_rows), self._dataset(table.test_rows)

    @property
    def shape(self) -> DataShape:
        """Shapes that the network has to fit: inputs after one-hot encoding, one output."""
        return DataShape((int(self.train_set.tensors[0].shape[1]),), (1,))

    @cached_property
    def score_scale(self) -> ScoreScale:
        """The mean squared error; its baseline is the variance of the training targets."""
        return ScoreScale(keys.MSE, float(np.var(self.table.target.iloc[self.table.train_rows])))

    @property
    def schema(self) -> DataSchema:
        """Columns, target and scaling, with the first test rows."""
        examples = self.table.features.iloc[self.table.test_rows[:SCHEMA_EXAMPLES]]
        target = str(self.table.target.name)
        return DataSchema(examples, tuple(examples.columns), target, self.scaling, is_classification=False)

    def frames(self) -> dict[str, pd.DataFrame | None]:
        """Return the unscaled training and test rows of the table."""
        return self.table.frames()

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the table's rows, counted from 0, in a training batch over all processes.

        Args:
            epoch: counted from 1.
            batch: within the epoch, counted from 0.
        """
        sampler = ShuffledBatchSampler(len(self.train_set), self.batch_size, self.seed)
        indices = sampler.batch_indices(epoch, batch)
        return tuple(sorted(int(row) for row in self.table.train_rows[list(indices)]))

    def train_dataloader(self) -> Loader:
        """Return the shuffled training batches; with several processes, this one's part of each."""
        return shuffled_loader(self.train_set, self.batch_size, self.seed, *self.rank_and_world_size)

    def val_dataloader(self) -> list[Loader]:
        """Return the loaders of all training rows and of all test rows."""
        return [evaluation_loader(rows, self.shape.example) for rows in (self.train_set, self.test_set)]

    def _dataset(self, rows: Rows) -> TensorDataset:
        arrays = self.scaling.transform(self.table, rows)
        return TensorDataset(*(torch.tensor(array, dtype=torch.float32) for array in arrays))
