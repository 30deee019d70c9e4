"""Norms of the rows of arrays, as safe from overflow as the norms of tensors, and a comparison of norms."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from gradclip.arrays import Floats, Integers

LEAST = 1e-140  # in smaller norms, some squares underflowed


def differ(norms: ArrayLike, norms_clipped: ArrayLike) -> bool:
    """Return whether clipping changed any norm; NaN counts as equal to NaN."""
    return not np.array_equal(norms, norms_clipped, equal_nan=True)


def row_norms(rows: Floats) -> Floats:
    """Return the L2 norm of each row of an array, ``[rows]``.

    Example:
        >>> row_norms(np.array([[3.0, 4.0], [3e200, 4e200]]))
        array([5.e+000, 5.e+200])
    """
    return _safe_norms(rows, _unscaled_row_norms)[:, 0]


def _unscaled_row_norms(rows: Floats) -> Floats:
    """Return the norm of each row, ``[rows, 1]``."""
    several = rows if len(rows) > 1 else np.repeat(rows, 2, axis=0)  # NumPy sums a single column in a different order
    columns = np.ascontiguousarray(several.T)  # whole columns are summed ten times as fast as the elements of each row
    with np.errstate(over="ignore"):
        norms: Floats = np.sqrt(np.add.reduce(np.square(columns), axis=0))
    return norms[: len(rows), None]


def row_part_norms(rows: Floats, starts: Sequence[int] | Integers) -> Floats:
    """Return the L2 norm of each part of each row of an array, ``[rows, parts]``.

    Args:
        rows: ``[rows, elements]``, such as the flattened gradients of each step.
        starts: where each part begins, in order.

    Example:
        >>> row_part_norms(np.array([[3.0, 4.0, -2.0]]), [0, 2])
        array([[5., 2.]])
    """
    return _safe_norms(rows, partial(_unscaled_part_norms, starts=starts))


def _unscaled_part_norms(rows: Floats, starts: Sequence[int] | Integers) -> Floats:
    with np.errstate(over="ignore"):
        norms: Floats = np.sqrt(np.add.reduceat(np.square(rows), starts, axis=1))
    return norms


def _safe_norms(rows: Floats, measure: Callable[[Floats], Floats]) -> Floats:
    """Return the norms, ``[rows, parts]``; rows in which a square over- or underflowed are scaled first."""
    norms = measure(rows)
    is_unsafe = ~((norms > LEAST) & (norms < np.inf)).all(axis=1)  # both are false for NaN
    if is_unsafe.any():
        unsafe = rows[is_unsafe]  # only these are measured again, so that no row's norm depends on the others
        largest = np.max(np.abs(unsafe), axis=1, keepdims=True, initial=0.0, where=np.isfinite(unsafe))
        scale = np.where(largest > 0, largest, 1.0)
        norms[is_unsafe] = measure(unsafe / scale) * scale
    return norms
