"""The numbers that a diagnosis is based on, from the log of a training and what is known of it beside."""

from dataclasses import dataclass

import numpy as np

from gradclip import keys
from gradclip.arrays import Booleans, Floats
from gradclip.diagnosis.conditions import DEFAULT_EPSILON, EQUAL, EXPLOSION_FACTOR, scale_jumps, spiking
from gradclip.diagnosis.log import (
    EPOCH,
    LEARNING_RATE,
    STEP,
    TARGET_MAX_ABS,
    UPDATE_NORM,
    UPDATE_RATIO,
    WEIGHT_NORM,
    Log,
)

SPIKE_PERCENTILE = 90  # of the norms; steps at or above it are spikes
NOISE_FACTOR = 1.01  # a smaller change of score or loss is noise


@dataclass(frozen=True)
class Training:
    """What is known of a training beside its log; empty or NaN where it is not known.

    Attributes:
        name: of the run, in messages.
        outcome: ``learned``, ``stalled`` or ``diverged``; empty: judged by the log.
        optimizer: name of the optimizer, in any spelling.
        learning_rate: at the start.
        momentum: of SGD.
        epsilon: what Adam and its kind add to the denominator.
        elements: number of trained weights.
        clip: method of clipping, as in ``clip=``, ``none`` for none.
        threshold: of the clipping.
        clip_fraction: fraction of the steps that clipping changed.
        loss: name of the loss, as in ``loss=``.
        schedule: name of the schedule of the learning rate, as in ``schedule=``.
        target_is_scaled: whether the target is scaled; None: not known.
        initialization: of the weights, as in ``model.initialization=``.
        final_to_best_ratio: final over best score, 1 at best.
        best_epoch: epoch of the best score.
        command: the overrides that make its settings again, without seed and store; None: not a run of our command.
    """

    name: str = ""
    outcome: str = ""
    optimizer: str = ""
    learning_rate: float = np.nan
    momentum: float = 0.0
    epsilon: float = DEFAULT_EPSILON
    elements: int = 0
    clip: str = ""
    threshold: float = np.nan
    clip_fraction: float = np.nan
    loss: str = ""
    schedule: str = ""
    target_is_scaled: bool | None = None
    initialization: str = ""
    final_to_best_ratio: float = np.nan
    best_epoch: int = 0
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Norms:
    """Gradient norms before clipping, of the usable steps (loss units per weight unit).

    Attributes:
        steps: number of usable steps.
        mean: of the norms.
        p50: their median.
        p90: their 90th percentile.
        largest: their maximum.
        largest_step: the step that has it.
        spikes: number of steps with more than ten times the median of the norms before.
        drift: median of the last quarter over median of the first quarter.
        first: first norm over the median.
        value_p90: 90th percentile of the largest element's magnitude.
    """

    steps: int
    mean: float
    p50: float
    p90: float
    largest: float
    largest_step: int
    spikes: int
    drift: float
    first: float
    value_p90: float


@dataclass(frozen=True)
class Evidence:
    """The numbers that findings and remedies are based on.

    Attributes:
        training: what is known beside the log.
        log: what was logged.
        norms: of the usable steps; None if no step is usable.
        steps: number of all steps of the log.
        clip_fraction: fraction of the steps that clipping changed.
        coefficient: norm after over norm before clipping, the mean over the steps.
        coefficient_spread: its 90th over its 10th percentile.
        element: size of an element after clipping: the root mean square, or the largest where their number is unknown.
        element_share: fraction of the squared norm that the largest element has, the median over the spikes.
        spiking_parameter: the only parameter whose gradient spikes; empty if none or several do.
        spike_factor: factor by which its norm grows in spikes.
        layers: number of tensors whose norms are known.
        dominant_layer: the tensor with the largest share of the squared norm; empty where tensors are not known.
        dominant_share: that share, the median over the steps.
        parameter_p90: 90th percentile of a parameter's norm, the median over the parameters.
        norm_for_10pct_step: norm after clipping at which nine of ten steps change the weights by at most 10% of their
            norm; NaN where steps do not grow with the gradient.
        largest_update_ratio: largest change of a parameter in a usable step, as a fraction of its norm.
        typical_update_ratio: largest change of a parameter in a step, the median over the steps.
        target_max_abs: largest magnitude of the target, as the network sees it.
        scale_jumps: the steps in which the norms jump by a power of two, and the factors.
        overfits_after_epoch: epoch of the best score, if the score has worsened since while the training loss kept
            falling; 0 otherwise.
        exploded: whether the run diverged, or stalled after its gradients exploded.
    """

    training: Training
    log: Log
    norms: Norms | None
    steps: int
    clip_fraction: float
    coefficient: float
    coefficient_spread: float
    element: float
    element_share: float
    spiking_parameter: str
    spike_factor: float
    layers: int
    dominant_layer: str
    dominant_share: float
    parameter_p90: float
    norm_for_10pct_step: float
    largest_update_ratio: float
    typical_update_ratio: float
    target_max_abs: float
    scale_jumps: list[tuple[int, float]]
    overfits_after_epoch: int
    exploded: bool

    @property
    def clips(self) -> bool:
        """Whether the run clips at all, as far as it is known."""
        return self.training.clip != "none" and (self.training.clip != "" or self.clip_fraction > 0)

    @property
    def finite_norms(self) -> Floats:
        """The finite norms of the log, ``[steps]``."""
        return _finite(self.log[keys.GRAD_NORM])

    @property
    def learning_rate(self) -> float:
        """The learning rate at the start; NaN if it is not known."""
        logged = self.log[LEARNING_RATE]
        first = float(logged[0]) if len(logged) else np.nan
        return first if np.isnan(self.training.learning_rate) else self.training.learning_rate


def gather_evidence(log: Log, training: Training) -> Evidence:
    """Compute the evidence.

    All steps with a finite gradient are usable where the run learned; elsewhere, those before the gradients exploded.
    """
    norm = log[keys.GRAD_NORM]
    finite = log.select(np.isfinite(norm) & (norm > 0))
    finite_norm = finite[keys.GRAD_NORM]
    before_explosion = len(finite)
    if training.outcome != "learned":
        before_explosion = steps_before_explosion(finite_norm)
    outcome = training.outcome or _outcome(log, finite_norm, before_explosion)
    usable = finite
    if outcome not in {"learned", ""}:
        usable = finite.select(np.arange(len(finite)) < before_explosion)
    unusable = 0 < len(usable) < len(log)
    coefficient = _coefficient(finite, training)
    layers = usable.layers(keys.GRAD_NORM)
    parameter, factor = _spiking_parameter(usable, layers)
    dominant, share = _dominant_layer(usable, layers)
    largest_ratios = _largest_of_layers(usable.layers(UPDATE_RATIO), len(usable))
    return Evidence(
        training=training,
        log=log,
        norms=_norms(usable) if len(usable) else None,
        steps=len(log),
        clip_fraction=_clip_fraction(coefficient) if np.isnan(training.clip_fraction) else training.clip_fraction,
        coefficient=_mean(coefficient),
        coefficient_spread=_spread(coefficient),
        element=_element(finite, coefficient, training.elements),
        element_share=_element_share(usable),
        spiking_parameter=parameter,
        spike_factor=factor,
        layers=len(layers),
        dominant_layer=dominant,
        dominant_share=share,
        parameter_p90=_median([_percentile(norms, 90) for norms in layers.values()]),
        norm_for_10pct_step=_norm_for_10pct_step(training, usable),
        largest_update_ratio=_largest(largest_ratios),
        typical_update_ratio=_median(largest_ratios),
        target_max_abs=_largest(log[TARGET_MAX_ABS]),
        scale_jumps=[(int(finite[STEP][row]), by) for row, by in scale_jumps(finite_norm)],
        overfits_after_epoch=_overfits_after_epoch(training, log),
        exploded=outcome == "diverged" or (outcome == "stalled" and unusable),
    )


def steps_before_explosion(norms: Floats) -> int:
    """Return how many norms precede the first that exceeds ten times their median; all, if none does.

    Example:
        >>> steps_before_explosion(np.array([3.0, 4.0, 3.0, 200.0, 5e6]))
        3
    """
    spikes = spiking(norms)
    return int(np.argmax(spikes)) if spikes.any() else len(norms)


def _outcome(log: Log, finite_norm: Floats, before_explosion: int) -> str:
    """Return ``diverged`` where the last norm is not finite or belongs to an explosion; else nothing is known."""
    norm = log[keys.GRAD_NORM]
    if not len(norm) or not np.isfinite(norm[-1]):
        return "diverged"
    calm = finite_norm[:before_explosion]
    explodes = len(calm) < len(finite_norm) and finite_norm[-1] > EXPLOSION_FACTOR * np.median(calm)
    return "diverged" if explodes else ""


def _norms(usable: Log) -> Norms:
    norm = usable[keys.GRAD_NORM]
    quarter = max(1, len(norm) // 4)
    median = float(np.median(norm))
    return Norms(
        steps=len(norm),
        mean=float(norm.mean()),
        p50=median,
        p90=float(np.percentile(norm, 90)),
        largest=float(norm.max()),
        largest_step=int(usable[STEP][int(np.argmax(norm))]),
        spikes=int(spiking(norm).sum()),
        drift=float(np.median(norm[-quarter:]) / np.median(norm[:quarter])),
        first=float(norm[0]) / median,
        value_p90=_percentile(usable[keys.GRAD_MAX_ABS], 90),
    )


def _coefficient(finite: Log, training: Training) -> Floats:
    """Return norm after over before clipping, ``[steps]``: as logged, or as a threshold makes it; NaN if not known."""
    if keys.GRAD_COEFFICIENT in finite:
        return finite[keys.GRAD_COEFFICIENT]
    norm = finite[keys.GRAD_NORM]
    if keys.GRAD_NORM_CLIPPED in finite:
        return finite[keys.GRAD_NORM_CLIPPED] / norm
    if training.clip == "none":
        return np.ones(len(norm))
    return np.minimum(training.threshold / norm, 1)


def _clip_fraction(coefficient: Floats) -> float:
    known = coefficient[np.isfinite(coefficient)]
    return float(np.mean(np.abs(known - 1) > EQUAL)) if known.size else np.nan


def _spread(coefficient: Floats) -> float:
    low, high = _percentile(coefficient, 10), _percentile(coefficient, 90)
    return high / low if low > 0 else np.inf


def _element(finite: Log, coefficient: Floats, elements: int) -> float:
    if elements:
        return _median(finite[keys.GRAD_NORM] * coefficient) / float(np.sqrt(elements))
    return _median(finite[keys.GRAD_MAX_ABS] * coefficient)


def _spikes(norm: Floats) -> Booleans:
    """Return which steps have the largest norms, ``[steps]``."""
    return np.asarray(norm >= np.percentile(norm, SPIKE_PERCENTILE))


def _element_share(usable: Log) -> float:
    norm = usable[keys.GRAD_NORM]
    if not norm.size:
        return np.nan
    spikes = _spikes(norm)
    return _median((usable[keys.GRAD_MAX_ABS][spikes] / norm[spikes]) ** 2)


def _spiking_parameter(usable: Log, layers: dict[str, Floats]) -> tuple[str, float]:
    """Return the one parameter whose norm grows 10-fold in spikes while all others grow less than 3-fold."""
    norm = usable[keys.GRAD_NORM]
    if len(layers) < 2 or not norm.size:
        return "", np.nan
    spikes = _spikes(norm)
    medians = {name: (_median(norms[spikes]), _median(norms)) for name, norms in layers.items()}
    growth = {name: spike / usual if usual > 0 and spike >= 0 else 1.0 for name, (spike, usual) in medians.items()}
    *_, second, first = sorted(growth, key=lambda name: growth[name])
    if growth[first] >= 10 and growth[second] < 3:
        return first, growth[first]
    return "", np.nan


def _dominant_layer(usable: Log, layers: dict[str, Floats]) -> tuple[str, float]:
    """Return the tensor with the largest share of the squared norm, and the median of its share."""
    if not layers:
        return "", np.nan
    norm = usable[keys.GRAD_NORM]
    shares = {name: _median((norms / norm) ** 2) for name, norms in layers.items()}
    largest = max(shares, key=lambda name: np.nan_to_num(shares[name]))
    return largest, shares[largest]


def _norm_for_10pct_step(training: Training, usable: Log) -> float:
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
    squares = np.zeros(steps)
    for norms in layers.values():
        squares += np.nan_to_num(norms, posinf=np.inf) ** 2
    norm: Floats = np.sqrt(squares)
    return norm


def _largest_of_layers(layers: dict[str, Floats], steps: int) -> Floats:
    largest = np.full(steps, np.nan)
    for ratios in layers.values():
        largest = np.fmax(largest, np.where(np.isfinite(ratios), ratios, np.nan))
    return largest


def _finite(values: Floats | list[float]) -> Floats:
    array = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]


def _largest(values: Floats) -> float:
    return float(_finite(values).max(initial=-np.inf)) if _finite(values).size else np.nan


def _mean(values: Floats) -> float:
    return float(_finite(values).mean()) if _finite(values).size else np.nan


def _median(values: Floats | list[float]) -> float:
    return _percentile(values, 50)


def _percentile(values: Floats | list[float], percentile: float) -> float:
    finite = _finite(values)
    return float(np.percentile(finite, percentile)) if finite.size else np.nan


def _overfits_after_epoch(training: Training, log: Log) -> int:
    epoch, loss = log[EPOCH], log[keys.LOSS_STEP]
    best = training.best_epoch
    if training.outcome != "learned" or best not in epoch or not training.final_to_best_ratio > NOISE_FACTOR:
        return 0
    at_best, at_end = (float(np.nanmean(loss[epoch == one])) for one in (best, epoch[-1]))
    return best if at_end * NOISE_FACTOR < at_best else 0
