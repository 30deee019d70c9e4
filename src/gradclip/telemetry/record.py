"""The gradients of a run, step by step, as plain arrays, and what can be read from them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradclip import keys

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Divergence:
    """Where the first non-finite number stood.

    Attributes:
        step: the optimizer step, counted from 1.
        epoch: the epoch, counted from 1.
        place: ``loss``, or ``gradient`` or ``weight`` and the parameter's name.
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
        loss: training loss, mean over accumulated batches, ``[steps]``.
        max_abs: largest |element| of any gradient before clipping, ``[steps]``.
        norms: L2 norm of each gradient before clipping, ``[steps, parameters]``.
        norms_clipped: L2 norm of each gradient after clipping, ``[steps, parameters]``.
        weights: largest |element| of each parameter after the step, ``[steps, parameters]``.
    """

    names: tuple[str, ...]
    step: Integers
    epoch: Integers
    loss: Floats
    max_abs: Floats
    norms: Floats
    norms_clipped: Floats
    weights: Floats

    @classmethod
    def join(cls, names: tuple[str, ...], records: Sequence["GradientRecord"]) -> "GradientRecord":
        """Put records of the same parameters one after the other."""
        count = len(names)
        none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)
        empty = cls(names, *none, *(np.empty((0, count)) for _ in range(3)))
        columns = [field.name for field in fields(cls) if field.name != "names"]
        return cls(names, *(np.concatenate([getattr(r, name) for r in (empty, *records)]) for name in columns))

    @cached_property
    def norm(self) -> Floats:
        """Global L2 norm before clipping, ``[steps]``."""
        return _root_sum_square(self.norms)

    @cached_property
    def norm_clipped(self) -> Floats:
        """Global L2 norm after clipping, ``[steps]``."""
        return _root_sum_square(self.norms_clipped)

    @cached_property
    def coefficient(self) -> Floats:
        """Norm after over norm before, ``[steps]``; 1 where the gradient is zero."""
        with np.errstate(invalid="ignore"):
            return np.divide(self.norm_clipped, self.norm, out=np.ones_like(self.norm), where=self.norm != 0)

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
        """The first step with a non-finite loss, gradient or weight, and which of them came first in it."""
        finite = self._finite_steps()
        if finite.all():
            return None
        row = int(np.argmin(finite))
        return Divergence(int(self.step[row]), int(self.epoch[row]), self._first_place(row))

    def _finite_steps(self) -> NDArray[np.bool_]:
        wide = np.hstack([self.loss[:, None], self.norms, self.norms_clipped, self.weights])
        return np.asarray(np.isfinite(wide).all(axis=1))

    def _first_place(self, row: int) -> str:
        if not np.isfinite(self.loss[row]):
            return "loss"
        gradients = np.isfinite(self.norms[row]) & np.isfinite(self.norms_clipped[row])
        what, finite = ("weight", np.isfinite(self.weights[row])) if gradients.all() else ("gradient", gradients)
        return f"{what} {self.names[int(np.argmin(finite))]}"

    def to_frame(self) -> pd.DataFrame:
        """One row for each step: the columns are the metrics' names, and for each parameter its norms and weights."""
        steps = {
            "step": self.step,
            "epoch": self.epoch,
            keys.LOSS_STEP: self.loss,
            keys.GRAD_NORM: self.norm,
            keys.GRAD_NORM_CLIPPED: self.norm_clipped,
            keys.GRAD_MAX_ABS: self.max_abs,
            keys.GRAD_COEFFICIENT: self.coefficient,
        }
        tensors = {
            keys.GRAD_NORM: self.norms,
            keys.GRAD_NORM_CLIPPED: self.norms_clipped,
            "weight/max_abs": self.weights,
        }
        columns = {
            f"{key}/{name}": values[:, i] for key, values in tensors.items() for i, name in enumerate(self.names)
        }
        return pd.DataFrame(steps | columns)


def _root_sum_square(norms: Floats) -> Floats:
    """Float64 squares of float32 norms cannot overflow."""
    total: Floats = np.sqrt(np.sum(np.square(norms), axis=1))
    return total
