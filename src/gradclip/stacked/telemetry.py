"""Record the gradients of stacked replicas; each replica's record is the one that its ordinary run would have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradclip.arrays import Booleans, Floats
from gradclip.norms.tensors import part_norms, tensor_norms
from gradclip.stacked.clipping import Clipped
from gradclip.stacked.state import TensorOptions
from gradclip.telemetry.divergence import diverged_steps
from gradclip.telemetry.hidden_states import MAX_SNAPSHOTS, HiddenStateRecord, RecurrentLayer, layer_name
from gradclip.telemetry.record import MATRICES, GradientRecord
from gradclip.telemetry.steps import StepIndex

FLUSH_EVERY = 20  # optimizer steps, the default of GradientMonitor: a diverged training is noticed at a flush
SCALARS = ("loss", "input_max_abs", "target_max_abs", "max_abs", "inner_product", "skipped")


@dataclass(frozen=True)
class StackedStep:
    """Everything that is measured of one optimizer step of all replicas.

    Attributes:
        losses: training loss of each replica, ``[replicas]``.
        batch_max_abs: largest |element| of the step's inputs and targets, ``[2, replicas]``; NaN unless both are
            floating-point.
        gradients: before clipping, ``[replicas, parameters]``.
        clipped: what clipping made of them.
        parameters: after the step, ``[replicas, parameters]``.
        change: of the parameters in the step, ``[replicas, parameters]``; None where it is not to be measured.
    """

    losses: Tensor
    batch_max_abs: Tensor
    gradients: Tensor
    clipped: Clipped
    parameters: Tensor
    change: Tensor | None


class StackedRecorder:
    """Measure optimizer steps of all replicas into buffers on the device; transfer them in blocks.

    Args:
        names: names of the parameter tensors.
        sizes: their numbers of elements.
        changes_direction: whether clipping may change the direction of the gradient, so that its angle is measured.
        replicas: number of all replicas.
        total_steps: optimizer steps of a training that does not end early.
    """

    def __init__(
        self, names: tuple[str, ...], sizes: Sequence[int], changes_direction: bool, replicas: int, total_steps: int
    ) -> None:
        self.names, self.sizes, self.changes_direction = names, list(sizes), changes_direction
        self._indices = np.empty((total_steps, 3), dtype=np.int64)
        self._steps = self._flushed = 0
        self._arrived: tuple[slice, Floats, Floats] | None = None  # steps, and their scalars and matrices
        self._scalars = np.empty((len(SCALARS), replicas, total_steps))  # memory is taken where something is written
        self._matrices = np.empty((len(MATRICES), replicas, total_steps, len(names)))

    @property
    def pending(self) -> int:
        """Number of steps since the last flush."""
        return self._steps - self._flushed

    def start_block(self, replicas: Tensor, options: TensorOptions) -> None:
        """Make buffers on the device for the replicas with these indices, ``[replicas]``; nothing may be pending."""
        self._write_arrived()
        are_all = len(replicas) == self._scalars.shape[1]
        self._replicas = slice(None) if are_all else replicas.numpy()  # a slice is written five times as fast
        device, wide = options.device, options.wide
        self._row = torch.zeros(1, dtype=torch.int64, device=device)  # where in the buffers the next step goes
        scalars, matrices = (len(SCALARS), len(replicas)), (len(MATRICES), len(replicas), len(self.sizes))
        self._scalar_buffer = torch.empty(FLUSH_EVERY, *scalars, dtype=wide, device=device)
        self._matrix_buffer = torch.empty(FLUSH_EVERY, *matrices, dtype=wide, device=device)

    def measure(self, step: StackedStep) -> None:
        """Measure a step into the buffers, by operations on the device only."""
        max_abs = step.gradients.abs().amax(dim=1)
        norms = self._norms(step.gradients)
        product = torch.full_like(step.losses, torch.nan)
        if self.changes_direction:
            product = (step.gradients.double() * step.clipped.gradients).sum(dim=1)
        skipped = torch.zeros_like(step.losses)
        if step.clipped.skipped is not None:
            skipped = step.clipped.skipped & (norms != 0).any(dim=1)
        scalars = (step.losses, *step.batch_max_abs, max_abs, product, skipped)
        updates = torch.full_like(norms, torch.nan) if step.change is None else self._norms(step.change)
        nonfinite = self._nonfinite(step.gradients, max_abs).to(norms.dtype)
        matrices = (nonfinite, norms, self._norms_clipped(step, norms), self._norms(step.parameters), updates)
        wide = self._scalar_buffer.dtype
        self._scalar_buffer.index_copy_(0, self._row, torch.stack(scalars)[None].to(wide))
        self._matrix_buffer.index_copy_(0, self._row, torch.stack(matrices)[None])
        self._row.add_(1)

    def count_step(self, index: StepIndex) -> None:
        """Count a step that was measured."""
        self._indices[self._steps] = index
        self._steps += 1

    def flush(self) -> Booleans:
        """Move the pending steps from the device into the records.

        Returns:
            Whether each step diverged, ``[steps, replicas]``, in the order of :meth:`start_block`.
        """
        self._write_arrived()
        scalars, matrices = self._read()
        self._arrived = slice(self._flushed, self._steps), scalars, matrices
        self._flushed = self._steps
        self._row.zero_()
        loss, skipped = (scalars[SCALARS.index(name)].T for name in ("loss", "skipped"))
        return diverged_steps(loss, skipped > 0, matrices[MATRICES.index("weights")].swapaxes(0, 1))

    def _read(self) -> tuple[Floats, Floats]:
        """Return the pending steps, ``[scalars, replicas, steps]`` and ``[matrices, replicas, steps, parameters]``."""
        pending = (buffer[: self.pending].movedim(0, 2) for buffer in (self._scalar_buffer, self._matrix_buffer))
        copies = [part.clone(memory_format=torch.contiguous_format) for part in pending]  # which a GPU turns quickly
        scalars, matrices = (copy.to("cpu", non_blocking=copy.is_cuda) for copy in copies)
        if self._row.is_cuda:  # then the copies go to pinned memory
            torch.cuda.current_stream(self._row.device).synchronize()
        return scalars.double().numpy(), matrices.double().numpy()

    def _write_arrived(self) -> None:
        """Add to the records what the last flush brought: not before the next one, while a GPU takes its steps."""
        if self._arrived is not None:
            steps, scalars, matrices = self._arrived
            self._scalars[:, self._replicas, steps] = scalars
            self._matrices[:, self._replicas, steps] = matrices
            self._arrived = None

    def record_of(self, replica: int, steps: int) -> GradientRecord:
        """Return a replica's record of so many steps, which were flushed; it does not know the learning rates."""
        self._write_arrived()
        step, epoch, batch = self._indices[:steps].T
        columns: dict[str, NDArray[Any]] = dict(zip(SCALARS, self._scalars[:, replica, :steps], strict=True))
        columns |= zip(MATRICES, self._matrices[:, replica, :steps], strict=True)
        columns |= {"skipped": columns["skipped"] > 0, "learning_rate": np.full(steps, np.nan)}
        columns |= {"has_loss": np.ones(steps, dtype=np.bool_), "scaler_skipped": np.zeros(steps, dtype=np.bool_)}
        return GradientRecord(names=self.names, step=step, epoch=epoch, batch=batch, **columns)

    def _norms(self, matrix: Tensor) -> Tensor:
        """The L2 norm of each parameter's part of each row, ``[replicas, parameters]``."""
        return part_norms(matrix, self.sizes)

    def _norms_clipped(self, step: StackedStep, norms: Tensor) -> Tensor:
        if step.clipped.gradients is step.gradients:
            return norms
        if step.clipped.coefficients is not None:
            return norms * step.clipped.coefficients
        return self._norms(step.clipped.gradients)

    def _nonfinite(self, gradients: Tensor, max_abs: Tensor) -> Tensor:
        """Return the number of NaN or infinite elements of each parameter's gradient, ``[replicas, parameters]``."""
        if gradients.is_cpu and max_abs.isfinite().all():  # on a CPU this look is free of waiting
            return gradients.new_zeros(len(gradients), len(self.sizes))
        bad = gradients * 0 != 0  # two operations, where isfinite takes four
        return torch.stack([part.sum(dim=1) for part in torch.split(bad, self.sizes, dim=1)], dim=1)


class StackedHiddenStateRecorder:
    """Record gradient norms at the hidden states of all replicas, at the steps of :class:`HiddenStateMonitor`."""

    def __init__(self) -> None:
        self._snapshots: list[tuple[int, dict[int, int], dict[RecurrentLayer, Floats]]] = []  # step, row of, norms
        self._interval, self._steps_seen = 1, 0

    def start_step(self) -> bool:
        """Start an optimizer step; return whether it is to be recorded."""
        due = self._steps_seen % self._interval == 0
        self._steps_seen += 1
        return due

    def record_step(self, step: int, replicas: Sequence[int], derivatives: Mapping[RecurrentLayer, Tensor]) -> None:
        """Record the norms of derivatives.

        Args:
            step: optimizer step, counted from 1.
            replicas: index of the replica in each row.
            derivatives: of the loss with respect to the hidden states, by recurrent layer, ``[replicas, time steps,
                sequences, hidden]`` each.
        """
        norms_over_time = torch.vmap(lambda states: tensor_norms(list(states.unbind())))
        norms = {layer: norms_over_time(found).cpu().numpy() for layer, found in derivatives.items()}
        self._snapshots.append((step, {replica: row for row, replica in enumerate(replicas)}, norms))
        if len(self._snapshots) == MAX_SNAPSHOTS:
            self._snapshots, self._interval = self._snapshots[::2], 2 * self._interval

    def record_of(self, replica: int) -> HiddenStateRecord | None:
        """Return a replica's record; None without a snapshot."""
        own = [(step, row_of[replica], norms) for step, row_of, norms in self._snapshots if replica in row_of]
        if not own:
            return None
        steps, layers = np.array([step for step, _, _ in own], dtype=np.int64), list(own[0][2])
        return HiddenStateRecord(
            steps, {layer_name(layer): np.stack([norms[layer][row] for _, row, norms in own]) for layer in layers}
        )
