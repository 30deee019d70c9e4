"""Checks of a Trainer before a training run: its strategy, loss scaler, optimizers, hooks, callbacks and steps.

Lightning's types are recognized by name, since two packages define the same types.
"""

import math
import warnings

from pytorch_lightning import Callback, Trainer
from torch.amp import GradScaler

from gradclip.errors import TrainerError

SHARDING = {"FSDPStrategy", "DeepSpeedStrategy"}  # not ModelParallelStrategy: its shards can be measured


def check_whole_gradients(trainer: Trainer, callback: str) -> None:
    """Check that a callback sees whole gradients at each optimizer step; ``callback`` is its name in the message.

    Raises:
        TrainerError: the strategy is FSDP 1 or DeepSpeed.
    """
    name = type(trainer.strategy).__name__
    if SHARDING & {kind.__name__ for kind in type(trainer.strategy).__mro__}:
        allowed = f"{callback} needs whole gradients, as in ddp, or ModelParallelStrategy with fully_shard (FSDP 2)"
        raise TrainerError(f"strategy: got {name}; {allowed}")


def loss_scaler(trainer: Trainer, callback: str) -> GradScaler | None:
    """Return the scaler of the loss, None if it is not scaled; ``callback`` is the name in the message.

    Raises:
        TrainerError: the precision plugin may scale the loss, but has no scaler of torch's.
    """
    plugin = trainer.precision_plugin
    scaler, name = getattr(plugin, "scaler", None), type(plugin).__name__
    got = f"precision: got {name}"
    has_own = overrides(plugin, "pre_backward") or overrides(plugin, "backward")
    if scaler is None and (has_own or (name == "DeepSpeedPrecision" and plugin.precision.startswith("16"))):
        raise TrainerError(f"{got}, which may scale the loss; {callback} needs the scaler in its attribute scaler")
    if not isinstance(scaler, GradScaler | None):
        kind = type(scaler).__name__
        raise TrainerError(f"{got} with a {kind}; {callback} needs a torch.amp.GradScaler, or precision=bf16-mixed")
    return scaler


def warn_of_lost_record(trainer: Trainer, callback: str) -> None:
    """Warn if the Trainer trains in new processes, as in a notebook: their callbacks' records end with them."""
    if type(trainer.strategy.launcher).__name__ == "_MultiProcessingLauncher" and trainer.is_global_zero:
        lost = f"{callback}: the Trainer trains in new processes, so its record is empty after fit"
        warnings.warn(f"{lost}; read the logged metrics, or use a script with strategy='ddp'", stacklevel=2)


def optimizer_names(trainer: Trainer) -> dict[int, str]:
    """Return the names of the optimizers by their ``id``: ``Adam``, ``Adam-1``, as in Lightning's own callbacks."""
    names: dict[int, str] = {}
    for optimizer in trainer.optimizers:
        kind = type(optimizer).__name__
        same = sum(name.split("-")[0] == kind for name in names.values())
        names[id(optimizer)] = f"{kind}-{same}" if same else kind
    return names


def overrides(component: object, hook: str) -> bool:
    """Return whether a component has its own hook, defined neither by Lightning nor by this package's callbacks."""
    owner: str = getattr(getattr(component, hook, None), "__module__", None) or ""
    return not owner.startswith(("pytorch_lightning.", "lightning.pytorch.", "gradclip.callbacks."))


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the Trainer's callbacks, in order."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def total_steps(trainer: Trainer) -> int:
    """Return the number of optimizer steps in the training run; 0 if it is not known.

    ``trainer.estimated_stepping_batches`` returns the same, but raises if accumulation follows a schedule.
    """
    batches, epochs, most = trainer.num_training_batches, trainer.max_epochs, trainer.max_steps
    if not math.isfinite(batches) or epochs in {None, -1}:
        return max(most, 0)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * max(epochs or 0, 1)
    return steps if most == -1 else min(steps, most)
