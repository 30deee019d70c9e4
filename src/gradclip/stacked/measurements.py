"""Measurements of the optimizer steps of stacked replicas, on their device."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gradclip.norms.tensors import part_norms, wide_type

FLUSH_EVERY = 20  # optimizer steps, as GradientMonitor's default: divergence is detected at a flush
KEPT_BYTES = 2**20  # gradients measured together: about as much as a CPU caches; weights take as much again
KEPT_BYTES_GPU = 2**27  # more on a GPU, where each kernel launch costs time; copies take about seven times as much
SCALARS = ("loss", "input_max_abs", "target_max_abs", "skipped", "max_abs", "inner_product")  # per step and replica


class StackedStep(NamedTuple):
    """The tensors that are measured of one optimizer step of all replicas.

    Attributes:
        scalars: training loss, largest |element| of inputs and of targets (NaN unless both are floating-point), and
            whether the update was skipped, ``[4, replicas]``.
        gradients: gradients before clipping, ``[replicas, parameters]``.
        clipped: if clipping multiplies, the coefficients, ``[replicas, 1]`` or ``[replicas, parameter tensors]``;
            otherwise the gradients after clipping, ``[replicas, parameters]``.
    """

    scalars: Tensor
    gradients: Tensor
    clipped: Tensor


class StackedMeasurements:
    """Measurements of optimizer steps, made without waiting for a GPU.

    Steps are kept and then measured together, because several small steps take no longer than one.

    Args:
        parameters: weights before the first step, ``[replicas, parameters]``.
        sizes: the numbers of elements of the parameter tensors.
        multiplies: whether clipping multiplies the gradients, so that a step has coefficients.
        changes_direction: whether clipping may change the direction of the gradient, so that its angle is measured.
    """

    def __init__(self, parameters: Tensor, sizes: Sequence[int], *, multiplies: bool, changes_direction: bool) -> None:
        self.sizes, self.wide = list(sizes), wide_type(parameters)
        self.multiplies, self.changes_direction = multiplies, changes_direction
        self.max_kept = _steps_per_measurement(parameters)
        self._kept: list[StackedStep] = []  # steps that are not measured yet
        self._due: list[bool] = []  # whether the change of the weights in each is measured
        self._weights = [parameters.clone()]  # before the first kept step, and after each
        self._measured: list[tuple[Tensor, Tensor]] = []

    def add(self, step: StackedStep, parameters: Tensor, measures_update: bool) -> None:
        """Keep a step, and measure the kept steps once there are enough.

        Args:
            step: tensors of the step.
            parameters: the weights after the step, ``[replicas, parameters]``.
            measures_update: whether the change of the weights is measured.
        """
        self._kept.append(step)
        self._due.append(measures_update)
        self._weights.append(parameters.clone())
        if len(self._kept) == self.max_kept:
            self._measure()

    def take(self) -> tuple[Tensor, Tensor]:
        """Return the measurements of all steps since the last call.

        Returns:
            ``SCALARS``, ``[scalars, steps, replicas]``, and the matrices of a record, ``[matrices, steps, replicas,
            parameter tensors]``.
        """
        if self._kept:
            self._measure()
        scalars, matrices = (torch.cat(parts, dim=1) for parts in zip(*self._measured, strict=True))
        self._measured.clear()
        return scalars, matrices

    def _measure(self) -> None:
        """Measure the kept steps and discard them."""
        kept_scalars, gradients, clipped = map(_stack_steps, zip(*self._kept, strict=True))
        loss, inputs, targets, skipped = kept_scalars.to(self.wide).unbind(dim=1)
        norms = self._norms(gradients)
        max_abs = torch.maximum(gradients.amax(dim=2), -gradients.amin(dim=2))
        norms_clipped, product = self._measure_clipped(gradients, clipped, norms)
        skipped = skipped * (norms != 0).any(dim=2)  # without a gradient there is no update to skip
        scalars = (loss, inputs, targets, skipped, max_abs.to(self.wide), product)
        norms_of_weights, updates = self._norms(_stack_steps(self._weights[1:])), self._update_norms()
        matrices = (self._nonfinite(gradients, max_abs), norms, norms_clipped, norms_of_weights, updates)
        self._measured.append((torch.stack(scalars), torch.stack(matrices)))
        self._kept, self._due, self._weights = [], [], self._weights[-1:]

    def _norms(self, kept: Tensor) -> Tensor:
        """Return the L2 norm of each parameter tensor's part of ``[steps, replicas, parameters]``."""
        return part_norms(kept.flatten(0, 1), self.sizes).view(*kept.shape[:2], -1)

    def _measure_clipped(self, gradients: Tensor, clipped: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
        """Return the norms after clipping, and the inner product of the gradients before and after it."""
        norms_clipped = norms * clipped if self.multiplies else self._norms(clipped)
        if not self.changes_direction:
            return norms_clipped, norms.new_full(norms.shape[:2], torch.nan)
        parts = norms * norms_clipped if self.multiplies else gradients.to(self.wide) * clipped
        return norms_clipped, parts.sum(dim=2)

    def _nonfinite(self, gradients: Tensor, max_abs: Tensor) -> Tensor:
        """Return the number of NaN or infinite elements of each parameter tensor's gradient."""
        if gradients.is_cpu and max_abs.max() < torch.inf:  # a CPU reads this without waiting
            return gradients.new_zeros(*max_abs.shape, len(self.sizes), dtype=self.wide)
        bad = gradients * 0 != 0  # two operations; isfinite takes four
        return torch.stack([part.sum(dim=2) for part in torch.split(bad, self.sizes, dim=2)], dim=2).to(self.wide)

    def _update_norms(self) -> Tensor:
        """Return the norms of the weight changes in the kept steps; NaN if not measured."""
        pairs = zip(pairwise(self._weights), self._due, strict=True)
        changes = [after - before for (before, after), due in pairs if due]
        norms = iter(self._norms(_stack_steps(changes)) if changes else ())
        unknown = self._weights[0].new_full((len(self._weights[0]), len(self.sizes)), torch.nan, dtype=self.wide)
        return torch.stack([next(norms) if due else unknown for due in self._due])


def _stack_steps(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors of several steps, ``[steps, ...]``; the tensor of a single step is not copied."""
    return torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0][None]


def _steps_per_measurement(parameters: Tensor) -> int:
    """Return how many steps are measured together, a divisor of FLUSH_EVERY."""
    limit = KEPT_BYTES if parameters.is_cpu else KEPT_BYTES_GPU
    fitting = max(1, limit // (parameters.numel() * parameters.element_size()))
    return max(steps for steps in range(1, FLUSH_EVERY + 1) if FLUSH_EVERY % steps == 0 and steps <= fitting)
