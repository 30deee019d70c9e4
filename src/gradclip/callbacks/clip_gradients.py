"""The callback that clips gradients with any clipper."""

import warnings
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from gradclip.callbacks.optimizer_steps import OptimizerSteps
from gradclip.callbacks.trainer_checks import check_whole_gradients, optimizer_names, overrides
from gradclip.clipping.base import Clipper, State, check_clipper
from gradclip.errors import TrainerError
from gradclip.loops.in_place import InPlaceClipper
from gradclip.loops.optimizers import OptimizerParameters
from gradclip.norms.tensors import tensor_norms
from gradclip.telemetry.rescaled import version_of


class ClipGradients(Callback):
    """Clip the gradients of each optimizer step in place, after accumulation and unscaling.

    All parameters that the optimizer holds at that step are clipped. Each optimizer has its own clipper state. Every
    ``fit`` starts with new states unless it resumes a checkpoint. A Trainer accepts one such callback; to apply several
    clippers, pass a :class:`~gradclip.clipping.chain.Chain`.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.

    Attributes:
        states: the clipper's state for each optimizer after the latest step, by name of the optimizer; None before the
            first step.

    Raises:
        ClippingError: the argument is not a clipper.
        TrainerError: at the start of ``fit``, if the Trainer or the module clips too, the strategy is FSDP 1 or
            DeepSpeed, or a precision plugin scales the loss with a scaler that is not torch's; at the first step, if a
            gradient is sparse, or the parameters are on several devices.

    Example:
        >>> import gradclip
        >>> from pytorch_lightning import Trainer
        >>> clip = gradclip.ClipGradients(gradclip.NormValue(norm=1.0, value=0.5))
        >>> trainer = Trainer(callbacks=[clip], logger=False, enable_checkpointing=False)
    """

    def __init__(self, clipper: Clipper) -> None:
        check_clipper("clipper", clipper)
        self.clipper = clipper
        self._clippers: dict[str, InPlaceClipper] = {}  # by name of the optimizer
        self._parameters: dict[str, OptimizerParameters] = {}
        self._restored: dict[str, Any] | None = None
        self._saved_states: dict[str, Any] = {}  # in a checkpoint, of optimizers without a clipper yet, by name
        self._has_started = False

    @property
    def states(self) -> dict[str, State | None]:
        """The clipper's state for each optimizer, by name."""
        return {name: clipper.state for name, clipper in self._clippers.items()}

    @property
    def state(self) -> State | None:
        """The clipper's state after the latest step, if there is one optimizer; None before the first step.

        Raises:
            TrainerError: there are several optimizers.
        """
        if len(self.states) > 1:
            raise TrainerError(f"state: got several optimizers; states has one for each: {', '.join(self.states)}")
        return next(iter(self.states.values()), None)

    def check(self, module: nn.Module) -> None:
        """Check that the clipper's parameter patterns match parameters of the module.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        self.clipper.init(dict(module.named_parameters()))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that nothing else clips and that gradients are whole and unscaled; create or restore the states."""
        if trainer.gradient_clip_val is not None:
            raise TrainerError(
                f"gradient_clip_val: got {trainer.gradient_clip_val}; must be None, since ClipGradients clips already"
            )
        if overrides(pl_module, "configure_gradient_clipping"):
            name = type(pl_module).__name__
            raise TrainerError(
                f"configure_gradient_clipping: got an override in {name}; remove it, since ClipGradients clips already"
            )
        check_whole_gradients(trainer, type(self).__name__)
        self._optimizer_steps = OptimizerSteps(trainer, pl_module, type(self).__name__)
        restored, names = self._restored or {}, [*optimizer_names(trainer).values()]
        self._saved_states = dict(restored.get("states", dict.fromkeys(names[:1], restored.get("state"))))
        for name in names:
            self._clipper_of(name, pl_module)
        self._restored, self._has_started, self._is_first = None, True, True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start a batch, without a backward pass so far."""
        self._optimizer_steps.start_batch()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the batch has had a backward pass."""
        self._optimizer_steps.has_backward = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Clip every gradient in place; if the clipper skips the update, set the gradients to None."""
        if not self._optimizer_steps.unscale(optimizer):
            return
        name = optimizer_names(trainer)[id(optimizer)]
        clipper = self._clipper_of(name, pl_module)
        parameters = self._parameters[name].read(optimizer)
        clipper.clip(parameters)
        if self._is_first and overrides(pl_module, "on_before_optimizer_step"):
            _warn_if_changed(pl_module, parameters)
        self._is_first = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard the state of an earlier training run."""
        self._has_started = False
        if stage == "fit":
            self._clippers, self._parameters, self._saved_states = {}, {}, {}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Discard a checkpoint that no training resumed, and remove the hooks from the optimizers."""
        self._restored = None
        if self._has_started:
            self._optimizer_steps.remove()

    def state_dict(self) -> dict[str, Any]:
        """Return the clipper's state, or its state for each of several optimizers."""
        if self._restored is not None:  # a checkpoint was loaded, and training has not started yet
            return self._restored
        states = self._saved_states | {name: clipper.state_dict() for name, clipper in self._clippers.items()}
        return {"states": states} if len(states) > 1 else {"state": next(iter(states.values()), None)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the clipper's state, with which ``fit`` continues."""
        if not self._has_started:  # a tuner that restores its checkpoint during training must not reset the state
            self._restored = state_dict

    def _clipper_of(self, name: str, module: LightningModule) -> InPlaceClipper:
        """Return the clipper of an optimizer, a new one if the user's code has replaced the optimizer."""
        if name not in self._clippers:
            self._clippers[name] = InPlaceClipper(self.clipper, module)
            self._clippers[name].load_state_dict(self._saved_states.pop(name, None))
            self._parameters[name] = OptimizerParameters(module)
        return self._clippers[name]


def _warn_if_changed(module: LightningModule, parameters: Mapping[str, nn.Parameter]) -> None:
    """Wrap the module's own hook, which runs next in this step, to warn if it changes the clipped gradients."""
    original, clipped = module.on_before_optimizer_step, _contents(parameters)

    def hook(*arguments: Any, **keywords: Any) -> Any:
        del module.__dict__["on_before_optimizer_step"]
        result = original(*arguments, **keywords)
        if _contents(parameters) != clipped:
            name = type(module).__name__
            text = "changes gradients that ClipGradients has clipped; if it clips too, remove one of the two"
            warnings.warn(f"{name}.on_before_optimizer_step {text}", stacklevel=2)
        return result

    module.on_before_optimizer_step = hook  # type: ignore[method-assign]


def _contents(parameters: Mapping[str, nn.Parameter]) -> str:
    """Return a text that is different after a change of a gradient: identities, versions and norms.

    A change of ``grad.data`` changes no version.
    """
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    norms = tensor_norms(gradients).tolist()
    return f"{[(id(gradient), version_of(gradient)) for gradient in gradients]} {norms}"
