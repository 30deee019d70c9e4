"""Gradients at the hidden states of stacked replicas."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gradclip.arrays import Floats
from gradclip.norms.tensors import tensor_norms
from gradclip.telemetry.hidden_states import MAX_SNAPSHOTS, HiddenStateRecord, RecurrentLayer, layer_name


class StackedHiddenStateRecorder:
    """Recorder of gradient norms at the hidden states of all replicas, at the same steps as HiddenStateMonitor."""

    def __init__(self) -> None:
        self._snapshots: list[tuple[int, dict[int, dict[str, Floats]]]] = []  # step, and norms by replica and layer
        self._interval, self._steps_seen = 1, 0

    def start_step(self) -> bool:
        """Start an optimizer step; return whether to record it."""
        due = self._steps_seen % self._interval == 0
        self._steps_seen += 1
        return due

    def record_step(self, step: int, replicas: Sequence[int], derivatives: Mapping[RecurrentLayer, Tensor]) -> None:
        """Record the norms of derivatives.

        Args:
            step: optimizer step, counted from 1.
            replicas: index of the replica in each row.
            derivatives: derivatives of the loss with respect to the hidden states, by recurrent layer,
                ``[replicas, time steps, sequences, hidden]`` each.
        """
        norms_over_time = torch.vmap(lambda states: tensor_norms(list(states.unbind())))
        norms = {layer_name(layer): norms_over_time(found).cpu().numpy() for layer, found in derivatives.items()}
        rows = [{layer: part[row] for layer, part in norms.items()} for row in range(len(replicas))]
        self._snapshots.append((step, dict(zip(replicas, rows, strict=True))))
        if len(self._snapshots) == MAX_SNAPSHOTS:
            self._snapshots, self._interval = self._snapshots[::2], 2 * self._interval

    def record_of(self, replica: int) -> HiddenStateRecord | None:
        """Return a replica's record; None if it has no snapshot."""
        snapshots = [(step, norms[replica]) for step, norms in self._snapshots if replica in norms]
        if not snapshots:
            return None
        steps, norms = zip(*snapshots, strict=True)
        by_layer = {layer: np.stack([one[layer] for one in norms]) for layer in norms[0]}
        return HiddenStateRecord(np.array(steps, dtype=np.int64), by_layer)
