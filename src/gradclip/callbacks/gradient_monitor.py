"""The callback that records the gradients of any LightningModule."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from gradclip.callbacks.between import check_order, may_change_direction
from gradclip.callbacks.finite_state import FiniteState
from gradclip.callbacks.optimizers import OptimizerParameters, as_float, group_rates, initial_rate
from gradclip.callbacks.step_logger import StepLogger
from gradclip.callbacks.trainer_checks import check_dense, check_unscaled, check_whole_gradients, total_steps
from gradclip.diagnosis.explosion import Explosion, explain
from gradclip.errors import TrainerError
from gradclip.telemetry.batches import batch_extremes, mean_loss, merge_extremes, returned_loss
from gradclip.telemetry.record import Divergence, GradientRecord
from gradclip.telemetry.record_store import RecordStore
from gradclip.telemetry.recorders import StepIndex, default_updates_every, make_recorder


class GradientMonitor(Callback):
    """Record loss, gradient norms before and after clipping, weights and their updates at every optimizer step.

    No value is read from the device between two flushes. Each flush logs the finite values to the Trainer's loggers.
    Of a record of more than eight megabytes, earlier steps are kept in a folder ``gradient-record-*`` of the Trainer's
    ``default_root_dir``, and checkpoints say where.

    The monitor changes no gradient. It measures the gradients that the optimizer is about to use, accumulated and
    unscaled. It has to come before a :class:`ClipGradients` in the list of callbacks. Parameters that are frozen, or
    that the optimizer does not have, are left out; those that are thawed or added later are followed from then on.

    Args:
        flush_every: optimizer steps between two flushes.
        steps_after_divergence: stop training at the first flush at least this many steps after the first non-finite
            loss or weight; None never stops.
        updates_every: optimizer steps between two measurements of the weights' updates, which need a copy of the
            weights; None is 1, or 10 in a network of more than a million parameters.

    Raises:
        TrainerError: at the start of ``fit``, if it comes after a ClipGradients, the module uses manual optimization,
            the strategy shards gradients, the optimizer is LBFGS, or it is fused and the loss is scaled; at the first
            step, if a gradient is sparse.

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
        self.learning_rate = float("nan")  # the initial one, the highest of all groups
        self._restored: dict[str, Any] | None = None
        self._has_started = False
        self._reset()

    def _reset(self) -> None:
        self._recorder = make_recorder([], changes_direction=False)
        self._store = RecordStore()
        self._names: list[str] = []  # of the module's parameters, in its order
        self._diverged_step: int | None = None
        self._rates: list[tuple[dict[str, int], list[Any]]] = []  # group of each parameter, rate of each group; by step
        self._learning_rates: dict[str, float] = {}  # of each parameter, up to the divergence
        self._losses: list[Tensor] = []  # of the batches since the last step
        self._batch_extremes: list[list[Tensor]] = []
        self._step_taken = self._validates = False
        self._steps = 0
        self._step_logger = StepLogger()
        self._finite_state = FiniteState()
        self._optimizer: Optimizer | None = None
        self._handle: RemovableHandle | None = None

    @property
    def record(self) -> GradientRecord:
        """The record of all steps up to the last flush."""
        recorded = dict.fromkeys(self._store.names or self._recorder.names)
        in_order = [name for name in self._names if name in recorded]
        return self._store.read((*dict.fromkeys([*in_order, *recorded]),))

    @property
    def explosion(self) -> Explosion | None:
        """The explosion report, to ``print`` or as ``.to_json()``; None if training did not diverge."""
        return explain(self.record, self._learning_rates, self._finite_state.found)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the training before."""
        self._has_started = False
        if stage == "fit":
            self._reset()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the gradients can be seen, before and after clipping; continue the record of a checkpoint."""
        check_whole_gradients(trainer, pl_module, "GradientMonitor")
        check_order(trainer, self)
        if self._restored is not None:
            self._restore(self._restored)
        self._has_started = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the initial learning rate, how long training takes, and what may happen between two measurements."""
        if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
            raise TrainerError("optimizer: got LBFGS; GradientMonitor needs one that takes one gradient a step")
        check_unscaled(trainer, "GradientMonitor")
        self._parameters = OptimizerParameters(pl_module)
        self._changes_direction = may_change_direction(trainer, pl_module, self)
        self._step_logger.set_window(total_steps(trainer), self.flush_every)
        self._finite_state.start(pl_module)
        for optimizer in trainer.optimizers:
            self.learning_rate = initial_rate(optimizer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradients before clipping."""
        self._follow(trainer, pl_module, optimizer)
        self._recorder.record_gradients(measure_updates=self._steps % self._updates_every == 0)
        self._latest_rates = (self._parameters.group_of, group_rates(optimizer))
        self._step_taken = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """If this batch ended a step, add the step to the record."""
        if (loss := returned_loss(outputs)) is not None:
            self._losses.append(loss)
        self._batch_extremes.append(batch_extremes(batch))
        if not self._step_taken:
            return
        index = StepIndex(trainer.global_step, trainer.current_epoch + 1, batch_idx)
        mean = mean_loss(self._losses, trainer.accumulate_grad_batches)
        is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        self._recorder.record_step(index, mean, merge_extremes(self._batch_extremes), may_skip=is_scaled)
        self._rates.append(self._latest_rates)
        self._steps += 1
        self._losses, self._batch_extremes, self._step_taken = [], [], False
        if self._steps % self.flush_every == 0:
            self._flush(trainer)
            self._stop_if_diverged(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the loss of a validation during training."""
        self._validates = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self._validates:
            self._finite_state.start_validation(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note the loss that a step of the validation returned."""
        if self._validates:
            self._finite_state.add_validation_step(outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether the loss of the validation is finite, which that of the training may be all the same."""
        if self._validates:
            self._finite_state.check_validation(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Flush the last steps, and log the peak of a window that is not full."""
        self._flush(trainer)
        self._step_logger.log_last_peak(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Flush what was recorded before an exception; a step that it ended halfway is left out."""
        self._step_taken = False
        try:
            self._flush(trainer, reduce=False)
        except Exception as error:  # the other exception is the user's, and must be the one that is seen
            exception.add_note(f"GradientMonitor could not record the latest steps: {type(error).__name__}: {error}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the optimizer alone."""
        self._restored = None
        self._release_optimizer()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Flush, and add the record to the checkpoint."""
        if self._restored is not None:  # of a training that has not yet begun
            checkpoint[self.state_key] = self._restored
            return
        self._flush(trainer)
        progress = {"steps": self._steps, "first_bad_step": self._diverged_step, "peak": self._step_logger.peak}
        found = self._finite_state.found
        checkpoint[self.state_key] = {
            **self._store.state(),
            "rates": dict(self._learning_rates),
            "elsewhere": None if found is None else [*astuple(found[0]), found[1]],
            **progress,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read the record of a checkpoint, which ``fit`` continues; not that which a search during training saved."""
        if self._has_started:
            return
        state = checkpoint.get(self.state_key)
        if state is not None and "files" not in state:
            warnings.warn(
                "GradientMonitor: the checkpoint's record is of an older version; it begins anew", stacklevel=2
            )
            state = None
        self._restored = state

    def _restore(self, state: dict[str, Any]) -> None:
        self._store.restore(state)
        self._restored = None
        self._steps, self._diverged_step = state["steps"], state["first_bad_step"]
        self._step_logger.peak = state["peak"]
        self._learning_rates = state["rates"]
        if state["elsewhere"] is not None:
            *place, kind = state["elsewhere"]
            self._finite_state.found = Divergence(*place), kind

    def _follow(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure what the optimizer trains from now on, where that has changed, and look at it once it has stepped."""
        named = self._parameters.read(optimizer)
        trained = [(name, p) for name, p in named.items() if (p.requires_grad or p.grad is not None) and p.numel()]
        if optimizer is not self._optimizer or not _are_same(trained, self._recorder.parameters):
            self._flush(trainer)
            check_dense({name: p.grad for name, p in trained if p.grad is not None})
            self._names = [name for name, _ in pl_module.named_parameters()]
            self._recorder = make_recorder(trained, self._changes_direction)
            self._updates_every = self.updates_every or default_updates_every(sum(p.numel() for _, p in trained))
        if optimizer is not self._optimizer:
            self._release_optimizer()
            self._optimizer = optimizer
            with suppress(AttributeError):  # of one that never called the constructor of its base class
                self._handle = optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, *arguments: object) -> None:
        """Measure the gradients after clipping and the weights after the step."""
        if self._step_taken:
            self._recorder.record_update()

    def _release_optimizer(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._optimizer = self._handle = None

    def _flush(self, trainer: Trainer, reduce: bool = True) -> None:
        """Move the pending steps into the record and log them.

        Args:
            trainer: the Trainer that fits.
            reduce: whether losses and batches are reduced over all processes; not possible where others may have
                ended.
        """
        if not self._recorder.pending:
            return
        block, rates, self._rates = self._recorder.flush(), self._rates, []
        if reduce:
            loss = trainer.strategy.reduce(torch.tensor(block.loss), reduce_op="mean")
            max_abs = torch.tensor(np.stack([block.input_max_abs, block.target_max_abs]))
            inputs, targets = trainer.strategy.reduce(max_abs, reduce_op="max").cpu().numpy()
            block = replace(block, loss=loss.cpu().numpy(), input_max_abs=inputs, target_max_abs=targets)
        self._store.append(block, Path(trainer.default_root_dir))
        if self._diverged_step is None:
            self._finite_state.check_buffers(trainer.lightning_module, int(block.step[-1]), int(block.epoch[-1]))
            row = len(block.step) - 1
            if block.divergence is not None:
                self._diverged_step = block.divergence.step
                row = int(np.searchsorted(block.step, self._diverged_step))
            elif self._optimizer is not None:  # whose state is that after the block's last step
                trained = dict(zip(self._recorder.names, self._recorder.parameters, strict=True))
                self._finite_state.check_optimizer(self._optimizer, trained, block)
            group_of, of_groups = rates[row]
            self._learning_rates = {name: as_float(of_groups[group]) for name, group in group_of.items()}
        if trainer.loggers:
            self._step_logger.log(trainer, block)

    def _stop_if_diverged(self, trainer: Trainer) -> None:
        if self._diverged_step is None or self.steps_after_divergence is None:
            return
        if trainer.global_step - self._diverged_step >= self.steps_after_divergence:
            trainer.should_stop = True


def _are_same(trained: Sequence[tuple[str, Tensor]], recorded: Sequence[Tensor]) -> bool:
    pairs = zip(trained, recorded, strict=False)
    return len(trained) == len(recorded) and all(one is other for (_, one), other in pairs)
