"""Windows over a user's own time series: the last steps as inputs, the target some steps ahead."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gradclip import keys
from gradclip.data.base import SCHEMA_EXAMPLES, DataSchema, DataShape, TrainingData
from gradclip.data.checks import check_column_settings, check_columns_exist, check_not_constant, check_values
from gradclip.data.files import Form, read_file
from gradclip.data.left_out import input_columns
from gradclip.data.loaders import Loader, ShuffledBatchSampler, evaluation_loader, shuffled_loader
from gradclip.data.scaling import fit_scaling
from gradclip.data.score_scale import ScoreScale
from gradclip.data.sources import Rows, Table
from gradclip.data.timestamps import check_timestamps
from gradclip.data.typed_columns import as_floats
from gradclip.errors import DataError


@dataclass(frozen=True)
class TimeSeries:
    """A table of one or several time series, and the windows in it.

    Attributes:
        table: all rows; its training rows come before the cut of each series, its test rows after it.
        window: rows of a window.
        horizon: rows from the last of a window to that of its target.
        train_ends: last row of each training window; the row of its target is before the cut.
        test_ends: last row of each test window; the row of its target is after the cut.
    """

    table: Table
    window: int
    horizon: int
    train_ends: Rows
    test_ends: Rows

    @property
    def train_target(self) -> pd.Series:
        """Unscaled target of each training window."""
        return self.table.target.iloc[self.train_ends + self.horizon]


def read_series(
    path: str,
    target: str,
    time: str,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    group: str | None = None,
    window: int = 50,
    horizon: int = 1,
    test_fraction: float = 0.25,
    allow_gaps: bool = False,
    day_first: bool | None = None,
    delimiter: str = "auto",
    decimal: str = "auto",
    encoding: str = "auto",
) -> TimeSeries:
    """Read time series from a CSV or Parquet file and split each in time: the last rows are for testing.

    Args:
        path: of the file, or of a folder of Parquet files; the rows of a series are contiguous and in order of time.
        target: name of the column to predict.
        time: name of the column of time stamps, numbers or dates.
        features: names of the numeric input columns; None: all but time, group and ``exclude``, the target's past
            included.
        exclude: names of columns to leave out.
        group: name of the column that identifies the series; None: a single series.
        window: time steps that the network sees.
        horizon: time steps from the last of the window to the target.
        test_fraction: fraction of each series kept for testing.
        allow_gaps: whether time steps may be uneven, such as months or working days; each row then counts as one step.
        day_first: whether 01/02/2020 is in February; None: as all dates can be read.
        delimiter: of a CSV file: ``comma``, ``semicolon``, ``tab``, ``pipe``, ``space`` or ``auto``.
        decimal: sign of its numbers: ``point``, ``comma`` or ``auto``.
        encoding: of its text, as Python names it, or ``auto``.

    Raises:
        DataError: the file cannot be read, a column or a time stamp is not valid, a series is shorter than window and
            horizon together, or no window is left to train on or to test.
    """
    file = Path(path).expanduser()
    frame, notes = read_file(file, Form(delimiter, decimal, encoding))
    check_columns_exist(frame, [("data.time", time), *([("data.group", group)] if group else [])])
    others = [time, *([group] if group else []), *exclude]
    columns, left_out = input_columns(frame, others) if features is None else (list(features), ())
    check_column_settings(frame, columns, target, exclude=exclude)
    check_values(frame, columns, target, is_series=True)
    check_timestamps(frame, time, group, allow_gaps, day_first)
    starts = _starts(frame, group)
    lengths = np.diff([*starts, len(frame)])
    _check_lengths(frame, group, starts, lengths, window, horizon)
    trains = _is_before_cut(starts, lengths, test_fraction)
    ends = _window_ends(starts, lengths, window, horizon)
    target_trains = trains[ends + horizon]
    _check_split(target_trains, test_fraction)
    table = Table(
        name=file.name.partition(".")[0],
        source=str(file.resolve()),
        features=frame[columns].apply(as_floats),
        target=as_floats(frame[target]),
        categorical=(),
        train_rows=np.flatnonzero(trains),
        test_rows=np.flatnonzero(~trains),
        notes=(*notes, *left_out),
    )
    return TimeSeries(table, window, horizon, ends[target_trains], ends[~target_trains])


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Windows of rows and their targets, gathered for each batch of indices.

    Args:
        inputs: all rows, ``[rows, inputs]``.
        target: the target of all rows, ``[rows, 1]``.
        series: the windows.
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


class SeriesData(TrainingData):
    """Scaled batches of time series: inputs ``[windows, steps, inputs]`` and target ``[windows, 1]``.

    Args:
        batch_size: windows of a training batch, over all processes together.
        scale_inputs: scaling of the inputs, fitted on the rows before the cut: ``none``, ``standard`` or ``minmax``.
        scale_target: scaling of the target, with the same choices.
        seed: seed of the order of the batches.
        **settings: arguments of :func:`read_series`.

    Raises:
        DataError: :func:`read_series` refuses the file, there are fewer training windows than ``batch_size``, or all
            training targets are equal.
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
        if len(series.train_ends) < batch_size:
            got = f"got {batch_size}; there are {len(series.train_ends)} training windows"
            raise DataError(f"trainer.batch_size: {got}")
        check_not_constant(series.train_target)
        self.batch_size, self.seed = batch_size, seed
        self.name, self.source, self.notes = series.table.name, series.table.source, series.table.notes
        self.scaling = fit_scaling(series.table, scale_inputs, scale_target)
        arrays = self.scaling.scale_inputs(series.table.features), self.scaling.scale_target(series.table.target)
        inputs, target = (torch.tensor(array, dtype=torch.float32) for array in arrays)
        self.train_set = Windows(inputs, target, series, series.train_ends)
        self.test_set = Windows(inputs, target, series, series.test_ends)

    @property
    def shape(self) -> DataShape:
        """Shapes that the network has to fit: a window of all inputs, one output."""
        return DataShape((self.series.window, self.series.table.features.shape[1]), (1,))

    @cached_property
    def score_scale(self) -> ScoreScale:
        """The mean squared error; its baseline is the variance of the training targets."""
        return ScoreScale(keys.MSE, float(np.var(self.series.train_target)))

    @property
    def schema(self) -> DataSchema:
        """Columns, target and scaling, with the first test windows."""
        table, series = self.series.table, self.series
        rows = series.test_ends[:SCHEMA_EXAMPLES, None] + np.arange(1 - series.window, 1)
        examples = table.features.to_numpy(dtype=np.float32)[rows]
        columns, target = tuple(table.features.columns), str(table.target.name)
        return DataSchema(examples, columns, target, self.scaling, is_classification=False)

    def frames(self) -> dict[str, pd.DataFrame | None]:
        """Return the unscaled rows before and after the cut of each series."""
        return self.series.table.frames()

    def batch_indices(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the last row, counted from 0, of each window of a training batch over all processes.

        Args:
            epoch: counted from 1.
            batch: within the epoch, counted from 0.
        """
        sampler = ShuffledBatchSampler(len(self.train_set), self.batch_size, self.seed)
        return tuple(int(row) for row in self.series.train_ends[list(sampler.batch_indices(epoch, batch))])

    def train_dataloader(self) -> Loader:
        """Return the shuffled training batches; with several processes, this one's part of each."""
        return shuffled_loader(self.train_set, self.batch_size, self.seed, *self.rank_and_world_size)

    def val_dataloader(self) -> list[Loader]:
        """Return the loaders of all training windows and of all test windows."""
        return [evaluation_loader(windows, self.shape.example) for windows in (self.train_set, self.test_set)]


def _starts(frame: pd.DataFrame, group: str | None) -> Rows:
    """Return the first row of each series."""
    if group is None:
        return np.array([0])
    names = frame[group].to_numpy()
    return np.flatnonzero(np.append(True, names[1:] != names[:-1]))


def _is_before_cut(starts: Rows, lengths: Rows, test_fraction: float) -> NDArray[np.bool_]:
    """Return for each row whether it comes before the cut of its series."""
    cuts = starts + lengths - np.round(lengths * test_fraction).astype(int)
    before: NDArray[np.bool_] = np.arange(lengths.sum()) < np.repeat(cuts, lengths)
    return before


def _window_ends(starts: Rows, lengths: Rows, window: int, horizon: int) -> Rows:
    """Return the last row of every window whose target is in the same series."""
    spans = zip(starts, lengths, strict=True)
    return np.concatenate([np.arange(start + window - 1, start + length - horizon) for start, length in spans])


def _check_lengths(
    frame: pd.DataFrame, group: str | None, starts: Rows, lengths: Rows, window: int, horizon: int
) -> None:
    """Refuse a series that is shorter than a window and its horizon."""
    shortest = int(np.argmin(lengths))
    if lengths[shortest] >= window + horizon:
        return
    which = "the series" if group is None else f"series {frame[group].iloc[starts[shortest]]!r}"
    got = f"got {window}, and data.horizon {horizon}; {which} has {lengths[shortest]} rows"
    raise DataError(f"data.window: {got}, at least {window + horizon} are needed")


def _check_split(trains: NDArray[np.bool_], test_fraction: float) -> None:
    """Refuse a split that leaves no window to train on, or none to test."""
    if trains.all() or not trains.any():
        part = "train on" if not trains.any() else "test"
        raise DataError(f"data.test_fraction: got {test_fraction}; leaves none of {len(trains)} windows to {part}")
