"""A user's own time series: read from a file, cut in time, and the windows in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradclip.data.checks import check_column_settings, check_columns_exist, check_values
from gradclip.data.files import Form, read_file
from gradclip.data.left_out import input_columns
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
