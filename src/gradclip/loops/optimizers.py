"""Access to an optimizer's parameters, gradients and learning rates, which may change from step to step."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.amp.grad_scaler import OptState
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_pre_hooks
from torch.utils.hooks import RemovableHandle

from gradclip.errors import TrainerError

Closure = Callable[[], Any]


class OptimizerParameters:
    """The parameters of an optimizer's groups, by their names in a module and in the module's order.

    A parameter that is not in the module is named by its place in the optimizer, ``optimizer.<group>.<index>``.

    Args:
        module: the module that is trained.

    Attributes:
        group_of: the index of each parameter's group in the optimizer, by name.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._ids: list[list[int]] = []  # by group
        self._named: dict[str, nn.Parameter] = {}  # holds the parameters, so that no id is reused
        self.group_of: dict[str, int] = {}

    def read(self, optimizer: Optimizer) -> dict[str, nn.Parameter]:
        """Return all current parameters of the optimizer; the same object as before if they have not changed."""
        ids = [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
        if ids != self._ids:
            self._ids = ids
            self._read_names(optimizer)
        return self._named

    def _read_names(self, optimizer: Optimizer) -> None:
        names = {id(parameter): name for name, parameter in self._module.named_parameters()}
        order = {name: position for position, name in enumerate(names.values())}
        found = {  # by id, since torch only warns of a parameter that a group holds twice
            id(parameter): (names.get(id(parameter), f"optimizer.{index}.{place}"), index, parameter)
            for index, group in enumerate(optimizer.param_groups)
            for place, parameter in enumerate(group["params"])
        }
        ordered = sorted(found.values(), key=lambda one: order.get(one[0], len(order)))  # others than the module's last
        self._named = {name: parameter for name, _, parameter in ordered}
        self.group_of = {name: index for name, index, _ in ordered}


def check_gradients(parameters: Mapping[str, Tensor]) -> None:
    """Check that no parameter has a sparse gradient, and that all parameters are on one device.

    Raises:
        TrainerError: a gradient is sparse, or the parameters are on several devices.
    """
    devices = {str(parameter.device) for parameter in parameters.values()}
    if len(devices) > 1:
        raise TrainerError(f"optimizer: got parameters on {' and '.join(sorted(devices))}; must be on one device")
    for name, parameter in parameters.items():
        if parameter.grad is not None and parameter.grad.layout != torch.strided:
            raise TrainerError(f"{name}: got a sparse gradient; must be dense (Embedding: sparse=False)")


def unscale(scaler: GradScaler, optimizer: Optimizer) -> None:
    """Divide the gradients of an optimizer by the loss scale, unless this was already done in this step.

    A fused optimizer then does not unscale them again, and the scaler knows whether any are infinite.
    """
    if scaler.is_enabled() and scaler._per_optimizer_states[id(optimizer)]["stage"] is OptState.READY:
        scaler.unscale_(optimizer)


def group_rates(optimizer: Optimizer) -> list[Any]:
    """Return the learning rate of each group: a number, a copy of a tensor, or None if there is none."""
    rates = [group.get("lr") for group in optimizer.param_groups]
    return [rate.detach().clone() if isinstance(rate, Tensor) else rate for rate in rates]


def initial_rate(optimizer: Optimizer) -> float:
    """Return the highest learning rate of all groups, at the top of a schedule if there is one; NaN if unknown."""
    tops = (group.get("max_lr", group.get("initial_lr", group.get("lr"))) for group in optimizer.param_groups)
    return max((float(rate) for rate in tops if rate is not None), default=float("nan"))


def foreign_hooks(optimizer: Optimizer) -> list[bool]:
    """Return whether each hook that runs before a step of an optimizer is from outside this package, in order."""
    has_hooks = hasattr(optimizer, "_optimizer_step_pre_hooks")  # false if the base class's constructor was not called
    step_hooks = optimizer._optimizer_step_pre_hooks if has_hooks else {}
    hooks = [*_global_optimizer_pre_hooks.values(), *step_hooks.values()]
    return [not (getattr(hook, "__module__", None) or "").startswith("gradclip.") for hook in hooks]


def closure_of(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Closure | None:
    """Return the closure among the arguments of an optimizer's step, the first of which is the optimizer."""
    closure = keywords.get("closure", arguments[1] if len(arguments) > 1 else None)
    return closure if callable(closure) else None


def replace_closure(
    arguments: tuple[Any, ...], keywords: dict[str, Any], closure: Closure
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of an optimizer's step with another closure.

    Args:
        arguments: the arguments by position, the first of which is the optimizer.
        keywords: the arguments by name.
        closure: replaces the closure that they have.
    """
    if "closure" in keywords:
        return arguments, keywords | {"closure": closure}
    return (arguments[0], closure, *arguments[2:]), keywords


def call_before_use(optimizer: Optimizer, action: Callable[[], object]) -> RemovableHandle:
    """Register an action that runs when the optimizer has its gradients: after each evaluation of a step's closure.

    Without a closure, the action runs when the step begins.
    """

    def before_step(
        _: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        closure = closure_of(arguments, keywords)
        if closure is None:
            action()
            return None

        @wraps(closure)
        def evaluate() -> Any:
            loss = closure()
            action()
            return loss

        return replace_closure(arguments, keywords, evaluate)

    return optimizer.register_step_pre_hook(uncompiled(before_step))


def uncompiled(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that ``torch.compile`` ignores, since it would recompile the hook at every step."""
    found: Callable[..., Any] = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]
    return found
