"""Clip the gradients of parameters in place, and keep the clipper's state from step to step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradclip.clipping.base import Clipper, Rescaler, State
from gradclip.errors import TrainerError
from gradclip.loops.optimizers import check_dense
from gradclip.telemetry.steps import Effect


class InPlaceClipper:
    """A clipper with its state, for the parameters that one optimizer has.

    Args:
        clipper: any :class:`~gradclip.clipping.base.Clipper`.
        module: the module that is trained, by whose parameters' names a clipper tells them apart.

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
            named: all parameters of the optimizer by name; the same object as long as they are the same.

        Raises:
            TrainerError: a gradient is sparse.
        """
        gradients = {name: grad for name, p in named.items() if (grad := p.grad) is not None and p.numel()}
        if not gradients:  # no batch of the step had a loss
            return
        parameters = {name: named[name] for name in gradients}
        if self._known is not named:
            check_dense(parameters)
            self.state, self._known = self._state_for(named), named
        assert self.state is not None
        after = self.clipper.clip_in_place(gradients, parameters, self.state)
        if self.clipper.may_skip and self.clipper.skips(self.state, after):
            for parameter in parameters.values():  # then the optimizer leaves weights and momentum alone
                parameter.grad = None
        self.state = after

    def state_dict(self) -> dict[str, Any] | None:
        """Return the clipper's state."""
        return None if self.state is None else dict(self.state)

    def load_state_dict(self, state: State | None) -> None:
        """Go on from a state."""
        self.state, self._known = state, {}

    def _state_for(self, parameters: Mapping[str, nn.Parameter]) -> State:
        """Return the present state for these parameters: new where it has none, without those that are gone."""
        state = self.clipper.init({**dict(self._module.named_parameters()), **parameters})
        kept = {key: value.to(state[key].device) for key, value in (self.state or {}).items() if key in state}
        return {**state, **kept}


def effect_of(clipper: Clipper | None) -> Effect:
    """Return what a clipper does to the gradients; without one nothing is done.

    That all are multiplied by one number is known of this package's rescalers. One of the user's own may do something
    else in place, or multiply each tensor by a number of its own.
    """
    if clipper is not None and clipper.changes_direction:
        return Effect.ANY
    is_own = type(clipper).__module__.startswith("gradclip.clipping.")
    return Effect.FACTOR if is_own and isinstance(clipper, Rescaler) else Effect.LENGTH


def check_clipper(clipper: object) -> None:
    """Check that something is a clipper, and no number or name.

    Raises:
        TrainerError: it is not.
    """
    if not isinstance(clipper, Clipper):
        raise TrainerError(f"clipper: got {clipper!r}; must be a Clipper, such as gradclip.Norm(1.0)")
