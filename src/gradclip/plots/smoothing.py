"""Smoothing of curves that change at every step."""

import numpy as np
import pandas as pd

from gradclip.arrays import Floats

WINDOWS = 50  # of a run; a run of fewer steps than this is not smoothed


def rolling_median(values: Floats) -> Floats:
    """Return the median of each step's neighbourhood, about a fiftieth of the run long; non-finite values are left out.

    Args:
        values: ``[steps]`` or ``[steps, series]``.
    """
    window = max(1, len(values) // WINDOWS)
    finite = pd.DataFrame(np.where(np.isfinite(values), values, np.nan))
    smooth = finite.rolling(window, center=True, min_periods=1).median().to_numpy()
    return np.asarray(smooth.reshape(np.shape(values)))
