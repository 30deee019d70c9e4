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
        self._snapshots: list[tuple[int, dict[int, int], dict[RecurrentLayer, Floats]]] = []  # step, rows, norms
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
        norms = {layer: norms_over_time(found).cpu().numpy() for layer, found in derivatives.items()}
        self._snapshots.append((step, {replica: row for row, replica in enumerate(replicas)}, norms))
        if len(self._snapshots) == MAX_SNAPSHOTS:
            self._snapshots, self._interval = self._snapshots[::2], 2 * self._interval

    def record_of(self, replica: int) -> HiddenStateRecord | None:
        """Return a replica's record; None if it has no snapshot."""
        own = [(step, row_of[replica], norms) for step, row_of, norms in self._snapshots if replica in row_of]
        if not own:
            return None
        steps, layers = np.array([step for step, _, _ in own], dtype=np.int64), list(own[0][2])
        return HiddenStateRecord(
            steps, {layer_name(layer): np.stack([norms[layer][row] for _, row, norms in own]) for layer in layers}
        )
