"""Finite values: statistics of them, NaN where there is none, and JSON, which has no others."""

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
    """Return the largest."""
    finite = finite_values(values)
    return float(finite.max()) if finite.size else np.nan


def mean_of(values: Floats) -> float:
    """Return the mean."""
    finite = finite_values(values)
    return float(finite.mean()) if finite.size else np.nan


def median_of(values: Floats | list[float]) -> float:
    """Return the median."""
    return percentile_of(values, 50)


def percentile_of(values: Floats | list[float], percentile: float) -> float:
    """Return a percentile, 0 to 100."""
    finite = finite_values(values)
    return float(np.percentile(finite, percentile)) if finite.size else np.nan


def null_nonfinite(value: Any) -> Any:
    """Return plain values in which every number that is not finite is None, as JSON wants it."""
    if isinstance(value, dict):
        return {key: null_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [null_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
