"""Watch the gradients of any LightningModule."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip import keys
from gradclip.callbacks.clip_gradients import ClipGradients, check_gradients_are_whole
from gradclip.errors import TrainerError
from gradclip.telemetry.measure import extremes, norms
from gradclip.telemetry.record import GradientRecord

MOST_PEAKS = 320  # as many points as a chart of MLflow shows of a series


class _Before(NamedTuple):
    """Of each gradient before clipping: its norm, and its least and greatest element; scalars on the device."""

    norms: list[Tensor]
    ends: list[Tensor]


class _Step(NamedTuple):
    """Of one step: norms before, then after; the loss, then least and greatest of each gradient and parameter."""

    step: int
    epoch: int
    norms: list[Tensor]
    ends: list[Tensor]


class GradientMonitor(Callback):
    """Record loss, gradient norms before and after clipping, and weights, at every optimizer step.

    Nothing is read back from the device between two flushes. Each flush sends the finite points to the Trainer's
    loggers. It changes no gradient, and is right under accumulation and mixed precision, since it looks at the
    gradients that the optimizer is about to use. Where :class:`ClipGradients` clips, put the monitor before it.

    Args:
        flush_every: optimizer steps between two flushes.
        steps_after_divergence: stop training at the first flush that comes at least so many steps after the first
            non-finite loss, gradient or weight; None never stops.

    Raises:
        TrainerError: on starting to fit, if it stands behind a ClipGradients or the module optimizes manually.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> monitor = gradclip.GradientMonitor()
        >>> trainer = Trainer(callbacks=[monitor], gradient_clip_val=1.0, logger=False, enable_checkpointing=False)
        >>> # after trainer.fit(...): monitor.record.norm, monitor.record.clip_fraction, monitor.record.divergence
    """

    def __init__(self, flush_every: int = 20, steps_after_divergence: int | None = None) -> None:
        self.flush_every = flush_every
        self.steps_after_divergence = steps_after_divergence
        self._blocks: list[GradientRecord] = []
        self._pending: list[_Step] = []
        self._names: tuple[str, ...] = ()

    @property
    def record(self) -> GradientRecord:
        """All that was recorded up to the last flush."""
        return GradientRecord.join(self._names, self._blocks)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new record."""
        _check_place(trainer, pl_module, self)
        named = [(name, p) for name, p in pl_module.named_parameters() if p.requires_grad and p.numel()]
        self._names = tuple(name for name, _ in named)
        self._parameters: list[nn.Parameter] = [parameter for _, parameter in named]
        self._blocks, self._pending = [], []
        self._first_bad_step: int | None = None
        self._losses: list[Tensor] = []
        self._before: _Before | None = None
        self._peak = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fix how many steps share one point of the peak curve."""
        steps = trainer.estimated_stepping_batches
        self._peak_window = max(1, -(-int(steps) // MOST_PEAKS)) if np.isfinite(steps) else self.flush_every

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradients before clipping."""
        gradients = self._gradients()
        self._before = _Before(norms(gradients), extremes(gradients))

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the gradients after clipping and the weights after the step, where this batch ended a step."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss.detach())
        if self._before is None:
            return
        self._pending.append(self._measure_step(trainer, self._before))
        if len(self._pending) >= self.flush_every:
            self._flush(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush what is left, and the peak of a window that is not full."""
        self._flush(trainer)
        if self._peak > 0:
            self._send(trainer, {keys.GRAD_NORM_PEAK: self._peak}, trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was recorded before an interruption."""
        self._flush(trainer, joined=False)

    def _gradients(self) -> list[Tensor]:
        return [p.new_zeros(1) if p.grad is None else p.grad for p in self._parameters]

    def _measure_step(self, trainer: Trainer, before: _Before) -> _Step:
        loss = torch.stack(self._losses).sum() if self._losses else before.ends[0].new_zeros(())
        self._before, self._losses = None, []
        ends = [loss, *before.ends, *extremes(self._parameters)]
        return _Step(trainer.global_step, trainer.current_epoch + 1, [*before.norms, *norms(self._gradients())], ends)

    def _flush(self, trainer: Trainer, joined: bool = True) -> None:
        """Read back what is pending; the loss as a mean over all processes, unless the others may be gone."""
        if not self._pending:
            return
        block = _to_record(self._names, self._pending)
        if joined:
            loss = trainer.strategy.reduce(torch.tensor(block.loss), reduce_op="mean")
            block = replace(block, loss=loss.cpu().numpy())
        self._pending = []
        self._blocks.append(block)
        self._log(trainer, block)
        self._stop_if_diverged(trainer, block)

    def _log(self, trainer: Trainer, block: GradientRecord) -> None:
        for row, step in enumerate(block.step.tolist()):
            metrics = {
                keys.LOSS_STEP: block.loss[row],
                keys.GRAD_NORM: block.norm[row],
                keys.GRAD_NORM_CLIPPED: block.norm_clipped[row],
                keys.GRAD_MAX_ABS: block.max_abs[row],
                keys.GRAD_COEFFICIENT: block.coefficient[row],
            } | self._peak_of_window(step, block.norm[row])
            self._send(trainer, metrics, step)

    def _send(self, trainer: Trainer, metrics: Mapping[str, float], step: int) -> None:
        finite = {key: float(value) for key, value in metrics.items() if np.isfinite(value)}
        for logger in trainer.loggers:
            logger.log_metrics(finite, step=step)

    def _peak_of_window(self, step: int, norm: float) -> dict[str, float]:
        """The largest finite norm of a window, at its last step."""
        self._peak = max(self._peak, norm) if np.isfinite(norm) else self._peak
        if step % self._peak_window:
            return {}
        peak, self._peak = self._peak, 0.0
        return {keys.GRAD_NORM_PEAK: peak}

    def _stop_if_diverged(self, trainer: Trainer, block: GradientRecord) -> None:
        if self._first_bad_step is None and block.divergence is not None:
            self._first_bad_step = block.divergence.step
        if self._first_bad_step is None or self.steps_after_divergence is None:
            return
        if block.step[-1] - self._first_bad_step >= self.steps_after_divergence:
            trainer.should_stop = True


def _check_place(trainer: Trainer, pl_module: LightningModule, monitor: GradientMonitor) -> None:
    check_gradients_are_whole(trainer, pl_module, "GradientMonitor")
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    before = callbacks[: callbacks.index(monitor)]
    if any(isinstance(callback, ClipGradients) for callback in before):
        raise TrainerError("callbacks: ClipGradients stands before GradientMonitor; put the monitor first")


def _to_record(names: tuple[str, ...], steps: list[_Step]) -> GradientRecord:
    """Read steps back from the device: one transfer for the norms, one for the rest."""
    count = len(names)
    norms = _read_back([step.norms for step in steps])
    ends = _read_back([step.ends for step in steps])
    gradient_ends, weight_ends = np.abs(ends[:, 1:]).reshape(-1, 2, count, 2).max(axis=3).transpose(1, 0, 2)
    return GradientRecord(
        names=names,
        step=np.array([step.step for step in steps], dtype=np.int64),
        epoch=np.array([step.epoch for step in steps], dtype=np.int64),
        loss=ends[:, 0],
        max_abs=gradient_ends.max(axis=1),
        norms=norms[:, :count],
        norms_clipped=norms[:, count:],
        weights=weight_ends,
    )


def _read_back(rows: list[list[Tensor]]) -> NDArray[np.float64]:
    flat = torch.stack([scalar for row in rows for scalar in row])
    values: NDArray[np.float64] = flat.cpu().double().numpy()
    return values.reshape(len(rows), -1)
