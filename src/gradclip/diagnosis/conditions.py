"""Conditions of the findings: pure functions of a few numbers, with their constants and the reasons for them."""

import heapq
from collections.abc import Iterator

import numpy as np

from gradclip.arrays import Booleans, Floats

MOSTLY_CLIPPED = 0.5  # fraction of clipped steps above which clipping acts like a smaller learning rate
LARGE_TARGET = 10.0  # magnitude; a standardized target rarely exceeds it
SMALL_TARGET = 0.1  # magnitude; any target that is standardized or scaled to [0, 1] exceeds it
VERY_LARGE_TARGET = 1e4  # magnitude that clipped steps can hardly reach from outputs near 1: scaling comes first
USUAL_UPDATE = 0.001  # change of a parameter in one step, relative to its norm, when training goes well
LARGE_UPDATE = 0.1  # a hundred times the usual update: a few such steps replace the parameter
VANISHING_UPDATE = 1e-6  # a thousandth of the usual update; below 6e-8 a float32 does not change at all
LARGE_DRIFT = 10.0  # ratio of late to early norms beyond which one threshold hardly fits both
LARGE_FIRST_NORM = 10.0  # ratio of the first norm to the next ones above which the initial weights are too large
UNSTABLE_END = 2.0  # ratio of the final to the best score above which training is unstable at its end
LARGE_GAP = 0.1  # difference between the accuracy on the training rows and on other rows that is worth a line
DOMINANT_ELEMENT = 0.5  # fraction of the squared norm above which one element dominates
DOMINANT_TENSOR = 0.9  # fraction above which one tensor dominates: clipping then scales the others by its norm
MIN_TENSORS = 3  # with two tensors, one nearly always dominates
EXPLOSION_FACTOR = 10.0  # multiple of the running median above which a norm is a spike, or an explosion begins
NEARLY_ALL = 0.95  # fraction of clipped steps from which clipping is the rule
STEADY = 2.0  # ratio of 90th to 10th percentile of a coefficient that hardly varies: within 41% of its middle
DEFAULT_EPSILON = 1e-8  # the default of torch's Adam-like optimizers
AT_MAXIMUM = 0.1  # fraction of the norms that equal the largest; without clipping, rarely more than one does
EQUAL = 1e-4  # relative difference of norms that count as equal: torch divides by the norm plus 1e-6, logs are rounded
ROUNDED = 2  # factor by which the largest norm must be more frequent than others: logs with few digits repeat values
EQUIVALENCE_FACTOR = 1.1  # scores within this factor count as equally good: with a single seed they differ by more
FEW_NORMS = 10  # fewer norms say nothing about their distribution and are no basis for a threshold
SCALE_WINDOW = 8  # steps on either side of a jump of the loss scale; a scaler changes it less often
SCALE_TOLERANCE = 0.1  # in the binary logarithm of a jump: 7%, the spread of a median of a few norms
MIN_SCALE_JUMPS = 2  # a single jump by about a power of two is nothing unusual

# Ratio of the final to the best error of one run. By chance alone, the best of many epochs is better than the last.
# Stopping at the best epoch by validation rows improved the test score in 19 of 24 splits of small tables whose ratio
# was between these constants, and in 11 of 11 above both. A best epoch chosen on the test rows needs the larger one.
OVERFITS = 1.2
OVERFITS_CLEARLY = 1.5  # from here on, fewer epochs are suggested before anything else

RESCALING = {"", "norm", "auto", "zscore", "quantile", "normalize"}  # scale the whole gradient; "": method not known
DIVIDES_BY_ITS_NORM = ("lion", "sign", "muon", "lars", "lamb")  # updates do not depend on the gradient's length
DIVIDES_BY_AN_AVERAGE = ("adam", "adafactor", "adagrad", "adadelta", "rmsprop")  # a constant factor cancels


def is_far_from_one(magnitude: float) -> bool:
    """Return whether a target is so large or so small that it should be scaled; false if it is zero or not known.

    Example:
        >>> is_far_from_one(550.0), is_far_from_one(0.0003), is_far_from_one(1.6), is_far_from_one(np.nan)
        (True, True, False, False)
    """
    return magnitude > LARGE_TARGET or 0 < magnitude < SMALL_TARGET


def is_out_of_reach(magnitude: float) -> bool:
    """Return whether a target is so small that its scale is learned first, or too large for clipped steps to reach.

    Example:
        >>> is_out_of_reach(1e6), is_out_of_reach(0.0003), is_out_of_reach(550.0)
        (True, True, False)
    """
    return not SMALL_TARGET <= magnitude <= VERY_LARGE_TARGET


def is_scale_free(optimizer: str) -> bool:
    """Return whether the updates of an optimizer hardly depend on the length of a single gradient.

    Example:
        >>> is_scale_free("Muon"), is_scale_free("AdamW"), is_scale_free("SGD")
        (True, False, False)
    """
    return any(name in optimizer.lower() for name in DIVIDES_BY_ITS_NORM)


def divides_by_average(optimizer: str) -> bool:
    """Return whether an optimizer divides by a running root mean square of the gradient: a constant factor cancels.

    Example:
        >>> divides_by_average("adamw_torch_fused"), divides_by_average("Lion")
        (True, False)
    """
    return any(name in optimizer.lower() for name in DIVIDES_BY_AN_AVERAGE)


def undoes_scale(optimizer: str) -> bool:
    """Return whether a constant factor on all gradients has no effect on the updates of an optimizer.

    Example:
        >>> undoes_scale("lion"), undoes_scale("adam"), undoes_scale("sgd")
        (True, True, False)
    """
    return is_scale_free(optimizer) or divides_by_average(optimizer)


def updates_vanish(optimizer: str, coefficient: float, update_ratio: float) -> bool:
    """Return whether clipping makes updates so small that training stands still.

    Args:
        optimizer: name of the optimizer; one that undoes a constant factor keeps its updates.
        coefficient: ratio of the norm after to the norm before clipping.
        update_ratio: largest change of a parameter in a step, relative to its norm; estimated if NaN, not measured.

    Example:
        >>> updates_vanish("sgd", 1e-4, 1e-7), updates_vanish("sgd", 0.5, 1e-7), updates_vanish("sgd", 1e-4, np.nan)
        (True, False, True)
    """
    if undoes_scale(optimizer):
        return False
    ratio = USUAL_UPDATE * coefficient if np.isnan(update_ratio) else update_ratio
    return VANISHING_UPDATE * coefficient <= ratio < VANISHING_UPDATE  # without clipping, it would not vanish


def spiking(norms: Floats) -> Booleans:
    """Return which norms exceed ten times the median of all earlier norms, ``[steps]``.

    Example:
        >>> spiking(np.array([50.0, 3.0, 3.0, 2.0, 90.0]))
        array([False, False, False, False,  True])
    """
    medians = np.fromiter(_running_medians(norms.tolist()), float, len(norms))
    return np.append(False, norms[1:] > EXPLOSION_FACTOR * medians[:-1])[: len(norms)]


def _running_medians(values: list[float]) -> Iterator[float]:
    """Yield the median of the first value, of the first two, and so on, fast enough for a million steps."""
    low: list[float] = []  # the lower half, negated so that its largest value comes first
    high: list[float] = []
    for value in values:
        heapq.heappush(high, -heapq.heappushpop(low, -value))
        if len(high) > len(low):
            heapq.heappush(low, -heapq.heappop(high))
        yield -low[0] if len(low) > len(high) else (high[0] - low[0]) / 2


def steps_before_explosion(norms: Floats) -> int:
    """Return how many norms precede the first that exceeds ten times their median; all of them if none does.

    Example:
        >>> steps_before_explosion(np.array([3.0, 4.0, 3.0, 200.0, 5e6]))
        3
    """
    spikes = spiking(norms)
    return int(np.argmax(spikes)) if spikes.any() else len(norms)


def fraction_at_maximum(norms: Floats) -> float:
    """Return the fraction of norms that equal the largest.

    Example:
        >>> fraction_at_maximum(np.array([0.3, 1.0, 0.99999, 1.0]))
        0.75
    """
    return float(np.mean(norms >= norms.max() * (1 - EQUAL))) if len(norms) else 0.0


def are_clipped_already(norms: Floats) -> bool:
    """Return whether norms were logged after clipping: many equal the largest, far more than any other value.

    Example:
        >>> are_clipped_already(np.minimum(np.arange(100.0), 50)), are_clipped_already(np.arange(100.0) // 10)
        (True, False)
    """
    at_maximum = fraction_at_maximum(norms)
    if len(norms) < FEW_NORMS or at_maximum < AT_MAXIMUM or norms.max() == 0:
        return False
    _, counts = np.unique(norms[norms < norms.max() * (1 - EQUAL)], return_counts=True)
    return at_maximum * len(norms) > ROUNDED * int(counts.max(initial=0))


def scale_jumps(norms: Floats) -> dict[int, float]:
    """Return the factors by which norms jump between steady levels, if all are powers of two, by index.

    A single jump by another factor shows that the loss scale is not the cause.

    Example:
        >>> scale_jumps(np.repeat([3.0, 6.0, 1.5], 20))
        {20: 2.0, 40: 0.25}
        >>> scale_jumps(np.repeat([3.0, 6.0, 20.0], 20))
        {}
    """
    if len(norms) < 2 * SCALE_WINDOW:
        return {}
    logs = np.log2(norms)
    windows = np.lib.stride_tricks.sliding_window_view(logs, SCALE_WINDOW)
    before, after = windows[:-SCALE_WINDOW], windows[SCALE_WINDOW:]
    steady = np.maximum(np.ptp(before, axis=1), np.ptp(after, axis=1)) < 0.5
    jumps = np.where(steady, np.median(after, axis=1) - np.median(before, axis=1), 0.0)
    found = np.flatnonzero(np.abs(jumps) > 0.5)
    if len(found) < MIN_SCALE_JUMPS or np.any(np.abs(jumps[found] - np.round(jumps[found])) > SCALE_TOLERANCE):
        return {}
    return {int(index) + SCALE_WINDOW: float(2 ** np.round(jumps[index])) for index in found}
