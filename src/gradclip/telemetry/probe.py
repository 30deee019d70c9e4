"""Measure one optimizer step on the device, and read many steps back at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradclip.telemetry.measure import change_norms, extremes, inner_product, nonfinite_counts, norms
from gradclip.telemetry.record import GradientRecord


class Place(NamedTuple):
    """Which step it is: the optimizer step and the epoch, counted from 1, and the batch within the epoch, from 0."""

    step: int
    epoch: int
    batch: int


class Measurement(NamedTuple):
    """One step, as scalars that are still on the device; lists are in the order of the parameters."""

    place: Place
    norms: list[Tensor]  # before, after, of the weights, of their change: float64, four for each parameter
    values: list[Tensor]  # loss, inner product, ends of inputs and target, ends of each gradient before clipping
    nonfinite: list[Tensor]  # number of such elements before clipping


class Probe:
    """Measure gradients before and after clipping, and the weights' change.

    Args:
        parameters: what is trained.
        bends: whether clipping may turn the gradient, so that its angle is worth a copy.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], bends: bool) -> None:
        self.parameters, self.bends = list(parameters), bends
        self._weights = [torch.empty_like(parameter) for parameter in parameters]

    def before(self, watch_change: bool) -> None:
        """Measure the gradients before clipping; copy the weights if their change is to be measured."""
        gradients = self._gradients()
        self._before = norms(gradients)
        self._ends, self._nonfinite = extremes(gradients), nonfinite_counts(gradients)
        self._copies = [gradient.clone() for gradient in gradients] if self.bends else None
        self._watch_change = watch_change
        if watch_change:
            torch._foreach_copy_(self._weights, [parameter.detach() for parameter in self.parameters])

    def after(self, place: Place, loss: Tensor, batch_ends: list[Tensor]) -> Measurement:
        """Measure the gradients after clipping and the weights after the step."""
        gradients = self._gradients()
        nothing = loss.new_full((), torch.nan)
        product = nothing if self._copies is None else inner_product(gradients, self._copies)
        weights = [parameter.detach() for parameter in self.parameters]
        change = change_norms(weights, self._weights) if self._watch_change else [nothing.double()] * len(weights)
        all_norms = [*self._before, *norms(gradients), *norms(weights), *change]
        ends = batch_ends if batch_ends else [nothing] * 4
        return Measurement(place, all_norms, [loss, product, *ends, *self._ends], self._nonfinite)

    def _gradients(self) -> list[Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]


def batch_ends(batch: Any) -> list[Tensor]:
    """Return least and greatest of a batch's inputs and of its target, if it is a pair of real tensors; else nothing.

    Example:
        >>> batch_ends((torch.tensor([1.0, -2.0]), torch.tensor([5.0])))
        [tensor(-2.), tensor(1.), tensor(5.), tensor(5.)]
    """
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        return []
    pair = [part for part in batch if isinstance(part, Tensor) and part.is_floating_point() and part.numel()]
    return extremes(pair) if len(pair) == 2 else []


def read_back(names: tuple[str, ...], steps: Sequence[Measurement]) -> GradientRecord:
    """Turn measurements into a record: one transfer for each kind of number."""
    count = len(names)
    all_norms = _to_array([step.norms for step in steps]).reshape(len(steps), 4, count)
    values = _to_array([step.values for step in steps])
    largest = np.abs(values[:, 2:]).reshape(len(steps), 2 + count, 2).max(axis=2)
    places = np.array([step.place for step in steps], dtype=np.int64)
    return GradientRecord(
        names=names,
        step=places[:, 0],
        epoch=places[:, 1],
        batch=places[:, 2],
        loss=values[:, 0],
        max_abs=largest[:, 2:].max(axis=1),
        input_max_abs=largest[:, 0],
        target_max_abs=largest[:, 1],
        inner_product=values[:, 1],
        nonfinite=_to_array([step.nonfinite for step in steps]),
        norms=all_norms[:, 0],
        norms_clipped=all_norms[:, 1],
        weights=all_norms[:, 2],
        updates=all_norms[:, 3],
    )


def _to_array(rows: list[list[Tensor]]) -> NDArray[np.float64]:
    flat = torch.stack([scalar for row in rows for scalar in row])
    values: NDArray[np.float64] = flat.cpu().double().numpy()
    return values.reshape(len(rows), -1)
