"""Measure optimizer steps on the device, and read many of them back at once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

from gradclip.norms import row_part_norms, tensor_norms
from gradclip.telemetry.measures import extremes, inner_product, nonfinite_counts
from gradclip.telemetry.record import GradientRecord

SMALL = 50_000  # parameters, of which whole copies of a block of steps take a few megabytes


class StepIndex(NamedTuple):
    """Which step it is: the optimizer step and the epoch, counted from 1, and the batch within the epoch, from 0."""

    step: int
    epoch: int
    batch: int


class Recorder(ABC):
    """Look at gradients before and after clipping, and at weights; read the numbers back later, in blocks.

    Args:
        named: the parameters that are trained.
        changes_direction: whether clipping may turn the gradient, so that its angle is worth a look.
    """

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> None:
        self.names = tuple(name for name, _ in named)
        self.parameters = [parameter for _, parameter in named]
        self.changes_direction = changes_direction
        self.places: list[StepIndex] = []
        self._are_gone: list[bool] = []
        self._scalars: list[list[Tensor]] = []

    @abstractmethod
    def before(self, watch_change: bool) -> None:
        """Look at the gradients before clipping, and at the weights if their change is to be measured."""

    def after(self, place: StepIndex, loss: Tensor, batch_extremes: list[Tensor]) -> None:
        """Look at the gradients after clipping and the weights after the step."""
        self.places.append(place)
        self._scalars.append([loss, *(batch_extremes or [loss.new_full((), torch.nan)] * 4)])
        self._are_gone.append(all(parameter.grad is None for parameter in self.parameters))
        self._look_after()

    def read_back(self) -> GradientRecord:
        """Return the steps since the last reading, and forget them."""
        scalars = _to_array(self._scalars)
        ends = np.abs(scalars[:, 1:]).reshape(len(scalars), 2, 2).max(axis=2)
        places, measured = np.array(self.places, dtype=np.int64), self._read()
        record = GradientRecord(
            names=self.names,
            step=places[:, 0],
            epoch=places[:, 1],
            batch=places[:, 2],
            loss=scalars[:, 0],
            input_max_abs=ends[:, 0],
            target_max_abs=ends[:, 1],
            skipped=np.array(self._are_gone) & (measured["norms"] != 0).any(axis=1),
            **measured,
        )
        self.places, self._scalars, self._are_gone = [], [], []
        return record

    @abstractmethod
    def _look_after(self) -> None: ...

    @abstractmethod
    def _read(self) -> dict[str, NDArray[np.float64]]: ...

    def _gradients(self) -> list[Tensor]:
        gradients = [parameter.grad for parameter in self.parameters]
        pairs = zip(gradients, self.parameters, strict=True)
        return [torch.zeros_like(p) if gradient is None else gradient.detach() for gradient, p in pairs]

    def _weights(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.parameters]


class CopyingRecorder(Recorder):
    """For small networks: copy everything at each step, which takes three calls, and measure a block at once."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> None:
        super().__init__(named, changes_direction)
        self._offsets = np.cumsum([0, *(parameter.numel() for parameter in self.parameters)])[:-1]
        self._before: list[Tensor] = []
        self._after: list[Tensor] = []  # gradients, then weights
        self._start: Tensor | None = None  # the weights before the first step of the block

    def before(self, watch_change: bool) -> None:
        """Copy the gradients; at the very first step the weights too."""
        self._before.append(_flat(self._gradients()))
        if self._start is None:
            self._start = _flat(self._weights())

    def _look_after(self) -> None:
        self._after.append(_flat([*self._gradients(), *self._weights()]))

    def _read(self) -> dict[str, NDArray[np.float64]]:
        assert self._start is not None
        size = len(self._start)
        before, both, start = _to_matrix(self._before), _to_matrix(self._after), _to_matrix([self._start])
        after, trail = both[:, :size], np.vstack([start, both[:, size:]])
        self._start = self._after[-1][size:]
        self._before, self._after = [], []
        with np.errstate(invalid="ignore", over="ignore"):
            return {
                "max_abs": np.abs(before).max(axis=1),
                "inner_product": (before * after).sum(axis=1)
                if self.changes_direction
                else np.full(len(before), np.nan),
                "nonfinite": np.add.reduceat(~np.isfinite(before), self._offsets, axis=1, dtype=np.float64),
                "norms": self._norms(before),
                "norms_clipped": self._norms(after),
                "weights": self._norms(trail[1:]),
                "updates": self._norms(np.diff(trail, axis=0)),
            }

    def _norms(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The L2 norm of each parameter's part of each row, ``[steps, parameters]``."""
        return row_part_norms(rows, self._offsets)


class MeasuringRecorder(Recorder):
    """For all other networks: measure at each step and keep scalars only."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> None:
        super().__init__(named, changes_direction)
        self._copies = [torch.empty_like(parameter) for parameter in self.parameters]
        self._rows: dict[str, list[list[Tensor]]] = {"norms": [], "values": [], "nonfinite": []}

    def before(self, watch_change: bool) -> None:
        """Measure the gradients; copy the weights if their change is to be measured."""
        gradients = self._gradients()
        self._norms_before, self._ends = tensor_norms(gradients), extremes(gradients)
        self._rows["nonfinite"].append(nonfinite_counts(gradients))
        self._unclipped = [gradient.clone() for gradient in gradients] if self.changes_direction else None
        self._watch_change = watch_change
        if watch_change:
            torch._foreach_copy_(self._copies, self._weights())

    def _look_after(self) -> None:
        gradients, weights = self._gradients(), self._weights()
        nothing = self._ends[0].new_full((), torch.nan)
        product = nothing if self._unclipped is None else inner_product(gradients, self._unclipped)
        change = self._change(weights) if self._watch_change else torch.full_like(self._norms_before, torch.nan)
        self._rows["norms"].append([self._norms_before, tensor_norms(gradients), tensor_norms(weights), change])
        self._rows["values"].append([product, *self._ends])

    def _change(self, weights: Sequence[Tensor]) -> Tensor:
        return tensor_norms(torch._foreach_sub(list(weights), self._copies))

    def _read(self) -> dict[str, NDArray[np.float64]]:
        arrays = {name: _to_array(rows) for name, rows in self._rows.items()}
        self._rows = {name: [] for name in self._rows}
        kinds = np.split(arrays["norms"], 4, axis=1)
        names = ("norms", "norms_clipped", "weights", "updates")
        return {
            "max_abs": np.abs(arrays["values"][:, 1:]).max(axis=1),
            "inner_product": arrays["values"][:, 0],
            "nonfinite": arrays["nonfinite"],
            **dict(zip(names, kinds, strict=True)),
        }


def make_recorder(named: Sequence[tuple[str, nn.Parameter]], changes_direction: bool) -> Recorder:
    """Return the probe that costs least for these parameters."""
    size = sum(parameter.numel() for _, parameter in named)
    return (CopyingRecorder if size <= SMALL else MeasuringRecorder)(named, changes_direction)


def batch_extremes(batch: Any) -> list[Tensor]:
    """Return least and greatest of a batch's inputs and of its target, if it is a pair of real tensors; else nothing.

    Example:
        >>> batch_extremes((torch.tensor([1.0, -2.0]), torch.tensor([5.0])))
        [tensor(-2.), tensor(1.), tensor(5.), tensor(5.)]
    """
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        return []
    pair = [part for part in batch if isinstance(part, Tensor) and part.is_floating_point() and part.numel()]
    return extremes(pair) if len(pair) == 2 else []


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """A copy of all elements one after the other, by a single call."""
    flat: Tensor = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
    return flat.clone() if len(tensors) == 1 else flat  # of one tensor it is a view, which clipping would change


def _to_matrix(rows: Sequence[Tensor]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = torch.stack(list(rows)).cpu().double().numpy()
    return values


def _to_array(rows: Sequence[Sequence[Tensor]]) -> NDArray[np.float64]:
    return _to_matrix([scalar for row in rows for scalar in row]).reshape(len(rows), -1)
