"""The gradients of a run, step by step, as plain arrays, and what can be read from them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradclip import keys
from gradclip.arrays import Booleans, Floats, Integers


@dataclass(frozen=True)
class Divergence:
    """Where the first non-finite number stood.

    Attributes:
        step: the optimizer step, counted from 1.
        epoch: the epoch, counted from 1.
        place: ``loss``; ``gradient`` or ``weight`` and the parameter's name; or ``score``, if only that overflowed.
    """

    step: int
    epoch: int
    place: str


@dataclass(frozen=True)
class GradientRecord:
    """One row for each optimizer step, one column for each parameter tensor.

    Attributes:
        names: the parameters, in order.
        step: optimizer steps, counted from 1, ``[steps]``.
        epoch: epochs, counted from 1, ``[steps]``.
        batch: the step's last batch within its epoch, counted from 0, ``[steps]``.
        loss: training loss, mean over accumulated batches, ``[steps]``.
        max_abs: largest |element| of any gradient before clipping, ``[steps]``.
        input_max_abs: largest |element| of the step's inputs, ``[steps]``; NaN where a batch is no pair of tensors.
        target_max_abs: the same of its target.
        inner_product: of the gradient before and after clipping, ``[steps]``; NaN where clipping keeps the direction.
        skipped: whether the update was left out, ``[steps]``.
        nonfinite: number of NaN or infinite elements of each gradient before clipping, ``[steps, parameters]``.
        norms: L2 norm of each gradient before clipping, ``[steps, parameters]``.
        norms_clipped: L2 norm of each gradient after clipping, ``[steps, parameters]``.
        weights: L2 norm of each parameter after the step, ``[steps, parameters]``.
        updates: L2 norm of how the step changed each parameter, ``[steps, parameters]``; NaN where not measured.
    """

    names: tuple[str, ...]
    step: Integers
    epoch: Integers
    batch: Integers
    loss: Floats
    max_abs: Floats
    input_max_abs: Floats
    target_max_abs: Floats
    inner_product: Floats
    skipped: Booleans
    nonfinite: Floats
    norms: Floats
    norms_clipped: Floats
    weights: Floats
    updates: Floats

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> "GradientRecord":
        """A record of no steps."""
        whole, number, wide = np.empty(0, dtype=np.int64), np.empty(0), np.empty((0, len(names)))
        return cls(names, *(whole,) * 3, *(number,) * 5, np.empty(0, dtype=np.bool_), *(wide,) * 5)

    @classmethod
    def join(cls, names: tuple[str, ...], records: Sequence["GradientRecord"]) -> "GradientRecord":
        """Put records of the same parameters one after the other."""
        parts = [cls.empty(names), *records]
        return cls(names, *(np.concatenate([getattr(part, column) for part in parts]) for column in cls.columns()))

    @classmethod
    def columns(cls) -> list[str]:
        """The attributes that have one entry for each step."""
        return [field.name for field in fields(cls) if field.name != "names"]

    def before(self, step: int, count: int) -> "GradientRecord":
        """The last ``count`` steps before a step."""
        end = int(np.searchsorted(self.step, step))
        rows = slice(max(0, end - count), end)
        return GradientRecord(self.names, *(getattr(self, column)[rows] for column in self.columns()))

    @cached_property
    def norm(self) -> Floats:
        """Global L2 norm before clipping, ``[steps]``."""
        return _row_norms(self.norms)

    @cached_property
    def norm_clipped(self) -> Floats:
        """Global L2 norm after clipping, ``[steps]``."""
        return _row_norms(self.norms_clipped)

    @cached_property
    def coefficient(self) -> Floats:
        """Norm after over norm before, ``[steps]``; 1 where the gradient is zero."""
        with np.errstate(invalid="ignore"):
            return np.divide(self.norm_clipped, self.norm, out=np.ones_like(self.norm), where=self.norm != 0)

    @cached_property
    def cosine(self) -> Floats:
        """Cosine of the angle by which clipping turned the gradient, ``[steps]``; 1 where it kept the direction."""
        with np.errstate(all="ignore"):
            measured = np.clip(self.inner_product / self.norm / self.norm_clipped, -1, 1)
        return np.where(np.isnan(self.inner_product), 1.0, measured)

    @cached_property
    def update_ratios(self) -> Floats:
        """Norm of each parameter's change over its norm after it, ``[steps, parameters]``; NaN where not measured."""
        with np.errstate(all="ignore"):
            ratios: Floats = self.updates / self.weights
        return ratios

    @cached_property
    def zeroed(self) -> Booleans:
        """Steps whose finite gradient was made zero, ``[steps]``, though they were not left out: by an overflow."""
        return np.asarray(np.isfinite(self.norm) & (self.norm > 0) & (self.norm_clipped == 0) & ~self.skipped)

    @property
    def metrics(self) -> dict[str, Floats]:
        """What is tracked of each step, ``[steps]``, by the name of its metric."""
        return {
            keys.LOSS_STEP: self.loss,
            keys.GRAD_NORM: self.norm,
            keys.GRAD_NORM_CLIPPED: self.norm_clipped,
            keys.GRAD_MAX_ABS: self.max_abs,
            keys.GRAD_COEFFICIENT: self.coefficient,
        }

    @property
    def clip_fraction(self) -> float:
        """Share of the steps with a finite gradient in which clipping changed it; NaN without such a step."""
        finite = np.isfinite(self.norm)
        return float(np.mean((self.norm_clipped != self.norm)[finite])) if finite.any() else np.nan

    def norm_percentile(self, percentile: float) -> float:
        """A percentile, 0 to 100, of the finite norms before clipping; NaN without any."""
        finite = self.norm[np.isfinite(self.norm)]
        return float(np.percentile(finite, percentile)) if finite.size else np.nan

    @cached_property
    def divergence(self) -> Divergence | None:
        """The first step with a non-finite weight, or a non-finite loss whose update was not left out.

        A non-finite gradient that never reached a weight, because a clipper or a loss scaler left it out, is none.
        """
        diverged = diverged_steps(self.loss, self.skipped, self.weights)
        if not diverged.any():
            return None
        row = int(np.argmax(diverged))
        return Divergence(int(self.step[row]), int(self.epoch[row]), self._first_place(row))

    def _first_place(self, row: int) -> str:
        if not np.isfinite(self.loss[row]):
            return "loss"
        gradients = np.isfinite(self.norms[row]) & np.isfinite(self.norms_clipped[row])
        what, finite = ("weight", np.isfinite(self.weights[row])) if gradients.all() else ("gradient", gradients)
        return f"{what} {self.names[int(np.argmin(finite))]}"

    def to_frame(self) -> pd.DataFrame:
        """One row for each step."""
        return pd.DataFrame(self.to_columns())

    def to_columns(self) -> dict[str, NDArray[Any]]:
        """Of each step, ``[steps]``; named as the metrics are, those of a parameter with its name behind."""
        steps = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            **self.metrics,
            "grad/cosine": self.cosine,
            "grad/skipped": self.skipped,
            "input/max_abs": self.input_max_abs,
            "target/max_abs": self.target_max_abs,
        }
        tensors = {
            keys.GRAD_NORM: self.norms,
            keys.GRAD_NORM_CLIPPED: self.norms_clipped,
            "grad/nonfinite": self.nonfinite,
            "weight/norm": self.weights,
            "update/norm": self.updates,
            "update/ratio": self.update_ratios,
        }
        columns = {
            f"{key}/{name}": values[:, i] for key, values in tensors.items() for i, name in enumerate(self.names)
        }
        return steps | columns


def diverged_steps(loss: Floats, skipped: Booleans, weights: Floats) -> Booleans:
    """Which steps had a non-finite weight, or a non-finite loss whose update was not left out.

    Args:
        loss: ``[...]``, such as ``[steps]``.
        skipped: whether the update was left out, ``[...]``.
        weights: norms of each parameter after the step, ``[..., parameters]``.
    """
    diverged: Booleans = ~np.isfinite(weights).all(axis=-1) | ~(np.isfinite(loss) | skipped)
    return diverged


def _row_norms(rows: Floats) -> Floats:
    from gradclip.norms import row_norms  # here: it loads torch, which reading a record does without

    return row_norms(rows)
