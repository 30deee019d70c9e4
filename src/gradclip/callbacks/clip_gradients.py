"""The callback that clips gradients by any clipper."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip.clipping.base import Clipper, Gradients, Rescaler, State, rescale_in_place
from gradclip.errors import TrainerError


class ClipGradients(Callback):
    """Clip the gradients of each optimizer step in place, once they are accumulated and unscaled.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.

    Attributes:
        state: the clipper's state after the latest step; None before the first.

    Raises:
        TrainerError: at the start of ``fit``, if the Trainer clips too, the module uses manual optimization, or the
            strategy shards gradients; at the first step, if a gradient is sparse.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> clip = gradclip.ClipGradients(gradclip.NormValue(norm=1.0, value=0.5))
        >>> trainer = Trainer(callbacks=[clip], logger=False, enable_checkpointing=False)
    """

    def __init__(self, clipper: Clipper) -> None:
        self.clipper = clipper
        self.state: State | None = None

    def check(self, module: nn.Module) -> None:
        """Check that the clipper's parameter patterns match parameters of the module.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        self.clipper.init(dict(module.named_parameters()))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that nothing else clips and that each process has the whole gradients."""
        if trainer.gradient_clip_val is not None:
            raise TrainerError(
                f"gradient_clip_val: got {trainer.gradient_clip_val}; leave it out, ClipGradients clips already"
            )
        check_whole_gradients(trainer, pl_module, type(self).__name__)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the parameters; move a state restored from a checkpoint to their device."""
        self._named, self._checked_dense = list(pl_module.named_parameters()), False
        if self.state is not None:
            self.state = {key: value.to(pl_module.device) for key, value in self.state.items()}

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Clip every gradient in place; if the clipper skips the update, set the gradients to None."""
        parameters = {name: p for name, p in self._named if p.grad is not None and p.numel()}
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        if not self._checked_dense:
            check_dense(gradients)
            self._checked_dense = True
        if self.state is None:
            self.state = self.clipper.init(dict(pl_module.named_parameters()))
        after = self._clip_in_place(gradients, parameters, self.state)
        if self.clipper.may_skip and self.clipper.skips(self.state, after):
            for parameter in parameters.values():  # then the optimizer leaves weights and momentum alone
                parameter.grad = None
        self.state = after

    def _clip_in_place(self, gradients: Gradients, parameters: Gradients, state: State) -> State:
        if isinstance(self.clipper, Rescaler):
            coefficients, after = self.clipper.coefficients(gradients, parameters, state)
            rescale_in_place(gradients, coefficients)
            return after
        clipped, after = self.clipper.transform(gradients, parameters, state)
        torch._foreach_copy_(list(gradients.values()), [clipped[name] for name in gradients])
        return after

    def state_dict(self) -> dict[str, Any]:
        """Return the clipper's state."""
        return {"state": None if self.state is None else dict(self.state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the clipper's state."""
        state: dict[str, Tensor] | None = state_dict["state"]
        self.state = state


def check_whole_gradients(trainer: Trainer, pl_module: LightningModule, callback: str) -> None:
    """Check that a callback sees the whole gradients of each optimizer step.

    Args:
        trainer: the Trainer that fits.
        pl_module: the module that is trained.
        callback: name of the callback, for the message.

    Raises:
        TrainerError: the module uses manual optimization, or the strategy shards gradients.
    """
    if not pl_module.automatic_optimization:
        raise TrainerError(f"automatic_optimization: got False; {callback} needs automatic optimization")
    if isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy):
        name = type(trainer.strategy).__name__
        raise TrainerError(f"strategy: got {name}; {callback} needs whole gradients in each process, as in ddp")


def check_dense(gradients: Mapping[str, Tensor]) -> None:
    """Check that no gradient is sparse.

    Raises:
        TrainerError: a gradient is sparse.
    """
    for name, gradient in gradients.items():
        if gradient.layout != torch.strided:
            raise TrainerError(f"{name}: its gradient is sparse; gradclip needs dense ones (Embedding: sparse=False)")
