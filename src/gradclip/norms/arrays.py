"""Norms of array rows, as safe from overflow as the norms of tensors."""

from collections.abc import Sequence

import numpy as np

from gradclip.arrays import Floats, Integers

LEAST = 1e-140  # in smaller norms, some squares underflowed


def row_norms(rows: Floats) -> Floats:
    """Return the L2 norm of each row of an array, ``[rows]``.

    Example:
        >>> row_norms(np.array([[3.0, 4.0], [3e200, 4e200]]))
        array([5.e+000, 5.e+200])
    """
    norms = _unscaled_norms(rows)
    rest = ~((norms > LEAST) & (norms < np.inf))  # both are false for NaN
    if rest.any():  # only these, so that no row's norm depends on the others
        scale = _row_scale(rows[rest])
        norms[rest] = _unscaled_norms(rows[rest] / scale) * scale[:, 0]
    return norms


def _unscaled_norms(rows: Floats) -> Floats:
    several = rows if len(rows) > 1 else np.repeat(rows, 2, axis=0)  # NumPy sums a single column in a different order
    columns = np.ascontiguousarray(several.T)  # whole columns are summed ten times as fast as the elements of each row
    with np.errstate(over="ignore"):
        norms: Floats = np.sqrt(np.add.reduce(np.square(columns), axis=0))
    return norms[: len(rows)]


def row_part_norms(rows: Floats, starts: Sequence[int] | Integers) -> Floats:
    """Return the L2 norm of each part of each row of an array, ``[rows, parts]``.

    Args:
        rows: ``[rows, elements]``, such as the flattened gradients of each step.
        starts: where each part begins, in order.

    Example:
        >>> row_part_norms(np.array([[3.0, 4.0, -2.0]]), [0, 2])
        array([[5., 2.]])
    """
    norms = _unscaled_part_norms(rows, starts)
    rest = ~((norms > LEAST) & (norms < np.inf)).all(axis=1)  # both are false for NaN
    if rest.any():  # only these, so that no row's norm depends on the others
        scale = _row_scale(rows[rest])
        norms[rest] = _unscaled_part_norms(rows[rest] / scale, starts) * scale
    return norms


def _unscaled_part_norms(rows: Floats, starts: Sequence[int] | Integers) -> Floats:
    with np.errstate(over="ignore"):
        norms: Floats = np.sqrt(np.add.reduceat(np.square(rows), starts, axis=1))
    return norms


def _row_scale(rows: Floats) -> Floats:
    """Return the divisor of each row before squaring, ``[rows, 1]``: its largest finite magnitude, or 1 without one."""
    largest: Floats = np.max(np.abs(rows), axis=1, keepdims=True, initial=0.0, where=np.isfinite(rows))
    return np.where(largest > 0, largest, 1.0)
