"""The loss scaler of a Trainer: gradients are measured and clipped once they are unscaled."""

from pytorch_lightning import LightningModule, Trainer
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip.callbacks.trainer_checks import overrides
from gradclip.errors import TrainerError
from gradclip.loops.optimizers import unscale


class LossScale:
    """Unscale the gradients of each optimizer step where the Trainer has not done so, as for fused optimizers.

    Args:
        trainer: the Trainer that fits.
        module: the module that is trained.
        callback: name of the callback that looks at the gradients, for a message.

    Attributes:
        scaler: the scaler; None where the loss is not scaled.
        has_backward: whether the present batch has had a backward pass.

    Raises:
        TrainerError: gradients would be seen that are still scaled.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, callback: str) -> None:
        plugin = trainer.precision_plugin
        self.scaler: GradScaler | None = getattr(plugin, "scaler", None)
        self.has_backward = False
        self._is_automatic = module.automatic_optimization
        got = f"precision: got {type(plugin).__name__}"
        if self.scaler is None and (overrides(plugin, "pre_backward") or overrides(plugin, "backward")):
            raise TrainerError(f"{got}, which may scale the loss; {callback} needs its scaler as an attribute scaler")
        if self.scaler is not None and not isinstance(self.scaler, GradScaler):
            kind = type(self.scaler).__name__
            raise TrainerError(f"{got} with a {kind}; {callback} needs a torch.amp.GradScaler, or precision=bf16-mixed")

    def unscale(self, optimizer: Optimizer) -> bool:
        """Unscale the gradients of an optimizer that is about to step.

        Returns:
            Whether they are unscaled. Where the step's last batch has no loss, Lightning leaves a scaled step out.
        """
        if self.scaler is None:
            return True
        if self._is_automatic and not self.has_backward:
            return False
        unscale(self.scaler, optimizer)
        return True
