"""Record the gradients of stacked replicas; each replica's record is the one that its ordinary run would have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradclip.arrays import Booleans, Floats, Integers
from gradclip.norms import part_norms, tensor_norms
from gradclip.telemetry.hidden_states import MAX_SNAPSHOTS, HiddenStateRecord, RecurrentLayer, layer_name
from gradclip.telemetry.record import GradientRecord, diverged_steps
from gradclip.telemetry.recorders import StepIndex, default_updates_every


@dataclass(frozen=True)
class StackedStep:
    """Everything that is measured of one optimizer step of all replicas.

    Attributes:
        losses: training loss of each replica, ``[replicas]``.
        input_max_abs: largest |element| of the step's inputs, ``[replicas]``; NaN unless inputs and targets are
            floating-point.
        target_max_abs: largest |element| of the step's targets, ``[replicas]``; NaN likewise.
        gradients: before clipping, ``[replicas, parameters]``.
        clipped: after clipping, ``[replicas, parameters]``; the same object as ``gradients`` where nothing clips.
        parameters_before: before the step, ``[replicas, parameters]``.
        parameters_after: after the step, ``[replicas, parameters]``.
        skipped: whether the update was skipped, ``[replicas]``.
    """

    losses: Tensor
    input_max_abs: Tensor
    target_max_abs: Tensor
    gradients: Tensor
    clipped: Tensor
    parameters_before: Tensor
    parameters_after: Tensor
    skipped: Tensor


@dataclass
class _Block:
    """Consecutive steps of the replicas that were in training.

    Attributes:
        row_of: the row of each replica.
        indices: the position of each step in the training, ``[steps, 3]``.
        columns: statistics by column of the record, ``[steps, replicas, ...]``.
    """

    row_of: dict[int, int]
    indices: Integers
    columns: dict[str, Floats]


class StackedRecorder:
    """Measure optimizer steps of all replicas on the device; transfer the results in blocks.

    Args:
        names: names of the parameter tensors.
        sizes: their numbers of elements.
        changes_direction: whether clipping may change the direction of the gradient, so that its angle is measured.
    """

    def __init__(self, names: tuple[str, ...], sizes: Sequence[int], changes_direction: bool) -> None:
        self.names, self.sizes, self.changes_direction = names, list(sizes), changes_direction
        self._updates_every = default_updates_every(sum(sizes))
        self._blocks: list[_Block] = []
        self._indices: list[StepIndex] = []
        self._rows: list[dict[str, Tensor]] = []
        self._steps = 0

    @property
    def pending(self) -> int:
        """Number of steps since the last flush."""
        return len(self._indices)

    def record_step(self, index: StepIndex, step: StackedStep) -> None:
        """Measure a step."""
        self._indices.append(index)
        self._rows.append(self._measure(step))
        self._steps += 1

    def flush(self, replicas: Sequence[int]) -> Booleans:
        """Move the pending steps into the records of these replicas, one for each row of the steps.

        Returns:
            Whether each step diverged, ``[steps, replicas]``.
        """
        columns = {key: torch.stack([row[key] for row in self._rows]).cpu().double().numpy() for key in self._rows[0]}
        row_of = {replica: row for row, replica in enumerate(replicas)}
        self._blocks.append(_Block(row_of, np.array(self._indices, dtype=np.int64), columns))
        self._indices, self._rows = [], []
        return diverged_steps(columns["loss"], columns["skipped"] > 0, columns["weights"])

    def record_of(self, replica: int) -> GradientRecord:
        """Return a replica's record up to the last flush; it does not know the learning rates."""
        own = [block for block in self._blocks if replica in block.row_of]
        return GradientRecord.join(self.names, [self._record(block, block.row_of[replica]) for block in own])

    def _record(self, block: _Block, row: int) -> GradientRecord:
        step, epoch, batch = block.indices.T
        columns: dict[str, Any] = {key: values[:, row] for key, values in block.columns.items()}
        columns |= {"skipped": columns["skipped"] > 0, "learning_rate": np.full(len(step), np.nan)}
        columns |= {"has_loss": np.ones(len(step), dtype=np.bool_)}
        columns |= {"scaler_skipped": np.zeros(len(step), dtype=np.bool_)}
        return GradientRecord(names=self.names, step=step, epoch=epoch, batch=batch, **columns)

    def _measure(self, step: StackedStep) -> dict[str, Tensor]:
        max_abs = step.gradients.abs().amax(dim=1)
        norms = self._norms(step.gradients)
        product, updates = torch.full_like(step.losses, torch.nan), torch.full_like(norms, torch.nan)
        if self.changes_direction:
            product = (step.gradients.double() * step.clipped).sum(dim=1)
        if self._steps % self._updates_every == 0:
            updates = self._norms(step.parameters_after - step.parameters_before)
        return {
            "loss": step.losses,
            "max_abs": max_abs,
            "input_max_abs": step.input_max_abs,
            "target_max_abs": step.target_max_abs,
            "inner_product": product,
            "skipped": step.skipped & (norms != 0).any(dim=1),
            "nonfinite": self._nonfinite(step.gradients, max_abs),
            "norms": norms,
            "norms_clipped": norms if step.clipped is step.gradients else self._norms(step.clipped),
            "weights": self._norms(step.parameters_after),
            "updates": updates,
        }

    def _norms(self, matrix: Tensor) -> Tensor:
        """The L2 norm of each parameter's part of each row, ``[replicas, parameters]``."""
        return part_norms(matrix, self.sizes)

    def _nonfinite(self, gradients: Tensor, max_abs: Tensor) -> Tensor:
        """Return the number of NaN or infinite elements of each parameter's gradient, ``[replicas, parameters]``."""
        if gradients.is_cpu and max_abs.isfinite().all():  # on a CPU this look is free of waiting
            return gradients.new_zeros(len(gradients), len(self.sizes))
        bad = ~gradients.isfinite()
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
