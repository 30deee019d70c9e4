"""Clip gradients by any clipper."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from gradclip.clipping.base import Clipper, State
from gradclip.errors import TrainerError


class ClipGradients(Callback):
    """Apply a clipper to the gradients of each optimizer step, once they are accumulated and unscaled.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.

    Raises:
        TrainerError: on starting to fit, if the Trainer clips too or the module optimizes manually.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> clip = gradclip.ClipGradients(gradclip.NormValue(norm=1.0, value=0.5))
        >>> trainer = Trainer(callbacks=[clip], logger=False, enable_checkpointing=False)
    """

    def __init__(self, clipper: Clipper) -> None:
        self.clipper = clipper
        self.state: State | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what would clip twice or never."""
        if trainer.gradient_clip_val is not None:
            raise TrainerError(
                f"gradient_clip_val: got {trainer.gradient_clip_val}; leave it out, ClipGradients clips already"
            )
        if not pl_module.automatic_optimization:
            raise TrainerError("automatic_optimization: got False; ClipGradients needs automatic optimization")

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Replace every gradient by its clipped value, in place."""
        parameters = {name: p for name, p in pl_module.named_parameters() if p.grad is not None}
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        if self.state is None:
            self.state = self.clipper.init(parameters)
        clipped, self.state, _ = self.clipper(gradients, parameters, self.state)
        for name, gradient in gradients.items():
            gradient.copy_(clipped[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the clipper's state, for a checkpoint."""
        return {"state": None if self.state is None else dict(self.state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the clipper's state from a checkpoint."""
        state: dict[str, Tensor] | None = state_dict["state"]
        self.state = state
