"""What the norms of single tensors say: which of them spikes, which dominates, how far steps move them."""

import numpy as np

from gradclip import keys
from gradclip.arrays import Booleans, Floats
from gradclip.diagnosis.finite_statistics import median_of
from gradclip.diagnosis.log import STEP, UPDATE_NORM, WEIGHT_NORM, Log, Training

SPIKE_PERCENTILE = 90  # of the norms; steps at or above it are spikes


def in_spikes(norm: Floats) -> Booleans:
    """Return which steps have the largest norms, ``[steps]``."""
    return np.asarray(norm >= np.percentile(norm, SPIKE_PERCENTILE))


def spiking_parameter(usable: Log, layers: dict[str, Floats]) -> tuple[str, float]:
    """Return the one parameter whose norm grows 10-fold in spikes while all others grow less than 3-fold."""
    norm = usable[keys.GRAD_NORM]
    if len(layers) < 2 or not norm.size:
        return "", np.nan
    spikes = in_spikes(norm)
    medians = {name: (median_of(norms[spikes]), median_of(norms)) for name, norms in layers.items()}
    growth = {name: spike / usual if usual > 0 and spike >= 0 else 1.0 for name, (spike, usual) in medians.items()}
    *_, second, first = sorted(growth, key=lambda name: growth[name])
    if growth[first] >= 10 and growth[second] < 3:
        return first, growth[first]
    return "", np.nan


def dominant_layer(usable: Log, layers: dict[str, Floats]) -> tuple[str, float]:
    """Return the tensor with the largest share of the squared norm, and the median of its share."""
    if not layers:
        return "", np.nan
    norm = usable[keys.GRAD_NORM]
    shares = {name: median_of((norms / norm) ** 2) for name, norms in layers.items()}
    largest = max(shares, key=lambda name: np.nan_to_num(shares[name]))
    return largest, shares[largest]


def norm_for_10pct_step(training: Training, usable: Log) -> float:
    """Derive the norm from the relative change of all weights together, per unit of the clipped norm.

    The first steps are shorter than the later ones: at step k, momentum m has built up to a fraction 1 - mᵏ.
    """
    if training.optimizer != "sgd":
        return np.nan
    update, weight = (_norm_of_layers(usable.layers(name), len(usable)) for name in (UPDATE_NORM, WEIGHT_NORM))
    built_up = 1 - training.momentum ** usable[STEP]
    with np.errstate(all="ignore"):
        change = update / weight / usable[keys.GRAD_NORM_CLIPPED] / built_up
    change = change[np.isfinite(change) & (change > 0)]
    return 0.1 / float(np.percentile(change, 90)) if change.size else np.nan


def _norm_of_layers(layers: dict[str, Floats], steps: int) -> Floats:
    """Return the norm of all tensors together in each step, ``[steps]``."""
    squares = np.zeros(steps)
    for norms in layers.values():
        squares += np.nan_to_num(norms, posinf=np.inf) ** 2
    norm: Floats = np.sqrt(squares)
    return norm


def largest_of_layers(layers: dict[str, Floats], steps: int) -> Floats:
    """Return the largest finite value of each step over all tensors, ``[steps]``; NaN without one."""
    largest = np.full(steps, np.nan)
    for ratios in layers.values():
        largest = np.fmax(largest, np.where(np.isfinite(ratios), ratios, np.nan))
    return largest
