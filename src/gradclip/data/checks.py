"""What is wrong with a user's table, said in one line."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from gradclip.errors import DataError
from gradclip.suggest import did_you_mean


def check_table(frame: pd.DataFrame, features: Sequence[str], target: str, categorical: Sequence[str]) -> None:
    """Refuse a table that cannot be trained on.

    Raises:
        DataError: with the setting, what it holds, and where in the file the trouble stands.
    """
    _check_columns(frame, features, target, categorical)
    if frame.empty:
        raise DataError("data.path: the file has a header and no rows")
    for name in (target, *features):
        if name not in categorical:
            _check_numbers(frame[name], "data.target" if name == target else "data.features")
    for name in categorical:
        _check_no_gap(frame[name], frame[name].isna(), "data.categorical")
    if frame[target].nunique() == 1:
        raise DataError(f"data.target: column {target!r} is constant ({frame[target].iloc[0]}); nothing to learn")


def _check_columns(frame: pd.DataFrame, features: Sequence[str], target: str, categorical: Sequence[str]) -> None:
    columns = [str(name) for name in frame.columns]
    wanted = [("data.target", target), *(("data.features", name) for name in features)]
    for setting, name in [*wanted, *(("data.categorical", name) for name in categorical)]:
        if name not in columns:
            raise DataError(
                f"{setting}: got {name!r}; no such column{did_you_mean(name, columns)}, there are {', '.join(columns)}"
            )
    if target in features:
        raise DataError(f"data.features: got {target!r}; that is the target")
    if twice := [name for name in features if list(features).count(name) > 1]:
        raise DataError(f"data.features: got {twice[0]!r} twice")
    if not features:
        raise DataError("data.features: got none; at least one input column is needed")
    for name in categorical:
        if name not in features:
            raise DataError(f"data.categorical: got {name!r}; must be one of data.features")


def _check_numbers(column: pd.Series, setting: str) -> None:
    if not (is_numeric_dtype(column) or is_bool_dtype(column)):
        hint = "" if setting == "data.target" else f"; encode it with data.categorical=[{column.name}]"
        example = next((value for value in column if not _is_number(value)), column.iloc[0])
        row = list(column).index(example) + 1
        raise DataError(f"{setting}: column {column.name!r} is not numeric (row {row}: {example!r}){hint}")
    _check_no_gap(column, column.isna() | ~np.isfinite(column.fillna(0).astype(float)), setting)


def _check_no_gap(column: pd.Series, gaps: pd.Series, setting: str) -> None:
    if gaps.any():
        row = int(np.flatnonzero(gaps)[0])
        raise DataError(
            f"{setting}: column {column.name!r}, row {row + 1}: got {column.iloc[row]}; must be a finite value "
            f"({int(gaps.sum())} such in this column; rows are counted from 1, without the header)"
        )


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
