"""Smoothing of noisy curves."""

import numpy as np
import pandas as pd

from gradclip.arrays import Floats

WINDOWS = 50  # per run; a run of fewer steps is not smoothed


def rolling_median(values: Floats) -> Floats:
    """Return the rolling median over a window of one fiftieth of the run; non-finite values are ignored.

    Args:
        values: one or several series, ``[steps]`` or ``[steps, series]``.
    """
    window = max(1, len(values) // WINDOWS)
    finite = pd.DataFrame(np.where(np.isfinite(values), values, np.nan))
    smooth = finite.rolling(window, center=True, min_periods=1).median().to_numpy()
    return np.asarray(smooth.reshape(np.shape(values)))
