"""What is wrong with a user's table, said in one line."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_scalar

from gradclip.errors import DataError, did_you_mean, first_line

LARGEST = float(np.finfo(np.float32).max)  # of a number in training
STEP_TOLERANCE = 0.01  # share by which two even steps may differ: time stamps are rounded


def check_table(
    frame: pd.DataFrame,
    features: Sequence[str],
    target: str,
    categorical: Sequence[str],
    series: bool = False,
) -> None:
    """Refuse a table that cannot be trained on.

    Args:
        frame: the table.
        features: the input columns.
        target: the column to predict.
        categorical: those of the input columns that are no numbers.
        series: whether it is a time series, in which the target's past may be an input and all inputs are numbers.

    Raises:
        DataError: with the setting, what it holds, and where in the file the trouble stands.
    """
    _check_columns(frame, features, target, categorical)
    if target in features and not series:
        raise DataError(f"data.features: got {target!r}; that is the target")
    if frame.empty:
        raise DataError("data.path: the file has a header and no rows")
    for name in dict.fromkeys((target, *features)):
        if name not in categorical:
            hint = "" if series or name == target else f"; encode it with data.categorical=[{name}]"
            _check_numbers(frame[name], "data.target" if name == target else "data.features", hint)
    for name in categorical:
        _check_scalars(frame[name])
        _check_no_gap(frame[name], frame[name].isna(), "data.categorical")


def check_varies(target: pd.Series) -> None:
    """Refuse training targets that are all the same.

    Raises:
        DataError: with the value.
    """
    if np.var(target.to_numpy()) == 0:
        where = f"column {target.name!r} is constant ({target.iloc[0]}) in the training rows"
        raise DataError(f"data.target: {where}; nothing to learn")


def check_named(frame: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse a table without the columns that settings name.

    Raises:
        DataError: with the setting and the columns that there are.
    """
    columns = [str(name) for name in frame.columns]
    for setting, name in wanted:
        if name not in columns:
            raise DataError(
                f"{setting}: got {name!r}; no such column{did_you_mean(name, columns)}, there are {', '.join(columns)}"
            )


def check_time(frame: pd.DataFrame, time: str, group: str | None, allow_gaps: bool = False) -> None:
    """Refuse time stamps that do not go forward by even steps, in each series by itself.

    Args:
        frame: the table.
        time: the column of time stamps.
        group: the column that tells several series apart.
        allow_gaps: whether steps may be uneven.

    Raises:
        DataError: with the row at which they do not.
    """
    for setting, name in (("data.time", time), ("data.group", group)):
        if name is not None:
            _check_no_gap(frame[name], frame[name].isna(), setting)
    stamps = _to_numbers(frame[time])
    same = np.full(len(frame) - 1, True)
    if group is not None:
        _check_series_are_whole(frame[group])
        names = frame[group].to_numpy()
        same = names[1:] == names[:-1]
    _check_steps(frame[time], np.diff(stamps), same, allow_gaps)


def _to_numbers(column: pd.Series) -> NDArray[np.float64] | NDArray[np.int64]:
    """Time stamps as numbers; dates as nanoseconds."""
    if is_numeric_dtype(column):
        return column.to_numpy()
    try:
        with warnings.catch_warnings(category=UserWarning, action="ignore"):  # of dates in no one form
            return pd.to_datetime(column).to_numpy(dtype="datetime64[ns]").astype(np.int64)
    except (ValueError, TypeError) as error:
        got = f"column {column.name!r} holds neither numbers nor dates"
        raise DataError(f"data.time: {got}: {first_line(error)}") from error


def _check_series_are_whole(names: pd.Series) -> None:
    starts = names[names != names.shift()]
    if starts.duplicated().any():
        row = int(starts.index[starts.duplicated()][0]) + 1
        got = f"column {names.name!r}, row {row}: series {names.iloc[row - 1]!r} begins a second time"
        raise DataError(f"data.group: {got}; the rows of a series must follow one another")


def _check_steps(stamps: pd.Series, steps: NDArray[Any], same: NDArray[np.bool_], allow_gaps: bool) -> None:
    """Each step between two rows of one series must be forward, and as long as most are."""
    if not same.any():
        return
    usual = float(np.median(steps[same]))
    troubles = {
        "must be later than the row before": same & (steps < 0),
        "must not stand there twice": same & (steps == 0),
        "steps must be even, unless data.allow_gaps=true": same & ~(allow_gaps | _even(steps, usual)),
    }
    for trouble, where in troubles.items():
        if where.any():
            row = int(np.flatnonzero(where)[0]) + 1
            raise DataError(
                f"data.time: column {stamps.name!r}, row {row + 1}: got {stamps.iloc[row]}, after "
                f"{stamps.iloc[row - 1]}; {trouble} (rows are counted from 1, without the header)"
            )


def _check_columns(frame: pd.DataFrame, features: Sequence[str], target: str, categorical: Sequence[str]) -> None:
    check_named(frame, [("data.target", target), *(("data.features", name) for name in features)])
    check_named(frame, [("data.categorical", name) for name in categorical])
    for setting, names in (("data.features", features), ("data.categorical", categorical)):
        if twice := [name for name in names if list(names).count(name) > 1]:
            raise DataError(f"{setting}: got {twice[0]!r} twice")
    if not features:
        raise DataError("data.features: got none; at least one input column is needed")
    for name in categorical:
        if name not in features:
            raise DataError(f"data.categorical: got {name!r}; must be one of data.features")


def _check_numbers(column: pd.Series, setting: str, hint: str) -> None:
    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        values = enumerate(column, start=1)
        row, example = next((place for place in values if not _is_number(place[1])), (1, column.iloc[0]))
        hint = hint if is_scalar(example) else ""
        raise DataError(f"{setting}: column {column.name!r} is not numeric (row {row}: {example!r}){hint}")
    beyond = column.isna() | (column.fillna(0).astype(float).abs() > LARGEST)
    _check_no_gap(column, beyond, setting, f"must be a finite value, at most {LARGEST:.2g}")


def _check_scalars(column: pd.Series) -> None:
    for row, value in enumerate(column, start=1):
        if not is_scalar(value):
            got = f"column {column.name!r}, row {row}: got {value!r}"
            raise DataError(f"data.categorical: {got}; must be a text, a number or a truth value")


def _check_no_gap(column: pd.Series, gaps: pd.Series, setting: str, allowed: str = "must not be missing") -> None:
    if gaps.any():
        row = int(np.flatnonzero(gaps)[0])
        raise DataError(
            f"{setting}: column {column.name!r}, row {row + 1}: got {column.iloc[row]}; {allowed} "
            f"({int(gaps.sum())} such in this column; rows are counted from 1, without the header)"
        )


def _even(steps: NDArray[Any], usual: float) -> NDArray[np.bool_]:
    even: NDArray[np.bool_] = np.isclose(steps, usual, rtol=STEP_TOLERANCE, atol=0)
    return even


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
