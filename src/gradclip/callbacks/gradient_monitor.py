"""Watch the gradients of any LightningModule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import BaseFinetuning
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from gradclip import keys
from gradclip.callbacks.clip_gradients import ClipGradients, check_dense, check_gradients_are_whole
from gradclip.diagnosis.explosion import Explosion, explain
from gradclip.errors import TrainerError
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.recorders import StepIndex, batch_extremes, make_recorder

SMALL_NETWORK = 1_000_000  # parameters of which a copy at every step costs next to nothing
MOST_PEAKS = 320  # as many points as a chart of MLflow shows of a series


class GradientMonitor(Callback):
    """Record loss, gradient norms before and after clipping, weights and their change, at every optimizer step.

    Nothing is read back from the device between two flushes. Each flush sends the finite points to the Trainer's
    loggers. It changes no gradient, and is right under accumulation and mixed precision, since it looks at the
    gradients that the optimizer is about to use. Where :class:`ClipGradients` clips, put the monitor before it.
    Parameters that are frozen when fitting begins are left out, unless a Lightning ``BaseFinetuning`` may thaw them.

    Args:
        flush_every: optimizer steps between two flushes.
        steps_after_divergence: stop training at the first flush that comes at least so many steps after the first
            non-finite loss or weight; None never stops.
        updates_every: optimizer steps between two measurements of how much the weights change, which take a copy of
            them; None is every step, or every tenth in a network of more than a million parameters.

    Raises:
        TrainerError: on starting to fit, if it stands behind a ClipGradients, the module optimizes manually, or the
            optimizer is LBFGS; at the first step, if a gradient is sparse.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> monitor = gradclip.GradientMonitor()
        >>> trainer = Trainer(callbacks=[monitor], gradient_clip_val=1.0, logger=False, enable_checkpointing=False)
        >>> # after trainer.fit(...): monitor.record.norm, monitor.record.clip_fraction, print(monitor.explosion)
    """

    def __init__(
        self, flush_every: int = 20, steps_after_divergence: int | None = None, updates_every: int | None = None
    ) -> None:
        self.flush_every = flush_every
        self.steps_after_divergence = steps_after_divergence
        self.updates_every = updates_every
        self._blocks: list[GradientRecord] = []
        self._recorder = make_recorder([], changes_direction=False)
        self.learning_rate = float("nan")
        self._restored: dict[str, Any] | None = None

    @property
    def record(self) -> GradientRecord:
        """All that was recorded up to the last flush."""
        return GradientRecord.join(self._recorder.names, self._blocks)

    @property
    def explosion(self) -> Explosion | None:
        """What happened, if training exploded: text by ``print``, or ``.to_json()``."""
        return explain(self.record, self.learning_rate)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new record, or go on with that of a checkpoint."""
        _check_place(trainer, pl_module, self)
        thaws = any(isinstance(callback, BaseFinetuning) for callback in _callbacks(trainer))
        named = [(name, p) for name, p in pl_module.named_parameters() if (p.requires_grad or thaws) and p.numel()]
        self._recorder = make_recorder(named, _clipping_changes_direction(trainer))
        size = sum(parameter.numel() for _, parameter in named)
        self._watch_every = self.updates_every or usual_updates_every(size)
        self._blocks = []
        self._first_bad_step: int | None = None
        self._losses: list[Tensor] = []
        self._ends: list[list[Tensor]] = []
        self._step_is_due, self._steps, self._are_dense = False, 0, False
        self._peak = -math.inf  # none yet
        if self._restored is not None:
            self._take_up(self._restored)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fix how many steps share one point of the peak curve; note the learning rate."""
        if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
            raise TrainerError("optimizer: got LBFGS; GradientMonitor needs one that takes one gradient a step")
        group = trainer.optimizers[0].param_groups[0]
        self.learning_rate = float(group.get("initial_lr", group["lr"]))  # the first is the one without its schedule
        steps = trainer.estimated_stepping_batches
        self._peak_window = max(1, -(-int(steps) // MOST_PEAKS)) if np.isfinite(steps) else self.flush_every

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradients before clipping."""
        if not self._are_dense:
            check_dense({name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None})
            self._are_dense = True
        self._recorder.before(watch_change=self._steps % self._watch_every == 0)
        self._steps += 1
        self._step_is_due = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the gradients after clipping and the weights after the step, where this batch ended a step."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss.detach())
        self._ends.append(batch_extremes(batch))
        if not self._step_is_due:
            return
        place = StepIndex(trainer.global_step, trainer.current_epoch + 1, batch_idx)
        self._recorder.after(place, _mean(self._losses, trainer.accumulate_grad_batches), _joined(self._ends))
        self._losses, self._ends, self._step_is_due = [], [], False
        if self._steps % self.flush_every == 0:
            self._flush(trainer)
            self._stop_if_diverged(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush what is left, and the peak of a window that is not full."""
        self._flush(trainer)
        if math.isfinite(self._peak):
            self._send(trainer, {keys.GRAD_NORM_PEAK: self._peak}, trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was recorded before an interruption."""
        self._flush(trainer, joined=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Flush, and put the record into a checkpoint."""
        self._flush(trainer)
        columns = {name: torch.from_numpy(getattr(self.record, name)) for name in GradientRecord.columns()}
        place = {"steps": self._steps, "first_bad_step": self._first_bad_step, "peak": self._peak}
        checkpoint[self.state_key] = {"columns": columns, **place}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the record from a checkpoint; fitting goes on with it."""
        self._restored = checkpoint.get(self.state_key)

    def _take_up(self, state: dict[str, Any]) -> None:
        columns = {name: column.numpy() for name, column in state["columns"].items()}
        self._blocks, self._restored = [GradientRecord(self._recorder.names, **columns)], None
        self._steps, self._first_bad_step, self._peak = state["steps"], state["first_bad_step"], state["peak"]

    def _flush(self, trainer: Trainer, joined: bool = True) -> None:
        """Read back what is pending; loss and batch over all processes, unless the others may be gone."""
        if not self._recorder.places:
            return
        block = self._recorder.read_back()
        if joined:
            loss = trainer.strategy.reduce(torch.tensor(block.loss), reduce_op="mean")
            ends = torch.tensor(np.stack([block.input_max_abs, block.target_max_abs]))
            inputs, target = trainer.strategy.reduce(ends, reduce_op="max").cpu().numpy()
            block = replace(block, loss=loss.cpu().numpy(), input_max_abs=inputs, target_max_abs=target)
        self._blocks.append(block)
        if self._first_bad_step is None and block.divergence is not None:
            self._first_bad_step = block.divergence.step
        self._log(trainer, block)

    def _log(self, trainer: Trainer, block: GradientRecord) -> None:
        if not trainer.loggers:
            return
        curves = {key: values.tolist() for key, values in block.metrics.items()}
        for row, step in enumerate(block.step.tolist()):
            metrics = {key: values[row] for key, values in curves.items()}
            self._send(trainer, metrics | self._peak_of_window(step, metrics[keys.GRAD_NORM]), step)

    def _send(self, trainer: Trainer, metrics: Mapping[str, float], step: int) -> None:
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        for logger in trainer.loggers:
            logger.log_metrics(finite, step=step)

    def _peak_of_window(self, step: int, norm: float) -> dict[str, float]:
        """The largest finite norm of a window, at its last step."""
        self._peak = max(self._peak, norm) if math.isfinite(norm) else self._peak
        if step % self._peak_window:
            return {}
        peak, self._peak = self._peak, -math.inf
        return {keys.GRAD_NORM_PEAK: peak}

    def _stop_if_diverged(self, trainer: Trainer) -> None:
        if self._first_bad_step is None or self.steps_after_divergence is None:
            return
        if trainer.global_step - self._first_bad_step >= self.steps_after_divergence:
            trainer.should_stop = True


def usual_updates_every(parameters: int) -> int:
    """Optimizer steps between two measurements of how much the weights change, in a network of so many parameters."""
    return 1 if parameters <= SMALL_NETWORK else 10


def _mean(losses: Sequence[Tensor], accumulated: int) -> Tensor:
    """Of losses that Lightning divided by the number of batches in a step; an epoch's last step may have fewer."""
    if not losses:
        return torch.tensor(torch.nan)
    total = sum(losses[1:], losses[0])
    return total if len(losses) == accumulated else total * accumulated / len(losses)


def _joined(ends: Sequence[list[Tensor]]) -> list[Tensor]:
    """The ends of several batches together, of which only the magnitudes count."""
    return ends[0] if len(ends) == 1 else [torch.stack(each).abs().max() for each in zip(*ends, strict=True)]


def _check_place(trainer: Trainer, pl_module: LightningModule, monitor: GradientMonitor) -> None:
    check_gradients_are_whole(trainer, pl_module, "GradientMonitor")
    callbacks = _callbacks(trainer)
    before = callbacks[: callbacks.index(monitor)]
    if any(isinstance(callback, ClipGradients) for callback in before):
        raise TrainerError("callbacks: ClipGradients stands before GradientMonitor; put the monitor first")


def _clipping_changes_direction(trainer: Trainer) -> bool:
    clippers = [callback.clipper for callback in _callbacks(trainer) if isinstance(callback, ClipGradients)]
    ours = any(clipper.changes_direction for clipper in clippers)
    return ours or (trainer.gradient_clip_val is not None and trainer.gradient_clip_algorithm == "value")


def _callbacks(trainer: Trainer) -> list[Callback]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
