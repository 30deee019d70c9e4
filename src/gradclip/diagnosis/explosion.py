"""The explosion report: why a training run diverged, as text and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from gradclip.arrays import Floats
from gradclip.diagnosis.conditions import EXPLOSION_FACTOR, steps_before_explosion
from gradclip.diagnosis.explosion_remedies import explosion_remedies, positive
from gradclip.diagnosis.finite_statistics import largest_of, null_nonfinite
from gradclip.diagnosis.remedy import Loop, Remedy
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
        growth: average factor by which the norm changed per step, over the steps that the text shows; NaN if too few.
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
        return remedy.lines(self.loop)

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
            growth = format_value(self.growth)
            lines += [f"The gradient norm changed by a factor of {growth} per step, on average over these steps."]
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
    largest, share = _largest_parameter(history)
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
        largest_parameter=largest,
        largest_share=share,
        largest_update=largest_of(history.update_ratios),
        remedies=explosion_remedies(record, row, divergence.place, history, learning_rate),
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
    """Return the geometric mean of the growth factors over the steps shown; NaN with fewer than two steps."""
    last = positive(norms[-SHOWN_STEPS:])
    return float((last[-1] / last[0]) ** (1 / (len(last) - 1))) if len(last) > 1 else np.nan


def _largest_parameter(history: GradientRecord) -> tuple[str, float]:
    """Return the parameter with the largest norm in the last finite step, and its fraction of the squared norm."""
    finite = np.flatnonzero(np.isfinite(history.norm) & (history.norm > 0))
    if not finite.size:
        return "", np.nan
    shares = np.square(history.norms[finite[-1]] / history.norm[finite[-1]])
    column = int(np.nanargmax(shares))
    return history.names[column], float(shares[column])
