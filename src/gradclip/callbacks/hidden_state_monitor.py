"""Watch gradients on their way back through time."""

from functools import partial
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from gradclip.models.unrolling import Unrolling, can_unroll
from gradclip.norms import tensor_norms
from gradclip.telemetry.hidden_states import HiddenStateRecord

SNAPSHOTS = 12  # of a run that are kept at most
Key = tuple[str, int]  # a recurrent layer: the module's name, and its place among those stacked in it


class HiddenStateMonitor(Callback):
    """Record the gradient of the loss with respect to every hidden state, at some optimizer steps of the run.

    Vanishing and exploding gradients are products over time steps: here they are seen to shrink or grow from the last
    time step to the first. Steps are watched one by one at first; each time the record is full every second snapshot
    is dropped and half as many steps are watched from there on, so that a short run and a long one are both covered.
    It changes no gradient beyond what :class:`gradclip.models.unrolling.Unrolling` says; a step that is watched takes
    up to twice its time, or four times for an LSTM. Of accumulated batches the first is watched, and of several
    processes each watches its share of the batch. Layers that are bidirectional or project their states are left alone.

    Args:
        snapshots: optimizer steps that are kept at most.

    Raises:
        ModelError: in training, if a layer that is watched gets packed sequences.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> monitor = gradclip.HiddenStateMonitor()
        >>> trainer = Trainer(callbacks=[monitor], logger=False, enable_checkpointing=False)
        >>> # after trainer.fit(...): monitor.record.norms, or monitor.record.to_frame()
    """

    def __init__(self, snapshots: int = SNAPSHOTS) -> None:
        self.snapshots = snapshots
        self._layers: dict[str, nn.RNNBase] = {}
        self._unrollings: list[Unrolling] = []
        self._last_step = -1  # the optimizer step that was last seen to begin
        self._restored: dict[str, Any] | None = None
        self._begin()

    @property
    def record(self) -> HiddenStateRecord | None:
        """All snapshots; None if there is no recurrent layer, or none of them had a gradient."""
        if not self._kept:
            return None
        keys = self._kept[0].keys()
        norms = {_name(key): np.stack([kept[key] for kept in self._kept]) for key in keys}
        return HiddenStateRecord(np.array(self._steps, dtype=np.int64), norms)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the recurrent layers and begin a new record."""
        layers = ((name, layer) for name, layer in pl_module.named_modules() if isinstance(layer, nn.RNNBase))
        self._layers = {name: layer for name, layer in layers if can_unroll(layer)}
        self._begin()
        if self._restored is not None:
            self._take_up(self._restored)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to watch, where it is this step's turn."""
        if not self._layers or trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        if self._steps_seen % self._interval == 0:
            self._unrollings = [Unrolling(layer, partial(self._visit, name)) for name, layer in self._layers.items()]
        self._steps_seen += 1

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was seen, and watch no more."""
        if not self._unrollings:
            return
        self._release()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._keep(trainer.global_step + 1, scaler.get_scale() if scaler else 1.0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the layers."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let go of the layers."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """Return the record, for a checkpoint."""
        kept = [{key: torch.from_numpy(norms) for key, norms in found.items()} for found in self._kept]
        place = {"interval": self._interval, "steps_seen": self._steps_seen, "last_step": self._last_step}
        return {"steps": list(self._steps), "kept": kept, **place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the record from a checkpoint; fitting goes on with it."""
        self._restored = state_dict

    def _take_up(self, state: dict[str, Any]) -> None:
        self._restored = None
        self._steps += state["steps"]
        self._kept += [{key: norms.numpy() for key, norms in found.items()} for found in state["kept"]]
        self._interval, self._steps_seen = state["interval"], state["steps_seen"]
        self._last_step = state["last_step"]

    def _begin(self) -> None:
        self._steps: list[int] = []
        self._kept: list[dict[Key, np.ndarray[Any, np.dtype[np.float64]]]] = []
        self._interval, self._steps_seen = 1, 0
        self._last_step = -1
        self._now: dict[Key, list[Tensor | None]] = {}

    def _visit(self, name: str, layer: int, step: int, hidden: Tensor) -> None:
        """Have the norm of a hidden state's gradient noted once it is known; visits come in order of time."""
        norms = self._now.setdefault((name, layer), [])
        norms.append(None)
        if hidden.requires_grad:
            hidden.register_hook(partial(_note, norms, len(norms) - 1))  # type: ignore[no-untyped-call]

    def _keep(self, step: int, scale: float) -> None:
        found, self._now = self._now, {}
        if not all(any(norm is not None for norm in norms) for norms in found.values()):
            return
        self._kept.append({key: _read(norms) / scale for key, norms in found.items()})
        self._steps.append(step)
        if len(self._kept) == self.snapshots:
            self._kept, self._steps, self._interval = self._kept[::2], self._steps[::2], 2 * self._interval

    def _release(self) -> None:
        for unrolling in self._unrollings:
            unrolling.remove()
        self._unrollings = []


def _note(derivatives: list[Tensor | None], position: int, derivative: Tensor) -> None:
    derivatives[position] = derivative.detach()  # its norm can wait: here it would cost as much as the step itself


def _read(derivatives: list[Tensor | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    zero = next(derivative for derivative in derivatives if derivative is not None).new_zeros(())
    norms = tensor_norms([zero if derivative is None else derivative for derivative in derivatives])
    values: np.ndarray[Any, np.dtype[np.float64]] = norms.cpu().double().numpy()
    return values


def _name(key: Key) -> str:
    return f"{key[0]}, layer {key[1] + 1}"
