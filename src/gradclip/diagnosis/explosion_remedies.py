"""What to try after a training run diverged, by the place of the first non-finite value and the steps before it."""

from collections.abc import Mapping

import numpy as np

from gradclip.arrays import Floats
from gradclip.diagnosis.conditions import (
    EXPLOSION_FACTOR,
    LARGE_TARGET,
    LARGE_UPDATE,
    is_far_from_one,
    is_out_of_reach,
    steps_before_explosion,
)
from gradclip.diagnosis.finite_statistics import largest_of
from gradclip.diagnosis.remedy import OUR_NETWORK, Remedy, clip_norm
from gradclip.diagnosis.suggestions import BOUNDED_LOSS, rounded, scaled_target, smaller_rate, thresholds_over_decades
from gradclip.norms.arrays import differ
from gradclip.telemetry.divergence import LOSS_SCALE
from gradclip.telemetry.record import GradientRecord


def explosion_remedies(
    record: GradientRecord, row: int, place: str, history: GradientRecord, learning_rate: float | Mapping[str, float]
) -> list[Remedy]:
    """Return what to try.

    Args:
        record: the gradient statistics of every step.
        row: row of the divergence.
        place: place of the divergence.
        history: the steps before it.
        learning_rate: the initial learning rate, or the rate of each parameter at the divergence, by name.
    """
    only = _of_data(record, row, place, history) or _of_place(place, history)
    return [only] if only else _of_history(record, history, learning_rate)


def _of_data(record: GradientRecord, row: int, place: str, history: GradientRecord) -> Remedy | None:
    """Return the only remedy if one batch is the cause: neither the learning rate nor clipping can help."""
    names = {"inputs": record.input_max_abs[row], "targets": record.target_max_abs[row]}
    if bad := " and ".join(name for name, largest in names.items() if np.isinf(largest)):
        return Remedy("look at these rows", f"{bad} of this batch are not finite; no setting can fix that")
    if place == "loss" and _are_ordinary(history):
        why = "the steps before it were ordinary, so a value in the batch, or an operation on it, is not defined"
        return Remedy("look at this batch, and at the network's output and loss for it", why)
    return None


def _are_ordinary(history: GradientRecord) -> bool:
    """Return whether the steps show no explosion: no large update, and a last norm that is not far above the others."""
    norms = positive(history.norm)
    is_usual = norms.size > 1 and bool(history.norm[-1] <= EXPLOSION_FACTOR * np.median(norms))
    return is_usual and not largest_of(history.update_ratios) > LARGE_UPDATE


def _of_place(place: str, history: GradientRecord) -> Remedy | None:
    """Return the only remedy for a failure that the gradients do not show."""
    what, _, name = place.partition(" ")
    if place == LOSS_SCALE:
        why = "the gradients or the loss exceed the range of float16 at every loss scale"
        return Remedy("train in bfloat16 (precision bf16-mixed), which has the range of float32", why)
    if what == "buffer":
        why = f"a non-finite batch made {name} non-finite for good: training continues, but evaluation fails"
        return Remedy("look at the batches before that step, and reset the buffer", why)
    if what == "validation":
        why = f"{name} is not finite in validation, although it is in training"
        return Remedy("look at the validation rows, and at what the network does in eval()", why)
    if what == "update":
        finite = positive(history.norm)
        typical = rounded(np.median(finite)) if finite.size else "1"
        why = f"the square of a gradient overflowed in the optimizer, which no longer updates {name}"
        return Remedy("clip by the norm", why, clip_norm(typical))
    return None


def _of_history(
    record: GradientRecord, history: GradientRecord, learning_rate: float | Mapping[str, float]
) -> list[Remedy]:
    """Return what bounds every step first: docs/exploding.md has the measurements behind this order."""
    remedies = []
    target, norms = largest_of(record.target_max_abs), positive(history.norm_clipped)
    if norms.size:
        calm = norms[: steps_before_explosion(norms)]
        remedies.append(thresholds_over_decades(calm, differ(history.norm, history.norm_clipped)))
    if target > LARGE_TARGET:
        remedies.append(BOUNDED_LOSS)
    if is_far_from_one(target):
        remedies.insert(0 if is_out_of_reach(target) else len(remedies), scaled_target(target))
    if largest_of(history.update_ratios) > LARGE_UPDATE:
        remedies.append(smaller_rate(*_large_update(history, learning_rate)))
    why = "the first step was already non-finite: check data and initialization"
    return remedies or [Remedy("another network or initialization", why, OUR_NETWORK)]


def positive(norms: Floats) -> Floats:
    """Return the finite norms above zero."""
    return norms[np.isfinite(norms) & (norms > 0)]


def _large_update(history: GradientRecord, learning_rate: float | Mapping[str, float]) -> tuple[float, float, str]:
    """Return the ratio of an update that is too large, its learning rate, and text that names both if rates differ.

    With one rate, it is the largest update. If rates differ, it is from the first step with a large update: it
    may have caused later large updates of other parameters, whose rates are not to blame.
    """
    rates = learning_rate if isinstance(learning_rate, Mapping) else dict.fromkeys(history.names, learning_rate)
    are_several = len({rate for rate in rates.values() if np.isfinite(rate)}) > 1
    ratios = np.where(np.isfinite(history.update_ratios), history.update_ratios, -np.inf)
    of_steps = ratios.max(axis=1)
    row = int(np.argmax(of_steps > LARGE_UPDATE if are_several else of_steps))
    column = int(np.argmax(ratios[row]))
    name = history.names[column]
    rate = rates.get(name, np.nan)
    return float(ratios[row, column]), rate, f" ({name}, at a learning rate of {rate:g})" if are_several else ""
