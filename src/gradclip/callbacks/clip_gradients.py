"""The callback that clips gradients by any clipper."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from gradclip.callbacks.optimizers import OptimizerParameters
from gradclip.callbacks.trainer_checks import check_dense, check_unscaled, check_whole_gradients, overrides
from gradclip.clipping.base import Clipper, State
from gradclip.errors import TrainerError


class ClipGradients(Callback):
    """Clip the gradients of each optimizer step in place, once they are accumulated and unscaled.

    The gradients are those of the parameters that the optimizer has at that step. Each ``fit`` starts with a new state,
    unless it resumes a checkpoint.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.

    Attributes:
        state: the clipper's state after the latest step; None before the first.

    Raises:
        TrainerError: at the start of ``fit``, if the Trainer or the module clips too, the module uses manual
            optimization, the strategy shards gradients, or a fused optimizer unscales them; at the first step, if a
            gradient is sparse.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> clip = gradclip.ClipGradients(gradclip.NormValue(norm=1.0, value=0.5))
        >>> trainer = Trainer(callbacks=[clip], logger=False, enable_checkpointing=False)
    """

    def __init__(self, clipper: Clipper) -> None:
        self.clipper = clipper
        self.state: State | None = None
        self._restored: State | None = None
        self._has_started = False

    def check(self, module: nn.Module) -> None:
        """Check that the clipper's parameter patterns match parameters of the module.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        self.clipper.init(dict(module.named_parameters()))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that nothing else clips and that each process has the whole gradients; start with a new state.

        That of a checkpoint is continued.
        """
        if trainer.gradient_clip_val is not None:
            raise TrainerError(
                f"gradient_clip_val: got {trainer.gradient_clip_val}; leave it out, ClipGradients clips already"
            )
        if overrides(pl_module, "configure_gradient_clipping"):
            name = type(pl_module).__name__
            raise TrainerError(
                f"configure_gradient_clipping: got that of {name}; leave it out, ClipGradients clips already"
            )
        check_whole_gradients(trainer, pl_module, type(self).__name__)
        self.state, self._restored, self._has_started = self._restored, None, True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the gradients will be unscaled; forget which parameters another training had."""
        check_unscaled(trainer, type(self).__name__)
        self._parameters, self._known = OptimizerParameters(pl_module), dict[str, nn.Parameter]()
        self._is_first = True

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Clip every gradient in place; if the clipper skips the update, set the gradients to None."""
        named = self._parameters.read(optimizer)
        parameters = {name: p for name, p in named.items() if p.grad is not None and p.numel()}
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        if not gradients:  # no batch of the step had a loss
            return
        if self._known is not named:
            check_dense(gradients)
            self.state, self._known = self._state_for(pl_module, named), named
        assert self.state is not None
        after = self.clipper.clip_in_place(gradients, parameters, self.state)
        if self.clipper.may_skip and self.clipper.skips(self.state, after):
            for parameter in parameters.values():  # then the optimizer leaves weights and momentum alone
                parameter.grad = None
        self.state = after
        if self._is_first and overrides(pl_module, "on_before_optimizer_step"):
            _warn_if_changed(pl_module, parameters)
        self._is_first = False

    def _state_for(self, module: nn.Module, parameters: Mapping[str, Tensor]) -> State:
        """Return the present state for these parameters: new where it has none, without those that are gone."""
        state = self.clipper.init({**dict(module.named_parameters()), **parameters})
        kept = {key: value.to(state[key].device) for key, value in (self.state or {}).items() if key in state}
        return {**state, **kept}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the training before."""
        self._has_started = False
        if stage == "fit":
            self.state = None

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget a checkpoint that no training has resumed."""
        self._restored = None

    def state_dict(self) -> dict[str, Any]:
        """Return the clipper's state."""
        state = self.state if self._restored is None else self._restored
        return {"state": None if state is None else dict(state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Note the clipper's state, with which ``fit`` goes on."""
        if not self._has_started:  # one that a search during training saved is older
            self._restored = state_dict["state"]


def _warn_if_changed(module: LightningModule, parameters: Mapping[str, nn.Parameter]) -> None:
    """Let the module's own hook of this step, which runs next, warn if it changes the gradients that were clipped."""
    own, clipped = module.on_before_optimizer_step, _versions(parameters)

    def hook(*arguments: Any, **keywords: Any) -> Any:
        del module.__dict__["on_before_optimizer_step"]
        result = own(*arguments, **keywords)
        if _versions(parameters) != clipped:
            name = type(module).__name__
            text = "changes gradients that ClipGradients has clipped; if it clips too, leave out one of the two"
            warnings.warn(f"{name}.on_before_optimizer_step {text}", stacklevel=2)
        return result

    module.on_before_optimizer_step = hook  # type: ignore[method-assign]


def _versions(parameters: Mapping[str, nn.Parameter]) -> list[tuple[int, int]]:
    """Return what changes with each gradient, without a look at its numbers."""
    gradients = [parameter.grad for parameter in parameters.values()]
    return [(id(gradient), 0 if gradient is None else gradient._version) for gradient in gradients]
