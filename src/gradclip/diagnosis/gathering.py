"""Computation of the evidence from a log and other facts about the training run. Read :func:`gather_evidence` first."""

import numpy as np

from gradclip import keys
from gradclip.arrays import Floats
from gradclip.diagnosis import conditions, tensors
from gradclip.diagnosis.evidence import ENDED_WELL, Evidence, Norms
from gradclip.diagnosis.finite_statistics import largest_of, mean_of, median_of, percentile_of
from gradclip.diagnosis.log import EPOCH, SKIPPED, STEP, TARGET_MAX_ABS, Log, Training

MAX_STEPS_OF_TENSORS = 10_000  # steps used for the norms of single tensors, of which there may be thousands
NOISE_FACTOR = 1.01  # a smaller change of the training loss is noise


@np.errstate(all="ignore")  # non-finite results are dropped later
def gather_evidence(log: Log, training: Training) -> Evidence:
    """Compute the evidence.

    If the run diverged or stalled, only the steps before the gradients exploded are usable; otherwise all steps with a
    finite gradient are.
    """
    norm = log[keys.GRAD_NORM]
    finite = log.select(np.isfinite(norm) & (norm > 0))
    finite_norm, steps = finite[keys.GRAD_NORM], finite[STEP]
    before = len(finite) if training.outcome in ENDED_WELL else conditions.steps_before_explosion(finite_norm)
    outcome = training.outcome or _outcome(log, finite_norm, before)
    usable = finite.select(np.arange(len(finite)) < before) if outcome in {"diverged", "stalled"} else finite
    unusable = 0 < len(usable) < len(log)
    coefficient = _coefficient(finite, training)
    thinned = usable.select(np.arange(len(usable)) % (1 + len(usable) // MAX_STEPS_OF_TENSORS) == 0)
    parameter, factor = tensors.spiking_parameter(thinned)
    dominant, share = tensors.dominant_tensor(thinned)
    jumps = {} if log.is_unscaled else conditions.scale_jumps(finite_norm)
    ratios = tensors.largest_update_ratios(thinned)
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
        norm_for_10pct_step=tensors.norm_for_10pct_step(training, thinned),
        largest_update_ratio=largest_of(ratios),
        typical_update_ratio=median_of(ratios),
        target_max_abs=largest_of(log[TARGET_MAX_ABS]),
        scale_jumps={int(steps[row]): factor for row, factor in jumps.items()},
        overfits_after_epoch=_overfits_after_epoch(training, log),
        exploded=outcome == "diverged" or (outcome == "stalled" and unusable),
    )


def _outcome(log: Log, finite_norm: Floats, before_explosion: int) -> str:
    """Return ``diverged`` if the last norm is not finite, or norms grew and stayed large; else an empty string."""
    taken = log[keys.GRAD_NORM][log[SKIPPED] != 1]
    if taken.size and not np.isfinite(taken[-1]):
        return "diverged"
    calm, later = finite_norm[:before_explosion], finite_norm[before_explosion:]
    stays_large = later.size and min(np.median(later), later[-1]) > conditions.EXPLOSION_FACTOR * np.median(calm)
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
        spikes=int(conditions.spiking(norm).sum()),
        drift=float(np.median(norm[-quarter:]) / np.median(norm[:quarter])),
        first=float(norm[0] / np.median(norm[: max(conditions.FEW_NORMS, len(norm) // 10)])),
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
    return float(np.mean(np.abs(known - 1) > conditions.EQUAL)) if known.size else np.nan


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
    spikes = tensors.in_spikes(norm)
    return median_of((usable[keys.GRAD_MAX_ABS][spikes] / norm[spikes]) ** 2)


def _overfits_after_epoch(training: Training, log: Log) -> int:
    epoch, loss = log[EPOCH], log[keys.LOSS_STEP]
    best = training.best_epoch
    noise = conditions.OVERFITS_CLEARLY if training.chosen_on in {"", "test"} else conditions.OVERFITS
    if training.outcome in {"", "diverged"} or best not in epoch or not training.final_to_best_ratio > noise:
        return 0
    at_best, at_end = np.nanmean(loss[epoch == best]), np.nanmean(loss[epoch == epoch[-1]])
    return best if at_end * NOISE_FACTOR < at_best else 0
