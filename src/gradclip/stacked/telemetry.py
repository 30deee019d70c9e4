"""The gradients of stacked replicas, step by step, each replica's as the record that its ordinary run would have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradclip.callbacks.gradient_monitor import default_updates_every
from gradclip.norms import safe_scale, tensor_norms
from gradclip.stacked.network import Key
from gradclip.telemetry.hidden_states import MAX_SNAPSHOTS, HiddenStateRecord
from gradclip.telemetry.record import GradientRecord, diverged_steps
from gradclip.telemetry.recorders import StepIndex


@dataclass(frozen=True)
class StackedStep:
    """One optimizer step of all replicas.

    Attributes:
        losses: ``[replicas]``.
        input_max_abs: largest magnitude of the step's inputs, ``[replicas]``; NaN for classes.
        target_max_abs: the same of its target.
        gradients: before clipping, ``[replicas, parameters]``.
        clipped: after clipping; the same object where nothing clips.
        before: parameters before the step, ``[replicas, parameters]``.
        after: parameters after the step.
        skipped: whose update was left out, ``[replicas]``.
    """

    losses: Tensor
    input_max_abs: Tensor
    target_max_abs: Tensor
    gradients: Tensor
    clipped: Tensor
    before: Tensor
    after: Tensor
    skipped: Tensor


@dataclass
class _Block:
    """Some steps of the replicas that were alive, ``[steps, replicas, ...]``."""

    row_of: dict[int, int]
    places: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]


class StackedRecorder:
    """Measure steps on the device and read them back in blocks.

    Args:
        names: of the parameters.
        sizes: of the parameters.
        changes_direction: whether clipping may turn the gradient.
    """

    def __init__(self, names: tuple[str, ...], sizes: Sequence[int], changes_direction: bool) -> None:
        self.names, self.sizes, self.changes_direction = names, list(sizes), changes_direction
        self._watch_every = default_updates_every(sum(sizes))
        self._blocks: list[_Block] = []
        self._places: list[StepIndex] = []
        self._rows: list[dict[str, Tensor]] = []
        self._steps = 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: StepIndex, step: StackedStep) -> None:
        """Measure a step."""
        self._places.append(place)
        self._rows.append(self._measure(step))
        self._steps += 1

    def flush(self, replicas: Sequence[int]) -> NDArray[np.bool_]:
        """Read back what is pending of these replicas; return which steps diverged, ``[steps, replicas]``."""
        columns = {key: torch.stack([row[key] for row in self._rows]).cpu().double().numpy() for key in self._rows[0]}
        row_of = {replica: row for row, replica in enumerate(replicas)}
        self._blocks.append(_Block(row_of, np.array(self._places, dtype=np.int64), columns))
        self._places, self._rows = [], []
        return diverged_steps(columns["loss"], columns["skipped"] > 0, columns["weights"])

    def record_of(self, replica: int) -> GradientRecord:
        """Return a replica's record."""
        own = [block for block in self._blocks if replica in block.row_of]
        return GradientRecord.join(self.names, [self._record(block, block.row_of[replica]) for block in own])

    def _record(self, block: _Block, row: int) -> GradientRecord:
        step, epoch, batch = block.places.T
        columns: dict[str, Any] = {key: values[:, row] for key, values in block.columns.items()}
        skipped = columns.pop("skipped") > 0
        return GradientRecord(names=self.names, step=step, epoch=epoch, batch=batch, skipped=skipped, **columns)

    def _measure(self, step: StackedStep) -> dict[str, Tensor]:
        max_abs = step.gradients.abs().amax(dim=1)
        norms = self._norms(step.gradients)
        nothing = torch.full_like(step.losses, torch.nan)
        watched = (self._steps % self._watch_every) == 0
        return {
            "loss": step.losses,
            "max_abs": max_abs,
            "input_max_abs": step.input_max_abs,
            "target_max_abs": step.target_max_abs,
            "inner_product": (step.gradients.double() * step.clipped).sum(dim=1) if self.changes_direction else nothing,
            "skipped": step.skipped & (norms != 0).any(dim=1),
            "nonfinite": self._nonfinite(step.gradients, max_abs),
            "norms": norms,
            "norms_clipped": norms if step.clipped is step.gradients else self._norms(step.clipped),
            "weights": self._norms(step.after),
            "updates": self._norms(step.after - step.before) if watched else torch.full_like(norms, torch.nan),
        }

    def _norms(self, matrix: Tensor) -> Tensor:
        """The L2 norm of each parameter's part of each row, ``[replicas, parameters]``."""
        wide = torch.float32 if matrix.is_mps else torch.float64  # Apple's GPUs have no float64
        if matrix.dtype != torch.float64:
            return self._parts_norms(matrix.to(wide))
        finite = matrix.abs().nan_to_num(nan=0.0, posinf=0.0)
        scale = safe_scale(finite.amax(dim=1, keepdim=True))  # float64 need not hold the squares of its numbers
        return self._parts_norms(matrix / scale) * scale

    def _parts_norms(self, rows: Tensor) -> Tensor:
        parts = torch.split(rows, self.sizes, dim=1)
        return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts], dim=1)

    def _nonfinite(self, gradients: Tensor, max_abs: Tensor) -> Tensor:
        """How many elements are NaN or infinite; on a processor they are counted only where there are any."""
        if gradients.is_cpu and max_abs.isfinite().all():
            return gradients.new_zeros(len(gradients), len(self.sizes))
        bad = ~gradients.isfinite()
        return torch.stack([part.sum(dim=1) for part in torch.split(bad, self.sizes, dim=1)], dim=1)


@dataclass
class StackedSnapshots:
    """Gradients at the hidden states of some steps, thinned out as :class:`HiddenStateMonitor` does."""

    _kept: list[tuple[int, dict[int, int], dict[Key, NDArray[np.float64]]]] = field(default_factory=list)
    _interval: int = 1
    _steps_seen: int = 0

    def is_due(self) -> bool:
        """Whether the step that begins now is to be looked at."""
        due = self._steps_seen % self._interval == 0
        self._steps_seen += 1
        return due

    def keep(self, step: int, replicas: Sequence[int], gradients: Mapping[Key, Tensor]) -> None:
        """Keep the norms of the derivatives ``[replicas, time steps, sequences, hidden]`` of each layer."""
        norms = {key: torch.vmap(_norms_over_time)(found).cpu().numpy() for key, found in gradients.items()}
        self._kept.append((step, {replica: row for row, replica in enumerate(replicas)}, norms))
        if len(self._kept) == MAX_SNAPSHOTS:
            self._kept, self._interval = self._kept[::2], 2 * self._interval

    def record_of(self, replica: int) -> HiddenStateRecord | None:
        """Return a replica's snapshots; None without any."""
        own: list[Any] = [(step, rows[replica], norms) for step, rows, norms in self._kept if replica in rows]
        if not own:
            return None
        steps = np.array([step for step, _, _ in own], dtype=np.int64)
        layers = own[0][2].keys()
        norms = {f"{key[0]}, layer {key[1] + 1}": np.stack([n[key][row] for _, row, n in own]) for key in layers}
        return HiddenStateRecord(steps, norms)


def _norms_over_time(derivatives: Tensor) -> Tensor:
    return tensor_norms(list(derivatives.unbind()))
