"""The explosion report: why a training diverged, as text and as JSON."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from gradclip.arrays import Floats
from gradclip.diagnosis.conditions import EXPLOSION_FACTOR, LARGE_TARGET, LARGE_UPDATE, is_far_from_one
from gradclip.diagnosis.evidence import steps_before_explosion
from gradclip.diagnosis.finite_statistics import largest_of, null_nonfinite
from gradclip.diagnosis.remedy import Loop, Remedy, clip_norm, other_network
from gradclip.diagnosis.suggestions import bounded_loss, rounded, scaled_target, smaller_rate, thresholds_over_decades
from gradclip.telemetry.divergence import LOSS_SCALE, Divergence
from gradclip.telemetry.record import GradientRecord

HISTORY_STEPS = 50  # steps before the divergence that the report contains
SHOWN_STEPS = 8  # of which the text shows the last
SHOWN_ROWS = 8

Kind = Literal["overflow", "not a number", "finite"]


@dataclass(frozen=True)
class Explosion:
    """The explosion report; ``str`` returns it as text, :meth:`to_json` as JSON.

    The history is the last 50 steps, or fewer, before the divergence.

    Attributes:
        divergence: the first non-finite value; or the first gradient that exploded, where all remained finite.
        kind: ``overflow`` if that value is infinite, because a finite value outgrew its type, ``not a number``, or
            ``finite``.
        skipped: number of updates skipped before.
        nonfinite: number of non-finite gradient elements in that step, by parameter name.
        batch: index within the epoch of the step's last batch, counted from 0.
        rows: the training rows in the step's batches; empty where the report does not know them.
        input_max_abs: largest |element| of the inputs in those batches; infinite if one is not finite, NaN if unknown.
        target_max_abs: largest |element| of the targets in those batches; infinite or NaN likewise.
        steps: the optimizer steps of the history, counted from 1.
        losses: the training loss of each.
        norms: the global gradient norm of each before clipping, loss units per weight unit.
        norms_clipped: the global gradient norm of each after clipping, loss units per weight unit.
        growth: factor by which the norm changed per step, over the last steps of the history; NaN if it is too short.
        largest_parameter: the parameter with the largest gradient norm in the last finite step; empty without one.
        largest_share: its fraction of the squared global norm.
        largest_update: largest update to weight ratio of a parameter in the history; NaN if not measured.
        remedies: what to try, each with its reason.
        loop: what trained, so that remedies are written as it takes them.
    """

    divergence: Divergence
    kind: Kind
    skipped: int
    nonfinite: dict[str, int]
    batch: int
    rows: tuple[int, ...]
    input_max_abs: float
    target_max_abs: float
    steps: list[int]
    losses: list[float]
    norms: list[float]
    norms_clipped: list[float]
    growth: float
    largest_parameter: str
    largest_share: float
    largest_update: float
    remedies: list[Remedy]
    loop: Loop = "lightning"

    @property
    def cures(self) -> list[Remedy]:
        """The remedies, as they were called up to version 0.1."""
        warnings.warn("Explosion.cures is now Explosion.remedies", DeprecationWarning, stacklevel=2)
        return self.remedies

    def to_json(self) -> str:
        """Return the report as JSON; non-finite values are null."""
        return json.dumps(null_nonfinite(asdict(self)), indent=2, allow_nan=False)

    def __str__(self) -> str:
        """Return the report as text."""
        remedies = [line for remedy in self.remedies for line in self._remedy(remedy)]
        return "\n".join([*self._headline(), *self._history(), self._batch(), "What to try:", *remedies])

    def _remedy(self, remedy: Remedy) -> list[str]:
        if self.loop == "command":
            return [f"  {remedy.overrides:<42} {remedy.why}"]
        return [f"  {remedy.what}: {remedy.why}", *(f"    {line}" for line in remedy.lines(self.loop))]

    def _headline(self) -> list[str]:
        step, epoch, place = self.divergence.step, self.divergence.epoch, self.divergence.place
        if place == LOSS_SCALE:
            return [f"The loss scaler skipped every update from step {step} (epoch {epoch}) on: gradients overflowed."]
        if self.kind == "finite":
            return [
                f"The gradient exploded at step {step} (epoch {epoch}), to more than {EXPLOSION_FACTOR:g} times the "
                "median norm before. All numbers remained finite, but the training has learned nothing."
            ]
        what = "infinite: a finite value outgrew its type" if self.kind == "overflow" else "not a number"
        first = "First non-finite value that was not skipped," if self.skipped else "First non-finite value"
        lines = [f"{first} at step {step} (epoch {epoch}), in the {place}: {what}."]
        if self.skipped:
            lines.append(f"Updates skipped before that step: {self.skipped}.")
        counts = ", ".join(f"{name} {count:,}" for name, count in self.nonfinite.items() if count)
        return lines + ([f"Non-finite gradient elements in that step: {counts}."] if counts else [])

    def _history(self) -> list[str]:
        if not self.steps:
            return ["There was no finite step before it."]
        rows = zip(self.steps, self.losses, self.norms, self.norms_clipped, strict=True)
        table = [f"  {step:>7} {loss:>12.4g} {norm:>14.4g} {clipped:>14.4g}" for step, loss, norm, clipped in rows]
        lines = ["  " + f"{'step':>7} {'loss':>12} {'gradient norm':>14} {'after clipping':>14}", *table[-SHOWN_STEPS:]]
        if np.isfinite(self.growth):
            lines.append(f"The gradient norm changed by a factor of {self.growth:.3g} per step towards the end.")
        share = f"{self.largest_share:.0%} of the squared norm"
        return [*lines, f"Largest gradient in the last finite step: {self.largest_parameter}, {share}."]

    def _batch(self) -> str:
        more = f" and {len(self.rows) - SHOWN_ROWS} more" if len(self.rows) > SHOWN_ROWS else ""
        rows = f", rows {', '.join(map(str, self.rows[:SHOWN_ROWS]))}{more}" if self.rows else ""
        largest = f"; largest input {self.input_max_abs:.4g}, largest target {self.target_max_abs:.4g}"
        known = not np.isnan([self.input_max_abs, self.target_max_abs]).all()
        return f"Batch {self.batch} of the epoch{rows}{largest if known else ''}."


def explain(
    record: GradientRecord,
    learning_rate: float | Mapping[str, float],
    elsewhere: tuple[Divergence, Kind] | None = None,
    loop: Loop = "lightning",
) -> Explosion | None:
    """Return the explosion report of a run; None if the run did not diverge.

    Args:
        record: the gradient statistics of every step.
        learning_rate: the initial learning rate, or that of each parameter in the step of the divergence, by name.
        elsewhere: what the record does not show, a non-finite value or that a run stalled after a finite explosion,
            and its kind; it counts if it came first.
        loop: what trained: our ``command``, a ``lightning`` Trainer or a plain ``torch`` loop.
    """
    divergence = record.divergence
    if elsewhere is not None and (divergence is None or elsewhere[0].step < divergence.step):
        divergence = elsewhere[0]
    if divergence is None or not len(record.step):
        return None
    row = min(int(np.searchsorted(record.step, divergence.step)), len(record.step) - 1)
    trained = np.flatnonzero(record.trained[row])
    in_record = elsewhere is None or divergence is not elsewhere[0]
    history = record.before(divergence.step, HISTORY_STEPS)
    shares = _shares(history)
    return Explosion(
        divergence=divergence,
        kind=_kind(record, row, divergence.place) if in_record or elsewhere is None else elsewhere[1],
        skipped=int(record.skipped[:row].sum()),
        nonfinite={record.names[column]: int(record.nonfinite[row, column]) for column in trained},
        batch=int(record.batch[row]),
        rows=(),
        input_max_abs=float(record.input_max_abs[row]),
        target_max_abs=float(record.target_max_abs[row]),
        steps=history.step.tolist(),
        losses=history.loss.tolist(),
        norms=history.norm.tolist(),
        norms_clipped=history.norm_clipped.tolist(),
        growth=_growth(history.norm),
        largest_parameter=record.names[int(np.nanargmax(shares))] if shares.size else "",
        largest_share=float(np.nanmax(shares)) if shares.size else np.nan,
        largest_update=largest_of(history.update_ratios),
        remedies=_remedies_of_data(record, row)
        or _remedies_of_place(divergence.place, history)
        or _remedies(record, history, learning_rate),
        loop=loop,
    )


def finite_explosion(record: GradientRecord) -> tuple[Divergence, Kind] | None:
    """Return the first step whose gradient, as it was applied, is far larger than those before; None if none is.

    That it did harm is for the caller to know: a training that learns may spike.

    Args:
        record: the gradient statistics of every step.
    """
    usable = np.flatnonzero(np.isfinite(record.norm_clipped) & (record.norm_clipped > 0) & ~record.skipped)
    before = steps_before_explosion(record.norm_clipped[usable])
    if before == len(usable):
        return None
    row = usable[before]
    return Divergence(int(record.step[row]), int(record.epoch[row]), "gradient"), "finite"


def _kind(record: GradientRecord, row: int, place: str) -> Kind:
    quantity = place if place == LOSS_SCALE else place.split(maxsplit=1)[0]
    gradient = record.norm[row] if np.isfinite(record.max_abs[row]) else record.max_abs[row]
    weight = np.max(record.weights[row], where=record.trained[row], initial=0.0)
    values = {"loss": record.loss[row], "gradient": gradient, "weight": weight}
    value = values.get(quantity, np.inf)  # of an update or a loss scale, which overflow
    return "overflow" if np.isinf(value) else "not a number"


def _growth(norms: Floats) -> float:
    """Return the geometric mean of the factors from step to step, over the last steps; NaN without two of them."""
    last = norms[-SHOWN_STEPS:]
    last = last[np.isfinite(last) & (last > 0)]
    return float((last[-1] / last[0]) ** (1 / (len(last) - 1))) if len(last) > 1 else float("nan")


def _shares(history: GradientRecord) -> Floats:
    """Return the fraction of each parameter in the squared global norm of the last finite step, ``[parameters]``."""
    finite = np.flatnonzero(np.isfinite(history.norm) & (history.norm > 0))
    if not finite.size:
        return np.empty(0)
    last = finite[-1]
    shares: Floats = np.square(history.norms[last] / history.norm[last])
    return shares


def _remedies_of_data(record: GradientRecord, row: int) -> list[Remedy]:
    """The one remedy for a batch that is not finite: no rate and no clipping can help."""
    names = {"inputs": record.input_max_abs[row], "targets": record.target_max_abs[row]}
    bad = " and ".join(name for name, largest in names.items() if np.isinf(largest))
    return [Remedy("look at these rows", f"{bad} of that batch are not finite, before any training")] if bad else []


def _remedies_of_place(place: str, history: GradientRecord) -> list[Remedy]:
    """Remedies for what gradients do not show."""
    what, _, name = place.partition(" ")
    if place == LOSS_SCALE:
        why = "gradients, or the loss, are beyond float16 at any scale"
        return [Remedy("train in bfloat16, whose range is that of float32 (precision bf16-mixed)", why)]
    if what == "buffer":
        why = f"{name} has taken in a batch that is not finite, and keeps it; training goes on, evaluation fails"
        return [Remedy("look at the batches before that step, and reset the buffer", why)]
    if what == "validation":
        why = f"{name} is not finite, while the training is"
        return [Remedy("look at the rows of validation, and at what the network does in eval()", why)]
    if what == "update":
        finite = _positive(history.norm)
        typical = rounded(np.median(finite)) if finite.size else "1"
        why = f"the square of a gradient overflowed in the optimizer, which does not move {name} any more"
        return [Remedy("clip by the norm", why, clip_norm(typical))]
    return []


def _remedies(
    record: GradientRecord, history: GradientRecord, learning_rate: float | Mapping[str, float]
) -> list[Remedy]:
    remedies = []
    target, update = largest_of(record.target_max_abs), largest_of(history.update_ratios)
    if is_far_from_one(target):
        remedies.append(scaled_target(target))
    if update > LARGE_UPDATE:
        remedies.append(smaller_rate(update, *_rate_of_largest_update(history, learning_rate)))
    norms = _positive(history.norm)
    if norms.size:
        remedies.append(thresholds_over_decades(float(norms.min())))
    if target > LARGE_TARGET:
        remedies.append(bounded_loss())
    why = "the very first step was not finite: check data and initialization"
    return remedies or [Remedy("another network or initialization", why, other_network())]


def _positive(norms: Floats) -> Floats:
    return norms[np.isfinite(norms) & (norms > 0)]


def _rate_of_largest_update(history: GradientRecord, learning_rate: float | Mapping[str, float]) -> tuple[float, str]:
    """Return the rate at which the parameter with the largest update was trained, and its name where rates differ."""
    if not isinstance(learning_rate, Mapping):
        return learning_rate, ""
    ratios = np.where(np.isfinite(history.update_ratios), history.update_ratios, -np.inf)
    name = history.names[int(np.argmax(ratios.max(axis=0)))]
    rate = learning_rate.get(name, np.nan)
    differ = len({other for other in learning_rate.values() if np.isfinite(other)}) > 1
    return rate, f": {name}, at a rate of {rate:g}" if differ else ""
