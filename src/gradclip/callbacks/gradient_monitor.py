"""The callback that records the gradients of any LightningModule."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from gradclip.callbacks.after_monitor import check_order, effect_after
from gradclip.callbacks.optimizer_steps import OptimizerSteps
from gradclip.callbacks.step_logger import StepLogger
from gradclip.callbacks.trainer_checks import check_whole_gradients, optimizer_names, warn_of_lost_record
from gradclip.callbacks.validation import ValidationLosses
from gradclip.diagnosis.explosion import Explosion
from gradclip.errors import TrainerError
from gradclip.loops.monitor import OptimizerMonitor
from gradclip.loops.optimizers import initial_rate
from gradclip.ranges import COUNT, COUNT_OR_ZERO
from gradclip.telemetry.batches import batch_extremes, mean_loss, returned_loss
from gradclip.telemetry.record import GradientRecord
from gradclip.telemetry.steps import StepIndex


@dataclass
class _Watched:
    """One optimizer of the Trainer."""

    monitor: OptimizerMonitor
    step_logger: StepLogger
    step: int = 0  # the Trainer's step that is not in the record yet


class GradientMonitor(Callback):
    """Record loss, gradient norms before and after clipping, weights and their updates at every optimizer step.

    No value is read from the device between two flushes. Each flush logs the finite values to the Trainer's loggers.
    A record larger than eight megabytes moves its earlier steps to a folder ``gradient-record-*`` in the Trainer's
    ``default_root_dir``; checkpoints refer to that folder.

    The monitor does not change any gradient. It measures the gradients that the optimizer is about to use, after
    accumulation and unscaling. If an optimizer evaluates gradients several times in a step, as LBFGS does, the monitor
    measures the last ones. It must come before a :class:`ClipGradients` in the list of callbacks. It ignores parameters
    that are frozen or that the optimizer does not hold; parameters that are unfrozen or added later are measured from
    then on.

    Under manual optimization, each optimizer has its own record. Its steps are numbered as the Trainer counts them,
    over all optimizers. Optimizers are named ``Adam``, ``Adam-1`` and so on, as by Lightning's LearningRateMonitor; so
    are their metrics: ``Adam-1/grad/norm``. The loss is recorded only if there is one optimizer that steps once per
    batch, and ``training_step`` returns the loss.

    Args:
        flush_every: optimizer steps between two flushes.
        steps_after_divergence: stop training at the first flush at least this many steps after the first non-finite
            loss or weight; None never stops.
        updates_every: optimizer steps between two measurements of the weight updates, which need a copy of the weights;
            by default 1, or 10 for networks with more than a million parameters.

    Raises:
        TrainerError: an argument is out of range; at the start of ``fit``, if the monitor comes after a ClipGradients,
            the strategy is FSDP 1 or DeepSpeed, or a precision plugin scales the loss with a scaler that is not
            torch's; at the first step, if a gradient is sparse, or the parameters are on several devices.

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
        self.flush_every = COUNT.check("flush_every", flush_every, TrainerError)
        self.updates_every = COUNT.check_optional("updates_every", updates_every, TrainerError)
        steps = COUNT_OR_ZERO.check_optional("steps_after_divergence", steps_after_divergence, TrainerError)
        self.steps_after_divergence = steps
        self.learning_rate = float("nan")  # highest initial learning rate of all parameter groups
        self._restored: dict[str, Any] = {}  # states in a checkpoint, of optimizers that are not watched yet, by name
        self._has_started = False
        self._reset()

    def _reset(self) -> None:
        self._watched: dict[str, _Watched] = {}  # by name of the optimizer
        self._current: dict[int, _Watched] = {}  # the Trainer's current optimizers, by id
        self._losses: list[Tensor] = []  # losses of the batches since the last step
        self._validation = ValidationLosses()
        self._validates, self._batch = False, 0

    @property
    def record(self) -> GradientRecord:
        """The record of all steps up to the last flush, if there is one optimizer.

        Raises:
            TrainerError: there are several optimizers.
        """
        watched = self._only("record")
        return GradientRecord.empty(()) if watched is None else watched.monitor.record

    @property
    def records(self) -> dict[str, GradientRecord]:
        """The record of each optimizer, by its name."""
        return {name: watched.monitor.record for name, watched in self._watched.items()}

    @property
    def explosion(self) -> Explosion | None:
        """The explosion report, to ``print`` or as ``.to_json()``; None if training did not diverge.

        Raises:
            TrainerError: there are several optimizers.
        """
        watched = self._only("explosion")
        return None if watched is None else watched.monitor.explain("lightning")

    @property
    def explosions(self) -> dict[str, Explosion | None]:
        """The explosion report of each optimizer, by its name."""
        return {name: watched.monitor.explain("lightning") for name, watched in self._watched.items()}

    def _only(self, what: str) -> _Watched | None:
        if len(self._watched) > 1:
            names = ", ".join(self._watched)
            raise TrainerError(f"{what}: got several optimizers; {what}s has one for each: {names}")
        return next(iter(self._watched.values()), None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the records of an earlier training run."""
        self._has_started = False
        if stage == "fit":
            self._reset()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that gradients can be measured before and after clipping; continue the records of a checkpoint."""
        check_whole_gradients(trainer, "GradientMonitor")
        check_order(trainer, self)
        warn_of_lost_record(trainer, "GradientMonitor")
        self._optimizer_steps = OptimizerSteps(trainer, pl_module, "GradientMonitor")
        self._effect = effect_after(self, trainer, pl_module)
        self._folder = Path(trainer.default_root_dir)
        self._watch_optimizers(trainer)
        self._has_started = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the initial learning rate."""
        rates = [initial_rate(optimizer) for optimizer in trainer.optimizers]
        self.learning_rate = float(np.fmax.reduce(rates, initial=np.nan))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Store the index of the batch."""
        self._batch = batch_idx
        self._optimizer_steps.start_batch()
        self._watch_optimizers(trainer)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the batch has had a backward pass."""
        self._optimizer_steps.has_backward = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradients before clipping."""
        self._watch_optimizers(trainer)
        watched = self._current[id(optimizer)]
        may_be_skipped = self._optimizer_steps.scaler is not None
        is_ended = watched.monitor.is_open and (watched.monitor.is_updated or may_be_skipped)
        if is_ended and not pl_module.automatic_optimization:
            watched.monitor.forget_batches()  # the current batch is not known before its end
            self._count_step(trainer, watched, loss=None)
        are_unscaled = self._optimizer_steps.unscale(optimizer)
        watched.step = max(trainer.global_step, watched.step) + 1
        watched.monitor.record_gradients(partial(self._flush, trainer, watched), are_unscaled)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the step to the record if this batch ended one."""
        if (loss := returned_loss(outputs)) is not None:
            # Lightning copies the loss, except under manual optimization; a CUDA graph overwrites it in the next batch.
            self._losses.append(loss if pl_module.automatic_optimization else loss.clone())
        extremes = batch_extremes(batch)
        for watched in self._current.values():
            watched.monitor.add_batch(extremes)
        stepped = [watched for watched in self._watched.values() if watched.monitor.is_open]
        if not stepped:
            return
        mean = mean_loss(self._losses, trainer.accumulate_grad_batches) if len(self._current) == 1 else None
        for watched in stepped:
            self._count_step(trainer, watched, mean, skipped=pl_module.automatic_optimization and mean is None)
        self._losses = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect the validation loss, during training only."""
        self._validates = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self._validates:
            self._validation.start(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any, **indices: Any
    ) -> None:
        """Add the loss that a validation step returned."""
        if self._validates:
            self._validation.add_step(outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the validation loss is finite; it may not be, even if the training loss is."""
        if self._validates:
            losses = self._validation.read(trainer)
            for watched in self._watched.values():
                state = watched.monitor.finite_state
                state.check("validation", losses, trainer.global_step, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush the last steps, and log the peak of the last, incomplete window."""
        for watched in self._watched.values():
            self._flush(trainer, watched)
            watched.step_logger.log_last_peak(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Flush the steps before an exception, and discard a step that it interrupted."""
        for watched in self._watched.values():
            watched.monitor.discard_step()
            try:
                self._flush(trainer, watched, reduce=False)
            except Exception as error:  # must not hide the user's exception
                kind = type(error).__name__
                exception.add_note(f"GradientMonitor could not record the latest steps: {kind}: {error}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard a checkpoint that no training resumed, and remove the hooks from the optimizers."""
        self._restored = {}
        if self._has_started:
            self._optimizer_steps.remove()
        for watched in self._watched.values():
            watched.monitor.unhook()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Flush, and add the records to the checkpoint."""
        for watched in self._watched.values():
            self._flush(trainer, watched)
        states = {name: one.monitor.state() | {"peak": one.step_logger.peak} for name, one in self._watched.items()}
        checkpoint[self.state_key] = {"optimizers": self._restored | states}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read the records of a checkpoint, which ``fit`` continues; ignore a checkpoint loaded during training."""
        if self._has_started:
            return
        saved = checkpoint.get(self.state_key, {"optimizers": {}})
        self._restored = saved.get("optimizers", {})
        if "optimizers" not in saved:
            text = "the record in the checkpoint is from an older version; starting a new record"
            warnings.warn(f"GradientMonitor: {text}", stacklevel=2)

    def _watch_optimizers(self, trainer: Trainer) -> None:
        """Hook into the Trainer's current optimizers; the user's code may have replaced them."""
        if [*self._current] == [id(optimizer) for optimizer in trainer.optimizers]:
            return
        names = optimizer_names(trainer)
        for optimizer in trainer.optimizers:
            name = names[id(optimizer)]
            if name not in self._watched:
                monitor = OptimizerMonitor(trainer.lightning_module, optimizer, self._effect, self.updates_every)
                step_logger = StepLogger(f"{name}/" if len(trainer.optimizers) > 1 else "", self.flush_every)
                self._watched[name] = _Watched(monitor, step_logger)
                if name in self._restored:
                    state = self._restored.pop(name)
                    monitor.restore(state)
                    step_logger.peak = state["peak"]
            self._watched[name].monitor.hook(optimizer)
        self._current = {key: self._watched[name] for key, name in names.items()}

    def _count_step(self, trainer: Trainer, watched: _Watched, loss: Tensor | None, skipped: bool = False) -> None:
        """Add a step to the record after its gradients were measured."""
        index = StepIndex(watched.step, trainer.current_epoch + 1, self._batch)
        watched.monitor.record_step(index, loss, skipped, scaled=self._optimizer_steps.scaler is not None)
        if watched.monitor.steps % self.flush_every:
            return
        self._flush(trainer, watched)
        diverged_step, most = watched.monitor.diverged_step, self.steps_after_divergence
        if diverged_step is not None and most is not None and trainer.global_step - diverged_step >= most:
            trainer.should_stop = True

    def _flush(self, trainer: Trainer, watched: _Watched, reduce: bool = True) -> None:
        """Move the pending steps into the record and log them; do not ``reduce`` if other processes may have ended."""
        joined = {"reduce": partial(_reduce, trainer)} if reduce and trainer.world_size > 1 else {}
        block = watched.monitor.flush(self._folder, **joined)
        if block is not None and trainer.loggers:
            watched.step_logger.log(trainer, block)


def _reduce(trainer: Trainer, block: GradientRecord) -> GradientRecord:
    """Reduce the losses and batch extremes of the same steps over all processes, on the process group's device."""
    strategy = trainer.strategy
    loss = strategy.reduce(torch.tensor(block.loss, device=strategy.root_device), reduce_op="mean")
    max_abs = torch.tensor(np.stack([block.input_max_abs, block.target_max_abs]), device=strategy.root_device)
    inputs, targets = strategy.reduce(max_abs, reduce_op="max").cpu().numpy()
    return replace(block, loss=loss.cpu().numpy(), input_max_abs=inputs, target_max_abs=targets)
