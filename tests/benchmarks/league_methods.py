"""Methods of the league with the settings to try; all methods with a threshold have the same number of them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradclip.config.composition import compose_config
from gradclip.config.schema import TrainConfig
from gradclip.models.unrolling import Unrolling
from gradclip.stacked.replicas import Replica
from tests.benchmarks.league_problems import Problem

HALF_DECADES = tuple(10 ** (step / 2) for step in range(-3, 4))  # 0.03 to 30
PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0)
NO_THRESHOLD = 0.0  # placeholder for methods without a threshold
OUTPUT_FACTOR = 10.0  # threshold of the output layer relative to that of the others (Graves 2013)

Unit = Literal["gradient", "ratio", "percentile", "rate", "none"]


@dataclass(frozen=True)
class Method:
    """A clipping method or alternative, and the settings to try.

    Attributes:
        name: name in the tables.
        option: option of ``conf/clip``.
        unit: unit of the threshold: ``gradient``, relative to the scale of each problem; ``ratio``; ``percentile``;
            ``rate``, relative to the learning rate of each problem; or ``none`` for a single setting.
        factor: factor of the thresholds, relative to other methods with the same unit.
        fields: clipping settings that are multiples of the threshold, each with its multiple.
        scales_target: whether the target is scaled.
    """

    name: str
    option: str
    unit: Unit = "gradient"
    factor: float = 1.0
    fields: tuple[tuple[str, float], ...] = (("value", 1.0),)
    scales_target: bool = False

    def thresholds(self, problem: Problem) -> tuple[float, ...]:
        """Return the thresholds to try on a problem, in ascending order."""
        match self.unit:
            case "gradient":
                return tuple(float(f"{problem.scale * self.factor * step:.3g}") for step in HALF_DECADES)
            case "ratio":
                return tuple(float(f"{self.factor * step:.3g}") for step in HALF_DECADES)
            case "percentile":
                return PERCENTILES
            case "rate":
                return tuple(float(f"{10 ** (step / 2):.3g}") for step in range(-6, 1))
            case "none":
                return (NO_THRESHOLD,)

    def fits(self, config: TrainConfig) -> bool:
        """Return whether the method applies to a problem; only the numeric target of a table can be scaled."""
        return not self.scales_target or hasattr(config.data, "scale_target")

    def configs(self, problem: Problem, thresholds: Sequence[float]) -> dict[float, TrainConfig]:
        """Return the config of a run for each threshold; empty if the method does not apply to the problem.

        Args:
            problem: problem to train on.
            thresholds: thresholds of :meth:`thresholds`.
        """
        base = compose_config([*problem.overrides, f"clip={self.option}"])
        return {one: self._config(base, one, problem) for one in thresholds} if self.fits(base) else {}

    def _config(self, base: TrainConfig, threshold: float, problem: Problem) -> TrainConfig:
        settings: dict[str, Any] = base.model_dump(by_alias=True)
        if self.unit == "rate":
            settings["optimizer"]["lr"] *= threshold
        elif self.unit != "none":
            settings["clip"] |= {name: multiple * threshold for name, multiple in self.fields}
        if self.option == "groups":
            output = {"parameters": problem.output_layer, "value": OUTPUT_FACTOR * threshold}
            settings["clip"]["groups"] = [output]
        if self.scales_target:
            settings["data"]["scale_target"] = "standard"
        return TrainConfig.model_validate(settings)


METHODS = (
    Method("no clipping", "none", "none"),
    Method("no clipping, rate tuned", "none", "rate"),
    Method("no clipping, target scaled", "none", "none", scales_target=True),
    Method("norm", "norm"),
    Method("value", "value", factor=0.1),
    Method("norm_value", "norm_value", fields=(("norm", 1.0), ("value", 0.2))),
    Method("parameter_norm", "parameter_norm"),
    Method("normalize", "normalize", factor=0.3),
    Method("adaptive", "adaptive", "ratio", factor=0.03),
    Method("auto", "auto", "percentile"),
    Method("zscore", "zscore", "ratio"),
    Method("parameter_ema", "parameter_ema", "ratio"),
    Method("quantile", "quantile", "percentile"),
    Method("spike", "spike", "ratio", factor=0.1),
    Method("stabilize", "stabilize"),
    Method("spectral", "spectral"),
    Method("skip", "skip", factor=10.0),
    Method("groups", "groups", factor=0.3),
    Method("activation", "activation", factor=0.01, fields=(("value", 1.0), ("output_value", OUTPUT_FACTOR))),
)


class LimitDerivative(torch.autograd.Function):
    """Identity whose derivative is clipped to [-limit, limit] during backward; works under ``torch.vmap``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor, _limit: Tensor) -> Tensor:
        """Return a copy of the tensor."""
        return tensor.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        """Save the limit for the backward pass."""
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, derivative: Tensor) -> tuple[Tensor, None]:
        """Return the clipped derivative."""
        (limit,) = ctx.saved_tensors
        return derivative.clamp(-limit, limit), None


def limit_during_backward(replica: Replica) -> Replica:
    """Return a replica of ``clip=activation`` that can be stacked, with the limits as buffers of its layers.

    The hooks of :class:`gradclip.ClipActivations`, which ordinary runs use, act on one training run at a time.
    """
    clip, network = replica.config.clip.model_dump(), copy.deepcopy(replica.network)
    layers = [layer for layer in network.modules() if [*layer.parameters(recurse=False)]]
    for layer in layers:
        limit = clip["output_value"] if layer is layers[-1] else clip["value"]
        layer.register_buffer("derivative_limit", torch.tensor(limit))
        if isinstance(layer, nn.RNNBase):
            Unrolling(layer, partial(_limit_state, layer))
        else:
            layer.register_forward_hook(_limit_output)
    none = compose_config(["clip=none"]).clip  # nothing is clipped after the backward pass
    return replace(replica, network=network, config=replica.config.model_copy(update={"clip": none}))


def _limit_output(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return LimitDerivative.apply(output, layer.derivative_limit)  # type: ignore[no-any-return, no-untyped-call]


def _limit_state(recurrent: nn.Module, _layer: int, _step: int, state: Tensor) -> Tensor:
    return _limit_output(recurrent, None, state)
