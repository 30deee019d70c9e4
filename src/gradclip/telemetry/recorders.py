"""Measure optimizer steps on the device, and transfer the results in blocks of many steps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

from gradclip.norms import as_real, global_norm, row_part_norms, tensor_norms
from gradclip.sharding import is_distributed, stored
from gradclip.telemetry.batches import largest_of_batches
from gradclip.telemetry.measures import inner_product, nonfinite_counts
from gradclip.telemetry.record import MATRICES, GradientRecord

SMALL_NETWORK = 1_000_000  # parameters; up to so many, a copy at every step costs next to nothing
COPY_LIMIT = 50_000  # trained parameters; copies of them for a block of steps take a few megabytes


class StepIndex(NamedTuple):
    """The position of an optimizer step in the training.

    Attributes:
        step: optimizer step, counted from 1.
        epoch: epoch, counted from 1.
        batch: index of the step's last batch within the epoch, counted from 0.
    """

    step: int
    epoch: int
    batch: int


class Recorder(ABC):
    """Measure gradients and weights at every optimizer step; return the results in blocks, as records.

    For each step call :meth:`record_gradients` before clipping, :meth:`record_update` once the optimizer has stepped,
    and :meth:`record_step`, which counts the step. A step that evaluates its gradients several times is measured at the
    last one. One that ends in between is left out by :meth:`discard_step`. No value is read from the device before
    :meth:`flush`. Complex parameters are measured as pairs of real numbers, as torch's optimizers see
    them.

    Args:
        named_parameters: the parameters to record, with their names.
        changes_direction: whether clipping may change the direction of the gradient, so that its angle is measured.
    """

    def __init__(self, named_parameters: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> None:
        self.names = tuple(name for name, _ in named_parameters)
        self.parameters = [parameter for _, parameter in named_parameters]
        self.changes_direction = changes_direction
        self._zero = torch.zeros((), device=self.parameters[0].device if self.parameters else None)
        self._any_complex = any(parameter.is_complex() for parameter in self.parameters)
        self._indices: list[StepIndex] = []
        self._scalars: list[list[Tensor]] = []  # of each step: the loss and four batch extremes
        self._flags: list[_Flags] = []
        self._scaler_skipped: list[bool | Tensor | None] = []
        self._has_gradients = self._keeps_gradients = False  # of the step that is being recorded
        self.is_open = self.is_updated = False

    @property
    def pending(self) -> int:
        """Number of steps since the last flush."""
        return len(self._indices)

    def record_gradients(self, measure_updates: bool, are_known: bool = True) -> None:
        """Measure the gradients before clipping, and copy the weights if this step's updates are to be measured.

        Args:
            measure_updates: whether they are.
            are_known: whether the gradients are those of the step; if not, their norms are NaN.
        """
        self._has_gradients = are_known and self._find_gradients()
        if self.parameters:
            self._measure_before(measure_updates and not self.is_open)
        self.is_open, self.is_updated = True, False

    def record_update(self) -> None:
        """Measure the gradients after clipping and the weights after the step."""
        self.is_updated, self._keeps_gradients = True, self._find_gradients()
        if self.parameters:
            self._measure_after()

    def discard_step(self) -> None:
        """Forget the step that is being recorded."""
        self.is_open = self.is_updated = self._has_gradients = self._keeps_gradients = False

    def record_step(
        self,
        index: StepIndex,
        loss: Tensor | None,
        batch_extremes: Sequence[Tensor],
        skipped: bool = False,
        scaler_skipped: bool | Tensor | None = False,
    ) -> None:
        """Count the step, whose gradients were recorded.

        Args:
            index: position of the step in the training.
            loss: the step's training loss, a scalar; None where it is not known.
            batch_extremes: of the step's batches, as ``batches.batch_extremes`` returns them; empty if unknown.
            skipped: whether the update is known to be skipped; it is without any gradient.
            scaler_skipped: whether a loss scaler skips the update; None where it does if a gradient is not finite.
        """
        if not self.is_updated:
            self.record_update()
        self._indices.append(index)
        scalars = [self._zero + torch.nan if loss is None else loss, *batch_extremes]
        here = [scalar.to(self._zero.device) for scalar in scalars]  # a batch may have stayed on another device
        self._scalars.append(here + [self._zero] * (5 - len(here)))
        of_pair = len(batch_extremes) == 4
        skipped = skipped or not (self._has_gradients and self._keeps_gradients)
        self._flags.append(_Flags(self._has_gradients, loss is not None, skipped, of_pair))
        self._scaler_skipped.append(scaler_skipped)
        if self.parameters:
            self._keep()
        self.discard_step()

    def flush(self) -> GradientRecord:
        """Return the record of the steps since the last flush, and discard them here."""
        scalars = _to_array(self._scalars)
        indices = np.array(self._indices, dtype=np.int64)
        measured = self._flush_columns() if self.parameters else _nothing(len(indices))
        had_gradients, has_loss, skipped, of_pair = np.array(self._flags).T
        overflowed = [not np.isfinite(norms).all() for norms in measured["norms"]]
        pairs = zip(self._scaler_skipped, overflowed, strict=True)
        scaler_skipped = np.array([bool(known if by is None else by) for by, known in pairs])
        inputs, targets = largest_of_batches(scalars[:, 1:], of_pair)
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
    def _measure_before(self, measure_updates: bool) -> None: ...

    @abstractmethod
    def _measure_after(self) -> None: ...

    @abstractmethod
    def _keep(self) -> None:
        """Keep what was measured before and after the step."""

    @abstractmethod
    def _flush_columns(self) -> dict[str, NDArray[np.float64]]: ...

    def _find_gradients(self) -> bool:
        return any(parameter.grad is not None for parameter in self.parameters)

    def _gradients(self) -> list[Tensor]:
        """Return the gradient of each parameter; zeros for a parameter without one."""
        gradients = [parameter.grad for parameter in self.parameters]
        pairs = zip(gradients, self.parameters, strict=True)
        return self._real([torch.zeros_like(p) if gradient is None else gradient.detach() for gradient, p in pairs])

    def _weights(self) -> list[Tensor]:
        return self._real([parameter.detach() for parameter in self.parameters])

    def _real(self, tensors: list[Tensor]) -> list[Tensor]:
        return [as_real(tensor) for tensor in tensors] if self._any_complex else tensors


class _Flags(NamedTuple):
    """What is known of a step without a look at the device."""

    has_gradients: bool  # before clipping
    has_loss: bool
    skipped: bool
    of_pair: bool  # whether the batch is a pair of floating-point tensors, so that its extremes are known


class CopyingRecorder(Recorder):
    """Recorder of small networks: copies all elements at each step, by three calls, and measures a block at once."""

    def __init__(self, named_parameters: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> None:
        super().__init__(named_parameters, changes_direction)
        self._offsets = np.cumsum([0, *(weight.numel() for weight in self._weights())])[:-1]
        self._gradients_before: list[Tensor] = []
        self._gradients_and_weights: list[Tensor] = []  # after the step
        self._start: Tensor | None = None  # the weights before the first step of the block

    def _measure_before(self, measure_updates: bool) -> None:
        self._before = _flat(self._gradients())
        if self._start is None:
            self._start = _flat(self._weights())

    def _measure_after(self) -> None:
        self._after = _flat([*self._gradients(), *self._weights()])

    def _keep(self) -> None:
        self._gradients_before.append(self._before)
        self._gradients_and_weights.append(self._after)

    def _flush_columns(self) -> dict[str, NDArray[np.float64]]:
        assert self._start is not None
        size = len(self._start)
        before, start = _to_matrix(self._gradients_before), _to_matrix([self._start])
        after, ends = np.split(_to_matrix(self._gradients_and_weights), [size], axis=1)
        weights = np.vstack([start, ends])
        self._start = self._gradients_and_weights[-1][size:]
        self._gradients_before, self._gradients_and_weights = [], []
        nothing = np.full(len(before), np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            return {
                "max_abs": np.abs(before).max(axis=1),
                "inner_product": (before * after).sum(axis=1) if self.changes_direction else nothing,
                "nonfinite": np.add.reduceat(~np.isfinite(before), self._offsets, axis=1, dtype=np.float64),
                "norms": self._norms(before),
                "norms_clipped": self._norms(after),
                "weights": self._norms(weights[1:]),
                "updates": self._norms(np.diff(weights, axis=0)),
            }

    def _norms(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The L2 norm of each parameter's part of each row, ``[steps, parameters]``."""
        return row_part_norms(rows, self._offsets)


class MeasuringRecorder(Recorder):
    """Recorder of all other networks: measures at each step and stores norms and scalars only.

    Of sharded parameters each process records the norms of the whole; all have to record the same steps.
    """

    def __init__(self, named_parameters: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> None:
        super().__init__(named_parameters, changes_direction)
        self._weights_before = [torch.empty_like(weight) for weight in self._weights()]
        self._measure_updates = False
        self._rows: dict[str, list[list[Tensor]]] = {"norms": [], "values": [], "nonfinite": []}

    def _measure_before(self, measure_updates: bool) -> None:
        gradients = self._gradients()
        self._norms_before, self._largest = tensor_norms(gradients), global_norm(gradients, torch.inf)
        self._nonfinite = nonfinite_counts(gradients, self._norms_before)
        self._unclipped = [gradient.clone() for gradient in gradients] if self.changes_direction else None
        self._measure_updates = measure_updates or (self._measure_updates and self.is_open)
        if measure_updates:
            torch._foreach_copy_([stored(weight) for weight in self._weights_before], self._stored_weights())

    def _measure_after(self) -> None:
        gradients, weights = self._gradients(), self._weights()
        product = torch.full_like(self._largest, torch.nan)
        if self._unclipped is not None:
            product = inner_product(gradients, self._unclipped)
        updates = torch.full_like(self._norms_before, torch.nan)
        if self._measure_updates:
            updates = tensor_norms(self._changes(weights))
        self._norms = [self._norms_before, tensor_norms(gradients), tensor_norms(weights), updates]
        self._values = [product, self._largest]

    def _changes(self, weights: list[Tensor]) -> Sequence[Tensor]:
        if any(is_distributed(weight) for weight in weights):  # one call takes no list of both kinds
            return [weight - before for weight, before in zip(weights, self._weights_before, strict=True)]
        return torch._foreach_sub(weights, self._weights_before)

    def _stored_weights(self) -> list[Tensor]:
        return [stored(weight) for weight in self._weights()]

    def _keep(self) -> None:
        self._rows["norms"].append(self._norms)
        self._rows["values"].append(self._values)
        self._rows["nonfinite"].append([self._nonfinite])

    def _flush_columns(self) -> dict[str, NDArray[np.float64]]:
        arrays = {name: _to_array(rows) for name, rows in self._rows.items()}
        self._rows = {name: [] for name in self._rows}
        norms = zip(("norms", "norms_clipped", "weights", "updates"), np.split(arrays["norms"], 4, axis=1), strict=True)
        return {
            "max_abs": arrays["values"][:, 1],
            "inner_product": arrays["values"][:, 0],
            "nonfinite": arrays["nonfinite"],
            **dict(norms),
        }


def make_recorder(named_parameters: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> Recorder:
    """Return the recorder that costs least for these parameters; arguments are those of :class:`Recorder`."""
    parameters = [parameter for _, parameter in named_parameters]
    is_small = sum(parameter.numel() for parameter in parameters) <= COPY_LIMIT
    can_copy = is_small and not any(is_distributed(parameter) for parameter in parameters)
    return (CopyingRecorder if can_copy else MeasuringRecorder)(named_parameters, changes_direction)


def default_updates_every(parameters: int) -> int:
    """Return the default of ``updates_every``, in optimizer steps, for a network of this many parameters."""
    return 1 if parameters <= SMALL_NETWORK else 10


def _nothing(steps: int) -> dict[str, NDArray[np.float64]]:
    """The columns of steps in which no parameter is trained."""
    numbers = {column: np.full(steps, np.nan) for column in ("max_abs", "inner_product")}
    return numbers | {column: np.empty((steps, 0)) for column in MATRICES}


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return a copy of all elements, one tensor after the other, by a single call."""
    flat: Tensor = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return flat.clone() if len(tensors) == 1 else flat  # of one tensor it is a view, which clipping would change


def _to_matrix(rows: Sequence[Tensor]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = torch.stack(list(rows)).cpu().double().numpy()
    return values


def _to_array(rows: Sequence[Sequence[Tensor]]) -> NDArray[np.float64]:
    return _to_matrix([scalar for row in rows for scalar in row]).reshape(len(rows), -1)
