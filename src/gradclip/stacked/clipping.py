"""Clipping of stacked gradients, each replica with its own threshold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradclip.clipping.base import Clipper, Gradients, Rescaler, State
from gradclip.clipping.build import make_clipper
from gradclip.config.schema import TrainConfig
from gradclip.stacked.network import StackedNetwork
from gradclip.stacked.state import TrainState, varying_values
from gradclip.stacked.varying import SettingPath, replace_values
from gradclip.training.clipping import clipper_settings, lightning_can_clip


class Clipped(NamedTuple):
    """The result of clipping stacked gradients.

    Attributes:
        gradients: the clipped gradients, ``[replicas, parameters]``.
        coefficients: factors of the gradients, ``[replicas, 1]`` or ``[replicas, parameter tensors]``; None if the
            method does not multiply.
        state: the next state of the clipper.
        skipped: whether to skip each replica's update, ``[replicas]``; None if the method never skips.
    """

    gradients: Tensor
    coefficients: Tensor | None
    state: State
    skipped: Tensor | None


class StackedClipper:
    """One clipping method for all replicas, with numeric settings that may differ.

    Args:
        configs: configs of the replicas.
        network: the stacked network.

    Attributes:
        settings: the method and the settings of the first replica.
        varying: the settings that differ among replicas, by path, ``[replicas]`` each.
        multiplies: whether the method multiplies the gradients; ``clip=none`` multiplies by 1.
        changes_direction: whether clipping may change the direction of the gradient.
        may_skip: whether the method may skip updates.
    """

    def __init__(self, configs: Sequence[TrainConfig], network: StackedNetwork) -> None:
        settings = [clipper_settings(config) for config in configs]
        self.settings, self.network = settings[0], network
        self.varying = varying_values(settings, network.options)
        self._changes_nothing = configs[0].clip.name == "none"
        self._is_lightning_norm = lightning_can_clip(configs[0]) and configs[0].clip.name == "norm"
        clipper = self._clipper({})
        self.changes_direction, self.may_skip = clipper.changes_direction, clipper.may_skip
        self._rescales = type(clipper).transform is Rescaler.transform and not self.may_skip
        self.multiplies = self._changes_nothing or self._is_lightning_norm or self._rescales
        tensor_index = torch.repeat_interleave(torch.tensor(network.sizes))  # of each element's parameter tensor
        self._tensor_index = tensor_index.to(network.options.device)

    def init(self, parameters: Gradients) -> State:
        """Return the initial state of the clipper for all replicas, ``[replicas, ...]`` each.

        Raises:
            ClippingError: a pattern matches no parameter.
        """
        first = {name: parameter[0] for name, parameter in parameters.items()}
        replicas = len(next(iter(parameters.values())))
        state = self._clipper({}).init(first)
        return {key: value.expand(replicas, *value.shape).clone() for key, value in state.items()}

    def __call__(self, gradients: Tensor, state: TrainState) -> Clipped:
        """Clip the gradients of all replicas, ``[replicas, parameters]``, without changing their state."""
        before, varying = dict(state.clipper_state), dict(state.clipper_settings)
        if self._changes_nothing:
            return Clipped(gradients, gradients.new_ones(len(gradients), 1), before, None)
        if self._is_lightning_norm:
            value = replace_values(self.settings, varying)["value"]
            coefficients = _coefficients_of_lightning(gradients, value)
            return Clipped(gradients * coefficients, coefficients, before, None)
        arguments = varying, self.network.views(gradients), self.network.views(state.parameters), before
        if self._rescales:
            exact, after = self._for_each(lambda clipper, *inputs: clipper.coefficients(*inputs), *arguments)
            coefficients = exact.to(gradients.dtype).view(len(gradients), -1)
            factors = coefficients if coefficients.shape[1] == 1 else coefficients.index_select(1, self._tensor_index)
            return Clipped(gradients * factors, coefficients, after, None)
        clipped, after = self._for_each(lambda clipper, *inputs: clipper.transform(*inputs), *arguments)
        skipped = None
        if self.may_skip:
            skipped = self._for_each(lambda clipper, *states: clipper.skips(*states), varying, before, dict(after))
        return Clipped(self.network.flatten(clipped), None, after, skipped)

    def _for_each(self, call: Callable[..., Any], varying: Mapping[SettingPath, Tensor], *tensors: Any) -> Any:
        """Call a function with the clipper and the tensors of each replica; stack the results."""
        return torch.vmap(lambda values, *inputs: call(self._clipper(values), *inputs))(varying, *tensors)

    def _clipper(self, varying: Mapping[SettingPath, Any]) -> Clipper:
        return make_clipper(**replace_values(self.settings, varying))


def _coefficients_of_lightning(gradients: Tensor, value: float | Tensor) -> Tensor:
    """Return the factors by which Lightning would multiply the gradients, ``[replicas, 1]``.

    Lightning calls ``torch.nn.utils.clip_grad_norm_``. Unlike :class:`gradclip.Norm`, it squares in the gradients' own
    dtype and adds 1e-6 to the norm. ``torch.vmap`` is avoided here, because it is several times slower for a small
    network. The threshold is one for all or ``[replicas]``.
    """
    norm = torch.linalg.vector_norm(gradients, dim=1)
    return torch.clamp(value / (norm + 1e-6), max=1.0).to(gradients.dtype)[:, None]
