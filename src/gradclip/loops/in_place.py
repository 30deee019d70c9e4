"""Clipping of gradients in place, with a clipper state that is kept from step to step."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradclip.clipping.base import Clipper, Rescaler, State
from gradclip.loops.optimizers import check_gradients
from gradclip.telemetry.steps import Effect

SAVED_BY = "saved_by"  # key in a saved state


class InPlaceClipper:
    """A clipper with its state, for the parameters of one optimizer.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.
        module: the module that is trained, which has the names of the parameters.

    Attributes:
        state: the clipper's state after the latest step; None before the first.
    """

    def __init__(self, clipper: Clipper, module: nn.Module) -> None:
        self.clipper = clipper
        self.state: State | None = None
        self._module = module
        self._known: Mapping[str, nn.Parameter] = {}

    @torch.no_grad()
    def clip(self, named: Mapping[str, nn.Parameter]) -> None:
        """Clip every gradient in place; if the clipper skips the update, set the gradients to None.

        Args:
            named: all parameters of the optimizer by name; must be the same object while the parameters are the same.

        Raises:
            TrainerError: a gradient is sparse, or the parameters are on several devices.
        """
        gradients = {name: _writable_gradient(p) for name, p in named.items() if p.grad is not None and p.numel()}
        if not gradients:  # no batch in the step had a loss
            return
        parameters = {name: named[name] for name in gradients}
        if self._known is not named:
            check_gradients(parameters)
            self.state, self._known = self._state_for(named), named
        assert self.state is not None
        after = self.clipper.clip_in_place(gradients, parameters, self.state)
        if self.clipper.may_skip and self.clipper.skips(self.state, after):
            for parameter in parameters.values():  # without gradients, the optimizer changes no weights or momentum
                parameter.grad = None
        self.state = after

    def state_dict(self) -> dict[str, Any] | None:
        """Return the clipper's state, with the class name of the clipper."""
        return None if self.state is None else {SAVED_BY: _class_names(self.clipper), **self.state}

    def load_state_dict(self, saved: Mapping[str, Any] | None) -> None:
        """Continue from a saved state; if another clipper saved it, warn and start with a new one."""
        state, names = dict(saved or {}), _class_names(self.clipper)
        saved_by = state.pop(SAVED_BY, names)
        new = self.clipper.init(dict(self._module.named_parameters())) if state else {}
        if new and (saved_by != names or any(state[key].shape != new[key].shape for key in state.keys() & new.keys())):
            text = f"clipper: got a saved state of {saved_by} that does not fit {names}, which starts with a new state"
            warnings.warn(text, stacklevel=2)
            state = {}
        self.state, self._known = state or None, {}

    def _state_for(self, parameters: Mapping[str, nn.Parameter]) -> State:
        """Return the current state for these parameters: new parameters are added, removed ones are dropped."""
        state = self.clipper.init({**dict(self._module.named_parameters()), **parameters})
        kept = {key: value.to(state[key].device) for key, value in (self.state or {}).items() if key in state}
        return {**state, **kept}


def _class_names(clipper: Clipper) -> str:
    """Return the class names of a clipper and of those inside it, without their numbers, which may change."""
    return " ".join(re.findall(r"[A-Z]\w*(?=\()", repr(clipper))) or type(clipper).__name__


def _writable_gradient(parameter: nn.Parameter) -> Tensor:
    """Return the gradient of a parameter that has one; an expanded gradient, as from ``torch.func``, is first copied.

    Elements of an expanded tensor share memory, so it cannot be changed in place.
    """
    assert parameter.grad is not None
    if parameter.grad.layout == torch.strided and 0 in parameter.grad.stride():
        parameter.grad = parameter.grad.clone(memory_format=torch.contiguous_format)
    return parameter.grad


def effect_of(clipper: Clipper | None) -> Effect:
    """Return how a clipper, if there is one, may change the gradients.

    Only this package's rescalers are known to multiply all gradients by one number. A user's rescaler may do something
    else in place, or multiply each tensor by a different number.
    """
    if clipper is not None and clipper.changes_direction:
        return Effect.ANY
    is_own = type(clipper).__module__.startswith("gradclip.clipping.")
    return Effect.FACTOR if is_own and isinstance(clipper, Rescaler) else Effect.LENGTH
