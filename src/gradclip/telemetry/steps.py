"""The base class of recorders, which collects optimizer steps and returns them in blocks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradclip.arrays import Floats
from gradclip.norms.tensors import as_real
from gradclip.telemetry.batches import largest_of_batches
from gradclip.telemetry.record import MATRICES, GradientRecord


class StepIndex(NamedTuple):
    """The position of an optimizer step in the training run.

    Attributes:
        step: optimizer step, counted from 1.
        epoch: epoch, counted from 1.
        batch: index of the step's last batch within the epoch, counted from 0.
    """

    step: int
    epoch: int
    batch: int


class Effect(Enum):
    """The possible change of a step's gradients between their two measurements."""

    ANY = "any change, including of the direction, so that the angle is measured"
    LENGTH = "no change of the direction"
    FACTOR = "multiplication of all gradients by one number in one operation, and no other change"


class Recorder(ABC):
    """Measure gradients and weights at every optimizer step; return the results in blocks, as records.

    For each step, call :meth:`record_gradients` before clipping, :meth:`record_clipped` after it, :meth:`record_update`
    after the optimizer's step, and then :meth:`record_step`, which counts the step. If a step evaluates its gradients
    several times, the last evaluation is measured. Call :meth:`discard_step` for a step that was interrupted. No value
    is read from the device before :meth:`flush`. Complex parameters are measured as pairs of real numbers, as torch's
    optimizers treat them.

    Args:
        named_parameters: the parameters to record, with their names.
        effect: what clipping does to the gradients.
    """

    def __init__(self, named_parameters: Sequence[tuple[str, nn.Parameter]], effect: Effect) -> None:
        self.names = tuple(name for name, _ in named_parameters)
        self.parameters = [parameter for _, parameter in named_parameters]
        self.effect = effect
        self._zero = torch.zeros((), device=self.parameters[0].device if self.parameters else None)
        self._any_complex = any(parameter.is_complex() for parameter in self.parameters)
        self._indices: list[StepIndex] = []
        self._scalars: list[list[Tensor]] = []  # for each step: the loss and four batch extremes
        self._flags: list[_Flags] = []
        self._scaler_skipped: list[bool | Tensor | None] = []
        self._has_gradients = self._keeps_gradients = False  # in the step that is being recorded
        self.is_open = self._is_clipped = self.is_updated = False

    @property
    def pending(self) -> int:
        """Number of steps since the last flush."""
        return len(self._indices)

    @torch.no_grad()
    def record_gradients(self, measure_updates: bool, are_known: bool = True) -> None:
        """Measure the gradients before clipping, and copy the weights if the step's updates will be measured.

        Args:
            measure_updates: whether to measure the step's updates.
            are_known: whether the gradients are those of the step; if not, their norms are NaN.
        """
        self._has_gradients = are_known and self._any_gradient()
        if self.parameters and self.is_open:
            self._measure_gradients()
        elif self.parameters:
            self._start_step(measure_updates)
        self.is_open, self._is_clipped, self.is_updated = True, False, False

    @torch.no_grad()
    def record_clipped(self) -> None:
        """Measure the gradients after clipping, before the optimizer uses them, since its step may change them.

        Only the first call after :meth:`record_gradients` counts.
        """
        if self._is_clipped:
            return
        self._is_clipped, self._keeps_gradients = True, self._any_gradient()
        if self.parameters:
            self._measure_clipped()

    @torch.no_grad()
    def record_update(self) -> None:
        """Measure the weights after the step; if :meth:`record_clipped` was not called, measure the gradients, too."""
        if not self._is_clipped:
            self.record_clipped()
        self.is_updated = True
        if self.parameters:
            self._measure_weights()

    def discard_step(self) -> None:
        """Discard the step that is being recorded."""
        self.is_open = self._is_clipped = self.is_updated = self._has_gradients = self._keeps_gradients = False

    def record_step(
        self,
        index: StepIndex,
        loss: Tensor | None,
        batch_extremes: Sequence[Tensor],
        skipped: bool = False,
        scaler_skipped: bool | Tensor | None = False,
    ) -> None:
        """Count the step whose gradients were recorded.

        Args:
            index: position of the step in the training run.
            loss: the step's training loss, a scalar; None if it is not known.
            batch_extremes: extremes of the step's batches, as from ``batches.batch_extremes``; empty if unknown.
            skipped: whether the update is known to be skipped; without any gradient it always is.
            scaler_skipped: whether a loss scaler skips the update; None if it does so when a gradient is not finite.
        """
        if not self.is_updated:
            self.record_update()
        self._indices.append(index)
        scalars = [self._zero + torch.nan if loss is None else loss, *batch_extremes]
        here = [scalar.to(self._zero.device) for scalar in scalars]  # a batch may have stayed on another device
        self._scalars.append(here + [self._zero] * (5 - len(here)))
        has_extremes = len(batch_extremes) == 4
        skipped = skipped or not (self._has_gradients and self._keeps_gradients)
        self._flags.append(_Flags(self._has_gradients, loss is not None, skipped, has_extremes))
        self._scaler_skipped.append(scaler_skipped)
        if self.parameters:
            self._keep()
        self.discard_step()

    def flush(self) -> GradientRecord:
        """Return the record of the steps since the last flush, and clear them."""
        scalars = _read_scalars(self._scalars)
        indices = np.array(self._indices, dtype=np.int64)
        measured = self._flush_columns() if self.parameters else _nothing(len(indices))
        had_gradients, has_loss, skipped, has_extremes = np.array(self._flags).T
        overflowed = ~np.all(np.isfinite(measured["norms"]), axis=1)
        by_scaler = zip(self._scaler_skipped, overflowed, strict=True)
        scaler_skipped = np.array(
            [bool(has_overflowed if skips is None else skips) for skips, has_overflowed in by_scaler]
        )
        inputs, targets = largest_of_batches(scalars[:, 1:], has_extremes)
        if not had_gradients.all():
            for column in ("max_abs", "norms", "norms_clipped"):
                measured[column][~had_gradients] = np.nan
        record = GradientRecord(
            names=self.names,
            step=indices[:, 0],
            epoch=indices[:, 1],
            batch=indices[:, 2],
            loss=scalars[:, 0],
            learning_rate=np.full(len(indices), np.nan),
            input_max_abs=inputs,
            target_max_abs=targets,
            has_loss=has_loss,
            skipped=skipped | scaler_skipped,
            scaler_skipped=scaler_skipped,
            **measured,
        )
        self._indices, self._scalars, self._flags = [], [], []
        self._scaler_skipped = []
        return record

    @abstractmethod
    def _start_step(self, measure_updates: bool) -> None:
        """Measure the gradients before clipping, and copy the weights if the step's updates will be measured."""

    @abstractmethod
    def _measure_gradients(self) -> None:
        """Measure the gradients of another evaluation in the same step, before clipping."""

    @abstractmethod
    def _measure_clipped(self) -> None: ...

    @abstractmethod
    def _measure_weights(self) -> None: ...

    @abstractmethod
    def _keep(self) -> None:
        """Store the measurements of the step."""

    @abstractmethod
    def _flush_columns(self) -> dict[str, Floats]: ...

    def _any_gradient(self) -> bool:
        return any(parameter.grad is not None for parameter in self.parameters)

    def _gradients(self) -> list[Tensor]:
        """Return the gradient of each parameter; zeros if it has none."""
        return self._real([torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters])

    def _weights(self) -> list[Tensor]:
        return self._real([*self.parameters])

    def _real(self, tensors: list[Tensor]) -> list[Tensor]:
        return [as_real(tensor) for tensor in tensors] if self._any_complex else tensors


class _Flags(NamedTuple):
    """Facts about a step that are known without reading from the device."""

    has_gradients: bool  # before clipping
    has_loss: bool
    skipped: bool
    has_extremes: bool  # whether the batch is a pair of floating-point tensors, so that its extremes are known


def _nothing(steps: int) -> dict[str, Floats]:
    """Return the columns of steps in which no parameter is trained."""
    numbers = {column: np.full(steps, np.nan) for column in ("max_abs", "inner_product")}
    return numbers | {column: np.empty((steps, 0)) for column in MATRICES}


def _read_scalars(rows: Sequence[Sequence[Tensor]]) -> Floats:
    """Return rows of scalars as an array, read one by one on a CPU (a tenth of the time) and at once elsewhere."""
    if rows[0][0].is_cpu:
        return np.array([[scalar.item() for scalar in row] for row in rows], dtype=np.float64)
    return to_array(rows)


def to_array(rows: Sequence[Sequence[Tensor]]) -> Floats:
    """Return rows of tensors of one shape as an array, each row with all elements, read from the device at once."""
    values: Floats = torch.stack([tensor for row in rows for tensor in row]).cpu().double().numpy()
    return values.reshape(len(rows), -1)
