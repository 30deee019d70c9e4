"""The steps of torch's optimizers for stacked parameters, each replica at its own settings.

Parameters, gradients and what an optimizer remembers are ``[replicas, parameters]``; a setting is a number, or one for
each replica, ``[replicas, 1]``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Memory = Mapping[str, Tensor]
Step = Callable[[Tensor, Tensor, Memory, Mapping[str, Any]], tuple[Tensor, dict[str, Tensor]]]


def _sgd(parameters: Tensor, gradients: Tensor, memory: Memory, settings: Mapping[str, Any]) -> Any:
    moved = _with_decay(gradients, parameters, settings)
    if _is_zero(settings["momentum"]):
        return parameters - settings["lr"] * moved, {}
    velocity = settings["momentum"] * memory["velocity"] + moved
    direction = moved + settings["momentum"] * velocity if settings["nesterov"] else velocity
    return parameters - settings["lr"] * direction, {"velocity": velocity}


def _adam(parameters: Tensor, gradients: Tensor, memory: Memory, settings: Mapping[str, Any]) -> Any:
    return _adam_step(parameters, _with_decay(gradients, parameters, settings), memory, settings)


def _adamw(parameters: Tensor, gradients: Tensor, memory: Memory, settings: Mapping[str, Any]) -> Any:
    decayed = parameters * (1 - settings["lr"] * settings["weight_decay"])
    return _adam_step(decayed, gradients, memory, settings)


def _adam_step(parameters: Tensor, gradients: Tensor, memory: Memory, settings: Mapping[str, Any]) -> Any:
    first, second = settings["betas"]
    steps = memory["steps"] + 1
    mean = torch.lerp(memory["mean"], gradients, 1 - first)
    square = second * memory["square"] + (1 - second) * gradients * gradients
    unbias, unbias_square = (1 - first**steps).to(mean.dtype), (1 - second**steps).sqrt().to(mean.dtype)
    moved = settings["lr"] / unbias * mean / (square.sqrt() / unbias_square + settings["eps"])
    return parameters - moved, {"steps": steps, "mean": mean, "square": square}


def _rmsprop(parameters: Tensor, gradients: Tensor, memory: Memory, settings: Mapping[str, Any]) -> Any:
    moved = _with_decay(gradients, parameters, settings)
    square = settings["alpha"] * memory["square"] + (1 - settings["alpha"]) * moved * moved
    scaled = moved / (square.sqrt() + settings["eps"])
    velocity = scaled if _is_zero(settings["momentum"]) else settings["momentum"] * memory["velocity"] + scaled
    return parameters - settings["lr"] * velocity, {"square": square, "velocity": velocity}


STEPS: dict[str, tuple[Step, tuple[str, ...]]] = {
    "sgd": (_sgd, ("velocity",)),
    "adam": (_adam, ("mean", "square")),
    "adamw": (_adamw, ("mean", "square")),
    "rmsprop": (_rmsprop, ("square", "velocity")),
}


def init_memory(name: str, parameters: Tensor) -> dict[str, Tensor]:
    """Return what an optimizer remembers before its first step."""
    _, remembered = STEPS[name]
    steps = torch.zeros(len(parameters), 1, dtype=torch.float64, device=parameters.device)
    return {key: torch.zeros_like(parameters) for key in remembered} | {"steps": steps}


def optimizer_step(
    name: str, parameters: Tensor, gradients: Tensor, memory: Memory, settings: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return parameters and memory after a step.

    Args:
        name: a key of ``STEPS``.
        parameters: ``[replicas, parameters]``.
        gradients: the same shape.
        memory: of :func:`init_memory`, or of the step before.
        settings: of the optimizer; each a number, or one for each replica, ``[replicas, 1]``.

    Example:
        >>> settings = {"lr": torch.tensor([[0.1], [0.2]]), "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        >>> parameters = torch.ones(2, 3)
        >>> optimizer_step("sgd", parameters, parameters, init_memory("sgd", parameters), settings)[0]
        tensor([[0.9000, 0.9000, 0.9000],
                [0.8000, 0.8000, 0.8000]])
    """
    step, _ = STEPS[name]
    after, remembered = step(parameters, gradients, memory, settings)
    return after, {**memory, **remembered}


def _with_decay(gradients: Tensor, parameters: Tensor, settings: Mapping[str, Any]) -> Tensor:
    decay = settings["weight_decay"]
    return gradients if _is_zero(decay) else gradients + decay * parameters


def _is_zero(setting: float | Tensor) -> bool:
    return not isinstance(setting, Tensor) and setting == 0
