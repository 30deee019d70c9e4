"""Column types: conversion of the columns of a CSV file, and the kind of values in a column."""

import re
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype

from gradclip.ranges import as_float

Kind = Literal["numbers", "categories", "text", "dates", "not quite numbers", "empty", "other"]

MISSING = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "<NA>", "NULL", "null", "None", "-", "?")  # in numbers
BOOLEANS = {"true": True, "false": False}
KINDS: dict[str, Kind] = {  # by the type that pandas infers
    **dict.fromkeys(("boolean", "integer", "floating", "decimal", "mixed-integer-float"), "numbers"),
    **dict.fromkeys(("date", "datetime", "datetime64"), "dates"),
}
COMMA_NUMBER = re.compile(r"\s*[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?([eE][+-]?\d+)?\s*")
NUMBER_LIKE = re.compile(r"[\s$€£+-]*\d[\d.,' ]*[\s%$€£]*")  # with a unit, or with thousands separators
DATE = re.compile(r"\s*\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T]\d{1,2}:\d{2}.*)?\s*")


def uses_decimal_comma(frame: pd.DataFrame) -> bool:
    """Return whether any column holds only numbers such as ``1,5`` and ``1.000,5``.

    Example:
        >>> uses_decimal_comma(pd.DataFrame({"price": ["1,5", "1.000,5", "2"], "city": ["Ulm", "Bonn", "Ulm"]}))
        True
    """
    columns = (_unique_texts(frame[name]) for name in frame if _is_text(frame[name]))
    return any(texts.str.contains(",").any() and texts.str.fullmatch(COMMA_NUMBER).all() for texts in columns)


def ambiguous_number(texts: pd.DataFrame, sign: str) -> tuple[str, str] | None:
    """Return a column and a cell in which a sign may separate thousands or decimals; None if there is none.

    In such a column the sign stands before three digits only, and the other numbers have at most three digits.

    Args:
        texts: the columns as text.
        sign: the decimal sign, ``.`` or ``,``.

    Example:
        >>> ambiguous_number(pd.DataFrame({"price": ["950", "1.050"]}), "."), ambiguous_number(
        ...     pd.DataFrame({"price": ["950", "1.050"], "size": ["30.5", "31"]}), "."
        ... )
        (('price', '1.050'), None)
    """
    point = re.escape(sign)
    grouped, decimal = rf"[+-]?[1-9]\d{{0,2}}({point}\d{{3}})+", rf"[+-]?\d*{point}\d+([eE][+-]?\d+)?"
    found = None
    for name, column in texts.items():
        cells = _unique_texts(column).str.strip()
        signed = cells[cells.str.contains(sign, regex=False)]
        others = cells[~cells.isin([*signed, *MISSING, ""])]
        if not signed.str.fullmatch(grouped).all():
            if signed.str.fullmatch(decimal).any():
                return None  # a decimal that cannot be read otherwise
        elif len(signed) and len(others) and others.str.fullmatch(r"[+-]?\d{1,3}").all():
            found = found or (str(name), str(signed.iloc[0]))
    return found


def plain_columns(frame: pd.DataFrame, decimal_comma: bool = False) -> pd.DataFrame:
    """Convert the columns of a CSV file to the types of their values.

    Cells such as "NA" are missing in a column of numbers or booleans; in a text column they are text. With
    ``decimal_comma``, numbers are written as ``1.000,5``.
    """
    others = [str(name) for name, kind in frame.dtypes.items() if not _is_plain(kind)]
    return frame.assign(**{name: _plain_column(frame[name], decimal_comma) for name in others})


def sound_columns(frame: pd.DataFrame, largest: float) -> set[str]:
    """Return the names of the numeric columns with no value missing or above ``largest`` in magnitude.

    Example:
        >>> sound_columns(pd.DataFrame({"a": [1, 2], "b": [1, np.nan], "c": ["x", "y"]}), largest=9.0)
        {'a'}
    """
    numbers = frame.loc[:, [_is_plain(kind) for kind in frame.dtypes]]
    sound = (np.abs(numbers.to_numpy(dtype=float)) <= largest).all(axis=0)
    return set(numbers.columns[sound])


def _plain_column(column: pd.Series, decimal_comma: bool) -> pd.Series:
    if not _is_text(column):
        beyond_64_bits = column.dtype == object and infer_dtype(column, skipna=True) == "integer"
        return as_floats(column) if beyond_64_bits else column
    texts = _unique_texts(column)
    plain = texts
    if decimal_comma and texts.str.fullmatch(COMMA_NUMBER).all():
        plain = texts.str.replace(".", "").str.replace(",", ".")
    for meant in (pd.to_numeric(plain, errors="coerce"), texts.str.strip().str.lower().map(BOOLEANS)):
        if meant.notna().all():
            return column.map(dict(zip(texts, meant, strict=True)))
    return column


def kind_of(column: pd.Series) -> Kind:
    """Return the kind of values in a column.

    Example:
        >>> kind_of(pd.Series([1, 2])), kind_of(pd.Series(["1", "x", "3"])), kind_of(pd.Series(["Ulm", "Bonn"]))
        ('numbers', 'not quite numbers', 'text')
    """
    if _is_plain(column.dtype) and column.notna().any():
        return "numbers"
    present = column.dropna()
    if present.empty:
        return "empty"
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "categories"
    found = infer_dtype(present)
    if found == "string":
        return _kind_of_text(present.drop_duplicates())
    if "mixed" in found and found != "mixed-integer-float" and _numbers_among(present):
        return "not quite numbers"
    return KINDS.get(found, "other")


def _kind_of_text(texts: pd.Series) -> Kind:
    if texts.str.fullmatch(DATE).all():
        return "dates"
    numbers = max(_numbers_among(texts), int(texts.str.fullmatch(NUMBER_LIKE).sum()))
    return "not quite numbers" if 2 * numbers >= len(texts) else "text"


def is_boolean(column: pd.Series) -> bool:
    """Return whether a column holds booleans; missing values are ignored."""
    return bool(is_bool_dtype(column)) or infer_dtype(column, skipna=True) == "boolean"


def as_floats(column: pd.Series) -> pd.Series:
    """Convert numbers or booleans to floats; missing values become NaN."""
    if isinstance(column.dtype, np.dtype) and column.dtype != object:
        return column.astype(float)
    return column.astype(object).where(column.notna(), np.nan).map(as_float).astype(float)


def _numbers_among(values: pd.Series) -> int:
    return int(pd.to_numeric(values, errors="coerce").notna().sum())


def _is_plain(kind: object) -> bool:
    """Return whether a dtype is NumPy's for booleans, integers or real numbers."""
    return isinstance(kind, np.dtype) and kind.kind in "biuf"


def _is_text(column: pd.Series) -> bool:
    return infer_dtype(column, skipna=True) == "string"


def _unique_texts(column: pd.Series) -> pd.Series:
    """Return the unique texts of a column, without markers of missing values."""
    return column.drop_duplicates()[lambda texts: texts.notna() & ~texts.isin(MISSING)]
