"""Clip stacked gradients, each replica with its own threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Rescaler, State
from gradclip.clipping.build import make_clipper
from gradclip.config.schema import TrainConfig
from gradclip.stacked.network import StackedNetwork
from gradclip.stacked.varying import SettingPath, replace_values, varying_values
from gradclip.training.clipping import clipper_settings, lightning_can_clip


class Clipped(NamedTuple):
    """The result of clipping stacked gradients.

    Attributes:
        gradients: the clipped gradients, ``[replicas, parameters]``.
        coefficients: what the gradients were multiplied by, ``[replicas, 1]``, or ``[replicas, parameter tensors]``;
            None where clipping is no multiplication.
        state: the next state of the clipper.
        skipped: whether each replica's update is to be skipped, ``[replicas]``; None where the method skips none.
    """

    gradients: Tensor
    coefficients: Tensor | None
    state: State
    skipped: Tensor | None


class StackedClipper:
    """One clipping method applied to all replicas, which may differ in its numbers.

    Args:
        configs: of the replicas.
        network: the stacked network.
        device: the device of the training.

    Attributes:
        settings: the method and its settings, those of the first replica.
        varying: the settings that differ among replicas, by path, ``[replicas]`` each.
        changes_nothing: whether the method is no clipping.
        changes_direction: whether clipping may change the direction of the gradient.
        may_skip: whether the method may skip updates.
    """

    def __init__(self, configs: Sequence[TrainConfig], network: StackedNetwork, device: torch.device) -> None:
        settings = [clipper_settings(config) for config in configs]
        self.settings, self.network = settings[0], network
        self.varying = varying_values(settings, device)
        self.changes_nothing = configs[0].clip.name == "none"
        self._is_lightning_norm = lightning_can_clip(configs[0]) and configs[0].clip.name == "norm"
        clipper = self._clipper({})
        self.changes_direction, self.may_skip = clipper.changes_direction, clipper.may_skip
        self._rescales = type(clipper).transform is Rescaler.transform and not self.may_skip
        self._part_of = torch.repeat_interleave(torch.tensor(network.sizes)).to(device)  # of each element of a row

    def init(self, parameters: Gradients) -> State:
        """Return the clipper's state of all replicas before the first step, ``[replicas, ...]`` each.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        first = {name: parameter[0] for name, parameter in parameters.items()}
        replicas = len(next(iter(parameters.values())))
        state = self._clipper({}).init(first)
        return {key: value.expand(replicas, *value.shape).clone() for key, value in state.items()}

    def __call__(
        self, gradients: Tensor, parameters: Tensor, state: State, varying: Mapping[SettingPath, Tensor]
    ) -> Clipped:
        """Clip the gradients of all replicas.

        Args:
            gradients: ``[replicas, parameters]``.
            parameters: ``[replicas, parameters]``.
            state: of :meth:`init`, or of the step before, ``[replicas, ...]`` each.
            varying: rows of :attr:`varying`, ``[replicas]`` each.
        """
        if self.changes_nothing:
            return Clipped(gradients, None, state, None)
        arguments = self.network.views(gradients), self.network.views(parameters), dict(state), dict(varying)
        if self._rescales:
            found, after = torch.vmap(self._coefficients)(*arguments)
            coefficients = found.to(gradients.dtype).view(len(gradients), -1)
            each = coefficients if coefficients.shape[1] == 1 else coefficients.index_select(1, self._part_of)
            return Clipped(gradients * each, coefficients, after, None)
        clipped, after = torch.vmap(self._transform)(*arguments)
        skipped = torch.vmap(self._skips)(dict(state), dict(after), dict(varying)) if self.may_skip else None
        return Clipped(self.network.flatten(clipped), None, after, skipped)

    def _coefficients(
        self, gradients: Gradients, parameters: Gradients, state: State, varying: Mapping[SettingPath, Tensor]
    ) -> tuple[Tensor, State]:
        clipper = self._clipper(varying)
        assert isinstance(clipper, Rescaler)
        return clipper.coefficients(gradients, parameters, state)

    def _transform(
        self, gradients: Gradients, parameters: Gradients, state: State, varying: Mapping[SettingPath, Tensor]
    ) -> tuple[dict[str, Tensor], State]:
        return self._clipper(varying).transform(gradients, parameters, state)

    def _skips(self, state: State, after: State, varying: Mapping[SettingPath, Tensor]) -> Tensor:
        return self._clipper(varying).skips(state, after)

    def _clipper(self, varying: Mapping[SettingPath, Any]) -> Clipper:
        settings = replace_values(self.settings, varying)
        return LightningNorm(settings["value"]) if self._is_lightning_norm else make_clipper(**settings)


@dataclass(frozen=True)
class LightningNorm(Rescaler):
    """Clip by global L2 norm exactly as Lightning does, by ``torch.nn.utils.clip_grad_norm_``.

    Unlike :class:`gradclip.Norm` it squares in the gradients' own dtype and adds 1e-6 to the norm.

    Args:
        value: the threshold, in loss units per weight unit.
    """

    value: float | Tensor

    def coefficients(self, gradients: Gradients, parameters: Gradients, state: State) -> tuple[Tensor, State]:
        """Return the coefficient that brings the global norm to at most the threshold, a scalar, and the state."""
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients.values()])
        norm = torch.linalg.vector_norm(norms)
        return torch.clamp(self.value / (norm + 1e-6), max=1.0), state
