"""Clipping of stacked gradients, each replica's at its own threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Rescaler, State
from gradclip.clipping.build import make_clipper
from gradclip.config.schema import TrainConfig
from gradclip.stacked.varying import Path, differing, replaced
from gradclip.training.components import clipper_settings, lightning_can_clip


class Clipped(NamedTuple):
    """Stacked gradients after clipping, the next state, and whose update is to be left out, ``[replicas]``."""

    gradients: dict[str, Tensor]
    state: State
    skipped: Tensor


class StackedClipper:
    """What clips the gradients of replicas that differ in the numbers of one method.

    Args:
        configs: of the replicas.
        device: where they are trained.
    """

    def __init__(self, configs: Sequence[TrainConfig], device: torch.device) -> None:
        settings = [clipper_settings(config) for config in configs]
        self.settings = settings[0]
        self.is_lightnings_norm = lightning_can_clip(configs[0]) and configs[0].clip.name == "norm"
        self.changes_nothing = configs[0].clip.name == "none"
        self.numbers = differing(settings, device)
        self.changes_direction, self.may_skip = self._clipper({}).changes_direction, self._clipper({}).may_skip

    def init(self, parameters: Gradients) -> State:
        """Return the state of all replicas before the first step.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        first = {name: parameter[0] for name, parameter in parameters.items()}
        count = len(next(iter(parameters.values())))
        state = self._clipper({}).init(first)
        return {key: value.expand(count, *value.shape).clone() for key, value in state.items()}

    def __call__(
        self, gradients: Gradients, parameters: Gradients, state: State, numbers: Mapping[Path, Tensor]
    ) -> Clipped:
        """Clip; everything is stacked, ``[replicas, ...]``."""
        return Clipped(*torch.vmap(self._clip_one)(dict(gradients), dict(parameters), dict(state), dict(numbers)))

    def _clip_one(
        self, gradients: Gradients, parameters: Gradients, state: State, numbers: Mapping[Path, Tensor]
    ) -> tuple[dict[str, Tensor], State, Tensor]:
        clipper = self._clipper(numbers)
        clipped, after = clipper.transform(gradients, parameters, state)
        return clipped, after, clipper.skips(state, after)

    def _clipper(self, numbers: Mapping[Path, Any]) -> Clipper:
        settings = replaced(self.settings, numbers)
        return LightningsNorm(settings["value"]) if self.is_lightnings_norm else make_clipper(**settings)


@dataclass(frozen=True)
class LightningsNorm(Rescaler):
    """What Lightning's own clipping by norm does: ``torch.nn.utils.clip_grad_norm_``.

    Squares are taken in the gradients' own type and 1e-6 is added to the norm.

    Args:
        value: the threshold, in loss units per weight unit.
    """

    value: float | Tensor

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return what brings the global norm to at most the threshold."""
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients.values()])
        norm = torch.linalg.vector_norm(norms)
        return torch.clamp(self.value / (norm + 1e-6), max=1.0), state
