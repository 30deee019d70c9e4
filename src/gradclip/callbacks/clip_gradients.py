"""The callback that clips gradients by any clipper."""

import warnings
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from gradclip.callbacks.optimizer_steps import OptimizerSteps
from gradclip.callbacks.trainer_checks import check_whole_gradients, optimizer_names, overrides
from gradclip.clipping.base import Clipper, State
from gradclip.errors import TrainerError
from gradclip.loops.in_place import InPlaceClipper, check_clipper
from gradclip.loops.optimizers import OptimizerParameters


class ClipGradients(Callback):
    """Clip the gradients of each optimizer step in place, once they are accumulated and unscaled.

    The gradients are those of the parameters that the optimizer has at that step. Each optimizer has a state of its
    own, and each ``fit`` starts with new ones, unless it resumes a checkpoint.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.

    Attributes:
        states: by name of the optimizer, the clipper's state after the latest step; None before the first.

    Raises:
        TrainerError: it is no clipper; at the start of ``fit``, if the Trainer or the module clips too, the strategy
            shards gradients, or a precision plugin scales the loss by a scaler that is not torch's; at the first step,
            if a gradient is sparse.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> clip = gradclip.ClipGradients(gradclip.NormValue(norm=1.0, value=0.5))
        >>> trainer = Trainer(callbacks=[clip], logger=False, enable_checkpointing=False)
    """

    def __init__(self, clipper: Clipper) -> None:
        check_clipper(clipper)
        self.clipper = clipper
        self._clippers: dict[str, InPlaceClipper] = {}  # by name of the optimizer
        self._restored: dict[str, Any] | None = None
        self._has_started = False

    @property
    def states(self) -> dict[str, State | None]:
        """The clipper's state for each optimizer, by name."""
        return {name: clipper.state for name, clipper in self._clippers.items()}

    @property
    def state(self) -> State | None:
        """The clipper's state after the latest step, where there is one optimizer; None before the first step.

        Raises:
            TrainerError: there are several optimizers.
        """
        if len(self.states) > 1:
            raise TrainerError(f"state: got several optimizers; states has one each: {', '.join(self.states)}")
        return next(iter(self.states.values()), None)

    def check(self, module: nn.Module) -> None:
        """Check that the clipper's parameter patterns match parameters of the module.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        self.clipper.init(dict(module.named_parameters()))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that nothing else clips, and that each process has whole gradients without a scale.

        States are new, or those of a checkpoint.
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
        check_whole_gradients(trainer, type(self).__name__)
        self._optimizer_steps = OptimizerSteps(trainer, pl_module, type(self).__name__)
        names = optimizer_names(trainer).values()
        self._parameters = {name: OptimizerParameters(pl_module) for name in names}
        self._clippers = {name: InPlaceClipper(self.clipper, pl_module) for name in names}
        restored = self._restored or {}
        for name, clipper in self._clippers.items():
            clipper.state = restored.get("states", {}).get(name) if len(names) > 1 else restored.get("state")
        self._restored, self._has_started, self._is_first = None, True, True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that the batch has had no backward pass."""
        self._optimizer_steps.start_batch()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the batch has had a backward pass."""
        self._optimizer_steps.has_backward = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Clip every gradient in place; if the clipper skips the update, set the gradients to None."""
        if not self._optimizer_steps.unscale(optimizer):
            return
        name = optimizer_names(trainer)[id(optimizer)]
        parameters = self._parameters[name].read(optimizer)
        self._clippers[name].clip(parameters)
        if self._is_first and overrides(pl_module, "on_before_optimizer_step"):
            _warn_if_changed(pl_module, parameters)
        self._is_first = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the training before."""
        self._has_started = False
        if stage == "fit":
            self._clippers = {}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget a checkpoint that no training has resumed, and leave the optimizers alone."""
        self._restored = None
        if self._has_started:
            self._optimizer_steps.remove()

    def state_dict(self) -> dict[str, Any]:
        """Return the clipper's state, or that for each optimizer if there are several."""
        if self._restored is not None:  # of a training that has not yet begun
            return self._restored
        states = {name: clipper.state_dict() for name, clipper in self._clippers.items()}
        return {"states": states} if len(states) > 1 else {"state": next(iter(states.values()), None)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Note the clipper's state, with which ``fit`` goes on."""
        if not self._has_started:  # one that a search during training saved is older
            self._restored = state_dict


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
