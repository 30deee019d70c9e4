"""The callback that records the gradients of any LightningModule."""

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
from gradclip.callbacks.clip_gradients import ClipGradients, check_dense, check_whole_gradients
from gradclip.diagnosis.explosion import Explosion, explain
from gradclip.errors import TrainerError
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.recorders import StepIndex, batch_extremes, make_recorder

SMALL_NETWORK = 1_000_000  # parameters; up to so many, a copy at every step costs next to nothing
MAX_PEAKS = 320  # points of a curve that MLflow's charts show


class GradientMonitor(Callback):
    """Record loss, gradient norms before and after clipping, weights and their updates at every optimizer step.

    No value is read from the device between two flushes. Each flush logs the finite values to the Trainer's loggers.
    The monitor changes no gradient. It measures the gradients that the optimizer is about to use, accumulated and
    unscaled. It has to come before a :class:`ClipGradients` in the list of callbacks. Parameters that are frozen at the
    start of ``fit`` are left out, unless a Lightning ``BaseFinetuning`` callback may unfreeze them.

    Args:
        flush_every: optimizer steps between two flushes.
        steps_after_divergence: stop training at the first flush at least this many steps after the first non-finite
            loss or weight; None never stops.
        updates_every: optimizer steps between two measurements of the weights' updates, which need a copy of the
            weights; None is 1, or 10 in a network of more than a million parameters.

    Raises:
        TrainerError: at the start of ``fit``, if it comes after a ClipGradients, the module uses manual optimization,
            the strategy shards gradients, or the optimizer is LBFGS; at the first step, if a gradient is sparse.

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
        self.learning_rate = float("nan")  # the initial one
        self._recorder = make_recorder([], changes_direction=False)
        self._blocks: list[GradientRecord] = []
        self._restored: dict[str, Any] | None = None

    @property
    def record(self) -> GradientRecord:
        """The record of all steps up to the last flush."""
        return GradientRecord.join(self._recorder.names, self._blocks)

    @property
    def explosion(self) -> Explosion | None:
        """The explosion report, to ``print`` or as ``.to_json()``; None if training did not diverge."""
        return explain(self.record, self.learning_rate)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a new record, or continue that of a checkpoint."""
        check_whole_gradients(trainer, pl_module, "GradientMonitor")
        _check_order(trainer, self)
        thaws = any(isinstance(callback, BaseFinetuning) for callback in _callbacks(trainer))
        named = [(name, p) for name, p in pl_module.named_parameters() if (p.requires_grad or thaws) and p.numel()]
        self._recorder = make_recorder(named, _clipping_changes_direction(trainer))
        self._updates_every = self.updates_every or default_updates_every(sum(p.numel() for _, p in named))
        self._blocks = []
        self._diverged_step: int | None = None
        self._losses: list[Tensor] = []  # of the batches since the last step
        self._batch_extremes: list[list[Tensor]] = []
        self._step_taken, self._steps, self._checked_dense = False, 0, False
        self._peak = -math.inf  # largest norm of the current window
        if self._restored is not None:
            self._restore(self._restored)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the initial learning rate, and how many steps share one point of the peak curve."""
        if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
            raise TrainerError("optimizer: got LBFGS; GradientMonitor needs one that takes one gradient a step")
        group = trainer.optimizers[0].param_groups[0]
        self.learning_rate = float(group.get("initial_lr", group["lr"]))  # without the factor of a schedule
        steps = trainer.estimated_stepping_batches
        self._peak_window = max(1, -(-int(steps) // MAX_PEAKS)) if np.isfinite(steps) else self.flush_every

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradients before clipping."""
        if not self._checked_dense:
            check_dense({name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None})
            self._checked_dense = True
        self._recorder.record_gradients(measure_updates=self._steps % self._updates_every == 0)
        self._steps += 1
        self._step_taken = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """If this batch ended a step, measure the gradients after clipping and the weights after the step."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss.detach())
        self._batch_extremes.append(batch_extremes(batch))
        if not self._step_taken:
            return
        index = StepIndex(trainer.global_step, trainer.current_epoch + 1, batch_idx)
        loss = _mean_loss(self._losses, trainer.accumulate_grad_batches)
        self._recorder.record_step(index, loss, _merge_extremes(self._batch_extremes))
        self._losses, self._batch_extremes, self._step_taken = [], [], False
        if self._steps % self.flush_every == 0:
            self._flush(trainer)
            self._stop_if_diverged(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush the last steps, and log the peak of a window that is not full."""
        self._flush(trainer)
        if math.isfinite(self._peak):
            self._log(trainer, {keys.GRAD_NORM_PEAK: self._peak}, trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Flush what was recorded before an exception."""
        self._flush(trainer, reduce=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Flush, and add the record to the checkpoint."""
        self._flush(trainer)
        columns = {name: torch.from_numpy(getattr(self.record, name)) for name in GradientRecord.columns()}
        progress = {"steps": self._steps, "first_bad_step": self._diverged_step, "peak": self._peak}
        checkpoint[self.state_key] = {"columns": columns, **progress}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read the record of a checkpoint, which ``fit`` continues."""
        self._restored = checkpoint.get(self.state_key)

    def _restore(self, state: dict[str, Any]) -> None:
        columns = {name: column.numpy() for name, column in state["columns"].items()}
        self._blocks, self._restored = [GradientRecord(self._recorder.names, **columns)], None
        self._steps, self._diverged_step, self._peak = state["steps"], state["first_bad_step"], state["peak"]

    def _flush(self, trainer: Trainer, reduce: bool = True) -> None:
        """Move the pending steps into the record and log them.

        Args:
            trainer: the Trainer that fits.
            reduce: whether losses and batches are reduced over all processes; not possible where others may have
                ended.
        """
        if not self._recorder.pending:
            return
        block = self._recorder.flush()
        if reduce:
            loss = trainer.strategy.reduce(torch.tensor(block.loss), reduce_op="mean")
            max_abs = torch.tensor(np.stack([block.input_max_abs, block.target_max_abs]))
            inputs, targets = trainer.strategy.reduce(max_abs, reduce_op="max").cpu().numpy()
            block = replace(block, loss=loss.cpu().numpy(), input_max_abs=inputs, target_max_abs=targets)
        self._blocks.append(block)
        if self._diverged_step is None and block.divergence is not None:
            self._diverged_step = block.divergence.step
        if trainer.loggers:
            self._log_block(trainer, block)

    def _log_block(self, trainer: Trainer, block: GradientRecord) -> None:
        curves = {key: values.tolist() for key, values in block.metrics.items()}
        for row, step in enumerate(block.step.tolist()):
            metrics = {key: values[row] for key, values in curves.items()}
            self._log(trainer, metrics | self._peak_of_window(step, metrics[keys.GRAD_NORM]), step)

    def _log(self, trainer: Trainer, metrics: Mapping[str, float], step: int) -> None:
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        for logger in trainer.loggers:
            logger.log_metrics(finite, step=step)

    def _peak_of_window(self, step: int, norm: float) -> dict[str, float]:
        """Return the largest finite norm of a window at its last step; nothing at other steps."""
        self._peak = max(self._peak, norm) if math.isfinite(norm) else self._peak
        if step % self._peak_window:
            return {}
        peak, self._peak = self._peak, -math.inf
        return {keys.GRAD_NORM_PEAK: peak}

    def _stop_if_diverged(self, trainer: Trainer) -> None:
        if self._diverged_step is None or self.steps_after_divergence is None:
            return
        if trainer.global_step - self._diverged_step >= self.steps_after_divergence:
            trainer.should_stop = True


def default_updates_every(parameters: int) -> int:
    """Return the default of ``updates_every``, in optimizer steps, for a network of this many parameters."""
    return 1 if parameters <= SMALL_NETWORK else 10


def _mean_loss(losses: Sequence[Tensor], accumulated: int) -> Tensor:
    """Return the mean loss of a step's batches.

    Args:
        losses: of each batch, which Lightning has divided by ``accumulated``.
        accumulated: batches in a step; the last step of an epoch may have fewer.
    """
    if not losses:
        return torch.tensor(torch.nan)
    total = sum(losses[1:], losses[0])
    return total if len(losses) == accumulated else total * accumulated / len(losses)


def _merge_extremes(batches: Sequence[list[Tensor]]) -> list[Tensor]:
    """Return the extremes of several batches together, as magnitudes: a record contains nothing else of them."""
    if len(batches) == 1:
        return batches[0]
    return [torch.stack(extremes).abs().max() for extremes in zip(*batches, strict=True)]


def _check_order(trainer: Trainer, monitor: GradientMonitor) -> None:
    callbacks = _callbacks(trainer)
    before = callbacks[: callbacks.index(monitor)]
    if any(isinstance(callback, ClipGradients) for callback in before):
        raise TrainerError("callbacks: ClipGradients comes before GradientMonitor; put the monitor first")


def _clipping_changes_direction(trainer: Trainer) -> bool:
    clippers = [callback.clipper for callback in _callbacks(trainer) if isinstance(callback, ClipGradients)]
    ours = any(clipper.changes_direction for clipper in clippers)
    return ours or (trainer.gradient_clip_val is not None and trainer.gradient_clip_algorithm == "value")


def _callbacks(trainer: Trainer) -> list[Callback]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
