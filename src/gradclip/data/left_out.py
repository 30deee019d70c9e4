"""Columns of a user's file that are excluded, rows that are dropped, and the notes that report both."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype

from gradclip.errors import DataError, first_few
from gradclip.quoting import list_of_columns

NAMELESS = "Unnamed: "  # prefix that pandas gives to a column without a name


def input_columns(frame: pd.DataFrame, others: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the columns that are inputs by default, not those in ``others``, and notes about them.

    A column without a name that is empty or holds the index of a saved data frame is not an input: if the rows are
    sorted by the target, the network could predict it from the row number.
    """
    columns = [str(name) for name in frame.columns if name not in others]
    nameless = [name for name in columns if name.startswith(NAMELESS) and _is_index(frame[name])]
    inputs = [name for name in columns if name not in nameless]
    numbering = [name for name in inputs if _numbers_rows(frame[name])]
    notes = []
    if nameless:
        notes.append(f"excluded unnamed columns that are empty or hold row numbers: {first_few(nameless)}")
    if numbering:
        count, them = ("counts", "it") if len(numbering) == 1 else ("count", "them")
        exclude = list_of_columns("data.exclude", numbering)
        notes.append(f"{first_few(numbering)} {count} the rows; to exclude {them}, set {exclude}")
    return inputs, tuple(notes)


def leave_out_rows(
    frame: pd.DataFrame, features: Sequence[str], target: str, missing: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the rows that are kept, and a note about the others.

    Args:
        frame: the content of the file.
        features: names of the input columns.
        target: name of the column to predict.
        missing: ``drop`` drops rows with a missing cell, ``median`` rows without a target, ``refuse`` none.

    Raises:
        DataError: no row is left.
    """
    needed = {"refuse": [], "median": [target], "drop": [target, *features]}[missing]
    absent = frame[needed].isna()
    whole = ~absent.any(axis=1)
    if whole.all():
        return frame, ()
    if not whole.any():
        worst = absent.sum().idxmax()
        cells = f"column {worst!r} has {int(absent[worst].sum()):,} missing cells"
        raise DataError(f"data.missing: got {missing!r}; leaves none of {len(frame):,} rows, {cells}")
    what = "a missing cell" if missing == "drop" else "no target"
    return frame[whole], (f"{int((~whole).sum()):,} of {len(frame):,} rows have {what} and were dropped",)


def _is_index(column: pd.Series) -> bool:
    """Return whether a column without a name is empty or holds unique integers."""
    return bool(column.isna().all()) or (is_integer_dtype(column) and column.is_unique)


def _numbers_rows(column: pd.Series) -> bool:
    """Return whether a column counts the rows, from 0 or 1."""
    if not is_integer_dtype(column) or column.isna().any() or len(column) < 2 or column.iloc[0] not in (0, 1):
        return False
    return bool((np.diff(column.to_numpy(dtype=np.int64)) == 1).all())
