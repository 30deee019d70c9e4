"""What happened when training exploded, for people and for programs."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from gradclip.arrays import Floats
from gradclip.telemetry.record import Divergence, GradientRecord

STEPS_KEPT = 50  # before the first non-finite one
STEPS_SHOWN = 8
ROWS_SHOWN = 8
LARGE_TARGET = 10.0  # of a standardized target hardly any value is as large
BOUNDED_LOSS = "loss=huber"  # the override
LARGE_UPDATE = 0.1  # share of a weight's norm; about 0.001 is usual

Kind = Literal["overflow", "not a number"]


@dataclass(frozen=True)
class Cure:
    """Why training may have exploded, and the overrides of the command that try a cure."""

    cause: str
    overrides: str


@dataclass(frozen=True)
class Explosion:
    """The explosion report; ``str`` gives it as text, :meth:`to_json` for programs.

    Attributes:
        divergence: where the first non-finite number stood.
        kind: ``overflow`` if that number is infinite, a finite value having outgrown its type, or ``not a number``.
        skipped: how many updates had been left out before.
        nonfinite: how many gradient elements of each parameter were not finite in that step.
        batch: the step's last batch within its epoch, counted from 0.
        rows: the training rows of the step's batches; empty where the report does not know them.
        input_max_abs: largest |element| of those batches' inputs; NaN where not known.
        target_max_abs: the same of its target.
        steps: the optimizer steps of the run-up, at most 50.
        losses: their losses.
        norms: their global gradient norms before clipping.
        norms_clipped: the same after clipping.
        growth: by what factor the norm grew in a step, over the last steps of the run-up; NaN if it is too short.
        largest_parameter: the parameter with the largest gradient in the last finite step; empty if there is none.
        largest_share: its share of the squared norm.
        largest_update: largest change of a parameter in a step of the run-up, as a share of its norm.
        cures: what to try.
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
    cures: list[Cure]

    def to_json(self) -> str:
        """The report for programs; what is not finite is null."""
        return json.dumps(_without_nonfinite(asdict(self)), indent=2, allow_nan=False)

    def __str__(self) -> str:
        """The report for people."""
        return "\n".join([*self._first(), *self._run_up(), *self._batch(), *self._what_to_try()])

    def _first(self) -> list[str]:
        where = self.divergence
        what = "infinite: a finite value outgrew its type" if self.kind == "overflow" else "not a number"
        first = "First non-finite that was not left out" if self.skipped else "First non-finite"
        lines = [f"{first} at step {where.step} (epoch {where.epoch}), in the {where.place}: {what}."]
        if self.skipped:
            lines.append(f"Updates left out before: {self.skipped}.")
        counts = ", ".join(f"{name} {count:,}" for name, count in self.nonfinite.items() if count)
        return lines + ([f"Non-finite gradient elements in that step: {counts}."] if counts else [])

    def _run_up(self) -> list[str]:
        if not self.steps:
            return ["There was no finite step before it."]
        rows = zip(self.steps, self.losses, self.norms, self.norms_clipped, strict=True)
        table = [f"  {step:>7} {loss:>12.4g} {norm:>14.4g} {clipped:>14.4g}" for step, loss, norm, clipped in rows]
        lines = ["  " + f"{'step':>7} {'loss':>12} {'gradient norm':>14} {'after clipping':>14}", *table[-STEPS_SHOWN:]]
        if np.isfinite(self.growth):
            lines.append(f"The gradient norm changed by a factor of {self.growth:.3g} in a step towards the end.")
        share = f"{self.largest_share:.0%} of the squared norm"
        return [*lines, f"Largest gradient in the last finite step: {self.largest_parameter}, {share}."]

    def _batch(self) -> list[str]:
        more = f" and {len(self.rows) - ROWS_SHOWN} more" if len(self.rows) > ROWS_SHOWN else ""
        rows = f", rows {', '.join(map(str, self.rows[:ROWS_SHOWN]))}{more}" if self.rows else ""
        largest = f"; largest input {self.input_max_abs:.4g}, largest target {self.target_max_abs:.4g}"
        known = np.isfinite([self.input_max_abs, self.target_max_abs]).any()
        return [f"Batch {self.batch} of the epoch{rows}{largest if known else ''}."]

    def _what_to_try(self) -> list[str]:
        return ["What to try:", *(f"  {cure.overrides:<42} {cure.cause}" for cure in self.cures)]


def explain(record: GradientRecord, learning_rate: float) -> Explosion | None:
    """Explain a diverged run from its record; None if it did not diverge.

    Args:
        record: the gradients of every step.
        learning_rate: the rate at the start.
    """
    divergence = record.divergence
    if divergence is None:
        return None
    row = int(np.searchsorted(record.step, divergence.step))
    run_up = record.before(divergence.step, STEPS_KEPT)
    share = _shares(run_up)
    return Explosion(
        divergence=divergence,
        kind=_kind(record, row, divergence.place),
        skipped=int(record.skipped[:row].sum()),
        nonfinite={name: int(count) for name, count in zip(record.names, record.nonfinite[row], strict=True)},
        batch=int(record.batch[row]),
        rows=(),
        input_max_abs=float(record.input_max_abs[row]),
        target_max_abs=float(record.target_max_abs[row]),
        steps=run_up.step.tolist(),
        losses=run_up.loss.tolist(),
        norms=run_up.norm.tolist(),
        norms_clipped=run_up.norm_clipped.tolist(),
        growth=_growth(run_up.norm),
        largest_parameter=record.names[int(np.argmax(share))] if share.size else "",
        largest_share=float(np.max(share)) if share.size else np.nan,
        largest_update=_largest(run_up.update_ratios),
        cures=_cures(record, run_up, learning_rate),
    )


def _kind(record: GradientRecord, row: int, place: str) -> Kind:
    what = place.split(maxsplit=1)[0]
    gradient = record.max_abs[row] if not np.isfinite(record.max_abs[row]) else record.norm[row]
    value = {"loss": record.loss[row], "gradient": gradient, "weight": np.max(record.weights[row])}[what]
    return "overflow" if np.isinf(value) else "not a number"


def _growth(norms: Floats) -> float:
    """The geometric mean of the factors from step to step, over the last steps."""
    last = norms[-STEPS_SHOWN:]
    last = last[np.isfinite(last) & (last > 0)]
    return float((last[-1] / last[0]) ** (1 / (len(last) - 1))) if len(last) > 1 else float("nan")


def _shares(run_up: GradientRecord) -> Floats:
    """The share of each parameter in the squared norm of the last finite step."""
    finite = np.flatnonzero(np.isfinite(run_up.norm) & (run_up.norm > 0))
    if not finite.size:
        return np.empty(0)
    last = finite[-1]
    shares: Floats = np.square(run_up.norms[last] / run_up.norm[last])
    return shares


def _largest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else np.nan


def _cures(record: GradientRecord, run_up: GradientRecord, learning_rate: float) -> list[Cure]:
    cures = []
    target, update = _largest(record.target_max_abs), _largest(run_up.update_ratios)
    if target > LARGE_TARGET:
        cause = f"the target is not scaled: it reaches {target:.4g}"
        cures.append(Cure(cause, "data.scale_target=standard"))
    if update > LARGE_UPDATE:
        cause = f"steps are too large: one changed a parameter by {update:.0%} of its norm"
        cures.append(Cure(cause, f"optimizer.lr={learning_rate / 10:g}"))
    norms = run_up.norm[np.isfinite(run_up.norm) & (run_up.norm > 0)]
    if norms.size:
        thresholds = ",".join(f"{float(f'{norms.min() * factor:.2g}'):g}" for factor in (0.001, 0.01, 0.1))
        cause = f"gradients are not held: thresholds well below the least norm seen, {norms.min():.4g}"
        cures.append(Cure(cause, f"-m clip=norm clip.value={thresholds}"))
    if target > LARGE_TARGET:
        cures.append(Cure("large errors count squared: a loss whose derivative is bounded", BOUNDED_LOSS))
    return cures or [Cure("the first step was not finite already: look at data and initialization", "model=mlp")]


def _without_nonfinite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
