"""The explosion report: why a training run diverged, as text and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from gradclip.arrays import Floats
from gradclip.diagnosis.conditions import EXPLOSION_FACTOR, LARGE_TARGET, LARGE_UPDATE, is_far_from_one
from gradclip.diagnosis.evidence import steps_before_explosion
from gradclip.diagnosis.finite_statistics import largest_of, null_nonfinite
from gradclip.diagnosis.remedy import OUR_NETWORK, Loop, Remedy, clip_norm
from gradclip.diagnosis.suggestions import BOUNDED_LOSS, rounded, scaled_target, smaller_rate, thresholds_over_decades
from gradclip.errors import first_few
from gradclip.formatting import format_value
from gradclip.norms.arrays import differ
from gradclip.telemetry.divergence import LOSS_SCALE, Divergence
from gradclip.telemetry.record import GradientRecord

HISTORY_STEPS = 50  # steps before the divergence that the report contains
SHOWN_STEPS = 8  # last steps of the history that the text shows
SHOWN_ROWS = 8
OVERRIDES_WIDTH = 42  # characters of the column of overrides; longer ones widen it

Kind = Literal["overflow", "not a number", "finite"]


@dataclass(frozen=True)
class Explosion:
    """The explosion report; ``str`` returns it as text, :meth:`to_json` as JSON.

    The history is at most the last 50 steps before the divergence.

    Attributes:
        divergence: the first non-finite value; or the first gradient that exploded, if all values remained finite.
        kind: ``overflow`` if that value is infinite because a finite value overflowed its type, ``not a number``, or
            ``finite``.
        skipped: number of updates skipped before the divergence.
        nonfinite: number of non-finite gradient elements in the step of the divergence, by parameter name.
        batch: index within the epoch of the step's last batch, counted from 0.
        rows: the training rows in the step's batches; empty if they are not known.
        input_max_abs: largest |element| of the inputs in those batches; infinite if one is not finite, NaN if unknown.
        target_max_abs: largest |element| of the targets in those batches; infinite or NaN likewise.
        steps: the optimizer steps of the history, counted from 1.
        losses: training loss of each step; NaN if it is not known.
        norms: global gradient norm of each step before clipping, in loss units per weight unit.
        norms_clipped: global gradient norm of each step after clipping, in loss units per weight unit.
        growth: factor by which the norm changed per step over the last steps of the history; NaN if it is too short.
        largest_parameter: parameter with the largest gradient norm in the last finite step; empty without such a step.
        largest_share: its fraction of the squared global norm.
        largest_update: largest ratio of a parameter's update to its weights in the history; NaN if not measured.
        remedies: what to try, each with its reason.
        loop: form in which remedies are written: for our command, for Lightning or for plain torch.
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

    def to_json(self) -> str:
        """Return the report as JSON; non-finite values are null."""
        return json.dumps(null_nonfinite(asdict(self)), indent=2, allow_nan=False)

    def __str__(self) -> str:
        """Return the report as text."""
        remedies = [line for remedy in self.remedies for line in self._remedy(remedy)]
        return "\n".join([*self._headline(), *self._history(), self._batch(), "What to try:", *remedies])

    def _remedy(self, remedy: Remedy) -> list[str]:
        if self.loop == "command" and remedy.changes:
            width = max(OVERRIDES_WIDTH, *(len(other.overrides) for other in self.remedies))
            return [f"  {remedy.overrides:<{width}} {remedy.why}"]
        return [f"  {remedy.what}: {remedy.why}", *(f"    {line}" for line in remedy.lines(self.loop))]

    def _headline(self) -> list[str]:
        step, epoch, place = self.divergence.step, self.divergence.epoch, self.divergence.place
        if place == LOSS_SCALE:
            return [f"The loss scaler skipped every update from step {step} (epoch {epoch}) on: gradients overflowed."]
        if self.kind == "finite":
            return [
                f"The gradient exploded at step {step} (epoch {epoch}), to more than {EXPLOSION_FACTOR:g} times the "
                "median norm so far. All numbers remained finite, but the training learned nothing."
            ]
        what = "infinite, because a finite value overflowed its type" if self.kind == "overflow" else "not a number"
        first = "First non-finite value that was not skipped," if self.skipped else "First non-finite value"
        lines = [f"{first} at step {step} (epoch {epoch}), in the {place}: {what}."]
        if self.skipped:
            lines.append(f"Updates skipped before that step: {self.skipped}.")
        counts = ", ".join(f"{name} {count:,}" for name, count in self.nonfinite.items() if count)
        return lines + ([f"Non-finite gradient elements in that step: {counts}."] if counts else [])

    def _history(self) -> list[str]:
        if not self.steps:
            return ["There was no finite step before it."]
        columns = [("loss", 12, self.losses), ("gradient norm", 14, self.norms)]
        if np.isnan(self.losses).all():  # not known: a loop need not report its loss
            columns.pop(0)
        if differ(self.norms, self.norms_clipped):
            columns.append(("after clipping", 14, self.norms_clipped))
        lines = [f"{'step':>9}" + "".join(f" {name:>{width}}" for name, width, _ in columns)]
        for row, step in [*enumerate(self.steps)][-SHOWN_STEPS:]:
            lines.append(
                f"{step:>9}" + "".join(f" {format_value(values[row]):>{width}}" for _, width, values in columns)
            )
        if np.isfinite(self.growth):
            lines += [f"The gradient norm changed by a factor of {format_value(self.growth)} per step towards the end."]
        where = "step before it" if self.kind == "finite" else "last finite step"
        share = f"{self.largest_share:.0%} of the squared norm"
        return [*lines, f"Largest gradient in the {where}: {self.largest_parameter}, {share}."]

    def _batch(self) -> str:
        rows = f", rows {first_few(map(str, self.rows), SHOWN_ROWS)}" if self.rows else ""
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
        learning_rate: the initial learning rate, or the rate of each parameter at the divergence, by name.
        elsewhere: a divergence that the record does not show, a non-finite value elsewhere or a finite explosion, and
            its kind; used if it came first.
        loop: what trained: our ``command``, a ``lightning`` Trainer or a plain ``torch`` loop.
    """
    divergence = record.divergence
    kind: Kind | None = None
    if elsewhere is not None and (divergence is None or elsewhere[0].step < divergence.step):
        divergence, kind = elsewhere
    if divergence is None or not len(record.step):
        return None
    row = min(int(np.searchsorted(record.step, divergence.step)), len(record.step) - 1)
    trained = np.flatnonzero(record.trained[row])
    history = record.before(divergence.step, HISTORY_STEPS)
    shares = _shares(history)
    return Explosion(
        divergence=divergence,
        kind=kind or _kind(record, row, divergence.place),
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
        remedies=_remedies_of_data(record, row, divergence.place, history)
        or _remedies_of_place(divergence.place, history)
        or _remedies(record, history, learning_rate),
        loop=loop,
    )


def finite_explosion(record: GradientRecord) -> tuple[Divergence, Kind] | None:
    """Return the first step whose applied gradient is far larger than earlier ones; None if there is none.

    The caller decides whether it did harm: a training run that learns may spike too.

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
    value = values.get(quantity, np.inf)  # updates and loss scales fail by overflow only
    return "overflow" if np.isinf(value) else "not a number"


def _growth(norms: Floats) -> float:
    """Return the geometric mean of the growth factors over the last steps; NaN with fewer than two steps."""
    last = _positive(norms[-SHOWN_STEPS:])
    return float((last[-1] / last[0]) ** (1 / (len(last) - 1))) if len(last) > 1 else np.nan


def _shares(history: GradientRecord) -> Floats:
    """Return each parameter's fraction of the squared global norm in the last finite step, ``[parameters]``."""
    finite = np.flatnonzero(np.isfinite(history.norm) & (history.norm > 0))
    if not finite.size:
        return np.empty(0)
    last = finite[-1]
    shares: Floats = np.square(history.norms[last] / history.norm[last])
    return shares


def _remedies_of_data(record: GradientRecord, row: int, place: str, history: GradientRecord) -> list[Remedy]:
    """Return the only remedy if one batch is the cause: neither the learning rate nor clipping can help."""
    names = {"inputs": record.input_max_abs[row], "targets": record.target_max_abs[row]}
    if bad := " and ".join(name for name, largest in names.items() if np.isinf(largest)):
        return [Remedy("look at these rows", f"{bad} of this batch are not finite; no setting can fix that")]
    if place == "loss" and _are_ordinary(history):
        why = "the steps before it were ordinary, so a value in the batch, or an operation on it, is not defined"
        return [Remedy("look at this batch, and at the network's output and loss for it", why)]
    return []


def _are_ordinary(history: GradientRecord) -> bool:
    """Return whether the steps show no explosion: no large update, and a last norm that is not far above the others."""
    norms = _positive(history.norm)
    is_usual = norms.size > 1 and bool(history.norm[-1] <= EXPLOSION_FACTOR * np.median(norms))
    return is_usual and not largest_of(history.update_ratios) > LARGE_UPDATE


def _remedies_of_place(place: str, history: GradientRecord) -> list[Remedy]:
    """Return the remedies for failures that the gradients do not show."""
    what, _, name = place.partition(" ")
    if place == LOSS_SCALE:
        why = "the gradients or the loss exceed the range of float16 at every loss scale"
        return [Remedy("train in bfloat16 (precision bf16-mixed), which has the range of float32", why)]
    if what == "buffer":
        why = f"a non-finite batch made {name} non-finite for good: training continues, but evaluation fails"
        return [Remedy("look at the batches before that step, and reset the buffer", why)]
    if what == "validation":
        why = f"{name} is not finite in validation, although it is in training"
        return [Remedy("look at the validation rows, and at what the network does in eval()", why)]
    if what == "update":
        finite = _positive(history.norm)
        typical = rounded(np.median(finite)) if finite.size else "1"
        why = f"the square of a gradient overflowed in the optimizer, which no longer updates {name}"
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
        remedies.append(smaller_rate(*_large_update(history, learning_rate)))
    norms = _positive(history.norm)
    if norms.size:
        remedies.append(thresholds_over_decades(float(norms.min()), differ(history.norm, history.norm_clipped)))
    if target > LARGE_TARGET:
        remedies.append(BOUNDED_LOSS)
    why = "the first step was already non-finite: check data and initialization"
    return remedies or [Remedy("another network or initialization", why, OUR_NETWORK)]


def _positive(norms: Floats) -> Floats:
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
