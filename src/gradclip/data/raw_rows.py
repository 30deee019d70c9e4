"""Conversion of a user's rows for the fitted scalers; a stored model converts new rows in the same way."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from gradclip.data.typed_columns import as_floats
from gradclip.errors import DataError


def inputs_of(rows: pd.DataFrame, categorical: Collection[str], may_be_missing: bool = False) -> pd.DataFrame:
    """Convert categories to plain values and all other columns to floats; missing cells become NaN.

    Args:
        rows: the input columns.
        categorical: names of the categorical columns.
        may_be_missing: whether cells may be missing, because the scalers fill them in.

    Raises:
        DataError: a cell is missing but may not be, or is not a number.
    """
    missing = rows.isna()
    if not may_be_missing and missing.to_numpy().any():
        name = missing.any().idxmax()
        row = int(np.argmax(missing[name])) + 1
        raise DataError(f"column {name!r}, row {row}: missing; the model was trained with data.missing=refuse or drop")
    return pd.DataFrame({name: _category(rows[name]) if name in categorical else _numbers(rows[name]) for name in rows})


def _category(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), np.nan)


def _numbers(column: pd.Series) -> pd.Series:
    try:
        return as_floats(column)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column.name!r}: {error}; must be numbers") from error
