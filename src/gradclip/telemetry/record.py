"""Gradient statistics of a run as NumPy arrays, with one row for each optimizer step.

:class:`GradientRecord` is the central data structure. Callbacks produce it; the explosion report, the figures, the
tracked metrics and the Parquet file are derived from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradclip import keys
from gradclip.arrays import Booleans, Floats, Integers
from gradclip.norms.arrays import row_norms
from gradclip.telemetry.divergence import LOSS_SCALE, LOST_UPDATES, Divergence, diverged_steps, stops_moving

if TYPE_CHECKING:
    import pandas as pd

HUGE = 1e18  # in float32, the square of an element not far above this overflows
MATRICES = ("nonfinite", "norms", "norms_clipped", "weights", "updates")  # columns with one number for each parameter


@dataclass(frozen=True)
class GradientRecord:
    """Loss, gradient and weight statistics of every optimizer step.

    Arrays have one row for each step. Those of shape ``[steps, parameters]`` have one column for each parameter tensor,
    in the order of ``names``. Gradients are recorded as the optimizer receives them: accumulated over batches and
    unscaled. They are in loss units per weight unit, here called gradient units. Norms are L2 norms, and do not
    overflow if the elements are finite.

    If a parameter was not trained in a step, because it was frozen or not in the optimizer, its columns are NaN in that
    step and are ignored. In a step without any gradient, norms are NaN and the update is skipped.

    Attributes:
        names: names of the parameter tensors, as in ``named_parameters()``.
        step: optimizer step, counted from 1, ``[steps]``.
        epoch: epoch, counted from 1, ``[steps]``.
        batch: index of the step's last batch within the epoch, counted from 0, ``[steps]``.
        loss: training loss, mean over the accumulated batches, ``[steps]``, loss units; NaN if it is not known.
        learning_rate: highest learning rate of the optimizer's groups, ``[steps]``; NaN if there is none.
        max_abs: largest |element| of all gradients before clipping, ``[steps]``, gradient units.
        input_max_abs: largest |element| of the step's inputs, as the network receives them, ``[steps]``; infinite if an
            element is not finite, NaN if all are finite and a batch is not a pair of floating-point tensors.
        target_max_abs: largest |element| of the step's targets, as the loss receives them, ``[steps]``; infinite if an
            element is not finite, NaN if a batch is not a pair of floating-point tensors.
        inner_product: inner product of the whole gradient before and after clipping, ``[steps]``, squared gradient
            units; NaN if the clipping method keeps the direction, since it is then not measured.
        has_loss: whether the loss is known, ``[steps]``; a loop need not report it.
        skipped: whether the update was skipped, by a clipper, by a loss scaler, or because there was no loss or no
            gradient, ``[steps]``.
        scaler_skipped: whether a loss scaler skipped the update because gradients overflowed, ``[steps]``.
        nonfinite: number of NaN or infinite elements of each gradient before clipping, ``[steps, parameters]``.
        norms: norm of each gradient before clipping, ``[steps, parameters]``, gradient units.
        norms_clipped: norm of each gradient after clipping, ``[steps, parameters]``, gradient units.
        weights: norm of each parameter after the step, ``[steps, parameters]``, weight units.
        updates: norm of each parameter's change in the step, ``[steps, parameters]``, weight units; NaN in steps
            in which it was not measured.
    """

    names: tuple[str, ...]
    step: Integers
    epoch: Integers
    batch: Integers
    loss: Floats
    learning_rate: Floats
    max_abs: Floats
    input_max_abs: Floats
    target_max_abs: Floats
    inner_product: Floats
    has_loss: Booleans
    skipped: Booleans
    scaler_skipped: Booleans
    nonfinite: Floats
    norms: Floats
    norms_clipped: Floats
    weights: Floats
    updates: Floats

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> "GradientRecord":
        """Return a record without steps."""
        integers, floats, booleans = np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=np.bool_)
        matrix = np.empty((0, len(names)))
        return cls(names, *(integers,) * 3, *(floats,) * 6, *(booleans,) * 3, *(matrix,) * 5)

    @classmethod
    def join(cls, names: tuple[str, ...], records: Sequence["GradientRecord"]) -> "GradientRecord":
        """Concatenate records along the steps; parameters that a record does not have are NaN in its steps."""
        blocks = [cls.empty(names), *(record.with_names(names) for record in records)]
        return cls(names, *(np.concatenate([getattr(block, column) for block in blocks]) for column in cls.columns()))

    @classmethod
    def interleave(cls, records: Sequence["GradientRecord"]) -> "GradientRecord":
        """Merge the records of several optimizers in the order of their steps; other optimizers' parameters are NaN."""
        names = (*dict.fromkeys(name for record in records for name in record.names),)
        joined = cls.join(names, records)
        return joined._select(np.argsort(joined.step, kind="stable"))

    def with_names(self, names: tuple[str, ...]) -> "GradientRecord":
        """Return the record with these parameters, in this order; a parameter that it does not have is NaN."""
        if names == self.names:
            return self
        place = {name: column for column, name in enumerate(names)}
        columns: dict[str, Any] = {
            column: _spread(getattr(self, column), [place[name] for name in self.names], len(names))
            for column in MATRICES
        }
        return replace(self, names=names, **columns)

    @classmethod
    def columns(cls) -> list[str]:
        """Return the names of the attributes with one row for each step, in order."""
        return [field.name for field in fields(cls) if field.name != "names"]

    def before(self, step: int, count: int) -> "GradientRecord":
        """Return the record of the last ``count`` steps before a step."""
        end = int(np.searchsorted(self.step, step))
        return self._select(slice(max(0, end - count), end))

    def _select(self, rows: slice | NDArray[np.intp]) -> "GradientRecord":
        return GradientRecord(self.names, *(getattr(self, column)[rows] for column in self.columns()))

    @cached_property
    def trained(self) -> Booleans:
        """Whether each parameter was trained in each step, ``[steps, parameters]``."""
        return ~np.isnan(self.nonfinite)

    @cached_property
    def norm(self) -> Floats:
        """Global L2 norm before clipping, ``[steps]``, gradient units."""
        return self._global_norm(self.norms)

    @cached_property
    def norm_clipped(self) -> Floats:
        """Global L2 norm after clipping, ``[steps]``, gradient units."""
        return self._global_norm(self.norms_clipped)

    def _global_norm(self, norms: Floats) -> Floats:
        if self.trained.all() and self.names:
            return row_norms(norms)
        trained_norms = row_norms(np.where(self.trained, norms, 0.0))
        return np.where(self.trained.any(axis=1), trained_norms, np.nan)

    @cached_property
    def coefficient(self) -> Floats:
        """Clipping coefficient: global norm after clipping divided by that before, ``[steps]``; 1 if both are zero."""
        with np.errstate(invalid="ignore"):
            return np.divide(self.norm_clipped, self.norm, out=np.ones_like(self.norm), where=self.norm != 0)

    @cached_property
    def cosine(self) -> Floats:
        """Cosine between the gradient before and after clipping, ``[steps]``; 1 if the direction is kept."""
        with np.errstate(all="ignore"):
            measured = np.clip(self.inner_product / self.norm / self.norm_clipped, -1, 1)
        return np.where(np.isnan(self.inner_product), 1.0, measured)

    @cached_property
    def update_ratios(self) -> Floats:
        """Update-to-weight ratio, ``updates / weights``, ``[steps, parameters]``; NaN if not measured."""
        with np.errstate(all="ignore"):
            ratios: Floats = self.updates / self.weights
        return ratios

    @cached_property
    def zeroed(self) -> Booleans:
        """Whether clipping made a finite gradient zero although the update was not skipped, ``[steps]``.

        This happens if a norm overflows to infinity, so that the coefficient is zero.
        """
        return np.asarray(np.isfinite(self.norm) & (self.norm > 0) & (self.norm_clipped == 0) & ~self.skipped)

    @cached_property
    def huge(self) -> Booleans:
        """Whether a finite gradient was used whose square may overflow float32, ``[steps, parameters]``."""
        used = np.isfinite(self.norms_clipped) & ~self.skipped[:, None]
        return np.asarray(used & (self.norms_clipped > HUGE))

    @property
    def metrics(self) -> dict[str, Floats]:
        """The tracked metrics of each step by name, ``[steps]`` each."""
        return {
            keys.LOSS_STEP: self.loss,
            keys.GRAD_NORM: self.norm,
            keys.GRAD_NORM_CLIPPED: self.norm_clipped,
            keys.GRAD_MAX_ABS: self.max_abs,
            keys.GRAD_COEFFICIENT: self.coefficient,
        }

    @property
    def clip_fraction(self) -> float:
        """Fraction of the steps with a finite gradient in which clipping changed the norm; NaN if there are none."""
        finite = np.isfinite(self.norm)
        return float(np.mean((self.norm_clipped != self.norm)[finite])) if finite.any() else np.nan

    def norm_percentile(self, percentile: float) -> float:
        """Return a percentile, from 0 to 100, of the finite global norms before clipping; NaN if there are none."""
        return self.norm_percentiles([percentile])[0]

    def norm_percentiles(self, percentiles: Sequence[float]) -> list[float]:
        """Return several percentiles as :meth:`norm_percentile` does, in hardly more time than one."""
        finite = self.norm[np.isfinite(self.norm)]
        found: list[float] = np.percentile(finite if finite.size else [np.nan], percentiles).tolist()
        return found

    @cached_property
    def divergence(self) -> Divergence | None:
        """The first step with a non-finite weight, or with a non-finite loss and an update that was not skipped.

        A non-finite gradient that never reached a weight, because a clipper or a loss scaler skipped the update, does
        not count. If there is no such step, this is the first step whose gradient overflowed in the optimizer, as
        squares do in Adam. Otherwise, if a loss scaler skipped at least the last ``LOST_UPDATES`` updates, it is the
        first step of these. None if the training run did not diverge.
        """
        known_loss = np.where(self.has_loss, self.loss, 0.0)
        diverged = diverged_steps(known_loss, self.skipped, np.where(self.trained, self.weights, 0.0))
        if not diverged.any():
            return self._overflowed_update() or self._lost_scale()
        row = int(np.argmax(diverged))
        return Divergence(int(self.step[row]), int(self.epoch[row]), self._first_nonfinite(row))

    def _overflowed_update(self) -> Divergence | None:
        """Return where a huge gradient was used after which its parameter, which had moved before, no longer moves."""
        if not self.huge.any():
            return None
        stopped = np.argwhere(self.huge & stops_moving(self.norms_clipped, self.weights, self.updates)).tolist()
        if not stopped:
            return None
        row, column = stopped[0]
        return Divergence(int(self.step[row]), int(self.epoch[row]), f"update {self.names[column]}")

    def _lost_scale(self) -> Divergence | None:
        """Return where a loss scaler began to skip every update, if it skipped at least ``LOST_UPDATES``."""
        used = np.flatnonzero(~self.scaler_skipped)
        first = int(used[-1]) + 1 if used.size else 0
        if len(self.step) - first < LOST_UPDATES:
            return None
        return Divergence(int(self.step[first]), int(self.epoch[first]), LOSS_SCALE)

    def _first_nonfinite(self, row: int) -> str:
        """Return the first non-finite value of a step, in the order of computation.

        Backward runs from the last parameter to the first; clipping and the step come after it.
        """
        if self.has_loss[row] and not np.isfinite(self.loss[row]) and not self.skipped[row]:
            return "loss"
        trained = self.trained[row]
        for norms in (self.norms, self.norms_clipped):
            if bad := np.flatnonzero(trained & ~np.isfinite(norms[row])).tolist():
                return f"gradient {self.names[bad[-1]]}"
        return f"weight {self.names[int(np.argmax(trained & ~np.isfinite(self.weights[row])))]}"

    def to_frame(self) -> "pd.DataFrame":
        """Return a data frame with a row for each step and the columns of :meth:`to_columns`."""
        import pandas as pd

        return pd.DataFrame(self.to_columns())

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Return all statistics by column name, ``[steps]`` each.

        Columns are named like the tracked metrics. A column of a single parameter ends with the parameter's name.
        """
        step_columns = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            **self.metrics,
            "learning_rate": self.learning_rate,
            "grad/cosine": self.cosine,
            "grad/skipped": self.skipped,
            "grad/scaler_skipped": self.scaler_skipped,
            "input/max_abs": self.input_max_abs,
            "target/max_abs": self.target_max_abs,
        }
        parameter_columns = {
            keys.GRAD_NORM: self.norms,
            keys.GRAD_NORM_CLIPPED: self.norms_clipped,
            "grad/nonfinite": self.nonfinite,
            "weight/norm": self.weights,
            "update/norm": self.updates,
            "update/ratio": self.update_ratios,
        }
        return step_columns | {
            f"{key}/{name}": values[:, column]
            for key, values in parameter_columns.items()
            for column, name in enumerate(self.names)
        }


def _spread(columns: Floats, place: Sequence[int], width: int) -> Floats:
    """Put each column at its place among ``width`` columns; the other columns are NaN."""
    spread = np.full((len(columns), width), np.nan)
    spread[:, place] = columns
    return spread
