"""Checks of a user's table; each refusal is one line with the setting, the column and the row."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_scalar

from gradclip.errors import DataError, did_you_mean, first_line

LARGEST = float(np.finfo(np.float32).max)  # training is in float32
STEP_TOLERANCE = 0.01  # relative difference between two time steps that count as equal: time stamps are rounded


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
        features: names of the input columns.
        target: name of the column to predict.
        categorical: names of the input columns that are encoded one-hot; all others have to be numeric.
        series: whether the table is a time series: the target may be an input, and no column is categorical.

    Raises:
        DataError: a column is missing, named twice, not numeric or has a missing or infinite value, or there are no
            rows or no inputs.
    """
    _check_column_settings(frame, features, target, categorical)
    if target in features and not series:
        raise DataError(f"data.features: got {target!r}; that is the target")
    if frame.empty:
        raise DataError("data.path: the file has a header and no rows")
    for name in dict.fromkeys((target, *features)):
        if name not in categorical:
            hint = "" if series or name == target else f"; encode it with data.categorical=[{name}]"
            _check_numbers(frame[name], "data.target" if name == target else "data.features", hint)
    for name in categorical:
        _check_categories(frame[name])


def check_not_constant(target: pd.Series) -> None:
    """Refuse training targets that are all equal.

    Raises:
        DataError: they are; the message has the value.
    """
    if np.var(target.to_numpy()) == 0:
        where = f"column {target.name!r} is constant ({target.iloc[0]}) in the training rows"
        raise DataError(f"data.target: {where}; nothing to learn")


def check_columns_exist(frame: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse a table without the wanted columns, pairs of a setting and the column that it names.

    Raises:
        DataError: a column is missing; the message lists those of the table.
    """
    columns = [str(name) for name in frame.columns]
    for setting, name in wanted:
        if name not in columns:
            raise DataError(
                f"{setting}: got {name!r}; no such column{did_you_mean(name, columns)}, there are {', '.join(columns)}"
            )


def check_timestamps(frame: pd.DataFrame, time: str, group: str | None, allow_gaps: bool = False) -> None:
    """Refuse time stamps that do not increase by even steps within each series.

    Args:
        frame: the table.
        time: name of the column of time stamps, numbers or dates.
        group: name of the column that identifies the series; None for a single series.
        allow_gaps: whether steps may be uneven.

    Raises:
        DataError: a time stamp is missing, not a number or date, not later than the one before or after an uneven step,
            or the rows of a series are not contiguous.
    """
    for setting, name in (("data.time", time), ("data.group", group)):
        if name is not None:
            _check_all_valid(frame[name], frame[name].isna(), setting)
    stamps = _as_numbers(frame[time])
    same_series = np.full(len(frame) - 1, True)
    if group is not None:
        _check_contiguous(frame[group])
        names = frame[group].to_numpy()
        same_series = names[1:] == names[:-1]
    _check_steps(frame[time], np.diff(stamps), same_series, allow_gaps)


def _as_numbers(stamps: pd.Series) -> NDArray[np.float64] | NDArray[np.int64]:
    """Return time stamps as numbers, dates as nanoseconds."""
    if is_numeric_dtype(stamps):
        return stamps.to_numpy()
    try:
        with warnings.catch_warnings(category=UserWarning, action="ignore"):  # of dates in several formats
            return pd.to_datetime(stamps).to_numpy(dtype="datetime64[ns]").astype(np.int64)
    except (ValueError, TypeError) as error:
        got = f"column {stamps.name!r} contains neither numbers nor dates"
        raise DataError(f"data.time: {got}: {first_line(error)}") from error


def _check_contiguous(names: pd.Series) -> None:
    """Refuse a series whose rows do not follow one another."""
    starts = names[names != names.shift()]
    if starts.duplicated().any():
        row = int(starts.index[starts.duplicated()][0]) + 1
        got = f"column {names.name!r}, row {row}: series {names.iloc[row - 1]!r} starts again"
        raise DataError(f"data.group: {got}; the rows of a series must be contiguous")


def _check_steps(stamps: pd.Series, steps: NDArray[Any], same_series: NDArray[np.bool_], allow_gaps: bool) -> None:
    """Refuse a time step within a series that goes back, is zero or differs from the median step."""
    if not same_series.any():
        return
    even = np.isclose(steps, float(np.median(steps[same_series])), rtol=STEP_TOLERANCE, atol=0)
    violations = {
        "must be later than the row before": steps < 0,
        "must not repeat the row before": steps == 0,
        "steps must be even, unless data.allow_gaps=true": ~(allow_gaps | even),
    }
    for rule, violated in violations.items():
        if (same_series & violated).any():
            row = int(np.flatnonzero(same_series & violated)[0]) + 1
            raise DataError(
                f"data.time: column {stamps.name!r}, row {row + 1}: got {stamps.iloc[row]}, after "
                f"{stamps.iloc[row - 1]}; {rule} (rows are counted from 1, without the header)"
            )


def _check_column_settings(
    frame: pd.DataFrame, features: Sequence[str], target: str, categorical: Sequence[str]
) -> None:
    check_columns_exist(frame, [("data.target", target), *(("data.features", name) for name in features)])
    check_columns_exist(frame, [("data.categorical", name) for name in categorical])
    for setting, names in (("data.features", features), ("data.categorical", categorical)):
        if twice := [name for name in names if list(names).count(name) > 1]:
            raise DataError(f"{setting}: got {twice[0]!r} twice")
    if not features:
        raise DataError("data.features: got none; at least one input column is needed")
    if "" in features:  # MLflow would store no model of it
        raise DataError("data.features: got a column without a name; name it, or list the others in data.features")
    for name in categorical:
        if name not in features:
            raise DataError(f"data.categorical: got {name!r}; must be one of data.features")


def _check_numbers(column: pd.Series, setting: str, hint: str) -> None:
    """Refuse a column that is not numeric, or has a value that float32 cannot represent."""
    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        rows = enumerate(column, start=1)
        row, value = next(((row, value) for row, value in rows if not _is_number(value)), (1, column.iloc[0]))
        hint = hint if is_scalar(value) else ""
        raise DataError(f"{setting}: column {column.name!r} is not numeric (row {row}: {value!r}){hint}")
    invalid = column.isna() | (column.fillna(0).astype(float).abs() > LARGEST)
    _check_all_valid(column, invalid, setting, f"must be a finite value, at most {LARGEST:.2g}")


def _check_categories(column: pd.Series) -> None:
    """Refuse a categorical column with a missing value or one that is not a scalar, such as a list."""
    for row, value in enumerate(column, start=1):
        if not is_scalar(value):
            got = f"column {column.name!r}, row {row}: got {value!r}"
            raise DataError(f"data.categorical: {got}; must be text, a number or a boolean")
    _check_all_valid(column, column.isna(), "data.categorical")


def _check_all_valid(column: pd.Series, invalid: pd.Series, setting: str, rule: str = "must not be missing") -> None:
    """Refuse a column with an invalid row; the message has the first and their number."""
    if invalid.any():
        row = int(np.flatnonzero(invalid)[0])
        raise DataError(
            f"{setting}: column {column.name!r}, row {row + 1}: got {column.iloc[row]}; {rule} "
            f"({int(invalid.sum())} such in this column; rows are counted from 1, without the header)"
        )


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
