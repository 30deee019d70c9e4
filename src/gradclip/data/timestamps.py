"""Timestamps of a series: conversion to numbers, and checks of their order and spacing."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_float_dtype, is_numeric_dtype

from gradclip.arrays import Booleans, Floats, Integers
from gradclip.errors import DataError

STEP_TOLERANCE = 0.01  # relative difference up to which time steps count as equal, because timestamps are rounded


def check_timestamps(
    frame: pd.DataFrame, time: str, group: str | None, allow_gaps: bool = False, day_first: bool | None = None
) -> None:
    """Refuse timestamps that do not increase by even steps within each series.

    Args:
        frame: the table.
        time: name of the column of timestamps, numbers or dates.
        group: name of the column that identifies the series; None for a single series.
        allow_gaps: whether steps may be uneven.
        day_first: whether 01/02/2020 is in February; by default, the order in which all dates are valid.

    Raises:
        DataError: a timestamp is missing, not a number or date, not later than the one before or after an uneven step,
            or the rows of a series are not contiguous.
    """
    for setting, name in (("data.time", time), ("data.group", group)):
        if name is not None and (missing := frame[name].isna()).any():
            where = f"column {name!r}, row {int(np.argmax(missing)) + 1}: missing ({int(missing.sum())} in total)"
            raise DataError(f"{setting}: {where}; every row needs one")
    stamps = stamps_as_numbers(frame[time], day_first)
    same_series = np.full(len(frame) - 1, True)
    if group is not None:
        _check_contiguous(frame[group])
        names = frame[group].to_numpy()
        same_series = names[1:] == names[:-1]
    _check_steps(frame[time], np.diff(stamps), same_series, allow_gaps)


def stamps_as_numbers(stamps: pd.Series, day_first: bool | None = None) -> Floats | Integers:
    """Convert timestamps to numbers, and dates to nanoseconds; offsets from UTC are taken into account.

    Raises:
        DataError: a timestamp is neither, or dates are valid both with the day first and with the month first.
    """
    if is_numeric_dtype(stamps):  # differences of small or unsigned integers would wrap around
        return stamps.to_numpy(dtype=np.float64 if is_float_dtype(stamps) else np.int64)
    if is_datetime64_any_dtype(stamps):
        return _nanoseconds(stamps)
    for form in ("ISO8601", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"):  # unambiguous formats
        read = pd.to_datetime(stamps, errors="coerce", utc=True, format=form)
        if read.notna().all():
            return _nanoseconds(read)
    orders = (True, False) if day_first is None else (day_first,)
    readings = {order: read for order in orders if (read := _read(stamps, order)).notna().all()}
    if not readings:
        row = int(np.argmax(_read(stamps, orders[-1]).isna()))
        rule = "must be a number or a date" if row == 0 else f"must be a date in the format of {stamps.iloc[0]!r}"
        raise DataError(f"data.time: column {stamps.name!r}, row {row + 1}: got {stamps.iloc[row]!r}; {rule}")
    if len(readings) == 2 and not readings[True].equals(readings[False]):
        got = f"column {stamps.name!r}, row 1: got {stamps.iloc[0]!r}"
        raise DataError(f"data.time: {got}; day or month first? set data.day_first=true or false")
    return _nanoseconds(next(iter(readings.values())))


def _read(stamps: pd.Series, day_first: bool) -> pd.Series:
    """Parse dates in the format of the first one; dates in another format become missing."""
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # about mixed formats
        return pd.to_datetime(stamps.map(str), errors="coerce", utc=True, dayfirst=day_first)


def _nanoseconds(dates: pd.Series) -> Integers:
    return dates.to_numpy(dtype="datetime64[ns]").astype(np.int64)


def _check_contiguous(names: pd.Series) -> None:
    """Refuse a series whose rows do not follow one another."""
    starts = names[names != names.shift()]
    if starts.duplicated().any():
        row = int(starts.index[starts.duplicated()][0]) + 1
        got = f"column {names.name!r}, row {row}: series {names.iloc[row - 1]!r} starts again"
        raise DataError(f"data.group: {got}; the rows of a series must be contiguous")


def _check_steps(stamps: pd.Series, steps: NDArray[Any], same_series: Booleans, allow_gaps: bool) -> None:
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
