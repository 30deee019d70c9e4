"""Code between the monitor and the optimizer that may change gradients."""

from pytorch_lightning import Callback, LightningModule, Trainer

from gradclip.callbacks.clip_gradients import ClipGradients
from gradclip.callbacks.trainer_checks import callbacks_of, overrides
from gradclip.errors import TrainerError
from gradclip.loops.in_place import effect_of
from gradclip.telemetry.steps import Effect


def check_order(trainer: Trainer, monitor: Callback) -> None:
    """Check that the monitor comes before every ClipGradients.

    Raises:
        TrainerError: a ClipGradients comes before the monitor.
    """
    callbacks = callbacks_of(trainer)
    before = callbacks[: callbacks.index(monitor)]
    if any(isinstance(callback, ClipGradients) for callback in before):
        raise TrainerError("callbacks: ClipGradients comes before GradientMonitor; put the monitor first")


def effect_after(monitor: Callback, trainer: Trainer, module: LightningModule) -> Effect:
    """Return how gradients may change between the monitor and the optimizer.

    The user's own hooks may change them in any way.

    Args:
        monitor: the monitor; callbacks before it are ignored.
        trainer: the Trainer, whose clipping and callbacks are checked.
        module: the module, whose hooks are checked.
    """
    callbacks = callbacks_of(trainer)
    after = callbacks[callbacks.index(monitor) + 1 :]
    effects = [effect_of(callback.clipper) for callback in after if isinstance(callback, ClipGradients)]
    if (trainer.gradient_clip_val or 0) > 0:  # Lightning does not clip at a threshold of 0
        effects.append(Effect.ANY if trainer.gradient_clip_algorithm == "value" else Effect.FACTOR)
    plugin = trainer.precision_plugin
    owners: list[tuple[str, tuple[object, ...]]] = [
        ("on_before_optimizer_step", (module, *after)),
        ("configure_gradient_clipping", (module,)),
        ("clip_gradients", (module, plugin)),
        ("clip_grad_by_norm", (plugin,)),
        ("optimizer_step", (module, plugin, trainer.strategy)),
    ]
    is_overridden = any(overrides(owner, method) for method, components in owners for owner in components)
    if is_overridden or Effect.ANY in effects:
        return Effect.ANY
    return effects[0] if len(effects) == 1 else Effect.LENGTH
