"""Data module of a user's time series: a window of time steps as inputs, a target some steps ahead."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gradclip.data.base import SCHEMA_EXAMPLES, DataSchema, DataShape
from gradclip.data.checks import check_batch_size, check_not_constant
from gradclip.data.scaling import fit_scaling
from gradclip.data.sources import Rows
from gradclip.data.tabular import TableData
from gradclip.data.time_series import TimeSeries, read_series
from gradclip.scores import Split


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Windows of rows and their targets, gathered for each batch of indices.

    Args:
        inputs: all rows, ``[rows, inputs]``.
        target: the target of all rows, ``[rows, 1]``.
        series: the time series with the length of a window and the horizon.
        ends: last row of each window of this dataset.
    """

    def __init__(self, inputs: Tensor, target: Tensor, series: TimeSeries, ends: Rows) -> None:
        self.inputs, self.target = inputs, target
        self._first_rows = torch.from_numpy(ends - series.window + 1)
        self._target_rows = torch.from_numpy(ends + series.horizon)
        self._steps = torch.arange(series.window)

    def __len__(self) -> int:
        return len(self._first_rows)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs[self._first_rows[indices, None] + self._steps], self.target[self._target_rows[indices]]


class SeriesData(TableData):
    """Scaled batches of time series: inputs ``[windows, steps, inputs]`` and target ``[windows, 1]``.

    Args:
        batch_size: windows per training batch, over all processes.
        scale_inputs: scaling of the inputs, fitted on the training rows: ``none``, ``standard`` or ``minmax``.
        scale_target: scaling of the target, with the same choices.
        seed: seed of the shuffling.
        **settings: arguments of :func:`gradclip.data.time_series.read_series`.

    Raises:
        DataError: :func:`read_series` refuses the file, ``batch_size`` is not from 1 to the number of training
            windows, or all training targets are equal.
    """

    def __init__(
        self,
        batch_size: int = 32,
        scale_inputs: str = "standard",
        scale_target: str = "standard",
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.series = series = read_series(**settings)
        self.table = table = series.table
        self.batch_size = check_batch_size(batch_size, len(series.ends["train"]), "windows")
        check_not_constant(series.targets["train"])
        self.seed = seed
        self.name, self.source, self.notes = table.name, table.source, table.notes
        self.scaling = fit_scaling(table, scale_inputs, scale_target)
        arrays = self.scaling.scale_inputs(table.features), self.scaling.scale_target(table.target)
        inputs, target = (torch.tensor(array, dtype=torch.float32) for array in arrays)
        self.sets = {split: Windows(inputs, target, series, ends) for split, ends in series.ends.items()}

    @property
    def shape(self) -> DataShape:
        """Shapes that the network must fit: a window of all inputs, one output."""
        return DataShape((self.series.window, self.table.features.shape[1]), (1,))

    def targets(self) -> dict[Split, pd.Series]:
        """Return the unscaled target of each window, by split."""
        return self.series.targets

    @property
    def schema(self) -> DataSchema:
        """Columns, target and scaling, with the first test windows."""
        table, series = self.table, self.series
        rows = series.ends["test"][:SCHEMA_EXAMPLES, None] + np.arange(1 - series.window, 1)
        examples = table.features.to_numpy(dtype=np.float32)[rows]
        columns, target = tuple(table.features.columns), str(table.target.name)
        return DataSchema(examples, columns, target, self.scaling, is_classification=False)

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the last row of each window in a training batch, over all processes; rows are counted from 0."""
        return tuple(self.series.ends["train"][self.training_examples(epoch, batch)].tolist())
