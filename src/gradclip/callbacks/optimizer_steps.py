"""Checks around each optimizer step: callbacks see unscaled gradients, and no step bypasses them."""

from contextlib import suppress
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch.optim import Optimizer

from gradclip.callbacks.trainer_checks import loss_scaler
from gradclip.errors import TrainerError
from gradclip.loops.optimizers import unscale
from gradclip.loops.unwrapping import unwrapped_optimizer


class OptimizerSteps:
    """The optimizer steps of a training run, for a callback that needs the unscaled gradients of each.

    If the Trainer has not unscaled the gradients, as with fused optimizers, :meth:`unscale` does. Under manual
    optimization, a step that bypasses Lightning, and thus all callbacks, raises an error.

    Args:
        trainer: the Trainer that fits.
        module: the module that is trained.
        callback: name of the callback, for messages.

    Attributes:
        scaler: the loss scaler; None if the loss is not scaled.
        has_backward: whether the current batch has had a backward pass.

    Raises:
        TrainerError: the gradients cannot be unscaled, since the precision plugin has no scaler of torch's.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, callback: str) -> None:
        self.scaler = loss_scaler(trainer, callback)
        self.has_backward = False
        self._callback, self._is_automatic = callback, module.automatic_optimization
        self._announced: Optimizer | None = None  # optimizer whose step Lightning announced in the current batch
        self._handles = []
        for optimizer in [] if self._is_automatic else trainer.optimizers:
            with suppress(AttributeError):  # the optimizer never called the constructor of its base class
                self._handles.append(unwrapped_optimizer(optimizer).register_step_pre_hook(self._check_announced))

    def start_batch(self) -> None:
        """Start a batch, without a backward pass or a step so far."""
        self.has_backward, self._announced = False, None

    def unscale(self, optimizer: Optimizer) -> bool:
        """Unscale the gradients of an optimizer whose step Lightning announces.

        Returns:
            Whether the gradients are unscaled. If the last batch of a step has no loss, Lightning skips a scaled step.
        """
        self._announced = unwrapped_optimizer(optimizer)
        if self.scaler is None:
            return True
        if self._is_automatic and not self.has_backward:
            return False
        unscale(self.scaler, optimizer)
        return True

    def remove(self) -> None:
        """Remove the hooks from the optimizers."""
        for handle in self._handles:
            handle.remove()

    def _check_announced(self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Check that Lightning has announced a step, or will announce it in the step's closure.

        Raises:
            TrainerError: the step bypasses Lightning.
        """
        has_closure = len(arguments) > 1 or keywords.get("closure") is not None
        if not has_closure and self._announced is not optimizer:
            got = f"optimizer: got a step of {type(optimizer).__name__} that bypasses Lightning"
            needs = f"{self._callback} needs step() of self.optimizers() without use_pl_optimizer=False"
            raise TrainerError(f"{got}; {needs}, or use gradclip.watch instead")
