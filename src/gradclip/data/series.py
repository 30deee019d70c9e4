"""A user's own time series: windows of the past in, the target some steps ahead out."""

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
from gradclip.data.base import Loader, Raw, Shape, TrainingData, WholeBatches, evaluation_batch_size
from gradclip.data.batches import OrderedBatches, ShuffledBatches
from gradclip.data.checks import check_named, check_table, check_time, check_varies
from gradclip.data.scaling import fit_scaling
from gradclip.data.score_scale import ScoreScale
from gradclip.data.sources import Table, read_frame
from gradclip.errors import DataError

RAW_EXAMPLES = 3
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Series:
    """A table whose rows follow one another in time, and the windows in it.

    Attributes:
        table: all rows; its training and test rows are those before and after the cut of each series.
        window: rows of a window.
        train_ends: last row of each training window; its target lies before the cut.
        test_ends: last row of each test window; its target lies after the cut.
        train_targets: row of each training window's target.
        test_targets: row of each test window's target.
    """

    table: Table
    window: int
    train_ends: Rows
    test_ends: Rows
    train_targets: Rows
    test_targets: Rows


def read_series(
    path: str,
    target: str,
    time: str,
    features: Sequence[str] | None = None,
    group: str | None = None,
    window: int = 50,
    horizon: int = 1,
    test_fraction: float = 0.25,
    allow_gaps: bool = False,
) -> Series:
    """Read time series from a CSV or Parquet file and cut each in time: the first rows train, the last ones test.

    Args:
        path: the file, ending in .csv or .parquet; rows of a series one after the other, in time.
        target: the column to predict.
        time: the column of time stamps, numbers or dates.
        features: the input columns, numbers; None means all but time and group, the target's past included.
        group: the column that tells several series apart; None means one series.
        window: time steps of the past that the network sees.
        horizon: how many steps ahead of the window's last the target lies.
        test_fraction: share of each series kept for testing: its last rows.
        allow_gaps: whether steps in time may be uneven, as months and working days are; rows then count as even.

    Raises:
        DataError: a column does not fit, time stamps are not in order, doubled or have a gap, or a series is shorter
            than a window and its horizon.
    """
    frame = read_frame(Path(path))
    others = {time, group}
    check_named(frame, [("data.time", time), *([("data.group", group)] if group else [])])
    columns = [str(name) for name in frame.columns if name not in others] if features is None else list(features)
    check_table(frame, columns, target, (), series=True)
    check_time(frame, time, group, allow_gaps)
    starts = _starts(frame, group)
    lengths = np.diff([*starts, len(frame)])
    _check_lengths(frame, group, starts, lengths, window, horizon)
    cuts = starts + lengths - np.round(lengths * test_fraction).astype(int)
    ends = np.concatenate(
        [np.arange(start + window - 1, start + length - horizon) for start, length in zip(starts, lengths, strict=True)]
    )
    rows = np.arange(len(frame))
    trains = rows < np.repeat(cuts, lengths)
    before = trains[ends + horizon]
    _check_cut(before, test_fraction)
    table = Table(
        name=Path(path).stem,
        source=str(Path(path).resolve()),
        features=frame[columns].astype(float),
        target=frame[target].astype(float),
        categorical=(),
        train_rows=rows[trains],
        test_rows=rows[~trains],
    )
    return Series(table, window, ends[before], ends[~before], ends[before] + horizon, ends[~before] + horizon)


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Windows of rows, gathered as they are asked for.

    Args:
        inputs: all rows, ``[rows, inputs]``.
        target: the target of all rows, ``[rows, 1]``.
        window: rows of a window.
        ends: last row of each window.
        targets: row of each window's target.
    """

    def __init__(self, inputs: Tensor, target: Tensor, window: int, ends: Rows, targets: Rows) -> None:
        self.inputs, self.target = inputs, target
        self.first, self.targets = torch.from_numpy(ends - window + 1), torch.from_numpy(targets)
        self.steps = torch.arange(window)

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs[self.first[positions, None] + self.steps], self.target[self.targets[positions]]


class SeriesData(TrainingData):
    """Batches of windows ``[windows, steps, inputs]`` and targets ``[windows, 1]``, both as scaled for training.

    Args:
        batch_size: windows of a training batch, over all processes together.
        scale_inputs: ``none``, ``standard`` or ``minmax``, fitted on the rows before the cut.
        scale_target: the same for the target.
        seed: seed of the order of the batches.
        **settings: of :func:`read_series`.

    Raises:
        DataError: the file does not fit, there are fewer training windows than a batch has, or all training targets are
            the same.
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
        check_varies(series.table.target.iloc[series.train_targets])
        self.batch_size, self.seed = batch_size, seed
        self.name, self.source = series.table.name, series.table.source
        self.scaling = fit_scaling(series.table, scale_inputs, scale_target)
        arrays = self.scaling.transform(series.table, np.arange(len(series.table.target)))
        inputs, target = (torch.tensor(array, dtype=torch.float32) for array in arrays)
        self.train_set = Windows(inputs, target, series.window, series.train_ends, series.train_targets)
        self.test_set = Windows(inputs, target, series.window, series.test_ends, series.test_targets)

    @property
    def shape(self) -> Shape:
        """What the network has to fit."""
        return Shape((self.series.window, self.series.table.features.shape[1]), (1,))

    @cached_property
    def score_scale(self) -> ScoreScale:
        """The mean squared error, against that of predicting the mean, on the training targets."""
        return ScoreScale(keys.MSE, float(np.var(self.series.table.target.iloc[self.series.train_targets])))

    @property
    def raw(self) -> Raw:
        """What a stored model needs to know."""
        table, series = self.series.table, self.series
        rows = series.test_ends[:RAW_EXAMPLES, None] + np.arange(1 - series.window, 1)
        examples = table.features.to_numpy(dtype=np.float32)[rows]
        return Raw(examples, tuple(table.features.columns), str(table.target.name), self.scaling, classes=False)

    def frames(self) -> dict[str, pd.DataFrame | None]:
        """The rows before and after the cut of each series."""
        return self.series.table.frames()

    def rows_of_batch(self, epoch: int, batch: int) -> tuple[int, ...]:
        """Return the last row, counted from 0, of each window of a training batch over all processes."""
        windows = ShuffledBatches(len(self.train_set), self.batch_size, self.seed).rows_of(epoch, batch)
        return tuple(int(row) for row in self.series.train_ends[list(windows)])

    def train_dataloader(self) -> Loader:
        """Shuffled training batches; each process its share."""
        batches = ShuffledBatches(len(self.train_set), self.batch_size, self.seed, *self.process)
        return WholeBatches(self.train_set, batches)

    def val_dataloader(self) -> list[Loader]:
        """All training windows, then all test windows."""
        size = evaluation_batch_size(self.shape.example)
        sets = (self.train_set, self.test_set)
        return [WholeBatches(windows, OrderedBatches(len(windows), size)) for windows in sets]


def _starts(frame: pd.DataFrame, group: str | None) -> Rows:
    if group is None:
        return np.array([0])
    names = frame[group].to_numpy()
    return np.flatnonzero(np.append(True, names[1:] != names[:-1]))


def _check_lengths(
    frame: pd.DataFrame, group: str | None, starts: Rows, lengths: Rows, window: int, horizon: int
) -> None:
    shortest = int(np.argmin(lengths))
    if lengths[shortest] >= window + horizon:
        return
    which = "the series" if group is None else f"series {frame[group].iloc[starts[shortest]]!r}"
    got = f"got {window}, and data.horizon {horizon}; {which} has {lengths[shortest]} rows"
    raise DataError(f"data.window: {got}, at least {window + horizon} are needed")


def _check_cut(before: NDArray[np.bool_], test_fraction: float) -> None:
    if before.all() or not before.any():
        part = "train on" if not before.any() else "test"
        raise DataError(f"data.test_fraction: got {test_fraction}; leaves none of {len(before)} windows to {part}")
