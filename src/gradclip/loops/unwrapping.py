"""Unwrapping of the modules and optimizers that a loop passes, and checks that they can be watched."""

from typing import Any

from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from gradclip.errors import TrainerError

SHARDING_MODULES = {"FullyShardedDataParallel", "DeepSpeedEngine"}
INNER_OPTIMIZERS = ("optimizer", "base_optimizer", "_base_optimizer")  # attributes of wrappers, as in SAM and timm
INNER_MODULES = {  # the attribute that holds the inner module, by the wrapper's class
    **dict.fromkeys(("DataParallel", "DistributedDataParallel", "_FabricModule"), "module"),
    "OptimizedModule": "_orig_mod",
}


def check_types(model: object, optimizer: object, scaler: object) -> None:
    """Check the types of arguments that a caller may mix up.

    Args:
        model: must be a module.
        optimizer: must be a single optimizer.
        scaler: must be a loss scaler, or None.

    Raises:
        TrainerError: an argument has the wrong type.
    """
    if not isinstance(model, nn.Module):
        raise TrainerError(f"model: got {type(model).__name__}; must be a torch.nn.Module")
    if not isinstance(optimizer, Optimizer):
        raise TrainerError(f"optimizer: got {type(optimizer).__name__}; must be one torch.optim.Optimizer")
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        name = type(optimizer).__name__
        allowed = "must call the constructor of torch.optim.Optimizer; if it wraps an optimizer, pass that one"
        raise TrainerError(f"optimizer: got {name}; {allowed}")
    if not isinstance(scaler, GradScaler | None):
        raise TrainerError(f"scaler: got {type(scaler).__name__}; must be a torch.amp.GradScaler or None")


def unwrapped_optimizer(optimizer: Any) -> Optimizer:
    """Return the torch optimizer inside a wrapper, such as those of Accelerate, Fabric and Lightning, SAM or Lookahead.

    A wrapper may be an optimizer whose own ``step`` is never called, or runs no hooks.
    """
    inner = (getattr(optimizer, name, None) for name in INNER_OPTIMIZERS)
    found: Optimizer | None = next((candidate for candidate in inner if isinstance(candidate, Optimizer)), None)
    return optimizer if found is None else unwrapped_optimizer(found)


def unwrapped_model(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers, so that parameter names do not depend on the wrappers."""
    while attribute := INNER_MODULES.get(type(model).__name__):
        model = getattr(model, attribute)
    return model


def check_whole_gradients(model: nn.Module) -> None:
    """Check that each process has the whole gradients.

    Raises:
        TrainerError: the model is sharded by FSDP 1 or DeepSpeed.
    """
    for module in model.modules():
        if (name := type(module).__name__) in SHARDING_MODULES:
            allowed = "watch needs whole gradients, as in DistributedDataParallel, or fully_shard (FSDP 2)"
            raise TrainerError(f"model: got {name}; {allowed}")
