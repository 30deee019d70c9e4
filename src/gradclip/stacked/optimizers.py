"""In-place steps of torch's optimizers for stacked parameters, with separate settings for each replica.

Parameters, gradients and optimizer states are ``[replicas, parameters]``. A setting is a number that all replicas
share, a scalar tensor, or a tensor ``[replicas, 1]``. The learning rate is always a tensor.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradclip.norms.tensors import wide_type

OptimizerState = Mapping[str, Tensor]
Settings = Mapping[str, Any]
Step = Callable[[Tensor, Tensor, OptimizerState, Settings], None]  # changes parameters and state, given gradients


def _sgd(parameters: Tensor, gradients: Tensor, state: OptimizerState, settings: Settings) -> None:
    update = _with_decay(gradients, parameters, settings)
    if not _is_zero(settings["momentum"]):
        momentum = state["momentum_buffer"].mul_(settings["momentum"]).add_(update)
        update = update + settings["momentum"] * momentum if settings["nesterov"] else momentum
    parameters.addcmul_(update, settings["lr"], value=-1)


def _adam(parameters: Tensor, gradients: Tensor, state: OptimizerState, settings: Settings) -> None:
    _adam_step(parameters, _with_decay(gradients, parameters, settings), state, settings)


def _adamw(parameters: Tensor, gradients: Tensor, state: OptimizerState, settings: Settings) -> None:
    parameters.mul_(1 - settings["lr"] * settings["weight_decay"])
    _adam_step(parameters, gradients, state, settings)


def _adam_step(parameters: Tensor, gradients: Tensor, state: OptimizerState, settings: Settings) -> None:
    beta1, beta2 = settings["betas"]
    step = state["step"].add_(1)
    exp_avg = state["exp_avg"].lerp_(gradients, 1 - beta1)
    exp_avg_sq = state["exp_avg_sq"].mul_(beta2).add_((1 - beta2) * gradients * gradients)
    correction1 = (1 - beta1**step).to(exp_avg.dtype)
    correction2_sqrt = (1 - beta2**step).sqrt().to(exp_avg.dtype)
    parameters.sub_(settings["lr"] / correction1 * exp_avg / (exp_avg_sq.sqrt() / correction2_sqrt + settings["eps"]))


def _rmsprop(parameters: Tensor, gradients: Tensor, state: OptimizerState, settings: Settings) -> None:
    gradients, alpha = _with_decay(gradients, parameters, settings), settings["alpha"]
    square_avg = state["square_avg"].mul_(alpha).add_((1 - alpha) * gradients * gradients)
    update = gradients / (square_avg.sqrt() + settings["eps"])
    if not _is_zero(settings["momentum"]):
        update = state["momentum_buffer"].mul_(settings["momentum"]).add_(update)
    parameters.sub_(settings["lr"] * update)


OPTIMIZERS: dict[str, tuple[Step, tuple[str, ...]]] = {  # step function, and torch's names of its state
    "sgd": (_sgd, ("momentum_buffer",)),
    "adam": (_adam, ("exp_avg", "exp_avg_sq")),
    "adamw": (_adamw, ("exp_avg", "exp_avg_sq")),
    "rmsprop": (_rmsprop, ("square_avg", "momentum_buffer")),
}


def init_optimizer_state(name: str, parameters: Tensor) -> dict[str, Tensor]:
    """Return the initial state of an optimizer, a key of ``OPTIMIZERS``.

    Example:
        >>> settings = {"lr": torch.tensor([[0.1], [0.2]]), "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        >>> parameters, (take_step, _) = torch.ones(2, 3), OPTIMIZERS["sgd"]
        >>> take_step(parameters, torch.ones(2, 3), init_optimizer_state("sgd", parameters), settings)
        >>> parameters
        tensor([[0.9000, 0.9000, 0.9000],
                [0.8000, 0.8000, 0.8000]])
    """
    _, names = OPTIMIZERS[name]
    step = torch.zeros(len(parameters), 1, dtype=wide_type(parameters), device=parameters.device)
    return {key: torch.zeros_like(parameters) for key in names} | {"step": step}


def _with_decay(gradients: Tensor, parameters: Tensor, settings: Settings) -> Tensor:
    decay = settings["weight_decay"]
    return gradients if _is_zero(decay) else gradients + decay * parameters


def _is_zero(setting: float | Tensor) -> bool:
    return not isinstance(setting, Tensor) and setting == 0
