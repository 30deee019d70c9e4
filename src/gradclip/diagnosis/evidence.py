"""Evidence: the numbers that a diagnosis is based on, computed from a log and other facts about the training run."""

from dataclasses import dataclass

import numpy as np

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.diagnosis.conditions import (
    EQUAL,
    EXPLOSION_FACTOR,
    FEW_NORMS,
    OVERFITS,
    OVERFITS_CLEARLY,
    scale_jumps,
    spiking,
)
from gradclip.diagnosis.finite_statistics import finite_values, largest_of, mean_of, median_of, percentile_of
from gradclip.diagnosis.log import EPOCH, LEARNING_RATE, SKIPPED, STEP, TARGET_MAX_ABS, Log, Training
from gradclip.diagnosis.probe_results import ProbeResult
from gradclip.diagnosis.tensors import (
    dominant_tensor,
    in_spikes,
    largest_update_ratios,
    norm_for_10pct_step,
    spiking_parameter,
)

MAX_STEPS_OF_TENSORS = 10_000  # steps used for the norms of single tensors, of which there may be thousands
ENDED_WELL = ("learned", "finished")
NOISE_FACTOR = 1.01  # a smaller change of the training loss is noise


@dataclass(frozen=True)
class Norms:
    """Statistics of the gradient norms before clipping in the usable steps (loss units per weight unit).

    Attributes:
        steps: number of usable steps.
        mean: mean norm.
        p50: median norm.
        p90: 90th percentile of the norm.
        largest: largest norm.
        largest_step: step of the largest norm.
        spikes: number of norms that exceed ten times the median of all earlier norms.
        drift: ratio of the median in the last quarter of the steps to the median in the first.
        first: ratio of the first norm to the median in the first tenth of the steps; later norms are left out,
            since they fall as training converges.
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
        training: facts that the log does not have.
        log: the log.
        norms: statistics of the norms in the usable steps; None if no step is usable.
        steps: number of all steps of the log.
        clip_fraction: fraction of the steps that clipping changed.
        coefficient: mean ratio of the norm after to the norm before clipping.
        coefficient_spread: ratio of the 90th to the 10th percentile of the coefficient.
        element: magnitude of an element after clipping: the root mean square, or the largest if their number is not
            known.
        element_share: fraction of the squared norm in the largest element, the median over the spikes.
        spiking_parameter: the only parameter whose gradient spikes; empty if none or several do.
        spike_factor: factor by which the norm of the spiking parameter grows in spikes.
        tensors: number of tensors whose norms are known.
        dominant_tensor: the tensor with the largest fraction of the squared norm; empty if no tensor's norm is known.
        dominant_share: fraction of the squared norm in that tensor, the median over the steps.
        parameter_p90: 90th percentile of a parameter's norm, the median over the parameters.
        norm_for_10pct_step: norm after clipping at which nine of ten steps change the weights by at most 10% of their
            norm; NaN if it cannot be derived.
        largest_update_ratio: largest change of a parameter in a usable step, relative to its norm.
        typical_update_ratio: largest change of a parameter in a step, the median over the steps.
        target_max_abs: largest magnitude of the target, as the network sees it.
        scale_jumps: the factors by which the norms jump, if all are powers of two, by step.
        overfits_after_epoch: epoch of the best score, if the score has worsened since then by more than the noise of
            one run while the training loss kept falling; 0 otherwise.
        exploded: whether the run diverged, or stalled after its gradients exploded.
        probe_results: results of a probe, if this is the evidence from its best clipped run.
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
    tensors: int
    dominant_tensor: str
    dominant_share: float
    parameter_p90: float
    norm_for_10pct_step: float
    largest_update_ratio: float
    typical_update_ratio: float
    target_max_abs: float
    scale_jumps: dict[int, float]
    overfits_after_epoch: int
    exploded: bool
    probe_results: tuple[ProbeResult, ...] = ()

    @property
    def clips(self) -> bool:
        """Whether the run is known to clip."""
        is_set = self.training.clip != "" or not np.isnan(self.training.threshold)
        return self.training.clip != "none" and (is_set or self.clip_fraction > 0)

    @property
    def finite_norms(self) -> Floats:
        """The finite norms of the log, ``[steps]``."""
        return finite_values(self.log[keys.GRAD_NORM])

    @property
    def learning_rate(self) -> float:
        """The initial learning rate, or else the highest logged one; NaN if neither is known."""
        known = self.training.learning_rate
        return largest_of(self.log[LEARNING_RATE]) if np.isnan(known) else known


@np.errstate(all="ignore")  # non-finite results are dropped later
def gather_evidence(log: Log, training: Training) -> Evidence:
    """Compute the evidence.

    If the run diverged or stalled, only the steps before the gradients exploded are usable; otherwise all steps with a
    finite gradient are.
    """
    norm = log[keys.GRAD_NORM]
    finite = log.select(np.isfinite(norm) & (norm > 0))
    finite_norm, steps = finite[keys.GRAD_NORM], finite[STEP]
    before_explosion = len(finite)
    if training.outcome not in ENDED_WELL:
        before_explosion = steps_before_explosion(finite_norm)
    outcome = training.outcome or _outcome(log, finite_norm, before_explosion)
    usable = finite
    if outcome not in {*ENDED_WELL, ""}:
        usable = finite.select(np.arange(len(finite)) < before_explosion)
    unusable = 0 < len(usable) < len(log)
    coefficient = _coefficient(finite, training)
    thinned = usable.select(np.arange(len(usable)) % (1 + len(usable) // MAX_STEPS_OF_TENSORS) == 0)
    parameter, factor = spiking_parameter(thinned)
    dominant, share = dominant_tensor(thinned)
    ratios = largest_update_ratios(thinned)
    return Evidence(
        training=training,
        log=log,
        norms=_norms(usable) if len(usable) else None,
        steps=len(log),
        clip_fraction=_clip_fraction(coefficient) if np.isnan(training.clip_fraction) else training.clip_fraction,
        coefficient=mean_of(coefficient),
        coefficient_spread=_spread(coefficient),
        element=_element(finite, coefficient, training.elements),
        element_share=_element_share(usable),
        spiking_parameter=parameter,
        spike_factor=factor,
        tensors=len(log.tensors(keys.GRAD_NORM)),
        dominant_tensor=dominant,
        dominant_share=share,
        parameter_p90=median_of([percentile_of(norms, 90) for _, norms in thinned.columns_of(keys.GRAD_NORM)]),
        norm_for_10pct_step=norm_for_10pct_step(training, thinned),
        largest_update_ratio=largest_of(ratios),
        typical_update_ratio=median_of(ratios),
        target_max_abs=largest_of(log[TARGET_MAX_ABS]),
        scale_jumps={} if log.is_unscaled else {int(steps[row]): by for row, by in scale_jumps(finite_norm).items()},
        overfits_after_epoch=_overfits_after_epoch(training, log),
        exploded=outcome == "diverged" or (outcome == "stalled" and unusable),
    )


def steps_before_explosion(norms: Floats) -> int:
    """Return how many norms precede the first that exceeds ten times their median; all of them if none does.

    Example:
        >>> steps_before_explosion(np.array([3.0, 4.0, 3.0, 200.0, 5e6]))
        3
    """
    spikes = spiking(norms)
    return int(np.argmax(spikes)) if spikes.any() else len(norms)


def _outcome(log: Log, finite_norm: Floats, before_explosion: int) -> str:
    """Return ``diverged`` if the last norm is not finite, or norms grew and stayed large; else an empty string."""
    taken = log[keys.GRAD_NORM][log[SKIPPED] != 1]
    if taken.size and not np.isfinite(taken[-1]):
        return "diverged"
    calm, later = finite_norm[:before_explosion], finite_norm[before_explosion:]
    stays_large = later.size and min(np.median(later), later[-1]) > EXPLOSION_FACTOR * np.median(calm)
    return "diverged" if stays_large else ""


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
        first=float(norm[0] / np.median(norm[: max(FEW_NORMS, len(norm) // 10)])),
        value_p90=percentile_of(usable[keys.GRAD_MAX_ABS], 90),
    )


def _coefficient(finite: Log, training: Training) -> Floats:
    """Return the coefficient of each step, ``[steps]``: as logged, or by the threshold; NaN if not known."""
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
    low, high = percentile_of(coefficient, 10), percentile_of(coefficient, 90)
    return high / low if low > 0 else np.inf


def _element(finite: Log, coefficient: Floats, elements: int) -> float:
    if elements:
        return median_of(finite[keys.GRAD_NORM] * coefficient) / float(np.sqrt(elements))
    return median_of(finite[keys.GRAD_MAX_ABS] * coefficient)


def _element_share(usable: Log) -> float:
    norm = usable[keys.GRAD_NORM]
    if not norm.size:
        return np.nan
    spikes = in_spikes(norm)
    return median_of((usable[keys.GRAD_MAX_ABS][spikes] / norm[spikes]) ** 2)


def _overfits_after_epoch(training: Training, log: Log) -> int:
    epoch, loss = log[EPOCH], log[keys.LOSS_STEP]
    best = training.best_epoch
    noise = OVERFITS_CLEARLY if training.chosen_on in {"", "test"} else OVERFITS
    if training.outcome in {"", "diverged"} or best not in epoch or not training.final_to_best_ratio > noise:
        return 0
    at_best, at_end = np.nanmean(loss[epoch == best]), np.nanmean(loss[epoch == epoch[-1]])
    return best if at_end * NOISE_FACTOR < at_best else 0
