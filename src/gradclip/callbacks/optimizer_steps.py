"""What happens around each optimizer step: gradients are seen unscaled, and no step goes past the callbacks."""

from contextlib import suppress
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip.callbacks.trainer_checks import overrides
from gradclip.errors import TrainerError
from gradclip.loops.optimizers import unscale


class OptimizerSteps:
    """The optimizer steps of a training, as a callback is asked before each.

    Where the Trainer has not unscaled the gradients, as of fused optimizers, :meth:`unscale` does so. Under manual
    optimization a step that goes past Lightning, which asks no callback then, is refused.

    Args:
        trainer: the Trainer that fits.
        module: the module that is trained.
        callback: name of the callback, for the messages.

    Attributes:
        scaler: the loss scaler; None where the loss is not scaled.
        has_backward: whether the present batch has had a backward pass.

    Raises:
        TrainerError: gradients would be seen that are still scaled.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, callback: str) -> None:
        plugin = trainer.precision_plugin
        self.scaler: GradScaler | None = getattr(plugin, "scaler", None)
        self.has_backward = False
        self._callback, self._is_automatic = callback, module.automatic_optimization
        self._announced: Optimizer | None = None  # by Lightning, in the present batch
        got = f"precision: got {type(plugin).__name__}"
        if self.scaler is None and (overrides(plugin, "pre_backward") or overrides(plugin, "backward")):
            raise TrainerError(f"{got}, which may scale the loss; {callback} needs its scaler as an attribute scaler")
        if self.scaler is not None and not isinstance(self.scaler, GradScaler):
            kind = type(self.scaler).__name__
            raise TrainerError(f"{got} with a {kind}; {callback} needs a torch.amp.GradScaler, or precision=bf16-mixed")
        self._handles = []
        for optimizer in [] if self._is_automatic else trainer.optimizers:
            with suppress(AttributeError):  # of one that never called the constructor of its base class
                self._handles.append(optimizer.register_step_pre_hook(self._check_announced))

    def start_batch(self) -> None:
        """Note that the batch has had neither a backward pass nor a step."""
        self.has_backward, self._announced = False, None

    def unscale(self, optimizer: Optimizer) -> bool:
        """Unscale the gradients of an optimizer whose step Lightning announces.

        Returns:
            Whether they are unscaled. Where the step's last batch has no loss, Lightning leaves a scaled step out.
        """
        self._announced = optimizer
        if self.scaler is None:
            return True
        if self._is_automatic and not self.has_backward:
            return False
        unscale(self.scaler, optimizer)
        return True

    def remove(self) -> None:
        """Leave the optimizers alone."""
        for handle in self._handles:
            handle.remove()

    def _check_announced(self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Check that Lightning has announced a step, or will do so in the step's closure.

        Raises:
            TrainerError: the step goes past Lightning.
        """
        has_closure = len(arguments) > 1 or keywords.get("closure") is not None
        if not has_closure and self._announced is not optimizer:
            got = f"optimizer: got a step of {type(optimizer).__name__} past Lightning"
            raise TrainerError(f"{got}; {self._callback} needs self.optimizers() without use_pl_optimizer=False")
