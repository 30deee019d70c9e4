"""Statistics of single tensors: which one spikes, which one dominates, how far steps move them."""

import numpy as np

from gradclip import keys
from gradclip.arrays import Booleans, Floats
from gradclip.diagnosis.finite_statistics import median_of
from gradclip.diagnosis.log import STEP, UPDATE_NORM, UPDATE_RATIO, WEIGHT_NORM, Log, Training

SPIKE_PERCENTILE = 90  # steps whose norm is at or above this percentile are spikes


def in_spikes(norm: Floats) -> Booleans:
    """Return which steps have the largest norms, ``[steps]``."""
    return np.asarray(norm >= np.percentile(norm, SPIKE_PERCENTILE))


def spiking_parameter(log: Log) -> tuple[str, float]:
    """Return the only parameter that grows 10-fold in spikes while all others grow less than 3-fold, and its factor."""
    norm = log[keys.GRAD_NORM]
    if len(log.tensors(keys.GRAD_NORM)) < 2 or not norm.size:
        return "", np.nan
    spikes, growth = in_spikes(norm), {}
    for name, norms in log.columns_of(keys.GRAD_NORM):
        usual, spike = median_of(norms), median_of(norms[spikes])
        growth[name] = spike / usual if usual > 0 and spike >= 0 else 1.0
    *_, second, first = sorted(growth, key=lambda name: growth[name])
    if growth[first] >= 10 and growth[second] < 3:
        return first, growth[first]
    return "", np.nan


def dominant_tensor(log: Log) -> tuple[str, float]:
    """Return the tensor with the largest median fraction of the squared norm, and that fraction."""
    norm = log[keys.GRAD_NORM]
    shares = {name: median_of((norms / norm) ** 2) for name, norms in log.columns_of(keys.GRAD_NORM)}
    largest = max(shares, key=lambda name: np.nan_to_num(shares[name]), default="")
    return largest, shares.get(largest, np.nan)


def norm_for_10pct_step(training: Training, log: Log) -> float:
    """Return the clipped norm at which nine of ten steps of SGD change the weights by at most 10% of their norm.

    It is derived from the relative change of all weights per unit of the clipped norm. The first steps are shorter than
    later ones: at step k, momentum m has built up to a fraction 1 - mᵏ. NaN for other optimizers.
    """
    if training.optimizer != "sgd":
        return np.nan
    update, weight = _norm_of_all(log, UPDATE_NORM), _norm_of_all(log, WEIGHT_NORM)
    built_up = 1 - training.momentum ** log[STEP]
    change = update / weight / log[keys.GRAD_NORM_CLIPPED] / built_up
    change = change[np.isfinite(change) & (change > 0)]
    return 0.1 / float(np.percentile(change, 90)) if change.size else np.nan


def _norm_of_all(log: Log, family: str) -> Floats:
    """Return the norm of all tensors together in each step, ``[steps]``."""
    norm = np.zeros(len(log))
    for _, norms in log.columns_of(family):
        norm = np.hypot(norm, np.nan_to_num(norms, posinf=np.inf))
    return norm


def largest_update_ratios(log: Log) -> Floats:
    """Return the largest change of a tensor relative to its norm in each step, ``[steps]``; NaN if not measured."""
    largest = np.full(len(log), np.nan)
    for _, ratios in log.columns_of(UPDATE_RATIO):
        largest = np.fmax(largest, np.where(np.isfinite(ratios), ratios, np.nan))
    return largest
