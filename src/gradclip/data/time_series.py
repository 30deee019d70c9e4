"""A user's time series, read from a file, split in time and divided into windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gradclip.arrays import Integers
from gradclip.data.checks import check_column_settings, check_columns_exist, check_fractions, check_values
from gradclip.data.files import read_file
from gradclip.data.left_out import input_columns
from gradclip.data.sources import Rows, Table
from gradclip.data.timestamps import check_timestamps
from gradclip.data.typed_columns import as_floats
from gradclip.errors import DataError
from gradclip.formatting import counted
from gradclip.ranges import COUNT
from gradclip.scores import SPLITS, Split


@dataclass(frozen=True)
class TimeSeries:
    """A table of one or several time series, with the windows in it.

    Attributes:
        table: all rows; each series begins with its training rows and ends with its test rows.
        window: rows of a window.
        horizon: rows from the last row of a window to the row of its target.
        ends: last row of each window, by split; a window belongs to the split of its target's row.
    """

    table: Table
    window: int
    horizon: int
    ends: Mapping[Split, Rows]

    @property
    def targets(self) -> dict[Split, pd.Series]:
        """Unscaled target of each window, by split."""
        return {split: self.table.target.iloc[ends + self.horizon] for split, ends in self.ends.items()}


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
    validation_fraction: float = 0.0,
    allow_gaps: bool = False,
    day_first: bool | None = None,
    **form: str,
) -> TimeSeries:
    """Read time series from a CSV or Parquet file and split each in time; the last rows are the test rows.

    With a ``validation_fraction``, the rows before them are the validation rows. A window belongs to the split of its
    target's row.

    Args:
        path: path of the file, or of a folder of Parquet files. The rows of a series must be contiguous and in order of
            time.
        target: name of the column to predict.
        time: name of the column of timestamps, numbers or dates.
        features: names of the numeric input columns; by default all but time, group and ``exclude``, including the
            past of the target.
        exclude: names of columns to exclude.
        group: name of the column that identifies the series; None for a single series.
        window: time steps that the network sees.
        horizon: time steps from the last step of the window to the target.
        test_fraction: fraction of each series used for testing.
        validation_fraction: fraction of the rows before the test rows, the last of them, used for validation.
        allow_gaps: whether time steps may be uneven, such as months or working days; each row then counts as one step.
        day_first: whether 01/02/2020 is in February; by default, the order in which all dates are valid.
        **form: ``delimiter``, ``decimal`` and ``encoding`` of a CSV file, see :func:`~gradclip.data.files.read_file`.

    Raises:
        DataError: a number is out of range, the file cannot be read, a column or a timestamp is not valid, a series is
            shorter than window and horizon together, or a split has no window.
    """
    window = COUNT.check("data.window", window, DataError)
    horizon = COUNT.check("data.horizon", horizon, DataError)
    check_fractions(test_fraction, validation_fraction)
    file = Path(path).expanduser()
    frame, notes = read_file(file, **form)
    grouping = [] if group is None else [group]
    check_columns_exist(frame, [("data.time", time), *(("data.group", name) for name in grouping)])
    others = [time, *grouping, *exclude]
    columns, left_out = input_columns(frame, others) if features is None else (list(features), ())
    check_column_settings(frame, columns, target, exclude=exclude)
    check_values(frame, columns, target, is_series=True)
    check_timestamps(frame, time, group, allow_gaps, day_first)
    starts = _series_starts(frame, group)
    lengths = np.diff([*starts, len(frame)])
    _check_lengths(frame, group, starts, lengths, window, horizon)
    rows, ends = _split_in_time(starts, lengths, window, horizon, test_fraction, validation_fraction)
    table = Table(
        name=file.name.partition(".")[0],
        source=str(file.resolve()),
        features=frame[columns].apply(as_floats),
        target=as_floats(frame[target]),
        rows=rows,
        notes=(*notes, *left_out),
    )
    return TimeSeries(table, window, horizon, ends)


def _series_starts(frame: pd.DataFrame, group: str | None) -> Rows:
    """Return the first row of each series."""
    if group is None:
        return np.array([0])
    names = frame[group].to_numpy()
    return np.flatnonzero(np.append(True, names[1:] != names[:-1]))


def _split_in_time(
    starts: Rows, lengths: Rows, window: int, horizon: int, test_fraction: float, validation_fraction: float
) -> tuple[dict[Split, Rows], dict[Split, Rows]]:
    """Split each series in time; return the rows, and the last row of each window, by split."""
    row_splits = _row_splits(starts, lengths, test_fraction, validation_fraction)
    ends = _window_ends(starts, lengths, window, horizon)
    window_splits = row_splits[ends + horizon]
    _check_window_splits(window_splits, test_fraction, validation_fraction)
    splits = {split: number for number, split in enumerate(SPLITS) if split != "validation" or validation_fraction}
    rows = {split: np.flatnonzero(row_splits == number) for split, number in splits.items()}
    return rows, {split: ends[window_splits == number] for split, number in splits.items()}


def _row_splits(starts: Rows, lengths: Rows, test_fraction: float, validation_fraction: float) -> Integers:
    """Return the split of each row as its index in ``SPLITS``; the splits are in order of time."""
    before_test = lengths - np.round(lengths * test_fraction).astype(int)  # number of rows in each series
    training = before_test - np.round(before_test * validation_fraction).astype(int)
    position = np.arange(lengths.sum()) - np.repeat(starts, lengths)  # each row's index in its series
    is_after_training = position >= np.repeat(training, lengths)
    is_test = position >= np.repeat(before_test, lengths)
    return is_after_training.astype(np.int64) + is_test


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
    got = f"got {window}, and data.horizon {horizon}; {which} has {counted(lengths[shortest], 'row')}"
    raise DataError(f"data.window: {got}, at least {window + horizon} are needed")


def _check_window_splits(window_splits: Integers, test_fraction: float, validation_fraction: float) -> None:
    """Refuse fractions that leave a split without windows."""
    train, validation, test = np.bincount(window_splits, minlength=len(SPLITS))
    by_test = f"data.test_fraction: got {test_fraction}; leaves none of {len(window_splits)} windows"
    by_validation = f"data.validation_fraction: got {validation_fraction}; leaves none of {train + validation} windows"
    if not test:
        raise DataError(f"{by_test} to test on")
    if not train:
        raise DataError(f"{by_validation if validation else by_test} to train on")
    if validation_fraction and not validation:
        raise DataError(f"{by_validation} to validate on")
