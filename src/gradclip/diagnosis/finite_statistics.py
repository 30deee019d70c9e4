"""Statistics over finite values, NaN if there are none; and replacement of non-finite values for JSON."""

from typing import Any

import numpy as np

from gradclip.arrays import Floats


def finite_values(values: Floats | list[float]) -> Floats:
    """Return the finite values.

    Example:
        >>> finite_values([1.0, float("nan"), 3.0])
        array([1., 3.])
    """
    array: Floats = np.asarray(values, dtype=float)
    finite: Floats = array[np.isfinite(array)]
    return finite


def largest_of(values: Floats) -> float:
    """Return the largest finite value."""
    return percentile_of(values, 100)


def mean_of(values: Floats) -> float:
    """Return the mean of the finite values."""
    finite = finite_values(values)
    return float(finite.mean()) if finite.size else np.nan


def median_of(values: Floats | list[float]) -> float:
    """Return the median of the finite values."""
    return percentile_of(values, 50)


def percentile_of(values: Floats | list[float], percentile: float) -> float:
    """Return a percentile, from 0 to 100, of the finite values."""
    finite = finite_values(values)
    return float(np.percentile(finite, percentile)) if finite.size else np.nan


def null_nonfinite(value: Any) -> Any:
    """Return nested lists and dictionaries with None in place of every non-finite number, for JSON."""
    if isinstance(value, dict):
        return {key: null_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [null_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
