"""The callback that records gradients at the hidden states of recurrent layers, for each time step."""

from functools import partial
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from gradclip.arrays import Floats
from gradclip.callbacks.trainer_checks import loss_scaler, warn_of_lost_record
from gradclip.errors import TrainerError
from gradclip.models.unrolling import Unrolling, can_unroll
from gradclip.norms.tensors import tensor_norms
from gradclip.ranges import counts_from
from gradclip.telemetry.hidden_states import MAX_SNAPSHOTS, HiddenStateRecord, RecurrentLayer, layer_name


class HiddenStateMonitor(Callback):
    """Record the gradient norm with respect to every hidden state at some optimizer steps.

    Gradients vanish or explode as products over time steps; the record shows how they shrink or grow from the last time
    step back to the first. At first, every optimizer step is recorded. When the record is full, every second snapshot
    is dropped and the interval between snapshots doubles, so that a training run of any length is covered evenly.

    Gradients do not change beyond the rounding that :class:`gradclip.models.unrolling.Unrolling` documents. A recorded
    step takes up to twice as long, or up to four times with an LSTM. With gradient accumulation, the first batch of a
    step is recorded; with several processes, each records its own part of the batch. Recurrent layers that are
    bidirectional or have projections are not recorded.

    Args:
        snapshots: maximum number of optimizer steps in the record.

    Raises:
        TrainerError: ``snapshots`` is not a whole number of at least 2; at the start of ``fit``, if a precision plugin
            scales the loss with a scaler that is not torch's.
        ModelError: during training, if a recorded layer receives packed sequences.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> monitor = gradclip.HiddenStateMonitor()
        >>> trainer = Trainer(callbacks=[monitor], logger=False, enable_checkpointing=False)
        >>> # after trainer.fit(...): monitor.record.norms, or monitor.record.to_frame()
    """

    def __init__(self, snapshots: int = MAX_SNAPSHOTS) -> None:
        self.snapshots = counts_from(2).check("snapshots", snapshots, TrainerError)
        self._layers: dict[str, nn.RNNBase] = {}
        self._unrollings: list[Unrolling] = []
        self._restored: dict[str, Any] | None = None
        self._has_started = False
        self._reset()

    def _reset(self) -> None:
        self._steps: list[int] = []
        self._norms: list[dict[RecurrentLayer, Floats]] = []  # one entry per snapshot: ``[time steps]`` of each layer
        self._interval, self._steps_seen = 1, 0
        self._last_step = -1  # the latest optimizer step that started
        self._derivatives: dict[RecurrentLayer, list[Tensor | None]] = {}  # from the step being recorded

    @property
    def record(self) -> HiddenStateRecord | None:
        """All snapshots; None without a recurrent layer, or if no layer received a gradient."""
        if not self._norms:
            return None
        layers = dict.fromkeys(layer for found in self._norms for layer in found)
        norms = {layer_name(layer): _aligned([found.get(layer) for found in self._norms]) for layer in layers}
        return HiddenStateRecord(np.array(self._steps, dtype=np.int64), norms)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the record of an earlier training run."""
        self._has_started = False
        if stage == "fit":
            self._reset()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the recurrent layers; start a new record or continue the one in the checkpoint."""
        self._scaler = loss_scaler(trainer, "HiddenStateMonitor")
        warn_of_lost_record(trainer, "HiddenStateMonitor")
        layers = ((name, layer) for name, layer in pl_module.named_modules() if isinstance(layer, nn.RNNBase))
        self._layers = {name: layer for name, layer in layers if can_unroll(layer)}
        if self._restored is not None:
            self._restore(self._restored)
        self._has_started = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Hook into the recurrent layers if this batch starts a step that will be recorded."""
        if not self._layers or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        if self._steps_seen % self._interval == 0:
            self._unrollings = [Unrolling(layer, partial(self._visit, name)) for name, layer in self._layers.items()]
        self._steps_seen += 1

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the hooks, and add the snapshot to the record."""
        if not self._unrollings:
            return
        self._remove_hooks()
        self._add_snapshot(trainer.global_step + 1, self._scaler.get_scale() if self._scaler else 1.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remove the hooks of a batch that had no loss."""
        self._discard()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        self._discard()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard a checkpoint that no training resumed."""
        self._restored = None

    def state_dict(self) -> dict[str, Any]:
        """Return the record and its progress."""
        if self._restored is not None:  # a checkpoint was loaded, and training has not started yet
            return self._restored
        norms = [{layer: torch.from_numpy(array) for layer, array in found.items()} for found in self._norms]
        progress = {"interval": self._interval, "steps_seen": self._steps_seen, "last_step": self._last_step}
        return {"steps": list(self._steps), "kept": norms, **progress}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the record of a checkpoint, which ``fit`` continues."""
        if not self._has_started:  # a tuner that restores its checkpoint during training must not reset the record
            self._restored = state_dict

    def _restore(self, state: dict[str, Any]) -> None:
        self._restored = None
        self._steps += state["steps"]
        self._norms += [{layer: norms.numpy() for layer, norms in found.items()} for found in state["kept"]]
        self._interval, self._steps_seen = state["interval"], state["steps_seen"]
        self._last_step = state["last_step"]

    def _visit(self, name: str, layer: int, step: int, hidden: Tensor) -> None:
        """Store the derivative at a hidden state when backward has computed it; visits are in time order."""
        derivatives = self._derivatives.setdefault((name, layer), [])
        derivatives.append(None)
        if hidden.requires_grad:
            hidden.register_hook(partial(_store, derivatives, len(derivatives) - 1))  # type: ignore[no-untyped-call]

    def _add_snapshot(self, step: int, loss_scale: float) -> None:
        found, self._derivatives = self._derivatives, {}
        if all(derivative is None for derivatives in found.values() for derivative in derivatives):
            return
        self._norms.append({layer: _norms(derivatives) / loss_scale for layer, derivatives in found.items()})
        self._steps.append(step)
        if len(self._norms) == self.snapshots:
            self._norms, self._steps, self._interval = self._norms[::2], self._steps[::2], 2 * self._interval

    def _discard(self) -> None:
        self._remove_hooks()
        self._derivatives = {}

    def _remove_hooks(self) -> None:
        for unrolling in self._unrollings:
            unrolling.remove()
        self._unrollings = []


def _store(derivatives: list[Tensor | None], index: int, derivative: Tensor) -> None:
    derivatives[index] = derivative.detach()  # norms are computed later: here they would cost as much as the step


def _norms(derivatives: list[Tensor | None]) -> Floats:
    """Return the norm of each derivative, ``[time steps]``; 0 for a missing derivative."""
    norms = np.zeros(len(derivatives))
    arrived = {index: derivative for index, derivative in enumerate(derivatives) if derivative is not None}
    if arrived:
        norms[[*arrived]] = tensor_norms([*arrived.values()]).cpu().double().numpy()
    return norms


def _aligned(rows: list[Floats | None]) -> Floats:
    """Stack the norms of several snapshots, ``[snapshots, time steps]``, aligned at the last time step; NaN pads."""
    aligned = np.full((len(rows), max(len(row) for row in rows if row is not None)), np.nan)
    for snapshot, row in zip(aligned, rows, strict=True):
        if row is not None:
            snapshot[len(snapshot) - len(row) :] = row
    return aligned
