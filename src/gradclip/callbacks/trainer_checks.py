"""What a Trainer is asked before a training: whether gradients can be seen, who else changes them, and how long it is.

Types of Lightning are recognized by name, since there are two packages of it with the same types.
"""

import math
from collections.abc import Mapping

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from gradclip.errors import TrainerError

SHARDING = {"FSDPStrategy", "DeepSpeedStrategy"}  # as ModelParallelStrategy shards, gradients can be measured


def check_whole_gradients(trainer: Trainer, pl_module: LightningModule, callback: str) -> None:
    """Check that a callback sees the whole gradients of each optimizer step.

    Args:
        trainer: the Trainer that fits.
        pl_module: the module that is trained.
        callback: name of the callback, for the message.

    Raises:
        TrainerError: the module uses manual optimization, or the strategy shards gradients.
    """
    if not pl_module.automatic_optimization:
        raise TrainerError(f"automatic_optimization: got False; {callback} needs automatic optimization")
    name = type(trainer.strategy).__name__
    if SHARDING & {kind.__name__ for kind in type(trainer.strategy).__mro__}:
        raise TrainerError(f"strategy: got {name}; {callback} needs whole gradients in each process, as in ddp")


def check_dense(gradients: Mapping[str, Tensor]) -> None:
    """Check that no gradient is sparse.

    Raises:
        TrainerError: a gradient is sparse.
    """
    for name, gradient in gradients.items():
        if gradient.layout != torch.strided:
            raise TrainerError(f"{name}: its gradient is sparse; gradclip needs dense ones (Embedding: sparse=False)")


def check_unscaled(trainer: Trainer, callback: str) -> None:
    """Check that gradients are unscaled before a callback sees them.

    Raises:
        TrainerError: a loss scaler leaves it to an optimizer to unscale the gradients within its step.
    """
    if getattr(trainer.precision_plugin, "scaler", None) is None:
        return
    for optimizer in trainer.optimizers:
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            got = f"a fused {type(optimizer).__name__}, which unscales gradients within its step"
            raise TrainerError(f"optimizer: got {got}; {callback} needs fused=False, or precision='bf16-mixed'")


def overrides(component: object, hook: str) -> bool:
    """Return whether a module or a callback has a hook of its own, beside those of Lightning and of this package."""
    owner: str = getattr(getattr(component, hook, None), "__module__", None) or ""
    return not owner.startswith(("pytorch_lightning.", "lightning.pytorch.", "gradclip.callbacks."))


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the Trainer's callbacks, in order."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def total_steps(trainer: Trainer) -> int:
    """Return how many optimizer steps the training will have; 0 if nobody knows.

    ``trainer.estimated_stepping_batches`` is the same, but raises where accumulation follows a schedule.
    """
    batches, epochs, most = trainer.num_training_batches, trainer.max_epochs, trainer.max_steps
    if not math.isfinite(batches) or epochs in {None, -1}:
        return max(most, 0)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * max(epochs or 0, 1)
    return steps if most == -1 else min(steps, most)
